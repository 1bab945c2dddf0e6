use rustls::CipherSuite;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use tidegate_testing::ca::Ca;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::route::TextMatch;
use crate::tls::client_hello::{self, fixtures::Builder};
use crate::tls::context::Common;
use crate::tls::fixtures::{client, common, server, shake, tcp, trusting};
use crate::tls::identity::Identity;
use crate::tls::secret::{IdentitySource, Lacks, Secret, SecretSlot, ValidationSource};
use crate::tls::validation::{Mismatch, NameKind, NameMatch, Validation};
use crate::tls::{About, Inspection, mismatch};

fn buffers() -> Rc<BufferPool> {
    Rc::default()
}

/// What the server settled with a client of its liking.
async fn settle(client: &ClientTls, server: &ServerTls) -> Settled {
    let (near, far) = shake(client, server, "a.example", &buffers()).await;
    near.expect("connected");
    far.expect("accepted").1
}

/// Why the server did not accept the client.
async fn refusal(client: &ClientTls, server: &ServerTls) -> Failure {
    let (near, far) = shake(client, server, "a.example", &buffers()).await;
    drop(near);
    far.map(|_| ()).expect_err("refused")
}

#[tokio::test]
async fn versions_and_suites_are_as_configured() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let any = || trusting(common(&[], &[]), &ca);
    let with = |versions: Vec<_>, suites: Vec<_>| {
        server(Common { versions, suites, ..common(&[&identity], &[]) }, false)
    };
    let chacha = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let settled = settle(&client(any()), &with(vec![&TLS12], vec![chacha])).await;
    assert_eq!((settled.version, settled.cipher), ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"));
    let settled = settle(&client(any()), &with(vec![&TLS13], vec![])).await;
    assert_eq!(settled.version, "TLSv1.3");
    let old = client(Common { versions: vec![&TLS12], ..any() });
    let refused = refusal(&old, &with(vec![&TLS13], vec![])).await;
    assert!(matches!(refused, Failure::Tls(rustls::Error::PeerIncompatible(_))), "{refused}");
}

#[tokio::test]
async fn suites_are_chosen_by_cost_unless_somebody_says_otherwise() {
    const AES128: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    const AES256: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    const CHACHA: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let older = |suites: &[CipherSuite]| {
        let common = common(&[], &[]);
        client(trusting(Common { versions: vec![&TLS12], suites: suites.to_vec(), ..common }, &ca))
    };
    let serving = |suites: &[CipherSuite]| {
        server(Common { suites: suites.to_vec(), ..common(&[&identity], &[]) }, false)
    };
    let mut theirs = serving(&[]);
    theirs.prefers_client_suites = true;
    // client, server, what is taken
    let cases = [
        (older(&[AES256, CHACHA, AES128]), &serving(&[]), "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (older(&[AES256, AES128]), &theirs, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (older(&[CHACHA, AES256]), &serving(&[AES256, CHACHA]), "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (client(trusting(common(&[], &[]), &ca)), &serving(&[]), "TLS_AES_128_GCM_SHA256"),
    ];
    for (client, server, expected) in cases {
        assert_eq!(settle(&client, server).await.cipher, expected);
    }
    // A client without hardware for AES has its way, but for suites that configuration puts in order.
    let hello = |suites: &[u8]| {
        let wire = Builder { suites: suites.to_vec(), ..Builder::default() }.wire();
        match client_hello::parse(&wire, client_hello::DEFAULT_MAX_BYTES) {
            Inspection::Hello(hello) => hello,
            other => panic!("no hello: {other:?}"),
        }
    };
    let ours = |server: &ServerTls, suites: &[u8]| {
        server.configs().expect("ready").of(Some(&hello(suites))).ignore_client_order
    };
    assert!(ours(&serving(&[]), &[0x13, 0x02, 0x13, 0x03]));
    assert!(!ours(&serving(&[]), &[0x13, 0x03, 0x13, 0x02]));
    assert!(ours(&serving(&[AES256]), &[0x13, 0x03, 0x13, 0x02]));
}

#[tokio::test]
async fn nothing_in_common_in_alpn_is_no_reason_to_refuse() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let server = server(common(&[&identity], &["h2", "http/1.1"]), false);
    let offers = |alpn: &[&str]| client(trusting(common(&[], alpn), &ca));
    let cases: [(&[&str], Option<&[u8]>); 4] = [
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["acme"], None),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let settled = settle(&offers(offered), &server).await;
        assert_eq!(settled.alpn.as_deref(), expected, "{offered:?}");
        let offers = |own: &[u8]| offered.iter().any(|protocol| protocol.as_bytes() == own);
        let configs = server.configs().expect("ready");
        assert_eq!(configs.agreed(offers), expected, "{offered:?}: told as it is held");
    }
}

#[tokio::test]
async fn sessions_go_on_unless_clients_are_looked_at_differently() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let slot = Arc::new(SecretSlot::empty("ca".into()));
    let validate = |ca: &Ca| {
        let here = trusting(common(&[], &[]), ca).validation.here.expect("roots");
        slot.store(Some(Secret::Validation(here)));
    };
    validate(&ca);
    let validation = ValidationSource { here: None, secret: Some(Arc::clone(&slot)) };
    let server = server(Common { validation, ..common(&[&identity], &[]) }, false);
    for versions in [vec![&TLS12], vec![&TLS13]] {
        let client = client(Common { versions, ..trusting(common(&[], &[]), &ca) });
        let buffers = buffers();
        let shake = async || {
            let (near, far) = shake(&client, &server, "a.example", &buffers).await;
            let (mut near, (mut far, settled)) = (near.expect("connected"), far.expect("accepted"));
            // The ticket of TLS 1.3 comes after the handshake, before this.
            far.write_all(b"x").await.expect("written");
            far.flush().await.expect("written");
            near.read_exact(&mut [0]).await.expect("read");
            settled.resumed
        };
        assert!(!shake().await);
        assert!(shake().await);
        validate(&ca);
        assert!(!shake().await, "other certificates count now");
        assert!(shake().await);
    }
}

#[tokio::test]
async fn a_missing_secret_is_waited_for_by_its_own_connections() {
    let ca = Ca::new("root");
    let lacks = Lacks::default();
    let slot = Arc::new(SecretSlot::empty("kubernetes://a".into()).explained_by(&lacks));
    let identities = vec![IdentitySource::Secret(Arc::clone(&slot))];
    let server = server(Common { identities, ..common(&[], &[]) }, false);
    let client = client(trusting(common(&[], &[]), &ca));
    let nameless = "the secret kubernetes://a is not there";
    for (why, told) in [
        (None, nameless),
        (Some("there is no Secret a"), "there is no Secret a"),
        (Some("Secret a has no key"), "Secret a has no key"),
        (None, nameless),
    ] {
        lacks.learn([("kubernetes://a".into(), why.map(str::to_owned))]);
        assert_eq!(refusal(&client, &server).await.to_string(), told);
    }
    for _ in 0..2 {
        let next = ca.issue(&["a.example"]);
        let (chain, key) = (next.certificate_pem.as_bytes(), next.key_pem.as_bytes());
        let identity = Identity::from_pem(chain, key).expect("they fit");
        slot.store(Some(Secret::Identity(Arc::new(identity))));
        let (near, _far) = shake(&client, &server, "a.example", &buffers()).await;
        let near = near.expect("connected");
        let shown = near.session().peer_certificates().and_then(|chain| chain.first());
        assert_eq!(shown, Some(&next.certificate), "the new one at once");
        // Not one of an earlier session.
        client.forget();
    }
}

#[tokio::test]
async fn clients_show_certificates() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let (identity, good, bad) =
        (ca.issue(&["a.example"]), ca.issue(&["client.example"]), other.issue(&["client.example"]));
    let shows = |identities: &[&tidegate_testing::ca::Identity]| {
        client(trusting(common(identities, &[]), &ca))
    };
    for versions in [vec![&TLS12], vec![&TLS13]] {
        let asks = |require| {
            let common = trusting(common(&[&identity], &[]), &ca);
            server(Common { versions: versions.clone(), ..common }, require)
        };
        let settled = settle(&shows(&[&good]), &asks(true)).await;
        let peer = settled.peer.expect("a certificate");
        assert!(peer.verified && peer.leaf.covers("client.example"));
        assert_eq!(peer.chain, std::slice::from_ref(&good.certificate));
        assert_eq!(settle(&shows(&[]), &asks(false)).await.peer, None);
        let refused = refusal(&shows(&[]), &asks(true)).await;
        assert!(
            matches!(refused, Failure::Tls(rustls::Error::NoCertificatesPresented)),
            "{refused}"
        );
        for require in [false, true] {
            let refused = refusal(&shows(&[&bad]), &asks(require)).await;
            let Failure::Tls(rustls::Error::InvalidCertificate(why)) = &refused else {
                panic!("{refused}");
            };
            assert!(matches!(why, rustls::CertificateError::UnknownIssuer), "{why:?}");
        }
    }
}

#[tokio::test]
async fn names_of_clients_are_looked_at() {
    let ca = Ca::new("root");
    let (identity, good) = (ca.issue(&["a.example"]), ca.issue(&["client.example"]));
    let named = |name: &str| {
        let common = trusting(common(&[&identity], &[]), &ca);
        let text = TextMatch::Exact(name.as_bytes().into());
        let mut validation = Validation::clone(common.validation.here.as_ref().expect("roots"));
        validation.names = vec![NameMatch { kind: NameKind::Dns, text }];
        let here = Some(Arc::new(validation));
        server(Common { validation: ValidationSource { here, secret: None }, ..common }, true)
    };
    let shows = client(trusting(common(&[&good], &[]), &ca));
    assert!(settle(&shows, &named("client.example")).await.peer.is_some());
    match refusal(&shows, &named("other.example")).await {
        Failure::Tls(error) => assert_eq!(mismatch(&error), Some(Mismatch::Name)),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn servers_are_verified_by_chain_and_name() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let identity = ca.issue(&["a.example"]);
    let server = server(common(&[&identity], &[]), false);
    let connects = async |client: &ClientTls, name: &str| {
        shake(client, &server, name, &buffers()).await.0.map(|_| ())
    };
    let trusts = |ca: &Ca| trusting(common(&[], &[]), ca);
    assert!(connects(&client(trusts(&ca)), "a.example").await.is_ok());
    let renamed = connects(&client(trusts(&ca)), "b.example").await.expect_err("another name");
    let told = "certificate not accepted: it is for a.example, and b.example was asked for";
    assert_eq!(renamed.to_string(), told);
    assert_eq!(renamed.distrust().map(|why| why.about), Some(About::Names));
    assert!(connects(&client(trusts(&ca)), "").await.is_err(), "not for the address either");
    let stranger = connects(&client(trusts(&other)), "a.example").await.expect_err("a stranger");
    assert_eq!(stranger.distrust().map(|why| why.about), Some(About::Issuers));
    let chain_only = ClientTls::new(trusts(&ca), "", false, true);
    assert!(connects(&chain_only, "b.example").await.is_ok());
    assert!(connects(&ClientTls::new(trusts(&other), "", false, true), "a.example").await.is_err());
    let nothing = ClientTls::new(common(&[], &[]), "", false, true);
    assert!(!nothing.verifies());
    assert!(connects(&nothing, "b.example").await.is_ok());
}

/// Certificates as `openssl x509 -req` makes them: of version 1.
mod version_1 {
    use super::*;

    struct Made {
        dir: tempfile::TempDir,
        ca: Vec<u8>,
        chain: Vec<u8>,
        key: Vec<u8>,
    }

    /// A client's certificate, made by the commands that every guide has.
    fn made(key: &str) -> Option<Made> {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |line: &str| run(dir.path(), line);
        tidegate_testing::tools::Tool::Openssl.need()?;
        run(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj '/CN=Client CA' 2>&1",
        );
        run(&format!("openssl {key} -out client.key 2>&1"));
        run("openssl req -new -key client.key -out client.csr -subj '/CN=client/O=Example' 2>&1");
        run(
            "openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt -days 1 2>&1",
        );
        let read = |name: &str| std::fs::read(dir.path().join(name)).expect("a file");
        let (ca, chain, key) = (read("ca.crt"), read("client.crt"), read("client.key"));
        Some(Made { dir, ca, chain, key })
    }

    fn run(folder: &std::path::Path, line: &str) {
        let shell =
            std::process::Command::new("sh").current_dir(folder).args(["-ec", line]).output();
        let output = shell.expect("a shell");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    }

    fn roots(made: &Made) -> Vec<CertificateDer<'static>> {
        let roots = CertificateDer::pem_slice_iter(&made.ca).collect::<Result<_, _>>();
        roots.expect("a certificate")
    }

    fn identity(made: &Made) -> Vec<IdentitySource> {
        let identity = Identity::from_pem(&made.chain, &made.key);
        vec![IdentitySource::Here(Arc::new(identity.expect("they fit")))]
    }

    /// A list as `openssl ca` makes it, for so many days.
    fn list(made: &Made, days: &str) -> CertificateRevocationListDer<'static> {
        let config = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ncrlnumber=number\n";
        std::fs::write(made.dir.path().join("ca.conf"), config).expect("a file");
        let line = format!(
            "touch index.txt; echo 01 > number; openssl ca -config ca.conf -gencrl -keyfile ca.key -cert ca.crt {days} -out list.pem 2>&1"
        );
        run(made.dir.path(), &line);
        let pem = std::fs::read(made.dir.path().join("list.pem")).expect("a file");
        CertificateRevocationListDer::from_pem_slice(&pem).expect("a list")
    }

    #[tokio::test]
    async fn are_looked_up_in_revocation_lists() {
        let key = "ecparam -genkey -noout -name prime256v1";
        let (Some(made), Some(stranger)) = (made(key), made(key)) else { return };
        let ca = Ca::new("root");
        let own = ca.issue(&["a.example"]);
        let server = |revoked: Vec<CertificateRevocationListDer<'static>>| {
            let here = Validation { roots: roots(&made), revoked, ..Validation::default() };
            let validation = ValidationSource { here: Some(Arc::new(here)), secret: None };
            server(Common { validation, ..common(&[&own], &[]) }, true)
        };
        let shows = trusting(common(&[], &[]), &ca);
        let shows = client(Common { identities: identity(&made), ..shows });
        let good = list(&made, "-crldays 1");
        let others = list(&stranger, "-crldays 1");
        let settled = settle(&shows, &server(vec![others.clone(), good])).await;
        assert!(settled.peer.is_some());
        let refused = refusal(&shows, &server(vec![others])).await;
        assert!(refused.to_string().contains("no list says"), "{refused}");
        let old = list(&made, "-crl_lastupdate 20000101000000Z -crl_nextupdate 20000201000000Z");
        let refused = refusal(&shows, &server(vec![old])).await;
        assert!(
            refused.to_string().contains("would say whether it has been revoked has expired"),
            "{refused}"
        );
        let revoke =
            "openssl ca -config ca.conf -revoke client.crt -keyfile ca.key -cert ca.crt 2>&1";
        run(made.dir.path(), revoke);
        let refused = refusal(&shows, &server(vec![list(&made, "-crldays 1")])).await;
        assert!(refused.to_string().contains("it has been revoked"), "{refused}");
    }

    #[tokio::test]
    async fn are_verified() {
        for key in ["genrsa", "ecparam -genkey -noout -name prime256v1"] {
            let (Some(made), Some(stranger)) = (made(key), made(key)) else { return };
            let ca = Ca::new("root");
            let own = ca.issue(&["a.example"]);
            let here = Some(Arc::new(Validation { roots: roots(&made), ..Validation::default() }));
            for versions in [vec![&TLS12], vec![&TLS13]] {
                let validation = ValidationSource { here: here.clone(), secret: None };
                let common = common(&[&own], &[]);
                let server = server(Common { validation, versions, ..common }, true);
                let shows = |made: &Made| {
                    let common = trusting(crate::tls::fixtures::common(&[], &[]), &ca);
                    client(Common { identities: identity(made), ..common })
                };
                let settled = settle(&shows(&made), &server).await;
                let leaf = settled.peer.expect("a certificate").leaf;
                assert_eq!(leaf.subject, "O=Example,CN=client");
                let refused = refusal(&shows(&stranger), &server).await;
                assert!(
                    refused.to_string().contains("nobody who is trusted has issued it"),
                    "{refused}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let mut server = server(common(&[&identity], &[]), false);
    server.timeout = std::time::Duration::from_millis(20);
    let (near, far) = tcp().await;
    let failed = accept(far, None, None, &server, &buffers()).await;
    let failed = failed.map(|_| ()).map_err(|refused| refused.failure);
    assert!(matches!(failed, Err(Failure::TimedOut)));
    drop(near);
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_with_an_alert() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let server = server(common(&[&identity], &[]), false);
    let inputs: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0, 4, 2, 0, 0, 0],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        &[0; 64],
    ];
    for input in inputs {
        let (mut near, far) = tcp().await;
        near.write_all(input).await.expect("written");
        let refused = accept(far, None, None, &server, &buffers()).await;
        let Refused { failure, stream } = refused.map(|_| ()).expect_err("refused");
        assert!(matches!(failure, Failure::Tls(_)), "{}", input.escape_ascii());
        // What is sent meanwhile does not take the alert away.
        near.write_all(&[0; 4096]).await.expect("written");
        let read = async {
            let mut told = Vec::new();
            near.read_to_end(&mut told).await.map(|_| drop(near)).expect("an end, and no reset");
            told
        };
        let stream = stream.expect("a client to tell");
        let (told, gone) = tokio::join!(read, stream.see_off());
        assert_eq!((told.first(), gone), (Some(&21), true), "{told:?}");
    }
}
