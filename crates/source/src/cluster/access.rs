//! Which API server, and as whom: a kubeconfig, or the service account of the Pod that this runs in.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::client::Client;
use super::fault::chain;

/// The variable that names kubeconfigs.
const VARIABLE: &str = "KUBECONFIG";

/// Where every Pod has the credentials of its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long connecting may take, and sending a request.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct AccessError {
    what: String,
    /// What can be done about it, as a phrase in the imperative.
    pub remedy: &'static str,
}

impl AccessError {
    fn new(what: impl fmt::Display, remedy: &'static str) -> Self {
        Self { what: what.to_string(), remedy }
    }

    pub(super) fn defect(error: &dyn fmt::Display) -> Self {
        Self::new(format_args!("no client could be made: {error}"), "start it again")
    }
}

/// Which API server, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    place: Place,
    context: Option<String>,
    named: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Kubeconfigs, of which the first that says something counts.
    Files(Vec<PathBuf>),
    /// The service account of a Pod.
    Pod,
}

/// Everything that a client is made from: while it is the same, another client would be no better.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terms(u64);

impl Access {
    /// The kubeconfig that was given; else those that `KUBECONFIG` names; else `~/.kube/config`; else the service account of
    /// this Pod; else `last`: each if it is there. `context` is that of the kubeconfig, where it is not its current one.
    ///
    /// # Errors
    /// There is none.
    pub fn find(
        given: Option<&Path>,
        context: Option<&str>,
        last: Option<&Path>,
    ) -> Result<Self, AccessError> {
        let place = match given {
            Some(path) => Place::Files(vec![path.to_owned()]),
            None => Self::usual(last)?,
        };
        if place == Place::Pod && context.is_some() {
            let what = "a Pod's service account has no contexts";
            return Err(AccessError::new(what, "--kubeconfig FILE"));
        }
        let named = given.is_some() || context.is_some() || variable().is_some();
        Ok(Self { place, context: context.map(str::to_owned), named })
    }

    fn usual(last: Option<&Path>) -> Result<Place, AccessError> {
        if let Some(named) = variable() {
            let paths = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty());
            return Ok(Place::Files(paths.collect()));
        }
        let home = std::env::home_dir().map(|home| home.join(".kube/config"));
        if let Some(path) = home.as_ref().filter(|path| path.is_file()) {
            return Ok(Place::Files(vec![path.clone()]));
        }
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        if in_pod && Path::new(SERVICE_ACCOUNT).join("token").is_file() {
            return Ok(Place::Pod);
        }
        match last.filter(|path| path.is_file()) {
            Some(path) => Ok(Place::Files(vec![path.to_owned()])),
            None => Err(AccessError::new(
                format_args!(
                    "there is no kubeconfig: {VARIABLE} names none, ~/.kube/config is not there, and this is no Pod"
                ),
                "--kubeconfig FILE: `tidegate up` prints where its own is",
            )),
        }
    }

    /// Whether somebody has named it: else it is what stands where such things usually do.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Kubeconfigs that are read, now and later.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        match &self.place {
            Place::Files(paths) => paths,
            Place::Pod => &[],
        }
    }

    /// Whether it is the service account of the Pod that this runs in.
    #[must_use]
    pub fn is_of_pod(&self) -> bool {
        self.place == Place::Pod
    }

    /// A client for single requests.
    ///
    /// # Errors
    /// What is wrong with the kubeconfig, or with what it names.
    pub async fn client(&self) -> Result<Client, AccessError> {
        self.connect().await.map(|(client, _)| Client::new(client, self))
    }

    /// Looks whether it says where the server is, and as whom to ask, without asking anybody.
    ///
    /// # Errors
    /// What is wrong with the kubeconfig.
    pub async fn check(&self) -> Result<(), AccessError> {
        self.config().await.map(drop)
    }

    pub(super) async fn connect(&self) -> Result<(kube::Client, Terms), AccessError> {
        let config = self.config().await?;
        let terms = Terms::of(&config, self);
        let client = kube::Client::try_from(config).map_err(|error| {
            AccessError::new(
                format_args!("{self}: {}", chain(&error)),
                "look at what it names as certificates, tokens and commands",
            )
        })?;
        Ok((client, terms))
    }

    async fn config(&self) -> Result<Config, AccessError> {
        let mut config = match &self.place {
            Place::Pod => Config::incluster().map_err(|error| {
                AccessError::new(format_args!("{self}: {}", chain(&error)), "--kubeconfig FILE")
            })?,
            Place::Files(paths) => self.of_files(paths).await?,
        };
        config.connect_timeout = Some(CONNECT);
        config.write_timeout = Some(CONNECT);
        // Whoever follows waits by rules of his own.
        config.default_retry = false;
        Ok(config)
    }

    async fn of_files(&self, paths: &[PathBuf]) -> Result<Config, AccessError> {
        let wrong = |error: &KubeconfigError| {
            AccessError::new(
                format_args!("{self}: {}", in_words(error)),
                "--kubeconfig FILE, and --context NAME for another context than its current one",
            )
        };
        let kubeconfig = merged(paths).map_err(|error| wrong(&error))?;
        let explicit = proxy_of(&kubeconfig, self.context.as_deref());
        let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| wrong(&error))?;
        trim_token(&mut config);
        if !explicit {
            config.proxy_url = proxy_from_environment(&config.cluster_url);
        }
        Ok(config)
    }
}

/// What is wrong with a kubeconfig; its path is told by whoever tells this.
fn in_words(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(why, _) => why.to_string(),
        other => chain(other),
    }
}

/// What the environment names.
fn variable() -> Option<std::ffi::OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// `kubeconfig FILE`, or what stands for it.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Pod => f.write_str("the Pod's service account"),
            Place::Files(paths) => {
                let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
                write!(f, "kubeconfig {}", names.join(", "))
            }
        }
    }
}

/// Kubeconfigs in one, as kubectl merges them: of several, those that are not there do not matter.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    let mut whole = Kubeconfig::default();
    for path in paths {
        if paths.len() > 1 && !path.exists() {
            continue;
        }
        whole = whole.merge(Kubeconfig::read_from(path)?)?;
    }
    Ok(whole)
}

/// Takes a token from its file here where that has blanks about it, such as the end of a line: they are no part of it. A file
/// that changes makes other [`Terms`].
fn trim_token(config: &mut Config) {
    let user = &mut config.auth_info;
    let Some(file) = user.token_file.as_ref().filter(|_| user.token.is_none()) else { return };
    let Ok(text) = std::fs::read_to_string(file) else { return };
    if text.trim().len() != text.len() {
        user.token = Some(text.trim().to_owned().into());
    }
}

/// Whether the kubeconfig itself says through which proxy its cluster is reached.
fn proxy_of(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let context = context.or(kubeconfig.current_context.as_deref());
    let context = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == context);
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == cluster);
    let cluster = cluster.and_then(|named| named.cluster.as_ref());
    cluster.and_then(|cluster| cluster.proxy_url.as_ref()).is_some_and(|url| !url.is_empty())
}

/// The proxy of the environment, by Go's rules: none leads to this machine itself.
fn proxy_from_environment(server: &Uri) -> Option<Uri> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return None;
    }
    Matcher::from_env().intercept(server).map(|proxy| proxy.uri().clone())
}

impl Terms {
    fn of(config: &Config, access: &Access) -> Self {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let user = &config.auth_info;
        let named = [&user.token_file, &user.client_certificate, &user.client_key];
        let files: Vec<Vec<u8>> = named
            .into_iter()
            .flatten()
            .map(PathBuf::from)
            .chain(config.root_cert_file.clone())
            .map(|path| read(&path))
            .collect();
        // Secrets do not show in what is printed of a configuration: the kubeconfigs themselves count.
        let kubeconfigs: Vec<Vec<u8>> = match &access.place {
            Place::Files(paths) => paths.iter().map(|path| read(path)).collect(),
            Place::Pod => Vec::new(),
        };
        let mut hasher = DefaultHasher::new();
        format!("{:?}", (&config.cluster_url, &config.root_cert, &config.proxy_url))
            .hash(&mut hasher);
        (files, kubeconfigs).hash(&mut hasher);
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: a, cluster: {server: 'https://127.0.0.1:6443'}}
- {name: b, cluster: {server: 'https://b.example:6443', proxy-url: 'http://proxy.example:3128'}}
contexts:
- {name: a, context: {cluster: a, user: me, namespace: mine}}
- {name: b, context: {cluster: b, user: me}}
current-context: a
users:
- {name: me, user: {tokenFile: token}}
";

    #[tokio::test]
    async fn contexts_and_files_beside_a_kubeconfig_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        std::fs::write(&path, KUBECONFIG).expect("written");
        std::fs::write(folder.path().join("token"), "one").expect("written");
        let access = Access::find(Some(&path), None, None).expect("an access");
        let config = access.config().await.expect("a configuration");
        assert_eq!(config.cluster_url, "https://127.0.0.1:6443");
        assert_eq!(config.default_namespace, "mine");
        assert_eq!(config.proxy_url, None, "nothing leads away from this machine");
        let terms = Terms::of(&config, &access);
        assert!(terms == Terms::of(&config, &access));
        std::fs::write(folder.path().join("token"), "two").expect("written");
        assert!(terms != Terms::of(&config, &access), "another token");
        let access = Access::find(Some(&path), Some("b"), None).expect("an access");
        let config = access.config().await.expect("a configuration");
        assert_eq!(config.proxy_url, Some(Uri::from_static("http://proxy.example:3128")));
        let access = Access::find(Some(&path), Some("c"), None).expect("an access");
        let error = access.config().await.expect_err("there is no such context");
        assert!(error.to_string().contains("config: "), "{error}");
        assert!(error.remedy.contains("--context"), "{error}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/config");
        let access = Access::find(Some(path), None, None).expect("an access");
        let error = access.connect().await.map(drop).expect_err("it is not there").to_string();
        assert!(error.contains("/nowhere/config") && error.contains("No such file"), "{error}");
    }
}
