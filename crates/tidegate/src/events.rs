//! Events written through an API server: what is said of an object, in words.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_apiserver::store::Note;
use tidegate_source::cluster::{Answer, Ask, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events of one object that may be written at once, as Kubernetes' own clients have it: somebody may give cause for ever other ones.
const BURST: u32 = 25;
/// How long it takes until one more may be.
const EVERY: Duration = Duration::from_mins(5);

/// Notes about one object that wait for the API at most.
pub const WAITING: usize = 64;

/// Why an event was not written, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The account may not write it.
    Forbidden(String),
    /// The server does not answer, or refuses it for another reason.
    Failed(String),
}

/// Writes what is said of one object with this `metadata.uid`, until nobody says anything any more. The log says it too, so that
/// what is not written is no loss: what is too much ([`Allowance`]), what fails, and what the account may not write, which is told once.
pub async fn write_all(client: &Client, uid: &str, notes: &mut mpsc::Receiver<Note>) {
    let mut allowance = Allowance::new(Instant::now());
    let (mut is_told, mut forbidden) = (false, None::<Instant>);
    while let Some(note) = notes.recv().await {
        let now = Instant::now();
        if forbidden.is_some_and(|since| now.duration_since(since) < EVERY) || !allowance.take(now)
        {
            continue;
        }
        match write(client, uid, &note).await {
            Ok(()) => forbidden = None,
            Err(Unwritten::Failed(why)) => {
                tracing::debug!("an event of {} is not written: {why}", note.about);
            }
            Err(Unwritten::Forbidden(why)) => {
                forbidden = Some(now);
                if !std::mem::replace(&mut is_told, true) {
                    let (about, namespace) = (&note.about, &note.about.namespace);
                    tracing::warn!(
                        "{about} has no Events of what happens to it, which this log has all the same: {why}; a Role of namespace \
                         {namespace} with create, get and patch of events lets them be written"
                    );
                }
            }
        }
    }
}

/// Writes an event of an object with this `metadata.uid`, or counts it where it is there.
///
/// # Errors
/// The server does not answer, or refuses it.
pub async fn write(client: &Client, uid: &str, note: &Note) -> Result<(), Unwritten> {
    let event = match create(client, uid, note).await? {
        Created::New => return Ok(()),
        Created::There(event) => event,
    };
    let path = format!("{}/{}", all(&event), text(&event, "name"));
    let there = client.send(Ask::new(Method::GET, &path)).await?;
    let count = there.body["count"].as_u64().unwrap_or(1).saturating_add(1);
    let again = json!({ "count": count, "lastTimestamp": event["lastTimestamp"] });
    let body = again.to_string().into_bytes();
    let patch = Ask::new(Method::PATCH, &path).with("application/merge-patch+json", body);
    let answer = client.send(patch).await?;
    written(&answer)
}

/// What became of an event that was to be created.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It is there now.
    New,
    /// It was there before: the same was said already.
    There(Value),
}

/// Writes an event of an object with this `metadata.uid`, where nobody has said the same before.
///
/// # Errors
/// The server does not answer, or refuses it.
pub async fn create(client: &Client, uid: &str, note: &Note) -> Result<Created, Unwritten> {
    let event = note.event(Some(uid));
    let path = all(&event);
    let body = event.to_string().into_bytes();
    let answer = client.send(Ask::new(Method::POST, &path).with("application/json", body)).await?;
    match answer.status {
        StatusCode::CONFLICT => Ok(Created::There(event)),
        _ => written(&answer).map(|()| Created::New),
    }
}

fn written(answer: &Answer) -> Result<(), Unwritten> {
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::FORBIDDEN => Err(Unwritten::Forbidden(answer.refusal())),
        _ => Err(Unwritten::Failed(answer.refusal())),
    }
}

/// The path of the events beside one.
fn all(event: &Value) -> String {
    format!("/api/v1/namespaces/{}/events", text(event, "namespace"))
}

fn text<'e>(event: &'e Value, field: &str) -> &'e str {
    event["metadata"][field].as_str().unwrap_or_default()
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Forbidden(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

/// What a server does not answer.
impl From<String> for Unwritten {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// How many events of one object may still be written.
#[derive(Clone, Debug)]
pub struct Allowance {
    left: u32,
    /// Since when it has not grown.
    since: Instant,
}

impl Allowance {
    /// A whole one, as of a moment.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Whether one more may be.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.since) >= EVERY {
            self.left += 1;
            self.since += EVERY;
        }
        if self.left == BURST {
            self.since = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http::{Request, Response};
    use hyper::body::Incoming;
    use tidegate_api::{Kind, ObjectKey};
    use tidegate_apiserver::store::Tone;
    use tidegate_source::cluster::Access;
    use tidegate_testing::origin::{Body, Origin, full};

    use super::*;

    async fn forbid(_: Request<Incoming>) -> Response<Body> {
        let why = json!({ "kind": "Status", "reason": "Forbidden", "message": "events is forbidden", "code": 403 });
        let mut answer = Response::new(full(why.to_string()));
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer
    }

    #[tokio::test]
    async fn who_may_not_write_does_not_ask_for_it_again_and_again() {
        let server = Origin::start().http(forbid).await;
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let kubeconfig = format!(
            "{{clusters: [{{name: a, cluster: {{server: 'http://{}'}}}}], \
             contexts: [{{name: a, context: {{cluster: a}}}}], current-context: a}}",
            server.address()
        );
        file.write_all(kubeconfig.as_bytes()).expect("written");
        let access = Access::find(Some(file.path()), None, None).expect("an access");
        let client = access.client().await.expect("a client");
        let note = |number: u32| Note {
            about: ObjectKey::new(Kind::Pod, "default", "sleep"),
            tone: Tone::Warning,
            reason: "EgressDenied".to_owned(),
            message: format!("number {number}"),
        };
        let refused = write(&client, "uid", &note(0)).await.expect_err("it is forbidden");
        assert!(matches!(refused, Unwritten::Forbidden(_)), "{refused:?}");
        let asked = server.requests();
        let (sender, mut notes) = mpsc::channel(WAITING);
        (1..5).for_each(|number| sender.try_send(note(number)).expect("there is room"));
        drop(sender);
        write_all(&client, "uid", &mut notes).await;
        assert_eq!(server.requests(), asked + 1);
    }

    #[test]
    fn many_at_once_are_written_and_then_one_after_the_other() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!((0..BURST).all(|_| allowance.take(start + EVERY / 2)));
        assert!(!allowance.take(start + EVERY));
        assert!(allowance.take(start + EVERY / 2 + EVERY));
        assert!(!allowance.take(start + EVERY / 2 + EVERY));
        let later = start + 100 * EVERY;
        assert!((0..BURST).all(|_| allowance.take(later)));
        assert!(!allowance.take(later));
    }
}
