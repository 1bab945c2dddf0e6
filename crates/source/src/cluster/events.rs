//! The events of a watch, line by line.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;

use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Collected, Limited};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::request::Request;
use kube::core::watch::{Bookmark, BookmarkMeta};
use kube::core::{Status, TypeMeta};
use serde::Deserialize;

use super::fault::{Fault, chain};
use super::raw::Raw;
use super::server::Connection;

/// Bytes of a line at most. An object and the word before it: API servers take requests of 3 MiB, and store less.
const LINE: usize = 8 << 20;

/// Bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;

/// A watch that has begun.
pub(super) struct Events {
    body: Body,
    /// What came and was not taken yet.
    buffer: Vec<u8>,
    /// How much of that has no end of a line in it.
    looked: usize,
}

impl Events {
    /// Asks for what happens after a revision.
    pub(super) async fn of(
        connection: &Connection,
        api: &Api<Raw>,
        params: &WatchParams,
        revision: &str,
    ) -> Result<Self, Fault> {
        let defect =
            |why: &dyn StdError| Fault::Other(format!("it cannot be asked: {}", chain(why)));
        let request = Request::new(api.resource_url()).watch(params, revision);
        let mut request = request.map_err(|error| defect(&error))?;
        // Lines come as they are made: what is packed has to be waited for.
        let plain = HeaderValue::from_static("identity");
        request.headers_mut().insert(header::ACCEPT_ENCODING, plain);
        let answer = connection.client.send(request.map(Body::from)).await;
        let (head, body) = answer.map_err(|error| Fault::of(&error))?.into_parts();
        match head.status.is_success() {
            true => Ok(Self { body, buffer: Vec::new(), looked: 0 }),
            false => Err(refusal(head.status, body).await),
        }
    }

    /// The next event; none when the watch has ended.
    pub(super) async fn next(&mut self) -> Option<Result<WatchEvent<Raw>, Fault>> {
        loop {
            while let Some(line) = self.line() {
                if !line.trim_ascii().is_empty() {
                    return Some(read(&line));
                }
            }
            if self.buffer.len() > LINE {
                let most = LINE >> 20;
                return Some(Err(Fault::TooLong(format!(
                    "it sends a line of more than {most} MiB in a watch: all is listed again"
                ))));
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Err(error) if is_cut_off(&error) => return None,
                Err(error) => return Some(Err(Fault::Other(chain(&error)))),
            }
        }
    }

    /// The next line that is there whole.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer[self.looked..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.looked = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.looked + end + 1);
        self.looked = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

/// What a line is. An event of a type that nobody knows here tells no more than how far the server is.
fn read(line: &[u8]) -> Result<WatchEvent<Raw>, Fault> {
    let error = match serde_json::from_slice(line) {
        Ok(event) => return Ok(event),
        Err(error) => error,
    };
    match serde_json::from_slice(line) {
        Ok(Strange { word: Some(word), object: Some(object), .. }) if !KNOWN.contains(&&*word) => {
            tracing::debug!(%word, "an event of this type is passed over");
            let resource_version = object.version().to_owned();
            let metadata = BookmarkMeta { resource_version, annotations: BTreeMap::new() };
            Ok(WatchEvent::Bookmark(Bookmark { types: TypeMeta::default(), metadata }))
        }
        Ok(Strange { kind: Some(kind), .. }) if kind == "Status" => serde_json::from_slice(line)
            .map_or_else(|error| Err(defect(&error)), |status| Err(Fault::answered(&status))),
        _ => Err(defect(&error)),
    }
}

/// Types of events that say more than how far the server is.
const KNOWN: [&str; 5] = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"];

/// A line that is no event as they are known.
#[derive(Deserialize)]
struct Strange {
    #[serde(rename = "type")]
    word: Option<String>,
    object: Option<Raw>,
    kind: Option<String>,
}

fn defect(error: &serde_json::Error) -> Fault {
    Fault::Other(format!("a line of its watch is no event: {error}"))
}

/// Why a watch does not begin.
async fn refusal(code: StatusCode, body: Body) -> Fault {
    let read = Limited::new(body, REFUSAL).collect().await;
    let text = read.map(Collected::to_bytes).unwrap_or_default();
    let status = serde_json::from_slice(&text).unwrap_or_else(|_| {
        // Not every path is answered by Kubernetes' own code.
        let words: String = String::from_utf8_lossy(&text).trim().chars().take(200).collect();
        Status::failure(&words, code.canonical_reason().unwrap_or_default())
    });
    Fault::answered(&status.with_code(code.as_u16()))
}

/// Whether a connection ended where more was to come: a watch ends like that, too.
fn is_cut_off(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        let http = error.downcast_ref::<hyper::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
            || http.is_some_and(hyper::Error::is_incomplete_message)
        {
            return true;
        }
        next = error.source();
    }
    false
}
