//! OCSP responses beside certificates, made and looked at by OpenSSL.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_testing::process::run;
use tidegate_testing::tools::Tool;
use tokio::process::Command;

use super::setup::{Running, bootstrap, http_chain, serving_secret};

/// An authority, two certificates, and what it says of the first: for a day, and without saying for how long.
const MAKE: &str = r#"
set -e
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
"$OPENSSL" req -x509 $key -keyout ca.key -out ca.pem -subj /CN=ca -days 30
for name in a b; do
    "$OPENSSL" req $key -keyout $name.key -out $name.csr -subj /CN=$name.example
    printf "subjectAltName=DNS:$name.example" > $name.ext
    "$OPENSSL" x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $name.ext \
        -days 30 -out $name.pem
done
serial=$("$OPENSSL" x509 -in a.pem -noout -serial | cut -d= -f2)
printf "V\t401231235959Z\t\t$serial\tunknown\t/CN=a.example\n" > index
answer="ocsp -index index -rsigner ca.pem -rkey ca.key -CA ca.pem -issuer ca.pem -cert a.pem"
"$OPENSSL" $answer -ndays 1 -respout good
"$OPENSSL" $answer -respout endless
"#;

/// A secret with the certificate and the key of a name, and a response.
fn secret(folder: &Path, name: &str, response: &str) -> Value {
    let file = |name: String| json!({"filename": folder.join(name)});
    json!({"name": "s", "tls_certificate": {
        "certificate_chain": file(format!("{name}.pem")),
        "private_key": file(format!("{name}.key")),
        "ocsp_staple": file(response.to_owned()),
    }})
}

#[tokio::test]
async fn a_staple_is_told_to_who_asks_as_long_as_it_is_good() {
    let Some(openssl) = Tool::Openssl.need() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut make = Command::new("sh");
    make.args(["-c", MAKE]).env("OPENSSL", &openssl).current_dir(folder.path());
    let _ = run(make, "").await.success();

    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start(&bootstrap(&[chain], &[], &[])).await;
    let address = running.address.to_string();
    let asked = async |version: &str| {
        let mut ask = Command::new(&openssl);
        ask.args(["s_client", "-status", "-servername", "a.example", version]);
        ask.args(["-connect", &address]);
        run(ask, "").await.stdout
    };
    for (response, expected) in [
        ("good", "OCSP Response Status: successful"),
        // Nobody knows whether it is still true.
        ("endless", "OCSP response: no response sent"),
        ("good", "Cert Status: good"),
    ] {
        let outcome = running.put_secret(&secret(folder.path(), "a", response)).await;
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        for version in ["-tls1_2", "-tls1_3"] {
            let told = asked(version).await;
            assert!(told.contains(expected), "{response} {version}: {told}");
        }
    }
    // One that is for another certificate, or is none.
    for (name, response) in [("b", "good"), ("a", "a.pem")] {
        let outcome = running.put_secret(&secret(folder.path(), name, response)).await;
        assert_eq!(outcome.rejected[0].path, "tls_certificate.ocsp_staple");
        assert!(outcome.rejected[0].serves_on);
    }
    assert!(asked("-tls1_3").await.contains("Cert Status: good"), "the one before serves on");
}
