//! `tidegate webhook`: injection when Pods are created, asked for by the API server of a cluster.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_inject::Settings;
use tidegate_source::NamedFiles;
use tokio_rustls::TlsAcceptor;

use crate::cli::WebhookArgs;
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use crate::{http_server, listen};

/// Most bytes of a review: the API's own limit for a request is 3 MiB, and a review holds an object and what surrounds it.
const MAX_REVIEW: usize = 6 * 1024 * 1024;
/// How long connections that are open are served after the end was asked for, so that no Pod is refused for it.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until a signal ends it.
///
/// # Errors
/// It cannot start.
pub fn run(args: &WebhookArgs) -> Outcome<()> {
    args.log_level.start();
    let settings = Arc::new(args.settings()?);
    let shown = Arc::new(Shown::read(args.tls_cert.clone(), args.tls_key.clone())?);
    let tls = shown.acceptor()?;
    let listener = listen::bind(args.listen, "--listen")?;
    let at = listen::local(&listener)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let mut signals = Signals::listen()
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
        tracing::info!("injects the Pods that reviews at https://{at}/inject ask about");
        let answer = move |request, _| answer(request, Arc::clone(&settings));
        let ended = tokio::select! {
            ended = http_server::http("webhook", listener, Some(tls), answer) => ended,
            never = shown.follow() => match never {},
            signal = signals.end() => {
                tracing::info!("{signal}: open connections are served for {GRACE:?}; a second signal ends at once");
                tokio::select! {
                    () = tokio::time::sleep(GRACE) => {}
                    _ = signals.end() => {}
                }
                return Ok(());
            }
        };
        let Err(error) = ended;
        Err(Failure::new(format!("the webhook has ended: {error}")))
    })
}

async fn answer(request: Request<Incoming>, settings: Arc<Settings>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    match (&head.method, path) {
        (&Method::GET, "/ready") => text(StatusCode::OK, "ready\n".to_owned()),
        // Behind it Istio's configurations say which cluster and network asks.
        (&Method::POST, path) if path == "/inject" || path.starts_with("/inject/") => {
            match review(body, &settings).await {
                Ok(answer) => answer,
                Err((status, why)) => text(status, format!("{why}\n")),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "reviews are taken by POST at /inject\n".to_owned()),
    }
}

async fn review(
    body: Incoming,
    settings: &Settings,
) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let body = Limited::new(body, MAX_REVIEW).collect().await.map_err(|error| {
        match error.is::<http_body_util::LengthLimitError>() {
            true => (StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_REVIEW} bytes")),
            false => bad(format!("the request broke off: {error}")),
        }
    })?;
    let asked = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| bad(format!("no JSON: {error}")))?;
    let answer = tidegate_inject::review(&asked, settings).map_err(bad)?;
    tracing::debug!(
        uid = answer["response"]["uid"].as_str(),
        "{}: allowed {}",
        asked["request"]["namespace"],
        answer["response"]["allowed"]
    );
    let mut response = Response::new(Full::from(answer.to_string()));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(words));
    *response.status_mut() = status;
    response
}

/// The certificate that is shown, as its files have it by now.
#[derive(Debug)]
struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    pair: ArcSwap<CertifiedKey>,
}

impl Shown {
    fn read(certificate: PathBuf, key: PathBuf) -> Outcome<Self> {
        let pair = pair(&certificate, &key)
            .map_err(|why| Failure::new(why).or("--tls-cert and --tls-key, files in PEM"))?;
        Ok(Self { certificate, key, pair: ArcSwap::from_pointee(pair) })
    }

    fn acceptor(self: &Arc<Self>) -> Outcome<TlsAcceptor> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Takes what is new in the files, for ever; what cannot be used is told, and the last pair is shown on.
    async fn follow(&self) -> Infallible {
        let name = |path: &Path| Arc::from(path.to_string_lossy());
        let mut files = NamedFiles::default();
        files.follow(&BTreeSet::from([name(&self.certificate), name(&self.key)]));
        files.look();
        loop {
            files.due().await;
            if files.look().is_empty() {
                continue;
            }
            match pair(&self.certificate, &self.key) {
                Ok(pair) => {
                    self.pair.store(Arc::new(pair));
                    tracing::info!("{}: shown from now on", self.certificate.display());
                }
                Err(why) => tracing::warn!("{why}; the certificate of before is shown on"),
            }
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.load_full())
    }
}

/// A certificate with its chain, and its key.
fn pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let at = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| at(certificate, &error))?
        .collect();
    let chain = chain.map_err(|error| at(certificate, &error))?;
    if chain.is_empty() {
        return Err(at(certificate, &"no certificate in PEM"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, &error))?;
    CertifiedKey::from_der(chain, secret, &provider()).map_err(|error| at(key, &error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
