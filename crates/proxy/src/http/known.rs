//! The header names that the request path itself asks for, recognised once when a head is read.

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A header name known at compile time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is the header of its name")]
        pub enum Known {
            $($variant,)+
            /// Any other name.
            Other,
        }

        /// All of them with their names in lower case, the short ones first.
        const ALL: &[(&str, Known)] = &[$(($name, Known::$variant)),+];

        impl Known {
            /// The name in lower case; empty for [`Known::Other`].
            #[must_use]
            pub fn name(self) -> &'static str {
                ALL.get(self as usize).map_or("", |(name, _)| name)
            }
        }
    };
}

known! {
    Te = "te",
    Via = "via",
    Date = "date",
    Host = "host",
    Accept = "accept",
    Expect = "expect",
    Server = "server",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Connection = "connection",
    KeepAlive = "keep-alive",
    UserAgent = "user-agent",
    GrpcStatus = "grpc-status",
    ContentType = "content-type",
    RequestId = "x-request-id",
    ContentLength = "content-length",
    Http2Settings = "http2-settings",
    ForwardedFor = "x-forwarded-for",
    ForwardedHost = "x-forwarded-host",
    ProxyConnection = "proxy-connection",
    ForwardedProto = "x-forwarded-proto",
    TransferEncoding = "transfer-encoding",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    OriginalPath = "x-envoy-original-path",
    ForwardedClientCert = "x-forwarded-client-cert",
    ExternalAddress = "x-envoy-external-address",
    UpstreamServiceTime = "x-envoy-upstream-service-time",
}

/// The longest of the names.
const LONGEST: usize = ALL[ALL.len() - 1].0.len();

/// `FIRST[n]..FIRST[n + 1]` are the places in [`ALL`] of the names of `n` bytes.
const FIRST: [u8; LONGEST + 2] = {
    let mut first = [0; LONGEST + 2];
    let (mut at, mut len) = (0, 0);
    while len < first.len() {
        first[len] = at as u8;
        while at < ALL.len() && ALL[at].0.len() == len {
            at += 1;
        }
        len += 1;
    }
    assert!(at == ALL.len(), "the names stand in the order of their lengths");
    first
};

impl Known {
    /// Recognises a name in any letter case.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        // The length alone rules out nearly all candidates.
        if name.len() > LONGEST {
            return Self::Other;
        }
        let candidates = usize::from(FIRST[name.len()])..usize::from(FIRST[name.len() + 1]);
        for (candidate, known) in &ALL[candidates] {
            if name.eq_ignore_ascii_case(candidate.as_bytes()) {
                return *known;
            }
        }
        Self::Other
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Known};

    #[test]
    fn recognised_in_any_case_and_nothing_else() {
        assert_eq!(Known::of(b"Content-LENGTH"), Known::ContentLength);
        assert_eq!(Known::of(b"x-forwarded-fos"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'x'; 300]), Known::Other);
        assert_eq!(Known::Other.name(), "");
    }

    #[test]
    fn every_name_is_found_again() {
        for (name, known) in ALL {
            assert_eq!(Known::of(name.as_bytes()), *known);
            assert_eq!(known.name(), *name);
        }
    }
}
