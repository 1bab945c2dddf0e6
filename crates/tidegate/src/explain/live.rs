//! The objects of a running process, in which forms they are in force, and its mesh config, from its Kubernetes-style API.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
use tidegate_api::kinds::KindInfo;
use tidegate_api::{KINDS, Kind, Object, ObjectKey, Origin};
use tidegate_apiserver::rest::FORMS_PATH;
use tidegate_apiserver::store::SOURCE_ANNOTATION;
use tidegate_pilot::Input;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, Outcome};
use crate::mesh;
use crate::up::data_dir;
use crate::up::gateway::{MESH_CONFIG, MESH_KEY, NAMESPACE};

/// The kinds that decisions are made from.
const KINDS_ASKED: [Kind; 8] = [
    Kind::Gateway,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::ServiceEntry,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Pod,
    Kind::Secret,
];

/// A list of 100,000 objects takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a running process has.
#[derive(Debug, Default)]
pub struct Live {
    /// Every object that a proxy is compiled from, in the form that proved good last where that is told.
    pub objects: Vec<Arc<Object>>,
    /// What was written of them later, which may be refused.
    pub later: Vec<Input>,
    /// What the process says of objects that are not in force, whether or not that can be found out here.
    pub unserved: Vec<(ObjectKey, String)>,
    /// The mesh config, where its ConfigMap is.
    pub mesh: Option<mesh::Config>,
}

/// Asks the API for what decisions are made from.
///
/// # Errors
/// No kubeconfig, nobody who answers there, or an answer that is none.
pub async fn ask(kubeconfig: Option<&Path>) -> Outcome<Live> {
    let path = place(kubeconfig)?;
    let failed = |reason: String| {
        Failure::new(format!("the API of {}: {reason}", path.display()))
            .or("tidegate up, if nothing runs")
            .or("-f PATH, to explain manifests")
    };
    let mut live = Live::default();
    let asked = async {
        let access = Access::read(&path)?;
        let mut api = access.connect().await?;
        for info in KINDS.iter().filter(|info| KINDS_ASKED.contains(&info.kind)) {
            let path = list_path(info);
            let list = access.get(&mut api, &path).await?;
            let list = list.ok_or_else(|| format!("{path} is not there"))?;
            for item in items(&list) {
                match object(info, item) {
                    Ok(object) => {
                        let key = || object.key.clone();
                        live.unserved.extend(unserved(item).map(|why| (key(), why)));
                        live.objects.push(object);
                    }
                    Err(invalid) => live.later.extend(invalid),
                }
            }
        }
        // Another API server than ours knows nothing of it.
        let forms = access.get(&mut api, FORMS_PATH).await?.unwrap_or_default();
        items(&forms).for_each(|form| live.settle(form));
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{MESH_CONFIG}");
        let map = access.get(&mut api, &path).await?.unwrap_or_default();
        live.mesh = map["data"][MESH_KEY].as_str().map(|text| mesh::Config {
            from: format!("ConfigMap {NAMESPACE}/{MESH_CONFIG}"),
            text: text.to_owned(),
        });
        Ok(())
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(())) => Ok(live),
        Ok(Err(reason)) => Err(failed(reason)),
        Err(_) => Err(failed(format!("no answer within {PATIENCE:?}"))),
    }
}

/// The kubeconfig that was given, else the one of the environment, else that of the usual data folder.
fn place(given: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let path = named.map(PathBuf::from).or_else(|| Some(data_dir::usual()?.join("kubeconfig")));
    let missing = match &path {
        Some(path) => format!("there is no kubeconfig {}", path.display()),
        None => "there is no kubeconfig of a running process".to_owned(),
    };
    path.filter(|path| path.is_file()).ok_or_else(|| {
        Failure::new(missing)
            .or("-f PATH, to explain manifests")
            .or("--kubeconfig FILE: `tidegate up` prints where it is")
    })
}

impl Live {
    /// Takes in what is told of the forms of one object.
    fn settle(&mut self, form: &Value) {
        let Some(info) = KINDS.iter().find(|info| form["kind"] == info.name) else { return };
        let text = |field: &str| form[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(info.kind, text("namespace"), text("name"));
        let shown = self.objects.iter().position(|object| object.key == key);
        if let Ok(good) = object(info, &form["good"]) {
            match shown {
                Some(shown) => {
                    let newest = std::mem::replace(&mut self.objects[shown], good);
                    self.later.push(Input::Apply(newest));
                }
                None => self.objects.push(good),
            }
        }
        let errors: Vec<String> =
            items_of(&form["errors"]).filter_map(Value::as_str).map(str::to_owned).collect();
        if !errors.is_empty() {
            let generation = shown.map_or(0, |shown| self.objects[shown].generation);
            self.later.push(Input::Invalid { key, generation, errors });
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    items_of(&list["items"])
}

fn items_of(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn list_path(info: &KindInfo) -> String {
    let version = info.versions[0];
    match info.group {
        "" => format!("/api/{version}/{}", info.plural),
        group => format!("/apis/{group}/{version}/{}", info.plural),
    }
}

/// A listed object.
///
/// # Errors
/// It does not decode, which is told where it has a name.
fn object(info: &KindInfo, item: &Value) -> Result<Arc<Object>, Option<Input>> {
    let version = info.versions[0];
    let mut item = item.clone();
    item["apiVersion"] = KindInfo::api_version(info.group, version).into();
    item["kind"] = info.name.into();
    let metadata = &item["metadata"];
    let source = metadata["annotations"][SOURCE_ANNOTATION].as_str().and_then(origin);
    match Object::decode(info.kind, version, &item, source.unwrap_or(Origin::Api)) {
        Ok(decoded) => Ok(Arc::new(decoded.object)),
        Err(errors) => {
            let text = |field: &str| metadata[field].as_str();
            let name = text("name").ok_or(None)?;
            let key = ObjectKey::new(info.kind, text("namespace").unwrap_or_default(), name);
            let generation = metadata["generation"].as_i64().unwrap_or_default();
            let errors = errors.iter().map(ToString::to_string).collect();
            Err(Some(Input::Invalid { key, generation, errors }))
        }
    }
}

/// Why nothing of an object is in force, as its status says.
fn unserved(item: &Value) -> Option<String> {
    let mut conditions = items_of(&item["status"]["conditions"]);
    let programmed = conditions.find(|condition| condition["type"] == "Programmed")?;
    let text = |field: &str| programmed[field].as_str().unwrap_or_default();
    let said = || format!("{}: {}", text("reason"), text("message"));
    (text("status") == "False").then(said)
}

/// `FILE:LINE`, as the API tells where a read-only object comes from.
fn origin(told: &str) -> Option<Origin> {
    let (path, line) = told.rsplit_once(':')?;
    Some(Origin::File { path: Path::new(path).into(), line: line.parse().ok()? })
}

/// How to reach an API server, from a kubeconfig.
struct Access {
    server: Uri,
    roots: RootCertStore,
    token: String,
}

impl Access {
    fn read(path: &Path) -> Result<Self, String> {
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

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
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
    async fn get(
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
