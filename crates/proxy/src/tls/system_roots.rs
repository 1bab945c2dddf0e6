//! Whom this machine trusts: the bundle of its distribution.

use std::env;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Names another bundle, as for OpenSSL.
const VARIABLE: &str = "SSL_CERT_FILE";

/// Where distributions keep it: Debian and Alpine, Fedora and RHEL, SUSE, the older places of the latter two, BSDs
/// and macOS.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// The bundle: the one that the environment names, else the first that is there.
#[must_use]
pub fn bundle() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// The certificates in the bundle.
///
/// # Errors
/// There is none, or none can be read: what to do about it.
pub fn load() -> Result<Vec<CertificateDer<'static>>, String> {
    match bundle() {
        Some(path) => read(&path),
        None => Err(format!(
            "this machine has no bundle of certificates ({}): install ca-certificates, or name one by {VARIABLE}",
            BUNDLES.join(", ")
        )),
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |why: String| format!("cannot take certificates from {}: {why}", path.display());
    let pem = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    // One that cannot be read is no reason to trust none.
    let roots: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if roots.is_empty() { Err(cannot("there is none in it".to_owned())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tidegate_testing::ca::Ca;

    use super::*;

    #[test]
    fn a_bundle_is_read_and_one_without_certificates_is_told() {
        let file = Ca::new("root").pem_file();
        assert_eq!(read(file.path()).map(|roots| roots.len()), Ok(1));
        let mut empty = tempfile::NamedTempFile::new().expect("a file");
        empty.write_all(b"nothing").expect("written");
        let told = read(empty.path()).expect_err("nothing in it");
        assert!(told.contains("there is none in it"), "{told}");
        assert!(read(Path::new("/nowhere")).is_err());
    }
}
