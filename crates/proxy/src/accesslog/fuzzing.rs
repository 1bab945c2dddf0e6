//! The body of the fuzz target of log formats, as a plain function: any driver may feed it.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::plan::Headers;
use super::{Field, Format, Kind, Log, Record};

/// Reads `data` as a format string and as a JSON format, and renders a record in it. The first line of `data` is what
/// a peer sent, with line breaks written as 1: it stands in the record.
///
/// - a refusal says why;
/// - a text has the line breaks of its format, none of the peer's;
/// - a line of JSON is JSON, on one line, whatever the peer sent.
///
/// # Panics
/// When one of these does not hold.
pub fn access_log(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let mut foreign = parts.next().unwrap_or_default().to_vec();
    foreign.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = b'\n');
    let source = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let breaks = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    for omit_empty in [false, true] {
        match Format::text(&source, omit_empty) {
            Ok(format) => {
                let line = line(&format, &foreign).unwrap_or_default();
                assert!(breaks(&line) <= breaks(source.as_bytes()), "{}", line.escape_ascii());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let document = serde_json::from_str(&source)
            .unwrap_or_else(|_| serde_json::json!({ "a": source, "b": [source, 1] }));
        if let Ok(format) = Format::json(&document, omit_empty)
            && let Some(line) = line(&format, &foreign)
        {
            assert!(line.ends_with(b"\n") && breaks(&line) == 1, "{}", line.escape_ascii());
            let read: Result<Value, _> = serde_json::from_slice(&line);
            assert!(read.is_ok_and(|value| value.is_object()), "{}", line.escape_ascii());
        }
    }
}

/// The line of one record; `None` if the format asks for more headers than records keep.
fn line(format: &Format, foreign: &[u8]) -> Option<Vec<u8>> {
    let mut headers = Headers::default();
    format.headers(&mut headers);
    let plan = headers.into_plan().ok()?;
    let mut record = Record::new(Kind::Http, UNIX_EPOCH, &Log::default());
    record.timing.end = Duration::from_millis(7);
    record.downstream_remote = "[::1]:1".parse().ok();
    for field in [Field::Method, Field::Path, Field::Authority, Field::UserAgent, Field::Cluster] {
        record.set(field, foreign);
    }
    record.capture_request(&plan, |_| Some(foreign));
    record.capture_response(&plan, |_| Some(foreign));
    record.capture_trailers(&plan, |_| None);
    let mut out = Vec::new();
    format.render(&record, &plan, &mut out);
    Some(out)
}
