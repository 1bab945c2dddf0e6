//! What is in Secrets: certificates, keys and authorities, by the keys that Kubernetes' and Istio's tools write.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::kube::Secret;

use super::similar;
use super::tls::{AUTHORITIES_SUFFIX, Credential};

/// Keys of a chain and its key: those of generic Secrets, and those of `kubernetes.io/tls`.
const PAIRS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];
/// Keys of authorities.
const AUTHORITIES: [&str; 2] = ["cacert", "ca.crt"];
/// Keys of the list of certificates that they revoked. Istio reads the first with `cacert` and the second with `ca.crt`;
/// here either counts, as a list that is not looked at lets in whom it shall keep out.
const REVOKED: [&str; 2] = ["crl", "ca.crl"];
/// Key of an OCSP response.
const STAPLE: &str = "tls.ocsp-staple";
/// Tokens of service accounts come with the API server's authority, which issues no certificates for clients of gateways.
const TOKEN: &str = "kubernetes.io/service-account-token";

/// Most Secrets that are looked at for the one that may have been meant.
const MOST_COMPARED: usize = 1000;

/// The files of a folder with a workload's certificate: chain, key and authorities.
const WORKLOAD_FILES: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

/// The Secrets that a gateway may take credentials from.
#[derive(Debug)]
pub struct Secrets {
    /// The gateway's namespace.
    namespace: Arc<str>,
    here: BTreeMap<Arc<str>, Arc<Secret>>,
    /// Secrets of other namespaces, for the message to whoever put one there.
    elsewhere: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Files by name: what is in them, or why they cannot be read.
    files: BTreeMap<Arc<str>, Result<Arc<[u8]>, String>>,
    /// What objects name, which is nobody else's where nothing is named.
    named: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// How many objects name a Secret.
    naming: HashMap<Arc<str>, usize>,
    /// Secrets that hold authorities and nothing else, belong to no other Secret by their name, and that nothing names.
    candidates: BTreeSet<Arc<str>>,
    /// Where the gateway's certificate in the mesh is.
    workload: Option<WorkloadFiles>,
    /// Whether it is a workload that takes them, or a gateway.
    is_workload: bool,
}

/// The files that the gateway's certificate in the mesh is in.
#[derive(Debug)]
struct WorkloadFiles {
    chain: Arc<str>,
    key: Arc<str>,
    authorities: Arc<str>,
}

impl WorkloadFiles {
    fn of(folder: &str) -> Self {
        let [chain, key, authorities] =
            WORKLOAD_FILES.map(|file| format!("{}/{file}", folder.trim_end_matches('/')).into());
        Self { chain, key, authorities }
    }
}

/// What a credential stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A chain and its key.
    Pair {
        /// The chain, in PEM.
        chain: &'a [u8],
        /// The key, in PEM.
        key: &'a [u8],
        /// An OCSP response for the certificate, in DER.
        staple: Option<&'a [u8]>,
    },
    /// Authorities.
    Authorities {
        /// Their certificates, in PEM.
        roots: &'a [u8],
        /// A revocation list, in PEM.
        revoked: Option<&'a [u8]>,
        /// The Secret that they come from, where nothing names it.
        guessed: Option<&'a Arc<str>>,
    },
    /// What a server of its own has; the data plane asks it.
    Elsewhere,
}

/// Why a credential is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// Where it was looked for, and what was there.
    pub reason: String,
    /// Whether the Secret is there and lacks what is needed: what it held before serves on.
    pub broken: bool,
}

impl Secrets {
    /// No Secrets yet; those of `namespace` count.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            here: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            files: BTreeMap::new(),
            named: HashMap::new(),
            naming: HashMap::new(),
            candidates: BTreeSet::new(),
            workload: None,
            is_workload: false,
        }
    }

    /// Replaces the Secrets that an object names. Whether another one may be meant now where nothing is named.
    pub fn set_named(&mut self, key: &ObjectKey, names: BTreeSet<Arc<str>>) -> bool {
        let before = self.named.remove(key).unwrap_or_default();
        for gone in before.difference(&names) {
            if let Some(count) = self.naming.get_mut(gone) {
                *count -= 1;
                if *count == 0 {
                    self.naming.remove(gone);
                }
            }
        }
        for new in names.difference(&before) {
            *self.naming.entry(Arc::clone(new)).or_default() += 1;
        }
        let mut matters = false;
        for name in before.symmetric_difference(&names) {
            matters |= self.judge(name);
        }
        if !names.is_empty() {
            self.named.insert(key.clone(), names);
        }
        matters
    }

    /// Notes whether a Secret is a candidate, and the one that belongs to it by its name; answers whether that differs.
    fn judge(&mut self, name: &Arc<str>) -> bool {
        let mut differs = false;
        for name in [Arc::clone(name), format!("{name}{AUTHORITIES_SUFFIX}").into()] {
            differs |= match self.is_candidate(&name) {
                true => self.candidates.insert(name),
                false => self.candidates.remove(&name),
            };
        }
        differs
    }

    fn is_candidate(&self, name: &str) -> bool {
        let Some(secret) = self.here.get(name) else { return false };
        let key = PAIRS.iter().any(|(_, key)| secret.get(key).is_some());
        let owner = name.strip_suffix(AUTHORITIES_SUFFIX);
        let taken = |name: &str| self.naming.contains_key(name);
        let owned = owner.is_some_and(|owner| self.here.contains_key(owner) || taken(owner));
        holds_authorities(secret) && !key && !owned && !taken(name) && secret.kind != TOKEN
    }

    /// The same, for a gateway whose certificate in the mesh is in `folder`, if it has one.
    #[must_use]
    pub fn in_mesh(self, folder: Option<&str>) -> Self {
        Self { workload: folder.map(WorkloadFiles::of), ..self }
    }

    /// Those of a workload, as words about them say.
    #[must_use]
    pub fn of_workload(self, is_workload: bool) -> Self {
        Self { is_workload, ..self }
    }

    /// The files that a credential is in.
    #[must_use]
    pub fn files_of(&self, credential: &Credential) -> Vec<Arc<str>> {
        let workload = self.workload.as_ref();
        match credential {
            Credential::PairFiles(chain, key) => vec![Arc::clone(chain), Arc::clone(key)],
            Credential::AuthoritiesFile(file) | Credential::SystemAuthorities(file) => {
                vec![Arc::clone(file)]
            }
            Credential::Revoking { authorities, list } => {
                let mut files = self.files_of(authorities);
                files.push(Arc::clone(list));
                files
            }
            Credential::MeshPair => {
                workload.into_iter().flat_map(|w| [&w.chain, &w.key]).cloned().collect()
            }
            Credential::MeshAuthorities => {
                workload.iter().map(|w| Arc::clone(&w.authorities)).collect()
            }
            Credential::Pair(_) | Credential::Authorities { .. } | Credential::Elsewhere { .. } => {
                Vec::new()
            }
        }
    }

    /// Replaces a Secret; `None`: it is gone. Whether something else may be meant now where nothing is named.
    pub fn set(
        &mut self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        secret: Option<Arc<Secret>>,
    ) -> bool {
        if *namespace != self.namespace {
            match secret {
                Some(_) => {
                    self.elsewhere
                        .entry(Arc::clone(name))
                        .or_default()
                        .insert(Arc::clone(namespace));
                }
                None => {
                    if let Some(namespaces) = self.elsewhere.get_mut(name) {
                        namespaces.remove(namespace);
                        if namespaces.is_empty() {
                            self.elsewhere.remove(name);
                        }
                    }
                }
            }
            return false;
        }
        match secret {
            Some(secret) => self.here.insert(Arc::clone(name), secret),
            None => self.here.remove(name),
        };
        self.judge(name) || self.candidates.contains(name)
    }

    /// Replaces what is known of a file.
    pub fn set_file(&mut self, name: Arc<str>, content: Result<Arc<[u8]>, String>) {
        self.files.insert(name, content);
    }

    fn file(&self, name: &str) -> Result<&[u8], NotFound> {
        match self.files.get(name) {
            Some(Ok(content)) => Ok(content),
            // What was read before serves on.
            Some(Err(why)) => Err(broken(format!("file {name} cannot be read: {why}"))),
            None => {
                Err(NotFound { reason: format!("file {name} has not been read"), broken: false })
            }
        }
    }

    /// Whether a credential is looked for in the only Secret of authorities that nothing names.
    #[must_use]
    pub fn is_guessed(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Authorities { name, named: false } => {
                let own = self.here.get(name).is_some_and(|secret| holds_authorities(secret));
                !own && !self.here.contains_key(&*format!("{name}{AUTHORITIES_SUFFIX}"))
            }
            Credential::Revoking { authorities, .. } => self.is_guessed(authorities),
            _ => false,
        }
    }

    /// What a credential stands for now.
    ///
    /// # Errors
    /// There is no Secret of that name, or it lacks the keys.
    pub fn find<'a>(&'a self, credential: &'a Credential) -> Result<Found<'a>, NotFound> {
        match credential {
            Credential::Pair(name) => pair(self.get(name)?, name, &self.namespace),
            Credential::Authorities { name, named } => self.authorities(name, *named),
            Credential::PairFiles(chain, key) => {
                Ok(Found::Pair { chain: self.file(chain)?, key: self.file(key)?, staple: None })
            }
            Credential::AuthoritiesFile(file) | Credential::SystemAuthorities(file) => {
                Ok(Found::Authorities { roots: self.file(file)?, revoked: None, guessed: None })
            }
            Credential::Revoking { authorities, list } => match self.find(authorities)? {
                Found::Authorities { roots, revoked: None, guessed } => {
                    let revoked = Some(self.file(list)?);
                    Ok(Found::Authorities { roots, revoked, guessed })
                }
                Found::Elsewhere => Err(NotFound {
                    reason: "caCrl goes with authorities in Secrets and files; the server of these sends a list with them"
                        .to_owned(),
                    broken: false,
                }),
                found => Ok(found),
            },
            Credential::Elsewhere { server: Some(_), .. } => Ok(Found::Elsewhere),
            Credential::Elsewhere { server: None, name } => Err(NotFound {
                reason: format!(
                    "sds://{name} is asked for at a server that the mesh config names in extensionProviders[].sds (name, \
                     service, port), and it names none"
                ),
                broken: false,
            }),
            Credential::MeshPair => {
                let WorkloadFiles { chain, key, .. } = self.workload()?;
                Ok(Found::Pair { chain: self.file(chain)?, key: self.file(key)?, staple: None })
            }
            Credential::MeshAuthorities => {
                let roots = self.file(&self.workload()?.authorities)?;
                Ok(Found::Authorities { roots, revoked: None, guessed: None })
            }
        }
    }

    fn workload(&self) -> Result<&WorkloadFiles, NotFound> {
        let missing = || {
            let [chain, key, authorities] = WORKLOAD_FILES;
            let (who, verbs) = match self.is_workload {
                true => ("workload", "tidegate sidecar and run"),
                false => ("gateway", "tidegate up"),
            };
            let reason = format!(
                "the {who} has no certificate of a mesh: {verbs} --workload-certs FOLDER takes it from {chain}, {key} and {authorities}"
            );
            NotFound { reason, broken: false }
        };
        self.workload.as_ref().ok_or_else(missing)
    }

    fn get(&self, name: &Arc<str>) -> Result<&Secret, NotFound> {
        if let Some(secret) = self.here.get(name) {
            return Ok(secret);
        }
        let namespace = &self.namespace;
        let who = if self.is_workload { "workload" } else { "gateway" };
        if let Some((_, own)) = name.split_once('/') {
            let reason = format!(
                "{name} is no name of a Secret: only those of namespace {namespace}, where the {who} is, are looked at; put it \
                 there and write {own}"
            );
            return Err(NotFound { reason, broken: false });
        }
        let mut reason =
            format!("there is no Secret {name} in namespace {namespace}, where the {who} is");
        if let Some(others) = self.elsewhere.get(name).and_then(|namespaces| namespaces.first()) {
            reason.push_str(&format!("; the one in namespace {others} is not looked at"));
        } else if let Some(meant) = self.meant(name) {
            reason.push_str(&format!("; did you mean {meant}?"));
        }
        Err(NotFound { reason, broken: false })
    }

    /// Whether an object is a Secret that may be taken and is there.
    #[must_use]
    pub fn has(&self, key: &ObjectKey) -> bool {
        *key.namespace == *self.namespace && self.here.contains_key(&key.name)
    }

    /// The Secret of the gateway's namespace that was most likely meant by a name that none has.
    fn meant(&self, name: &str) -> Option<&Arc<str>> {
        let there = self.is_compared().then(|| self.here.keys()).into_iter().flatten();
        let near = there.filter_map(|other| Some((similar::slips(name, other)?, other)));
        near.min().map(|(_, other)| other)
    }

    /// Whether Secrets are compared with names that none has. Each such name costs a look at all of them.
    fn is_compared(&self) -> bool {
        self.here.len() <= MOST_COMPARED
    }

    /// Whether a Secret that came or went may be taken for the one that is meant by this credential, which names another.
    #[must_use]
    pub fn may_be_meant(&self, secret: &str, credential: &Credential) -> bool {
        let named = match credential {
            Credential::Pair(name) | Credential::Authorities { name, .. } => name,
            Credential::Revoking { authorities, .. } => {
                return self.may_be_meant(secret, authorities);
            }
            _ => return false,
        };
        self.is_compared()
            && !self.here.contains_key(named)
            && similar::slips(named, secret).is_some()
    }

    /// The authorities in a Secret of that very name.
    ///
    /// # Errors
    /// There is no Secret of that name, or it holds none.
    pub fn authorities_in(&self, name: &Arc<str>) -> Result<Found<'_>, NotFound> {
        roots(self.get(name)?, name, &self.namespace, None)
    }

    /// The Secret that the content of a credential comes from, or has to.
    #[must_use]
    pub fn source<'a>(&'a self, credential: &'a Credential) -> Option<Arc<str>> {
        match credential {
            Credential::Pair(name) => Some(Arc::clone(name)),
            Credential::Authorities { name, named } => {
                self.authorities_of(name, *named).ok().map(|(source, _)| source)
            }
            Credential::Revoking { authorities, .. } => self.source(authorities),
            _ => None,
        }
    }

    /// Where the content of a credential comes from, in words.
    #[must_use]
    pub fn describe(&self, credential: &Credential) -> String {
        match (self.source(credential), credential) {
            (Some(source), _) => format!("Secret {}/{source}", self.namespace),
            (None, Credential::Revoking { authorities, list }) => {
                format!("{} with {list}", self.describe(authorities))
            }
            (None, credential) => {
                let files: Vec<Arc<str>> = self.files_of(credential).into_iter().collect();
                match files.as_slice() {
                    [] => credential.to_string(),
                    [one] => format!("file {one}"),
                    several => format!("files {}", several.join(" and ")),
                }
            }
        }
    }

    /// The gateway's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    fn authorities(&self, name: &Arc<str>, named: bool) -> Result<Found<'_>, NotFound> {
        let (source, guessed) = self.authorities_of(name, named)?;
        let guessed =
            if guessed { self.here.get_key_value(&source).map(|(name, _)| name) } else { None };
        roots(self.get(&source)?, &source, &self.namespace, guessed)
    }

    /// Where authorities are, and whether nothing names that: in the Secret with the suffix, else in the one of that name.
    /// Where that is not named for them and holds none, they are in the only Secret of the namespace with authorities and
    /// no key.
    fn authorities_of(&self, name: &Arc<str>, named: bool) -> Result<(Arc<str>, bool), NotFound> {
        let apart: Arc<str> = format!("{name}{AUTHORITIES_SUFFIX}").into();
        if self.here.contains_key(&apart) {
            return Ok((apart, false));
        }
        let own = self.here.get(name).is_some_and(|secret| holds_authorities(secret));
        if named || own {
            return Ok((Arc::clone(name), false));
        }
        self.get(name)?;
        let namespace = &self.namespace;
        let mut candidates = self.candidates.iter();
        match (candidates.next(), candidates.next()) {
            (Some(guessed), None) => Ok((Arc::clone(guessed), true)),
            (None, _) => Err(NotFound {
                reason: format!(
                    "no authorities for client certificates: neither Secret {namespace}/{apart} nor the key ca.crt \
                     in Secret {namespace}/{name}, and no Secret with authorities that nothing else names; name one in \
                     caCertCredentialName"
                ),
                broken: false,
            }),
            (Some(first), Some(second)) => Err(NotFound {
                reason: format!(
                    "no authorities for client certificates: Secrets {first} and {second} of namespace {namespace} both \
                     hold some; name the one that is meant in caCertCredentialName"
                ),
                broken: false,
            }),
        }
    }
}

fn holds_authorities(secret: &Secret) -> bool {
    AUTHORITIES.iter().any(|key| secret.get(key).is_some())
}

fn pair<'a>(secret: &'a Secret, name: &str, namespace: &str) -> Result<Found<'a>, NotFound> {
    let mut pairs = PAIRS.iter().map(|(chain, key)| (secret.get(chain), secret.get(key)));
    let found = pairs.find_map(|pair| match pair {
        (Some(chain), Some(key)) => Some((chain, key)),
        _ => None,
    });
    match found {
        Some((chain, key)) if !chain.is_empty() && !key.is_empty() => {
            Ok(Found::Pair { chain, key, staple: secret.get(STAPLE) })
        }
        Some(_) => {
            Err(broken(format!("Secret {namespace}/{name} has an empty certificate or key")))
        }
        None => Err(broken(format!(
            "Secret {namespace}/{name} has no certificate with a key: neither (cert and key) nor (tls.crt and tls.key); it \
             has {}",
            keys(secret)
        ))),
    }
}

fn roots<'a>(
    secret: &'a Secret,
    name: &str,
    namespace: &str,
    guessed: Option<&'a Arc<str>>,
) -> Result<Found<'a>, NotFound> {
    let found = AUTHORITIES.iter().find_map(|key| secret.get(key));
    match found {
        Some(roots) if !roots.is_empty() => {
            let revoked = REVOKED.iter().find_map(|key| secret.get(key));
            Ok(Found::Authorities { roots, revoked, guessed })
        }
        Some(_) => {
            Err(broken(format!("Secret {namespace}/{name} has an empty list of authorities")))
        }
        None => Err(broken(format!(
            "Secret {namespace}/{name} has no authorities: neither cacert nor ca.crt; it has {}",
            keys(secret)
        ))),
    }
}

fn broken(reason: String) -> NotFound {
    NotFound { reason, broken: true }
}

fn keys(secret: &Secret) -> String {
    let keys: BTreeSet<&str> =
        secret.data.keys().chain(secret.string_data.keys()).map(String::as_str).collect();
    if keys.is_empty() { "nothing".to_owned() } else { Vec::from_iter(keys).join(", ") }
}

#[cfg(test)]
mod tests;
