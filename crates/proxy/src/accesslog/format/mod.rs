//! What a line looks like: Envoy's format strings and JSON formats, Istio's named ones, Mixer's JSON.
//!
//! Text formats log a request or a connection when it ends; Mixer's format also logs when a connection
//! opens. What a format asks for beyond what every record keeps goes into the [`CapturePlan`].

mod digits;
mod json;
mod mixer;
mod operator;
mod parse;
mod plain;
pub(crate) mod query;
mod time;
mod value;

#[cfg(test)]
mod tests;

pub use mixer::Workload;
pub(crate) use operator::hostname;
pub(crate) use time::{TimeFormat, timestamp};

use self::json::Node;
use self::parse::Template;
use super::plan::{Headers, Source};
use super::text::Index;
use super::{CapturePlan, Field, Kind, Record};

/// The formats that have a name: `--access-log-format NAME`.
const NAMED: [(&str, &str); 4] = [
    // Today's default of Istio (MeshConfig.accessLogFormat).
    (
        "istio",
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
         %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
         \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
         %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
         \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
         %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
         %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
    ),
    (
        "istio-1.1",
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
         %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
         %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
         \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
         %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
         %REQUESTED_SERVER_NAME%\n",
    ),
    ("istio-1.0", ENVOY),
    ("envoy", ENVOY),
];

/// Envoy's default, which Istio 1.0 used as it is.
const ENVOY: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
     %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
     %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
     \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// A compiled format.
#[derive(Clone, Debug)]
pub struct Format(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Text { template: Template, absent: &'static str },
    Json { root: Node, omit_empty: bool },
    Mixer(Workload),
}

impl Format {
    /// A format string. Where a value is not known the line has `-`, or nothing with `omit_empty`
    /// (`SubstitutionFormatString.omit_empty_values`). The string ends its lines itself.
    ///
    /// # Errors
    /// Names the operator at fault and its place.
    pub fn text(source: &str, omit_empty: bool) -> Result<Self, FormatError> {
        let absent = if omit_empty { "" } else { "-" };
        Ok(Self(Shape::Text { template: Template::parse(source)?, absent }))
    }

    /// A `json_format`: an object whose strings are format strings. A string that is a single operator
    /// yields a value of the operator's type, and `null` where it is not known; with `omit_empty` such a
    /// key is left out. Keys are sorted, as in Envoy.
    ///
    /// # Errors
    /// Names the key, the operator at fault and its place.
    pub fn json(format: &serde_json::Value, omit_empty: bool) -> Result<Self, FormatError> {
        Ok(Self(Shape::Json { root: Node::parse(format)?, omit_empty }))
    }

    /// The JSON lines that Istio's Mixer wrote for requests and connections, as this workload.
    pub fn mixer(workload: Workload) -> Self {
        Self(Shape::Mixer(workload))
    }

    /// The format string behind a name: `istio` (today's default), `istio-1.1`, `istio-1.0`, `envoy`.
    pub fn named(name: &str) -> Option<&'static str> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
    }

    /// The format of `--access-log-format`: a name, or a format string.
    ///
    /// # Errors
    /// As [`Format::text`]; a string without any operator is refused with the names there are.
    pub fn from_flag(text: &str) -> Result<Self, FormatError> {
        match Self::named(text) {
            Some(source) => Self::text(source, false),
            None if text.contains('%') => Self::text(text, false),
            None => Err(FormatError(format!(
                "no access log format is named {text:?}: use istio, istio-1.1, istio-1.0, envoy, or a \
                 format string such as \"[%START_TIME%] %RESPONSE_CODE%\\n\""
            ))),
        }
    }

    /// Whether the format has a line for such a record.
    pub fn logs(&self, kind: Kind) -> bool {
        kind != Kind::TcpOpen || matches!(self.0, Shape::Mixer(_))
    }

    /// Whether the format shows what no output logs, too: Mixer was told of everything.
    pub(super) fn sees_everything(&self) -> bool {
        matches!(self.0, Shape::Mixer(_))
    }

    /// Appends the line for a record, nothing if it has none. `plan` is the one the record was made with.
    /// JSON ends with a line break, text as the format says.
    pub fn render(&self, record: &Record, plan: &CapturePlan, out: &mut Vec<u8>) {
        if !self.logs(record.kind) {
            return;
        }
        let index = record.index();
        let view = View { record, plan, index: &index };
        match &self.0 {
            Shape::Text { template, absent } => template.write(view, absent, out),
            Shape::Json { root, omit_empty } => {
                root.write(view, *omit_empty, out);
                out.push(b'\n');
            }
            Shape::Mixer(workload) => {
                workload.write(view, out);
                out.push(b'\n');
            }
        }
    }

    /// Adds the headers that the format asks for.
    pub(super) fn headers(&self, headers: &mut Headers) {
        match &self.0 {
            Shape::Text { template, .. } => template.headers(headers),
            Shape::Json { root, .. } => root.headers(headers),
            Shape::Mixer(_) => {}
        }
    }
}

/// Envoy's default: what a file log without a format writes.
impl Default for Format {
    fn default() -> Self {
        Self::text(ENVOY, false).expect("a constant that the tests parse")
    }
}

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

impl FormatError {
    fn syntax(source: &str, at: usize) -> Self {
        let around = source[at..].chars().take(20).collect::<String>();
        Self(format!(
            "byte {at}: {around:?} does not begin an operator: write %NAME%, %NAME(ARGUMENT)% or \
             %NAME(ARGUMENT):LENGTH%, and %% for a percent sign"
        ))
    }

    fn operator(name: &str, at: usize, reason: &str) -> Self {
        Self(format!("byte {at}: operator %{name}% {reason}"))
    }

    pub(super) fn too_many_headers(count: usize) -> Self {
        let most = CapturePlan::MOST;
        Self(format!("formats of one log ask for {count} headers; at most {most} can be kept"))
    }

    fn inside(self, key: &str) -> Self {
        Self(format!("{key}: {}", self.0))
    }
}

/// A record, its texts at hand, and the plan it was made with.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    record: &'a Record,
    plan: &'a CapturePlan,
    index: &'a Index<'a>,
}

impl<'a> View<'a> {
    /// A text that every record keeps.
    fn text(self, field: Field) -> Option<&'a [u8]> {
        self.index.get(field)
    }

    /// A header that only some records keep, by its name in lower case.
    fn captured(self, source: Source, name: &str) -> Option<&'a [u8]> {
        self.record.get(self.plan.field(source, name)?)
    }
}
