//! What clients asked a real API server, asked again of the server that `KUBECONFIG` names, which has
//! just started: direct requests, kubectl's of the guides, and those of client libraries. Status codes,
//! reasons, the header fields that clients go by and what watches begin with are compared.

mod bindings;
mod recording;
mod watching;
mod wire;

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tidegate_testing::client::Response;

use crate::cases::{Tally, Verdict};
use crate::server::Server;
use bindings::Bindings;
use recording::{Answer, Exchange, Group, Request, Values};
use wire::{Asking, By};

/// Fields that have to be as recorded.
const SAME: [&str; 4] = ["cache-control", "retry-after", "upgrade", "sec-websocket-protocol"];

/// Fields whose value is a server's own.
const THERE: [&str; 1] = ["etag"];

/// Fields by which a client asks later whether something is still so.
const VALIDATORS: [&str; 2] = ["etag", "last-modified"];

/// The Pod of the recorded cluster's gateway. Most answers that named it were kept without their content.
const GATEWAY_POD: &str = "istio-ingressgateway-565bf4bd8d-tww47";

/// What stands in a recording for bytes that it has not kept.
const LEFT_OUT: [&str; 2] = ["$binary", "$file"];

/// How often a request is repeated whose object was written meanwhile.
const CONFLICTS: usize = 5;

/// Replays all transcripts below a folder.
pub fn run(folder: &Path) -> Result<Tally> {
    let client = Asking::new(Server::before_us()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = Tally::default();
    let mut bindings = Bindings::default();
    bindings.learn_word(GATEWAY_POD, "istio-ingressgateway");
    for group in Group::ALL {
        for transcript in group.read(folder)? {
            for (number, exchange) in transcript.exchanges.into_iter().enumerate() {
                let Request { method, path, .. } = &exchange.request;
                let name = format!("{}/{} {number} {method} {path}", group.name(), transcript.name);
                let verdict = runtime.block_on(replay(&client, group, exchange, &mut bindings));
                tally.add(&name, verdict);
            }
        }
    }
    Ok(tally)
}

/// Asks one request.
async fn replay(
    client: &Asking,
    group: Group,
    exchange: Exchange,
    bindings: &mut Bindings,
) -> Verdict {
    let Exchange { mut request, response: recorded } = exchange;
    if recorded.synthetic || !whole(&mut request.body) {
        return Verdict::Skipped;
    }
    bindings.apply(&mut request);
    let answer = match ask(client, &mut request, &recorded).await {
        Ok(answer) => answer,
        Err(error) => return Verdict::Failed(format!("no answer: {error:#}")),
    };
    let ours = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    bindings.learn(&recorded.body, &ours);
    for validator in VALIDATORS {
        let theirs = recorded.headers.get(validator);
        if let (Some(theirs), Some(ours)) = (theirs, answer.header(validator)) {
            // A tag is part of addresses, too, without its quotes.
            let theirs = theirs.all().concat();
            bindings.learn_word(theirs.trim_matches('"'), ours.trim_matches('"'));
        }
    }
    let difference = difference(&recorded, &answer, &ours).or_else(|| {
        watching::difference(&request, recorded.watch.as_deref()?, &answer.body, group)
    });
    match difference {
        // The recorded server's documents changed as it learned of kinds; ours do not.
        Some(_) if recorded.status == 200 && answer.status == 304 => Verdict::Passed,
        None => Verdict::Passed,
        Some(difference) => Verdict::Failed(difference),
    }
}

/// Sends a request. Tidegate writes the status of what clients wrote, where the recorded server had no
/// controller: whoever meets that looks again and repeats what it asked, as clients do.
async fn ask(client: &Asking, request: &mut Request, recorded: &Answer) -> Result<Response> {
    let by = match recorded.status {
        401 => By::Stranger,
        403 if recorded.body["message"].as_str().is_some_and(|text| text.contains("viewer")) => {
            By::Viewer
        }
        _ => By::Admin,
    };
    let mut answer = client.ask(request, by).await?;
    for _ in 0..CONFLICTS {
        let named = request.body["metadata"]["resourceVersion"].is_string();
        if (answer.status, recorded.status, named) != (409, 200, true) {
            break;
        }
        let path = request.path.trim_end_matches("/status");
        let current = client.server.get(path, "application/json").await?.json();
        request.body["metadata"]["resourceVersion"] =
            current["metadata"]["resourceVersion"].clone();
        answer = client.ask(request, by).await?;
    }
    Ok(answer)
}

/// Writes out what a recording shortened in a request. Bytes that were left out cannot be sent again.
fn whole(body: &mut Value) -> bool {
    match body {
        Value::Object(fields) => {
            !LEFT_OUT.iter().any(|name| fields.contains_key(*name))
                && fields.values_mut().all(whole)
        }
        Value::Array(items) => items.iter_mut().all(whole),
        Value::String(text) => {
            let length =
                text.strip_prefix("<base64 ").and_then(|rest| rest.strip_suffix(" chars>"));
            if let Some(length) = length.and_then(|length| length.parse().ok()) {
                *text = "A".repeat(length);
            }
            true
        }
        _ => true,
    }
}

/// In what an answer differs from the recorded one.
fn difference(recorded: &Answer, answer: &Response, ours: &Value) -> Option<String> {
    let says = || ours["message"].as_str().unwrap_or_default();
    if recorded.status != answer.status {
        let meant = recorded.body["message"].as_str().unwrap_or_default();
        return Some(format!(
            "status {} for {}; ours: {}, theirs: {meant}",
            answer.status,
            recorded.status,
            says()
        ));
    }
    let reason = |body: &Value| body["reason"].as_str().map(str::to_owned);
    if recorded.body["kind"] == "Status" && reason(&recorded.body) != reason(ours) {
        let (theirs, our) = (reason(&recorded.body), reason(ours));
        return Some(format!("reason {our:?} for {theirs:?}; ours: {}", says()));
    }
    let all = |name: &str| recorded.headers.get(name).map(Values::all).unwrap_or_default();
    let recorded_field = |name: &str| all(name).first().map(String::as_str);
    for name in SAME {
        if recorded_field(name) != answer.header(name) {
            return Some(format!(
                "{name} {:?} for {:?}",
                answer.header(name),
                recorded_field(name)
            ));
        }
    }
    for name in THERE {
        if recorded_field(name).is_some() != answer.header(name).is_some() {
            return Some(format!(
                "{name} {:?} for {:?}",
                answer.header(name),
                recorded_field(name)
            ));
        }
    }
    let index = recorded.body["paths"].is_object();
    let media = recorded_field("content-type").map(|media| as_json(media, index));
    if media.as_deref() != answer.header("content-type") {
        return Some(format!("content-type {:?} for {media:?}", answer.header("content-type")));
    }
    let warned = |theirs: &&String| {
        let mut ours = answer.headers.iter();
        ours.any(|(name, value)| name.eq_ignore_ascii_case("warning") && value == *theirs)
    };
    let missing = all("warning").iter().find(|theirs| !warned(theirs))?;
    Some(format!("it does not warn {missing}"))
}

/// Tidegate answers in JSON where a client takes protobuf, too, as all of them take both.
fn as_json(media: &str, index: bool) -> String {
    match media.split(';').next() {
        // The index of OpenAPI's documents is JSON under another name there.
        Some("text/plain") if index => "application/json".to_owned(),
        Some(
            "application/vnd.kubernetes.protobuf"
            | "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        ) => "application/json".to_owned(),
        _ => media.to_owned(),
    }
}
