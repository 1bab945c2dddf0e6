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

/// Those with an argument.
pub const WITH_ARGUMENT: &[&str] = &[
    "DYNAMIC_METADATA",
    "ENVIRONMENT",
    "FILTER_STATE",
    "PATH",
    "PER_REQUEST_STATE",
    "QUERY_PARAM",
    "REQ",
    "RESP",
    "START_TIME",
    "TRAILER",
    "UPSTREAM_METADATA",
];

/// The first variable of a header value that the proxy has not, as it is written between its percent signs. Values that are
/// not well formed have none.
#[must_use]
pub fn unserved(value: &str) -> Option<&str> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('%') {
            rest = escaped;
            continue;
        }
        let end = end_of_variable(after)?;
        let variable = &after[..end];
        let known = match variable.split_once('(') {
            Some((name, _)) => WITH_ARGUMENT.contains(&name),
            None => PLAIN.contains(&variable),
        };
        if !known {
            return Some(variable);
        }
        rest = &after[end + 1..];
    }
    None
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
        for (value, found) in [
            ("plain", None),
            ("100%%", None),
            ("%PROTOCOL% %REQ(a%b)% %START_TIME(%s)%", None),
            ("%PROTOCOL% %NONSENSE%", Some("NONSENSE")),
            ("%UPSTREAM_TLS_VERSION%%NONSENSE%", Some("UPSTREAM_TLS_VERSION")),
            ("%CLUSTER_METADATA(a:b)%", Some("CLUSTER_METADATA(a:b)")),
            ("%REQ%", Some("REQ")),
            ("%PROTOCOL(a)%", Some("PROTOCOL(a)")),
            ("50% off", None),
        ] {
            assert_eq!(unserved(value), found, "{value}");
        }
    }
}
