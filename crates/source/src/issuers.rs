//! Issuers of tokens that say themselves where their keys are (OpenID Connect Discovery 1.0, section 4).
//!
//! Each is asked once when it is named, again every 20 minutes, as by Istio, and every 10 seconds while it does not say so.
//! What it said holds until it says something else. It is asked in TLS where its address begins with `https`, verified by its name and
//! the system's authorities, and its keys then must be there, too; redirects are not followed: whoever answers there was not named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long an answer may take, from the first byte to the last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer holds until the issuer is asked again.
const AGAIN: Duration = Duration::from_secs(20 * 60);
/// The same where there was none.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// Most bytes of an answer's content. Google's has 1,500.
const MAX_BYTES: usize = 256 * 1024;
/// Most bytes of its head.
const MAX_HEAD: usize = 64 * 1024;

/// Where an issuer's keys are, or why that is not known.
pub type KeysAddress = Result<String, String>;

/// Asks issuers, on the runtime that it is polled on.
#[derive(Debug)]
pub struct Issuers {
    authorities: Arc<str>,
    asked: BTreeMap<Arc<str>, Asking>,
    tell: mpsc::UnboundedSender<(Arc<str>, KeysAddress)>,
    told: mpsc::UnboundedReceiver<(Arc<str>, KeysAddress)>,
}

/// The task that asks an issuer, until dropped.
#[derive(Debug)]
struct Asking(JoinHandle<()>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Issuers {
    /// Asks nobody yet; servers are verified by the authorities in a file.
    #[must_use]
    pub fn new(authorities: Arc<str>) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { authorities, asked: BTreeMap::new(), tell, told }
    }

    /// Asks these issuers and no others, each named by its address.
    pub fn follow(&mut self, issuers: &BTreeSet<Arc<str>>) {
        self.asked.retain(|issuer, _| issuers.contains(issuer));
        for issuer in issuers {
            self.asked.entry(Arc::clone(issuer)).or_insert_with(|| {
                let asking =
                    ask(Arc::clone(issuer), Arc::clone(&self.authorities), self.tell.clone());
                Asking(tokio::spawn(asking))
            });
        }
    }

    /// The next issuer of which something else is known than before. Safe to cancel.
    pub async fn next(&mut self) -> (Arc<str>, KeysAddress) {
        loop {
            match self.told.recv().await {
                Some((issuer, keys)) if self.asked.contains_key(&issuer) => return (issuer, keys),
                // It is named no more.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Asks an issuer again and again, and tells what is new.
async fn ask(
    issuer: Arc<str>,
    authorities: Arc<str>,
    tell: mpsc::UnboundedSender<(Arc<str>, KeysAddress)>,
) {
    let mut known: Option<KeysAddress> = None;
    loop {
        let asked = timeout(TIMEOUT, keys_address(&issuer, &authorities)).await;
        let found = asked.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")));
        let failed = found.is_err();
        // What it said before holds on.
        let holds = failed && matches!(known, Some(Ok(_)));
        if let Err(why) = &found {
            tracing::warn!(%issuer, holds, "an issuer does not say where its keys are: {why}");
        }
        if !holds && known.as_ref() != Some(&found) {
            known = Some(found.clone());
            if tell.send((Arc::clone(&issuer), found)).is_err() {
                return;
            }
        }
        let pause = if failed { AFTER_FAILURE } else { AGAIN };
        // Those that were named together need not be asked together for ever.
        sleep(pause.mul_f64(1.0 - fastrand::f64() / 10.0)).await;
    }
}

/// Asks an issuer once.
async fn keys_address(issuer: &str, authorities: &str) -> KeysAddress {
    let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let asked = async {
        let uri: Uri = address.parse().map_err(|error| format!("it is no address: {error}"))?;
        let in_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("its address begins with neither https nor http".to_owned()),
        };
        let answer = fetch(&uri, in_tls, authorities).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(&answer));
        }
        let content = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        read(&content.map_err(words)?.to_bytes(), in_tls)
    };
    asked.await.map_err(|why| format!("{address}: {why}"))
}

/// Why an answer with another status than 200 is none.
fn refusal(answer: &Response<Incoming>) -> String {
    let status = answer.status();
    if status.is_redirection() {
        format!("the answer is {status}, and redirects are not followed")
    } else {
        format!("the answer is {status}")
    }
}

/// What an issuer says of its keys.
fn read(content: &[u8], in_tls: bool) -> KeysAddress {
    let told: serde_json::Value = serde_json::from_slice(content)
        .map_err(|error| format!("the answer is no JSON: {error}"))?;
    let keys = told.get("jwks_uri").and_then(serde_json::Value::as_str);
    let keys = keys.ok_or("the answer has no jwks_uri")?;
    if in_tls && !keys.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("https://")) {
        return Err(format!("its jwks_uri is {keys:?}, which does not begin with https"));
    }
    Ok(keys.to_owned())
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The head of the answer to a GET; the connection ends with its content.
async fn fetch(uri: &Uri, in_tls: bool, authorities: &str) -> Result<Response<Incoming>, String> {
    let authority = uri.authority().ok_or("its address names no host")?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = authority.port_u16().unwrap_or(if in_tls { 443 } else { 80 });
    let plain = TcpStream::connect((host, port)).await.map_err(words)?;
    let stream: Pin<Box<dyn Stream>> = if in_tls {
        let name = ServerName::try_from(host.to_owned()).map_err(words)?;
        let connector = TlsConnector::from(Arc::new(trusting(authorities)?));
        Box::pin(connector.connect(name, plain).await.map_err(words)?)
    } else {
        Box::pin(plain)
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut send, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(words)?;
    // It ends when its answer is dropped; what it fails with, the answer does, too.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str().rsplit('@').next().unwrap_or_default())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new());
    send.send_request(request.map_err(words)?).await.map_err(words)
}

/// TLS with servers that the authorities in a file vouch for.
fn trusting(authorities: &str) -> Result<ClientConfig, String> {
    let told = |error: &dyn Display| format!("authorities in {authorities}: {error}");
    let text = fs::read(authorities).map_err(|error| told(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    if roots.is_empty() {
        return Err(told(&"there are none"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(words)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn words(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tidegate_testing::ca::Ca;
    use tidegate_testing::origin::{Body, Origin, full};

    use super::*;

    /// An issuer that says this.
    async fn issuer(status: u16, content: impl Into<Bytes>, ca: Option<&Ca>) -> (Origin, String) {
        let content: Bytes = content.into();
        let answer = move |request: Request<Incoming>| {
            let content = content.clone();
            async move {
                let known = request.uri().path() == "/it/.well-known/openid-configuration";
                let status = if known { status } else { 404 };
                let answer: Response<Body> = Response::new(full(content));
                let (mut head, body) = answer.into_parts();
                head.status = StatusCode::from_u16(status).expect("a status");
                Response::from_parts(head, body)
            }
        };
        let origin = match ca {
            Some(ca) => Origin::start().tls(&ca.issue(&["127.0.0.1"])).http(answer).await,
            None => Origin::start().http(answer).await,
        };
        let scheme = if ca.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}/it/", origin.address());
        (origin, address)
    }

    #[tokio::test]
    async fn an_issuer_says_where_its_keys_are() {
        let told = r#"{"issuer": "x", "jwks_uri": "https://keys.example/1"}"#;
        let plain = r#"{"jwks_uri": "http://keys.example/1"}"#;
        let (ca, other) = (Ca::new("authority"), Ca::new("other"));
        let file = ca.pem_file();
        let file = file.path().to_str().expect("a path");
        let keys = |at: &str| Ok(format!("{at}://keys.example/1"));
        for (status, content, tls, expected) in [
            (200, told.to_owned(), None, keys("https")),
            (200, told.to_owned(), Some(&ca), keys("https")),
            (200, plain.to_owned(), None, keys("http")),
            (200, plain.to_owned(), Some(&ca), Err("which does not begin with https")),
            (200, told.to_owned(), Some(&other), Err("UnknownIssuer")),
            (200, "{}".to_owned(), None, Err("has no jwks_uri")),
            (200, "no".to_owned(), None, Err("is no JSON")),
            (302, told.to_owned(), None, Err("redirects are not followed")),
            (404, told.to_owned(), None, Err("the answer is 404")),
            (200, format!("{told}{}", " ".repeat(MAX_BYTES)), None, Err("limit exceeded")),
        ] {
            let (_origin, address) = issuer(status, content, tls).await;
            match (keys_address(&address, file).await, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}: {expected}"),
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn those_that_are_named_are_asked_and_no_others() {
        let (_first, one) = issuer(200, r#"{"jwks_uri": "http://one/"}"#, None).await;
        let (_second, two) = issuer(200, r#"{"jwks_uri": "http://two/"}"#, None).await;
        let (one, two): (Arc<str>, Arc<str>) = (one.into(), two.into());
        let mut issuers = Issuers::new("/nowhere".into());
        issuers.follow(&BTreeSet::from([Arc::clone(&one)]));
        assert_eq!(issuers.next().await, (Arc::clone(&one), Ok("http://one/".to_owned())));
        issuers.follow(&BTreeSet::from([Arc::clone(&one), Arc::clone(&two)]));
        issuers.follow(&BTreeSet::from([Arc::clone(&two)]));
        assert_eq!(issuers.next().await, (two, Ok("http://two/".to_owned())));
    }
}
