//! The Kubernetes-style API of a running process, as the command line asks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::data_dir;
use crate::failure::{Failure, Outcome};

/// The kubeconfig that was given, else the one that `KUBECONFIG` names.
#[must_use]
pub fn named_kubeconfig(given: Option<&Path>) -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    given.map(Path::to_owned).or_else(|| named.map(PathBuf::from))
}

/// The kubeconfig of the usual data folder, be it there or not.
#[must_use]
pub fn usual_kubeconfig() -> Option<PathBuf> {
    Some(data_dir::usual()?.join("kubeconfig"))
}

/// The kubeconfig that was given, else the one of the environment, else that of the usual data folder.
///
/// # Errors
/// There is none.
pub fn kubeconfig(given: Option<&Path>) -> Outcome<PathBuf> {
    let path = named_kubeconfig(given).or_else(usual_kubeconfig);
    let missing = match &path {
        Some(path) => format!("there is no kubeconfig {}", path.display()),
        None => "there is no kubeconfig of a running process".to_owned(),
    };
    path.filter(|path| path.is_file()).ok_or_else(|| {
        Failure::new(missing).or("--kubeconfig FILE: `tidegate up` prints where it is")
    })
}

/// How to reach an API server, from a kubeconfig.
#[derive(Debug)]
pub struct Access {
    server: Uri,
    roots: RootCertStore,
    token: String,
}

impl Access {
    /// Reads a kubeconfig.
    ///
    /// # Errors
    /// What is missing in it, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let document = tidegate_yaml::parse_bytes(&bytes).into_iter().next();
        let config = document.ok_or("it is empty")?.map_err(|fault| fault.to_string())?.to_json();
        let context = named(&config["contexts"], &config["current-context"]);
        let cluster = &named(&config["clusters"], &context["context"]["cluster"])["cluster"];
        let user = &named(&config["users"], &context["context"]["user"])["user"];
        let text = |value: &Value, what: &str| {
            value.as_str().map(str::to_owned).ok_or_else(|| format!("it has no {what}"))
        };
        let server = text(&cluster["server"], "server")?;
        let authority = text(&cluster["certificate-authority-data"], "certificate-authority-data")?;
        let authority = STANDARD.decode(authority).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            server: server.parse().map_err(|_| format!("{server} is no URL"))?,
            roots,
            token: text(&user["token"], "token")?,
        })
    }

    /// Connects, and verifies who answers.
    ///
    /// # Errors
    /// Nobody answers there, or somebody else, in words.
    pub async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let host = self.server.host().unwrap_or_default();
        let port = self.server.port_u16().unwrap_or(443);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let bare = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare.clone()).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect((bare.as_str(), port)).await;
        let stream = stream.map_err(|error| format!("{}: {error}", self.server))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("{}: {error}", self.server))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// What is at a path; `None` where nothing is.
    ///
    /// # Errors
    /// No answer, or a refusal, in words.
    pub async fn get(
        &self,
        api: &mut SendRequest<Empty<Bytes>>,
        path: &str,
    ) -> Result<Option<Value>, String> {
        let request = Request::get(path)
            .header(header::HOST, self.server.authority().map_or("", |a| a.as_str()))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        api.ready().await.map_err(|error| error.to_string())?;
        let answer = api.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body =
            answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(format!("{path} is answered with {status}"));
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| format!("{path}: {error}"))
    }
}

/// The entry of a kubeconfig's list that has a name.
fn named<'c>(list: &'c Value, name: &Value) -> &'c Value {
    let mut entries = list.as_array().into_iter().flatten();
    entries.find(|entry| &entry["name"] == name).unwrap_or(&Value::Null)
}
