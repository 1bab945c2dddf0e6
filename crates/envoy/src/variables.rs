//! Variables of header values (`%NAME%`, `%NAME(ARGUMENT)%`) that the proxy has. One that it has not makes it refuse the
//! whole virtual host, so whoever writes header values asks here before.

/// Those without an argument.
pub const PLAIN: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DURATION",
    "HOSTNAME",
    "PATH",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUTE_NAME",
    "SPAN_ID",
    "START_TIME",
    "TRACE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_HOST",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "VIRTUAL_CLUSTER_NAME",
];

/// Those with an argument, and what may stand in it.
pub const WITH_ARGUMENT: &[(&str, Argument)] = &[
    ("DYNAMIC_METADATA", Argument::Anything),
    ("ENVIRONMENT", Argument::Name),
    ("FILTER_STATE", Argument::Anything),
    ("PATH", Argument::Path),
    ("PER_REQUEST_STATE", Argument::Anything),
    ("QUERY_PARAM", Argument::Name),
    ("REQ", Argument::Names),
    ("RESP", Argument::Names),
    ("START_TIME", Argument::Time),
    ("TRAILER", Argument::Anything),
    ("UPSTREAM_METADATA", Argument::Anything),
];

/// Conversions of `START_TIME` that write the same kind of text at every moment; `%f`, `%1f` to `%9f`, `%E1S` to `%E9S` and
/// `%Ez` are there beside them.
pub const CONVERSIONS: &str = "%AaBbCDdeFGgHhIjklMmPpRSsTUuVWwXxYyz";

/// What stands between the parentheses of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Any text.
    Anything,
    /// A name.
    Name,
    /// A name, or two with a question mark between them: the second counts where the first is not there.
    Names,
    /// Which path, and how much of it.
    Path,
    /// How a moment is written.
    Time,
}

impl Argument {
    /// Whether the proxy can read it.
    #[must_use]
    pub fn reads(self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Name => !text.is_empty(),
            Self::Names => {
                let (main, other) = text.split_once('?').unwrap_or((text, "-"));
                !main.is_empty() && !other.is_empty()
            }
            Self::Path => {
                let (query, source) = text.split_once(':').unwrap_or((text, ""));
                matches!(query, "" | "WQ" | "NQ")
                    && matches!(source, "" | "ORIG_OR_PATH" | "ORIG" | "PATH")
            }
            Self::Time => is_time_format(text),
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Anything => "any text",
            Self::Name => "a name",
            Self::Names => "NAME or NAME?OTHER",
            Self::Path => "WQ or NQ, with :ORIG, :PATH or :ORIG_OR_PATH behind it if need be",
            Self::Time => {
                "text with conversions of strftime, such as %Y-%m-%d, that write no line break or tab"
            }
        }
    }
}

fn is_time_format(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let used = match &rest.as_bytes()[at + 1..] {
            [b'f', ..] => 1,
            [b'1'..=b'9', b'f', ..] | [b'E', b'z', ..] => 2,
            [b'E', b'1'..=b'9', b'S', ..] => 3,
            [conversion, ..] if CONVERSIONS.as_bytes().contains(conversion) => 1,
            _ => return false,
        };
        rest = &rest[at + 1 + used..];
    }
    !text.contains(char::is_control)
}

/// Why a header value cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved<'a> {
    /// A percent sign without its partner; the text behind it.
    #[error("%{0} opens a variable that is not closed; write %% for a percent sign")]
    Unclosed(&'a str),
    /// There is no such variable.
    #[error("%{0}% is no variable of header values here")]
    Unknown(&'a str),
    /// There is, and what stands in it or behind its parentheses cannot be read.
    #[error("%{0}% cannot be read: between its parentheses stands {form}, and behind them nothing but :LENGTH", form = .1.form())]
    Unreadable(&'a str, Argument),
}

/// The first variable of a header value that the proxy has not or cannot read. It takes every value without one.
#[must_use]
pub fn unserved(value: &str) -> Option<Unserved<'_>> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        let Some(end) = end_of_variable(after) else { return Some(Unserved::Unclosed(after)) };
        let variable = &after[..end];
        if !variable.is_empty()
            && let Some(fault) = fault(variable)
        {
            return Some(fault);
        }
        rest = &after[end + 1..];
    }
    None
}

/// What is wrong with `NAME`, `NAME(ARGUMENT)` or `NAME(ARGUMENT):LENGTH`.
fn fault(variable: &str) -> Option<Unserved<'_>> {
    let Some((name, rest)) = variable.split_once('(') else {
        return (!PLAIN.contains(&variable)).then_some(Unserved::Unknown(variable));
    };
    let known = WITH_ARGUMENT.iter().find(|(known, _)| *known == name);
    let Some((_, argument)) = known else { return Some(Unserved::Unknown(variable)) };
    let reads = rest.rsplit_once(')').is_some_and(|(inside, length)| {
        let digits = length.strip_prefix(':');
        argument.reads(inside)
            && (length.is_empty() || digits.is_some_and(|n| n.parse::<usize>().is_ok()))
    });
    (!reads).then_some(Unserved::Unreadable(variable, *argument))
}

/// Where the percent sign is that closes a variable: the first one outside its argument.
fn end_of_variable(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    text.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'%' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_not_served_is_named() {
        use Unserved::{Unclosed, Unknown, Unreadable};
        for (value, found) in [
            ("plain", None),
            ("100%%", None),
            ("%PROTOCOL% %REQ(a%b)% %START_TIME(%s)%", None),
            ("%PROTOCOL% %NONSENSE%", Some(Unknown("NONSENSE"))),
            ("%UPSTREAM_TLS_VERSION%%NONSENSE%", Some(Unknown("UPSTREAM_TLS_VERSION"))),
            ("%CLUSTER_METADATA(a:b)%", Some(Unknown("CLUSTER_METADATA(a:b)"))),
            ("%REQ%", Some(Unknown("REQ"))),
            ("%PROTOCOL(a)%", Some(Unknown("PROTOCOL(a)"))),
            ("50% off", Some(Unclosed(" off"))),
            ("%REQ(a(b)%", Some(Unclosed("REQ(a(b)%"))),
            ("%REQ(a):9% %REQ(a?:path)%", None),
            ("%REQ(a) %", Some(Unreadable("REQ(a) ", Argument::Names))),
            ("%REQ(a):%", Some(Unreadable("REQ(a):", Argument::Names))),
            ("%REQ(a):-1%", Some(Unreadable("REQ(a):-1", Argument::Names))),
            ("%REQ()%", Some(Unreadable("REQ()", Argument::Names))),
            ("%RESP(a?)%", Some(Unreadable("RESP(a?)", Argument::Names))),
            ("%PATH(XQ)%", Some(Unreadable("PATH(XQ)", Argument::Path))),
            ("%PATH(NQ:ORIG)%%PATH()%", None),
            ("%QUERY_PARAM()%", Some(Unreadable("QUERY_PARAM()", Argument::Name))),
            ("%START_TIME(%Q)%", Some(Unreadable("START_TIME(%Q)", Argument::Time))),
            ("%START_TIME(%Y\t)%", Some(Unreadable("START_TIME(%Y\t)", Argument::Time))),
            ("%START_TIME(%E3S%Ez %3f)%", None),
        ] {
            assert_eq!(unserved(value), found, "{value}");
        }
        let words = unserved("%PATH(XQ)%").expect("unreadable").to_string();
        assert!(
            words.starts_with("%PATH(XQ)% cannot be read: between its parentheses stands WQ or NQ"),
            "{words}"
        );
    }
}
