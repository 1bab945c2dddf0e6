//! What servers that terminate TLS agree on with their clients, and what is asked of destinations.

use std::fmt;
use std::sync::Arc;

use tidegate_api::istio::destination_rule::{ClientTlsMode, ClientTlsSettings};
use tidegate_api::istio::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use tidegate_envoy::suites::{USE_GROUPS, group, tls12};

use crate::Options;

/// Everything that a handshake settles. Requests may pass between servers on one connection only where this is
/// the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Certificates that are presented, at most one per kind of key.
    pub identities: Vec<Credential>,
    /// What is asked of clients; nothing when absent.
    pub clients: Option<Clients>,
    /// How bytes are protected.
    pub channel: Channel,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clients {
    /// Whether a client has to have a certificate, whatever is asked of those who have one.
    pub demanded: bool,
    /// Which certificates are accepted.
    pub accepted: Accepted,
}

/// Which certificates of clients are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The authorities; none where only hashes say which certificates are meant.
    pub authorities: Option<Credential>,
    /// Names of which a certificate has to carry one.
    pub names: Vec<String>,
    /// Trust domains, of one of which the certificate has to have an identity (`spiffe://DOMAIN/…`).
    pub trust_domains: Arc<[String]>,
    /// SHA-256 of acceptable public keys, in base64.
    pub key_hashes: Vec<String>,
    /// SHA-256 of acceptable certificates, in hexadecimal.
    pub hashes: Vec<String>,
    /// Whether any issuer will do.
    pub any_issuer: bool,
}

/// Versions, suites and groups. Empty lists stand for the data plane's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The oldest version.
    pub oldest: TlsProtocol,
    /// The newest version.
    pub newest: TlsProtocol,
    /// Cipher suites of TLS 1.2, each once.
    pub suites: Vec<String>,
    /// Groups for key exchange.
    pub groups: Vec<String>,
    /// Of what some was asked for and nothing can be had, so that no handshake can be held.
    pub nothing_of: Option<Choice>,
}

/// What a handshake chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Cipher suites of TLS 1.2.
    Suites,
    /// Groups for key exchange.
    Groups,
}

/// The suites of TLS 1.2 that sidecars take from each other, but for those without forward secrecy.
const PEER_SUITES: [&str; 4] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
];

/// The certificate that is shown to servers, if one is.
#[must_use]
pub fn client_identity(settings: &ClientTlsSettings, options: &Options) -> Option<Credential> {
    match settings.mode {
        ClientTlsMode::Disable | ClientTlsMode::Simple => None,
        ClientTlsMode::IstioMutual => Some(Credential::MeshPair),
        ClientTlsMode::Mutual if !settings.credential_name.is_empty() => {
            Some(Credential::pair(&settings.credential_name, options))
        }
        ClientTlsMode::Mutual => Some(Credential::PairFiles(
            settings.client_certificate.as_str().into(),
            settings.private_key.as_str().into(),
        )),
    }
}

/// The Secrets that a server names.
pub fn server_secrets(settings: &ServerTlsSettings) -> impl Iterator<Item = Arc<str>> {
    let one = [&settings.credential_name, &settings.ca_cert_credential_name];
    let names = one.into_iter().chain(&settings.credential_names);
    names.filter(|name| !name.is_empty()).map(|name| secret_name(name))
}

/// Whom servers' certificates are verified by.
#[must_use]
pub fn client_authorities(settings: &ClientTlsSettings, options: &Options) -> Credential {
    let authorities = match settings.mode {
        ClientTlsMode::IstioMutual => Credential::MeshAuthorities,
        _ if !settings.credential_name.is_empty() => {
            Credential::authorities(&settings.credential_name, true, options)
        }
        _ if matches!(settings.ca_certificates.as_str(), "" | "system") => {
            Credential::SystemAuthorities(Arc::clone(&options.system_roots))
        }
        _ => Credential::AuthoritiesFile(settings.ca_certificates.as_str().into()),
    };
    authorities.revoking(&settings.ca_crl)
}

/// Whether a server's certificate is looked at. Within the mesh it always is, as in Istio.
#[must_use]
pub fn verifies(settings: &ClientTlsSettings) -> bool {
    settings.mode == ClientTlsMode::IstioMutual || settings.insecure_skip_verify != Some(true)
}

/// Every credential that handshakes with a destination take.
#[must_use]
pub fn client_credentials(settings: &ClientTlsSettings, options: &Options) -> Vec<Credential> {
    if settings.mode == ClientTlsMode::Disable {
        return Vec::new();
    }
    let authorities = verifies(settings).then(|| client_authorities(settings, options));
    client_identity(settings, options).into_iter().chain(authorities).collect()
}

/// Where certificates, keys and authorities come from, and the name of the secret that brings them: no two of them share a
/// name, but for those that only differ in what is taken where nothing is named ([`Credential::twin`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credential {
    /// A Secret of the gateway's namespace with a chain and its key: `kubernetes://NAME`; `kubernetes-pair://NAME` where
    /// that would be the name of authorities.
    Pair(Arc<str>),
    /// Authorities: `kubernetes://NAME-cacert`.
    Authorities {
        /// The Secret.
        name: Arc<str>,
        /// Whether it is named for the authorities (`caCertCredentialName`, DestinationRules). Else it is the server's
        /// own, and where it has none, the only Secret of authorities in the namespace is meant.
        named: bool,
    },
    /// Files with a chain and its key: `file-cert:CHAIN~KEY`.
    PairFiles(Arc<str>, Arc<str>),
    /// A file of authorities: `file-root:FILE`.
    AuthoritiesFile(Arc<str>),
    /// The authorities that the system trusts, in this file: `file-root:system`.
    SystemAuthorities(Arc<str>),
    /// The workload's own certificate in the mesh: `default`.
    MeshPair,
    /// The mesh's authorities: `ROOTCA`.
    MeshAuthorities,
    /// Whatever a server of its own has under this name: `sds://NAME`.
    Elsewhere {
        /// The cluster of the server; none where the mesh has no such server.
        server: Option<Arc<str>>,
        /// The name that it is asked for.
        name: Arc<str>,
    },
    /// Authorities, with a file of certificates that they revoked: `…~FILE`. The last in the order of credentials.
    Revoking {
        /// The authorities.
        authorities: Box<Self>,
        /// The file. A list in the Secret of the authorities goes before it.
        list: Arc<str>,
    },
}

/// What stands before the name of a credential that a server of its own has.
const ELSEWHERE: &str = "sds://";

/// Ending of the Secret with the authorities that belong to a Secret with a certificate.
pub const AUTHORITIES_SUFFIX: &str = "-cacert";

impl Terms {
    /// What the settings of a server ask for, with the mesh's defaults where they are silent; `None` where it does not
    /// terminate TLS.
    #[must_use]
    pub fn of(settings: &ServerTlsSettings, options: &Options) -> Option<Self> {
        let demanded = match settings.mode {
            ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => return None,
            ServerTlsMode::Simple => None,
            ServerTlsMode::OptionalMutual => Some(false),
            ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => Some(true),
        };
        let in_mesh = settings.mode == ServerTlsMode::IstioMutual;
        let clients = demanded
            .map(|demanded| Clients { demanded, accepted: Accepted::of(settings, options) });
        let identities =
            if in_mesh { vec![Credential::MeshPair] } else { identities(settings, options) };
        Some(Self { identities, clients, channel: Channel::of(settings, &options.tls_defaults) })
    }

    /// What a sidecar asks of its peers where mutual TLS is taken: both sides show certificates of the mesh.
    #[must_use]
    pub fn of_peers(options: &Options) -> Self {
        let accepted = Accepted {
            authorities: Some(Credential::MeshAuthorities),
            trust_domains: Arc::clone(&options.trust_domains),
            ..Accepted::default()
        };
        Self {
            identities: vec![Credential::MeshPair],
            clients: Some(Clients { demanded: true, accepted }),
            channel: Channel {
                oldest: TlsProtocol::V1_2,
                newest: TlsProtocol::V1_3,
                suites: PEER_SUITES.map(str::to_owned).to_vec(),
                ..Channel::default()
            },
        }
    }

    /// Whether a client without a certificate is sent away.
    #[must_use]
    pub fn demands_certificate(&self) -> bool {
        self.clients.as_ref().is_some_and(Clients::send_others_away)
    }

    /// Whether both sides are known by the mesh's certificates.
    #[must_use]
    pub fn is_in_mesh(&self) -> bool {
        let authorities = self.clients.as_ref().and_then(|c| c.accepted.authorities.as_ref());
        authorities.is_some_and(Credential::is_of_mesh)
    }

    /// Whether a handshake over QUIC comes to the same. It is one of TLS 1.3 (RFC 9001, section 4.2). Not every Envoy can
    /// ask clients for certificates in it (Istio has it not ask at all), and none looks at the groups that are named.
    #[must_use]
    pub fn hold_over_quic(&self) -> bool {
        let newest = matches!(self.channel.newest, TlsProtocol::Auto | TlsProtocol::V1_3);
        newest && self.clients.is_none() && self.channel.groups.is_empty()
    }

    /// Every credential that a handshake takes.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        let authorities = self.clients.iter().filter_map(|c| c.accepted.authorities.as_ref());
        self.identities.iter().chain(authorities)
    }

    /// Why no handshake can be held on these terms, whatever the credentials are.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Channel { oldest, newest, .. } = self.channel;
        if matches!(newest, TlsProtocol::V1_0 | TlsProtocol::V1_1) {
            let fault = "maxProtocolVersion: versions below TLS 1.2 are not offered (RFC 8996); use TLSV1_2 or TLSV1_3";
            return Some(fault.to_owned());
        }
        if (oldest, newest) == (TlsProtocol::V1_3, TlsProtocol::V1_2) {
            return Some("minProtocolVersion is above maxProtocolVersion".to_owned());
        }
        match self.channel.nothing_of {
            Some(Choice::Suites) => {
                let fault = "cipherSuites: none of these is offered, and maxProtocolVersion leaves out TLS 1.3";
                return Some(fault.to_owned());
            }
            Some(Choice::Groups) => {
                return Some(format!("ecdhCurves: none of these is offered; {USE_GROUPS}"));
            }
            None => {}
        }
        let accepted = &self.clients.as_ref()?.accepted;
        let malformed = |field: &str, hash: &String, form: &str| {
            format!("{field}: {hash:?} is no SHA-256, which is {form}")
        };
        let key = accepted.key_hashes.iter().find(|hash| !is_digest_base64(hash));
        let key = key.map(|h| malformed("verifyCertificateSpki", h, "32 bytes in base64"));
        let whole = accepted.hashes.iter().find(|hash| !is_digest_hex(hash));
        key.or_else(|| {
            whole.map(|h| malformed("verifyCertificateHash", h, "64 hexadecimal digits"))
        })
    }

    /// What is asked for and not given, which makes nothing less safe.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let old = matches!(self.channel.oldest, TlsProtocol::V1_0 | TlsProtocol::V1_1);
        let strict = self.clients.as_ref().is_some_and(|c| !c.demanded && c.send_others_away());
        let advice = old.then_some("minProtocolVersion: versions below TLS 1.2 are not offered (RFC 8996); TLS 1.2 is the oldest");
        advice.or(strict.then_some(
            "mode: a client without a certificate is sent away, as with MUTUAL, since names or hashes are asked of certificates",
        ))
    }
}

impl Clients {
    /// Whether a client without a certificate is sent away: also where names or hashes are asked for, which data planes ask
    /// of everybody, unless any issuer will do.
    #[must_use]
    pub fn send_others_away(&self) -> bool {
        self.demanded || !(self.accepted.is_by_issuer() || self.accepted.any_issuer)
    }
}

impl Accepted {
    /// Whether certificates are told apart by their issuers alone.
    #[must_use]
    pub fn is_by_issuer(&self) -> bool {
        let by_name = !(self.names.is_empty() && self.trust_domains.is_empty());
        !by_name && self.key_hashes.is_empty() && self.hashes.is_empty()
    }

    fn of(settings: &ServerTlsSettings, options: &Options) -> Self {
        let in_mesh = settings.mode == ServerTlsMode::IstioMutual;
        let authorities = if in_mesh {
            Some(Credential::MeshAuthorities)
        } else {
            authorities(settings, options)
        };
        Self {
            authorities: authorities.map(|found| found.revoking(&settings.ca_crl)),
            names: settings.subject_alt_names.clone(),
            trust_domains: Arc::default(),
            key_hashes: settings.verify_certificate_spki.clone(),
            hashes: settings.verify_certificate_hash.clone(),
            any_issuer: !in_mesh && settings.insecure_skip_verify == Some(true),
        }
    }
}

impl Channel {
    /// What a server's settings say, with the mesh's defaults where they are silent. Servers in the mesh
    /// (`ISTIO_MUTUAL`) take no defaults, as in Istio.
    fn of(settings: &ServerTlsSettings, defaults: &Self) -> Self {
        let silent = Self::default();
        let defaults = match settings.mode {
            ServerTlsMode::IstioMutual => &silent,
            _ => defaults,
        };
        let named = first_given(&settings.cipher_suites, &defaults.suites);
        let mut suites: Vec<String> = Vec::new();
        for suite in named {
            if !suites.contains(suite) {
                suites.push(suite.clone());
            }
        }
        let no_suite = none_of(&suites, has_suite);
        let groups = first_given(&settings.ecdh_curves, &defaults.groups).clone();
        let no_group = none_of(&groups, |name| group(name).is_some());
        let mut oldest = match settings.min_protocol_version {
            TlsProtocol::Auto => defaults.oldest,
            own => own,
        };
        let newest = settings.max_protocol_version;
        let mut nothing_of = no_group.then_some(Choice::Groups);
        // With TLS 1.3 alone, suites of TLS 1.2 are nobody's concern.
        if no_suite && oldest != TlsProtocol::V1_3 {
            match newest {
                TlsProtocol::Auto | TlsProtocol::V1_3 => oldest = TlsProtocol::V1_3,
                _ => nothing_of = Some(Choice::Suites),
            }
        }
        Self { oldest, newest, suites, groups, nothing_of }
    }
}

/// Whether some are named, and none of them can be had.
fn none_of(names: &[String], has: impl Fn(&str) -> bool) -> bool {
    !names.is_empty() && !names.iter().any(|name| has(name))
}

/// Whether anything can be had of a suite, or of a group of suites (`[A|B]`).
fn has_suite(name: &str) -> bool {
    tls12(name).any(|suite| suite.is_ok())
}

/// The suites and groups that a server asks for and does not get, with the field that names them.
#[must_use]
pub fn left_out(settings: &ServerTlsSettings, options: &Options) -> Vec<String> {
    let Some(terms) = Terms::of(settings, options).filter(|terms| !terms.is_in_mesh()) else {
        return Vec::new();
    };
    let defaults = &options.tls_defaults;
    let field = |name: &str, own: &[String]| match own.is_empty() {
        true => format!("tlsDefaults.{name} (--mesh-config)"),
        false => format!("tls.{name}"),
    };
    let mut told = Vec::new();
    let suites = field("cipherSuites", &settings.cipher_suites);
    let mut some = false;
    for name in first_given(&settings.cipher_suites, &defaults.suites) {
        for (name, why) in tls12(name).filter_map(Result::err) {
            told.push(format!("{suites}: {name} is left out: {why}"));
            some = true;
        }
    }
    let none = none_of(&terms.channel.suites, has_suite);
    if some && none && terms.channel.nothing_of != Some(Choice::Suites) {
        told.push(format!("{suites}: none of TLS 1.2 is left, so that TLS 1.3 alone is offered"));
    }
    let groups = field("ecdhCurves", &settings.ecdh_curves);
    let named = first_given(&settings.ecdh_curves, &defaults.groups).iter();
    told.extend(
        named
            .filter(|name| group(name).is_none())
            .map(|name| format!("{groups}: {name} is left out: it is not offered; {USE_GROUPS}")),
    );
    told
}

fn first_given<'a>(own: &'a Vec<String>, default: &'a Vec<String>) -> &'a Vec<String> {
    if own.is_empty() { default } else { own }
}

fn identities(settings: &ServerTlsSettings, options: &Options) -> Vec<Credential> {
    let pair = |chain: &String, key: &String| {
        Credential::PairFiles(chain.as_str().into(), key.as_str().into())
    };
    if !settings.credential_names.is_empty() {
        let names = settings.credential_names.iter();
        names.map(|name| Credential::pair(name, options)).collect()
    } else if !settings.credential_name.is_empty() {
        vec![Credential::pair(&settings.credential_name, options)]
    } else if !settings.tls_certificates.is_empty() {
        let files = settings.tls_certificates.iter();
        files.map(|f| pair(&f.server_certificate, &f.private_key)).collect()
    } else if !settings.server_certificate.is_empty() {
        vec![pair(&settings.server_certificate, &settings.private_key)]
    } else {
        vec![Credential::MeshPair]
    }
}

fn authorities(settings: &ServerTlsSettings, options: &Options) -> Option<Credential> {
    let own = || settings.credential_names.first().unwrap_or(&settings.credential_name);
    if !settings.ca_cert_credential_name.is_empty() {
        Some(Credential::authorities(&settings.ca_cert_credential_name, true, options))
    } else if !own().is_empty() {
        Some(Credential::authorities(own(), false, options))
    } else if !settings.ca_certificates.is_empty() {
        Some(Credential::AuthoritiesFile(settings.ca_certificates.as_str().into()))
    } else {
        None
    }
}

impl Credential {
    /// A certificate and its key, as `credentialName` names them.
    fn pair(written: &str, options: &Options) -> Self {
        match written.strip_prefix(ELSEWHERE) {
            Some(name) => Self::elsewhere(name.to_owned(), options),
            None => Self::Pair(secret_name(written)),
        }
    }

    /// Authorities, as a credential's name names them.
    fn authorities(written: &str, named: bool, options: &Options) -> Self {
        match written.strip_prefix(ELSEWHERE) {
            Some(name) => {
                let name = name.strip_suffix(AUTHORITIES_SUFFIX).unwrap_or(name);
                Self::elsewhere(format!("{name}{AUTHORITIES_SUFFIX}"), options)
            }
            None => Self::Authorities { name: secret_name(written), named },
        }
    }

    fn elsewhere(name: String, options: &Options) -> Self {
        Self::Elsewhere { server: options.secret_server.clone(), name: name.into() }
    }

    /// These authorities with the certificates that they revoked, where a file lists them.
    fn revoking(self, list: &str) -> Self {
        match list {
            "" => self,
            _ => Self::Revoking { authorities: Box::new(self), list: list.into() },
        }
    }

    /// The other credential that the same secret of xDS stands for, if there may be one.
    #[must_use]
    pub fn twin(&self) -> Option<Self> {
        match self {
            Self::Authorities { name, named } => {
                Some(Self::Authorities { name: Arc::clone(name), named: !named })
            }
            Self::Revoking { authorities, list } => Some(authorities.twin()?.revoking(list)),
            _ => None,
        }
    }

    /// Whether these are the mesh's authorities.
    fn is_of_mesh(&self) -> bool {
        match self {
            Self::MeshAuthorities => true,
            Self::Revoking { authorities, .. } => authorities.is_of_mesh(),
            _ => false,
        }
    }

    /// Whether the only Secret with authorities is meant where nothing is named.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Authorities { named, .. } => !named,
            Self::Revoking { authorities, .. } => authorities.is_open(),
            _ => false,
        }
    }
}

/// What a secret of xDS is to people: where its content comes from. `namespace` is the gateway's.
#[must_use]
pub fn in_words(secret: &str, namespace: &str) -> String {
    if let Some(name) = secret.strip_prefix("kubernetes://") {
        return match name.strip_suffix(AUTHORITIES_SUFFIX) {
            Some(name) => format!("the authorities of Secret {namespace}/{name}"),
            None => format!("Secret {namespace}/{name}"),
        };
    }
    if let Some(name) = secret.strip_prefix("kubernetes-pair://") {
        return format!("Secret {namespace}/{name}");
    }
    if let Some(files) = secret.strip_prefix("file-cert:") {
        return files
            .split_once('~')
            .map_or_else(|| files.to_owned(), |(chain, key)| format!("files {chain} and {key}"));
    }
    match (secret, secret.strip_prefix("file-root:")) {
        ("default", _) => "the gateway in the mesh".to_owned(),
        ("ROOTCA", _) => "the authorities of the mesh".to_owned(),
        (_, Some("system")) => "the authorities that this system trusts".to_owned(),
        (_, Some(file)) => format!("file {file}"),
        (other, None) => other.to_owned(),
    }
}

/// The name of a Secret: `kubernetes://` may stand before it.
pub(super) fn secret_name(written: &str) -> Arc<str> {
    written.strip_prefix("kubernetes://").unwrap_or(written).into()
}

fn is_digest_hex(text: &str) -> bool {
    let digits = text.bytes().filter(|byte| *byte != b':');
    digits.clone().all(|digit| digit.is_ascii_hexdigit()) && digits.count() == 64
}

/// 32 bytes in base64: 43 characters and one of padding.
fn is_digest_base64(text: &str) -> bool {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == 44 && text.strip_suffix('=').is_some_and(|rest| rest.bytes().all(alphabet))
}

impl fmt::Display for Credential {
    /// The name of the secret in xDS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(name) if name.ends_with(AUTHORITIES_SUFFIX) => {
                write!(f, "kubernetes-pair://{}", Plain(name))
            }
            Self::Pair(name) => write!(f, "kubernetes://{}", Plain(name)),
            Self::Authorities { name, .. } => {
                write!(f, "kubernetes://{}{AUTHORITIES_SUFFIX}", Plain(name))
            }
            Self::PairFiles(chain, key) => {
                write!(f, "file-cert:{}~{}", Plain(chain), Plain(key))
            }
            // The name without the escape is that of what the system trusts.
            Self::AuthoritiesFile(file) if **file == *"system" => f.write_str("file-root:%system"),
            Self::AuthoritiesFile(file) => write!(f, "file-root:{}", Plain(file)),
            Self::SystemAuthorities(_) => f.write_str("file-root:system"),
            Self::MeshPair => f.write_str("default"),
            Self::MeshAuthorities => f.write_str("ROOTCA"),
            Self::Elsewhere { server: Some(server), name } => write!(f, "{server}/{name}"),
            Self::Elsewhere { server: None, name } => write!(f, "{ELSEWHERE}{name}"),
            Self::Revoking { authorities, list } => write!(f, "{authorities}~{}", Plain(list)),
        }
    }
}

/// A part of a name: what divides parts is escaped, so that no two credentials have the same name.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(['~', '%']) {
            match piece.strip_suffix(['~', '%']) {
                Some(plain) if piece.ends_with('~') => write!(f, "{plain}%7E")?,
                Some(plain) => write!(f, "{plain}%25")?,
                None => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
