//! Single requests to an API server, for whoever asks or writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::access::Access;
use super::fault::words;
use super::server::Server;
use super::times::Times;

/// Sends requests to an API server, as whom its [`Access`] says.
#[derive(Clone)]
pub struct Client {
    via: Via,
    access: String,
    namespace: String,
    /// How long a request may take, with its answer.
    patience: Duration,
}

/// What carries requests.
#[derive(Clone)]
enum Via {
    /// One client, made once.
    Own(kube::Client),
    /// That of whoever follows the server, which is made again when its terms change.
    Shared(Arc<Server>),
}

/// A request. Without a body there is no media type.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// What is to be done.
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// The forms of an answer that are understood.
    pub accept: &'a str,
    /// The body, and its media type.
    pub body: Option<(&'a str, Vec<u8>)>,
}

/// What an API server answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// What it warns of.
    pub warnings: Vec<String>,
    /// The body: an object, a list, or a `Status` that says why not.
    pub body: Value,
}

/// The path of an object of a kind, or without a name of all of them, in a namespace, or without one of the whole cluster.
#[must_use]
pub fn path(
    (group, version): (&str, &str),
    plural: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> String {
    let mut path = match group {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    };
    if let Some(namespace) = namespace {
        path.push_str(&format!("/namespaces/{}", escaped(namespace)));
    }
    path.push_str(&format!("/{plural}"));
    if let Some(name) = name {
        path.push_str(&format!("/{}", escaped(name)));
    }
    path
}

/// Text for a path or a query (RFC 3986, 2.1).
#[must_use]
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut out, byte| {
        match plain(byte) {
            true => out.push(byte.into()),
            false => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

impl Answer {
    /// Whether the kind is not served in the version that was asked for: of an object that is not there the server names which.
    #[must_use]
    pub fn not_served(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.body["details"]["name"].is_null()
    }

    /// Why the API server refused something, in words.
    #[must_use]
    pub fn refusal(&self) -> String {
        let message = self.body["message"].as_str().unwrap_or_default();
        format!("the API server answers {}: {message}", self.status.as_u16())
    }
}

impl<'a> Ask<'a> {
    /// A request for JSON.
    #[must_use]
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, accept: "application/json", body: None }
    }

    /// With a body of a media type.
    #[must_use]
    pub fn with(self, media: &'a str, body: Vec<u8>) -> Self {
        Self { body: Some((media, body)), ..self }
    }
}

impl Client {
    pub(super) fn new(client: kube::Client, access: &Access) -> Self {
        let namespace = client.default_namespace().to_owned();
        let patience = Times::default().request;
        Self { via: Via::Own(client), access: access.to_string(), namespace, patience }
    }

    /// On the way of a follower, whose namespace is nobody's business.
    pub(super) fn sharing(server: Arc<Server>, patience: Duration) -> Self {
        let access = server.access().to_string();
        Self { via: Via::Shared(server), access, namespace: String::new(), patience }
    }

    /// The namespace that is meant where none is named: that of the kubeconfig's context.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Sends a request.
    ///
    /// # Errors
    /// No answer came, or none that is JSON: in words, with the kubeconfig that led there.
    pub async fn send(&self, ask: Ask<'_>) -> Result<Answer, String> {
        let failed = |why: &dyn fmt::Display| format!("{}: {why}", self.access);
        let mut request =
            Request::builder().method(ask.method).uri(ask.path).header(header::ACCEPT, ask.accept);
        let (media, body) = ask.body.unzip();
        if let Some(media) = media {
            request = request.header(header::CONTENT_TYPE, media);
        }
        let request = request.body(Body::from(body.unwrap_or_default()));
        let request = request.map_err(|error| failed(&error))?;
        let answer = async {
            let client = self.via.client().await?;
            let answer = client.send(request).await.map_err(|error| words(&error))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((head, body.to_bytes()))
        };
        let late = || failed(&format_args!("no answer within {} s", self.patience.as_secs()));
        let answer = timeout(self.patience, answer).await.map_err(|_| late())?;
        let (head, body) = answer.map_err(|error| failed(&error))?;
        if let (StatusCode::UNAUTHORIZED, Via::Shared(server)) = (head.status, &self.via) {
            server.renew(true).await;
        }
        let warnings = head.headers.get_all(header::WARNING).iter();
        let warnings = warnings.filter_map(|value| warning(value.to_str().ok()?)).collect();
        let text = || String::from_utf8_lossy(&body).trim().chars().take(200).collect::<String>();
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            // Not every path is answered by Kubernetes' own code.
            Err(_) if !head.status.is_success() => serde_json::json!({ "message": text() }),
            Err(error) => return Err(failed(&format_args!("the answer is no JSON: {error}"))),
        };
        Ok(Answer { status: head.status, warnings, body })
    }
}

impl Via {
    async fn client(&self) -> Result<kube::Client, String> {
        match self {
            Self::Own(client) => Ok(client.clone()),
            Self::Shared(server) => match server.connection().await {
                Ok(connection) => Ok(connection.client),
                Err(fault) => Err(fault.to_string()),
            },
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("access", &self.access).finish_non_exhaustive()
    }
}

/// The text of a `Warning` header (RFC 7234, 5.5): `299 - "text"`.
fn warning(value: &str) -> Option<String> {
    let quoted = value.splitn(3, ' ').nth(2)?.strip_prefix('"')?;
    let (mut text, mut escaped) = (String::new(), false);
    for character in quoted.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => break,
            character => {
                escaped = false;
                text.push(character);
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_out_of_their_header() {
        let text = r#"299 - "unknown field \"spec.x\"""#;
        assert_eq!(warning(text).as_deref(), Some(r#"unknown field "spec.x""#));
        assert_eq!(warning("299 -"), None);
    }
}
