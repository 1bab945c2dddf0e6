//! Requests as they were recorded.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;
use tidegate_testing::client::Response;

use super::recording::Request;
use crate::server::Server;

/// How long a watch is listened to, in seconds.
const WATCHED: &str = "1";

/// Who asks. Recordings have no tokens; what was answered says whose it was.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Admin,
    /// A user who may do nothing.
    Viewer,
    /// Somebody with a token of nobody.
    Stranger,
}

/// Asks a server as clients did.
pub struct Asking {
    pub server: Server,
    viewer: String,
}

impl Asking {
    pub fn new(server: Server) -> Self {
        Self { server, viewer: std::env::var("VIEWER_TOKEN").unwrap_or_default() }
    }

    /// Sends a request on a connection of its own, as somebody.
    pub async fn ask(&self, request: &Request, by: By) -> Result<Response> {
        let (headers, body) = self.written(request, by);
        let line = format!("{} {}", request.method, target(request));
        // A log that is followed has no end.
        let to_head = request.method == "HEAD" || request.query.contains_key("follow");
        self.server.send(&line, &headers, body, to_head).await
    }

    /// The fields that matter to a server, and the content.
    fn written(&self, request: &Request, by: By) -> (String, Vec<u8>) {
        let mut headers = String::new();
        for (name, value) in &request.headers {
            match name.as_str() {
                "authorization" => {
                    let token = match by {
                        By::Admin => &self.server.token,
                        By::Viewer => &self.viewer,
                        By::Stranger => "wrong",
                    };
                    let _ = write!(headers, "{name}: Bearer {token}\r\n");
                }
                "accept-encoding" | "user-agent" => {}
                _ => {
                    let _ = write!(headers, "{name}: {value}\r\n");
                }
            }
        }
        if request.headers.contains_key("upgrade") {
            headers.push_str(
                "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            );
        }
        let body = content(&request.body);
        if !matches!(request.body, Value::Null) {
            let _ = write!(headers, "content-length: {}\r\n", body.len());
        }
        (headers, body)
    }
}

/// The path with its query. Watches of minutes are cut short: what they begin with is what is compared.
fn target(request: &Request) -> String {
    let mut target = request.path.clone();
    let mut sign = '?';
    let watch = request.query.contains_key("watch");
    for (name, values) in &request.query {
        for value in values.all() {
            let value = if watch && name == "timeoutSeconds" { WATCHED } else { value };
            let _ = write!(target, "{sign}{name}={}", encoded(value));
            sign = '&';
        }
    }
    if watch && !request.query.contains_key("timeoutSeconds") {
        let _ = write!(target, "{sign}timeoutSeconds={WATCHED}");
    }
    target
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A text stands for itself, anything else is written as JSON.
fn content(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        _ => body.to_string().into_bytes(),
    }
}
