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

        impl Known {
            /// Recognises a name in any letter case.
            #[must_use]
            pub fn of(name: &[u8]) -> Self {
                // The length alone rules out nearly all candidates.
                match name.len() {
                    $(n if n == $name.len() && name.eq_ignore_ascii_case($name.as_bytes()) => Self::$variant,)+
                    _ => Self::Other,
                }
            }

            /// The name in lower case; empty for [`Known::Other`].
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "",
                }
            }
        }
    };
}

known! {
    Accept = "accept",
    Connection = "connection",
    ContentLength = "content-length",
    ContentType = "content-type",
    Date = "date",
    Expect = "expect",
    ForwardedFor = "x-forwarded-for",
    ForwardedHost = "x-forwarded-host",
    ForwardedProto = "x-forwarded-proto",
    GrpcStatus = "grpc-status",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    OriginalPath = "x-envoy-original-path",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    RequestId = "x-request-id",
    Server = "server",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UpstreamServiceTime = "x-envoy-upstream-service-time",
    UserAgent = "user-agent",
    Via = "via",
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn recognised_in_any_case_and_nothing_else() {
        assert_eq!(Known::of(b"Content-LENGTH"), Known::ContentLength);
        assert_eq!(Known::of(b"x-forwarded-fos"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(Known::Via.name().as_bytes()), Known::Via);
    }
}
