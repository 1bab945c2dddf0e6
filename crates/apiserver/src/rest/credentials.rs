//! Who may talk to the server, and how clients know it: a certificate authority, a token, a kubeconfig.
//!
//! Authority and token are made once and kept in the data directory, readable by their owner only, so that a
//! kubeconfig stays good across restarts. The server's own certificate is issued anew at each start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tidegate_api::base64;

use super::yaml;

/// Random bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;

/// Why credentials could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {reason}; remove the file to have a new one made", path.display())]
    Broken { path: PathBuf, reason: String },
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the system gave no random numbers")]
    Random,
}

/// Everything that the server proves itself with, and asks of others.
pub(super) struct Credentials {
    pub tls: Arc<ServerConfig>,
    /// The token of the kubeconfig.
    pub token: String,
    authority: String,
}

impl Credentials {
    /// Reads what is kept in `dir`, makes what is missing, and issues a certificate for the address.
    pub(super) fn prepare(dir: &Path, listen: IpAddr) -> Result<Self, CredentialError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let token = keep(&dir.join("token"), || new_token(&provider))?;
        let key_path = dir.join("ca.key");
        let key = keep(&key_path, || Ok(KeyPair::generate()?.serialize_pem()))?;
        let key = KeyPair::from_pem(&key).map_err(|error| CredentialError::Broken {
            path: key_path,
            reason: error.to_string(),
        })?;
        let certificate = certificate(&dir.join("ca.crt"), &key)?;
        let tls = server_config(provider, &Issuer::new(authority(), key), listen)?;
        Ok(Self { tls: Arc::new(tls), token: token.trim().to_owned(), authority: certificate })
    }

    /// Writes the kubeconfig that leads to `server`.
    pub(super) fn write_kubeconfig(
        &self,
        path: &Path,
        server: SocketAddr,
    ) -> Result<(), CredentialError> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "tidegate",
                "cluster": {
                    "server": format!("https://{}", reachable(server)),
                    "certificate-authority-data": base64::encode(self.authority.as_bytes()),
                },
            }],
            "users": [{ "name": "tidegate", "user": { "token": self.token } }],
            "contexts": [{
                "name": "tidegate",
                "context": { "cluster": "tidegate", "user": "tidegate", "namespace": "default" },
            }],
            "current-context": "tidegate",
        });
        let text = yaml::write(&config);
        // Nothing is written where nothing changes: a full disk keeps no server with a fixed address from starting.
        if fs::read_to_string(path).is_ok_and(|old| old == text) && is_private(path) {
            return Ok(());
        }
        write_private(path, &text)
            .map_err(|source| CredentialError::File { path: path.to_owned(), source })
    }
}

/// Where clients on this machine find a server that listens everywhere.
fn reachable(server: SocketAddr) -> SocketAddr {
    let ip = match server.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, server.port())
}

fn new_token(provider: &CryptoProvider) -> Result<String, CredentialError> {
    let mut bytes = [0; TOKEN_BYTES];
    provider.secure_random.fill(&mut bytes).map_err(|_| CredentialError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The authority's certificate; the same each time, so that its key alone is enough to issue with.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tidegate");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The authority's certificate as it is kept. It follows from the key: where it is missing, broken or another
/// key's, since somebody removed that one, it is issued anew.
fn certificate(path: &Path, key: &KeyPair) -> Result<String, CredentialError> {
    let kept = fs::read_to_string(path).unwrap_or_default();
    let speaks_of = |der: CertificateDer<'_>| {
        let public = key.public_key_raw();
        der.windows(public.len()).any(|bytes| bytes == public)
    };
    if CertificateDer::from_pem_slice(kept.as_bytes()).is_ok_and(speaks_of) {
        return Ok(kept);
    }
    let issued = authority().self_signed(key)?.pem();
    write_private(path, &issued)
        .map_err(|source| CredentialError::File { path: path.to_owned(), source })?;
    Ok(issued)
}

fn server_config(
    provider: Arc<CryptoProvider>,
    issuer: &Issuer<'_, KeyPair>,
    listen: IpAddr,
) -> Result<ServerConfig, CredentialError> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .map(str::to_owned)
    .to_vec();
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(listen.to_string());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "tidegate-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a file holds, made and written first if it is not there.
fn keep(
    path: &Path,
    make: impl FnOnce() -> Result<String, CredentialError>,
) -> Result<String, CredentialError> {
    let failed = |source| CredentialError::File { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(CredentialError::Broken {
            path: path.to_owned(),
            reason: "the file is empty".into(),
        }),
        Ok(text) => {
            if !is_private(path) {
                // Copied or restored, perhaps: what was readable meanwhile cannot be taken back, only told.
                tracing::warn!(path = %path.display(),
                    "the file was open to others: remove it to have a new one made if they may have read it");
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
            }
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make()?;
            write_private(path, &text).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

fn is_private(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 == 0)
}

/// Writes a file that only its owner may read, so that it is there whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn credentials_outlive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Credentials::prepare(dir.path(), LOOPBACK).expect("made");
        let again = Credentials::prepare(dir.path(), LOOPBACK).expect("read");
        assert_eq!(first.token, again.token);
        assert_eq!(first.authority, again.authority);
        assert_eq!(first.token.len(), 2 * TOKEN_BYTES);
        let kubeconfig = dir.path().join("kubeconfig");
        let server = "0.0.0.0:6443".parse().expect("an address");
        first.write_kubeconfig(&kubeconfig, server).expect("written");
        let text = fs::read_to_string(&kubeconfig).expect("readable");
        assert!(text.contains("server: \"https://127.0.0.1:6443\""), "{text}");
        for file in ["token", "ca.key", "ca.crt", "kubeconfig"] {
            let mode = fs::metadata(dir.path().join(file)).expect(file).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn what_was_open_to_others_is_closed_and_links_are_replaced() {
        let (dir, other) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        let first = Credentials::prepare(dir.path(), LOOPBACK).expect("made");
        let token = dir.path().join("token");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("opened");
        Credentials::prepare(dir.path(), LOOPBACK).expect("read");
        assert!(is_private(&token));

        let precious = other.path().join("precious");
        fs::write(&precious, "content").expect("written");
        let kubeconfig = dir.path().join("kubeconfig");
        for link in [kubeconfig.clone(), dir.path().join("kubeconfig.new")] {
            std::os::unix::fs::symlink(&precious, link).expect("linked");
        }
        let server = "127.0.0.1:6443".parse().expect("an address");
        first.write_kubeconfig(&kubeconfig, server).expect("written");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "content");
        assert!(fs::symlink_metadata(&kubeconfig).is_ok_and(|file| file.is_file()));
    }

    #[test]
    fn broken_files_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ca.key"), "garbage").expect("written");
        let error = Credentials::prepare(dir.path(), LOOPBACK).err().expect("refused").to_string();
        assert!(error.contains("ca.key") && error.contains("remove the file"), "{error}");
    }

    #[test]
    fn removing_the_key_is_a_way_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let prepare = || Credentials::prepare(dir.path(), LOOPBACK).expect("made");
        let first = prepare();
        fs::remove_file(dir.path().join("ca.key")).expect("removed");
        let second = prepare();
        assert_ne!(second.authority, first.authority, "the certificate is the new key's");
        assert_eq!(prepare().authority, second.authority);
        fs::write(dir.path().join("ca.crt"), "garbage").expect("written");
        let key = fs::read_to_string(dir.path().join("ca.key")).expect("the key");
        let key = KeyPair::from_pem(&key).expect("a key");
        let third =
            CertificateDer::from_pem_slice(prepare().authority.as_bytes()).expect("PEM").to_vec();
        assert!(third.windows(65).any(|bytes| bytes == key.public_key_raw()));
    }
}
