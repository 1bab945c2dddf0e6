//! Fuzz targets: one for each parser and decoder that reads what a peer or a user sends.
//!
//! A target's body is a plain function in the `fuzzing` module of its crate: it panics when something
//! does not hold that must hold for any input. Two drivers feed it:
//!
//! - a seeded mutator on stable Rust ([`mutate`]): `cargo xtask fuzz`, and with a small, fixed number of
//!   inputs every `cargo test`;
//! - libFuzzer through cargo-fuzz, on nightly: `fuzz_targets/`, which use the same functions and seeds.
//!
//! To add a target: its function, a line in [`TARGETS`], a folder of seeds with a few small inputs that
//! are accepted, a file in `fuzz_targets/` and its `[[bin]]`.

mod bootstrap;
pub mod drive;
pub mod mutate;

/// A function that must hold for any input.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, that of its folder under `seeds/` too.
    pub name: &'static str,
    /// The function; it panics when something does not hold.
    body: fn(&[u8]),
    /// Words of the format, which blind mutation would hardly find.
    words: &'static [&'static [u8]],
}

impl Target {
    /// Feeds one input.
    pub fn run(&self, data: &[u8]) {
        (self.body)(data);
    }
}

/// SNI and ALPN out of a ClientHello.
pub const CLIENT_HELLO: Target = Target {
    name: "client_hello",
    body: tidegate_proxy::tls::fuzzing::client_hello,
    words: &[
        b"\x16\x03\x01",
        b"\x16\x03\x03",
        b"\x00\x00",
        b"\x00\x10",
        b"\x02h2",
        b"\x08http/1.1",
    ],
};

/// Certificates and OCSP responses, in DER.
pub const CERTIFICATE: Target = Target {
    name: "certificate",
    body: tidegate_proxy::tls::fuzzing::certificate,
    words: &[
        b"\x30\x82",
        b"\x30\x80",
        b"\x02\x01",
        b"\x06\x03\x55\x1d\x11",
        b"\x06\x03\x55\x04\x03",
        b"\x17\x0d500101000000Z",
        b"\x18\x0f99991231235959Z",
        b"\xa0\x03\x02\x01\x02",
        b"\xff\xff\xff\xff",
    ],
};

/// Queries and answers of DNS.
pub const DNS_MESSAGE: Target = Target {
    name: "dns_message",
    body: tidegate_dns::fuzzing::dns_message,
    words: &[
        b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01",
        b"\x03www\x07example\x00",
        b"\x00\x01\x00\x01",
        b"\x00\x1c\x00\x01",
        b"\x00\x41\x00\x01",
        b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00",
        b"\xc0\x0c",
        b"\xc0\xff",
        b"\x3f",
        b"\xff\xff",
    ],
};

/// HTTP/1 heads in both directions, and chunks.
pub const HTTP1: Target = Target {
    name: "http1",
    body: tidegate_proxy::http::fuzzing::http1,
    words: &[
        b"\r\n",
        b"\r\n\r\n",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"Host: ",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"Connection: ",
        b"Upgrade: ",
        b"Expect: 100-continue",
        b"http://",
        b"CONNECT ",
        b"OPTIONS * ",
        b"HTTP/1.1 101 ",
        b"HTTP/1.1 204 ",
        b"0\r\n",
        b"ffffffffffffffff\r\n",
        b";x=y",
        b"\n",
        b"\0",
    ],
};

/// Manifests: YAML and JSON, with their places.
pub const YAML: Target = Target {
    name: "yaml",
    body: tidegate_yaml::fuzzing::fuzz,
    words: &[
        b"---\n",
        b"...\n",
        b": ",
        b"- ",
        b"? ",
        b"&a ",
        b"*a ",
        b"<<: ",
        b"|-\n",
        b">+\n",
        b"!!str ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"  ",
        b"#",
        b"0x1F",
        b"0o17",
        b"1_000",
        b"12:30:45",
        b"yes",
        b"null",
        b".nan",
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"\xc2\x85",
        b"%YAML 1.1\n",
    ],
};

/// Envoy's bootstrap in JSON.
pub const ENVOY_JSON: Target = Target {
    name: "envoy_json",
    body: tidegate_envoy::fuzzing::json,
    words: &[
        b"\"@type\": ",
        b"\"value\": ",
        b"type.googleapis.com/google.protobuf.Any",
        b"google.protobuf.Struct",
        b"null",
        b"{}",
        b"[]",
        b"-0.0",
        b"1e400",
        b"\"NaN\"",
        b"\"9999999999999s\"",
        b",",
        b"{",
        b"}",
    ],
};

/// A listener in protobuf, as a peer sends it.
pub const ENVOY_WIRE: Target = Target {
    name: "envoy_wire",
    body: tidegate_envoy::fuzzing::wire,
    words: &[
        b"type.googleapis.com/google.protobuf.Any",
        b"type.googleapis.com/google.protobuf.Struct",
        b"type.googleapis.com/envoy.config.listener.v3.Listener",
        b"\x0a\x00",
        b"\x12\x02\x08\x01",
        b"\xff\xff\xff\xff\x0f",
    ],
};

/// Request targets, normalised; the first byte chooses the rules.
pub const PATH: Target = Target {
    name: "path",
    body: tidegate_proxy::http::fuzzing::path,
    words: &[
        b"/",
        b"//",
        b"/./",
        b"/../",
        b"..",
        b"%2e",
        b"%2E%2e",
        b"%2f",
        b"%5C",
        b"\\",
        b"%00",
        b"%25",
        b"%2",
        b"%%32",
        b"%65",
        b"%41",
        b"%zz",
        b"|",
        b"?",
        b";",
        b"*",
        b"http://a/",
        b"\x03",
        b"\x0f",
        b"\x0b",
    ],
};

/// Heads of HTTP/2 requests that go on in HTTP/1.
pub const HTTP2: Target = Target {
    name: "http2",
    body: tidegate_proxy::http::fuzzing::http2,
    words: &[
        b"\n",
        b":method: ",
        b":path: ",
        b":authority: ",
        b":scheme: https",
        b"host: ",
        b"cookie: ",
        b"content-length: ",
        b"content-length: 5\n",
        b"CONNECT",
        b"OPTIONS",
        b"*",
        b"http://b/",
        b"?a#b",
        b"te: trailers",
        b"expect: 100-continue",
        b"a@b",
        b"[::1]:80",
        b" HTTP/1.1",
    ],
};

/// Access log formats, and what peers send into them.
pub const ACCESS_LOG: Target = Target {
    name: "access_log",
    body: tidegate_proxy::accesslog::fuzzing::access_log,
    words: &[
        b"%",
        b"%%",
        b"%REQ(",
        b":AUTHORITY",
        b"?:PATH",
        b")%",
        b"):3%",
        b"%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        b"%START_TIME(%s.%9f)%",
        b"%RESP(",
        b"%TRAILER(",
        b"%DURATION%",
        b"%QUERY_PARAM(",
        b"%RESPONSE_FLAGS%",
        b"%DYNAMIC_METADATA(a:b:c)%",
        b"%DOWNSTREAM_REMOTE_ADDRESS%",
        b"%COMMON_DURATION(DS_RX_BEG:US_TX_END:us)%",
        b"{\"",
        b"\": \"",
        b"\x01",
        b"\n",
        b"18446744073709551616",
    ],
};

/// A whole bootstrap in YAML, down to what the proxy makes of it.
pub const BOOTSTRAP: Target = Target {
    name: "bootstrap",
    body: bootstrap::bootstrap,
    words: &[
        b"\n",
        b": ",
        b"- ",
        b"  ",
        b"{}",
        b"[]",
        b"null",
        b"'0s'",
        b"'1e9s'",
        b"-1",
        b"4294967296",
        b"'*'",
        b"prefix: ''",
        b"safe_regex: {regex: '(a*)*('}",
        b"weighted_clusters",
        b"'@type': type.googleapis.com/",
        b"envoy.config.listener.v3.Listener",
    ],
};

/// Bodies of API requests: JSON, YAML, protobuf.
pub const API_BODY: Target = Target {
    name: "api_body",
    body: tidegate_apiserver::rest::fuzzing::body,
    words: &[
        b"k8s\0",
        b"\x0a\x02v1\x12\x06Secret",
        b"\x12\x07Service",
        b"\x12\x09ConfigMap",
        b"\x12\x09Namespace",
        b"\x0a\x07apps/v1\x12\x0aDeployment",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x00",
        b"\x08\x01",
        b"\"metadata\":{",
        b"\"apiVersion\":\"v1\"",
        b"\\ud83d\\ude00",
        b"\\u0000",
        b"1e400",
        b"-0",
        b"[[[[[[[[",
        b"{}",
        b",",
    ],
};

/// Objects of every kind: from a body to what is stored and decoded.
pub const API_OBJECT: Target = Target {
    name: "api_object",
    body: tidegate_apiserver::rest::fuzzing::object,
    words: &[
        b"\"spec\":{",
        b"\"hosts\":[",
        b"\"http\":[{",
        b"\"match\":[{",
        b"\"regex\":\"(\"",
        b"\"tls\":{\"mode\":\"SIMPLE\"}",
        b"\"port\":{\"number\":80}",
        b"\"10s\"",
        b"\"9999999999999s\"",
        b"\"weight\":",
        b"\"addresses\":[\"10.0.0.0/8\"]",
        b"\"resolution\":\"STATIC\"",
        b"null",
        b"4294967296",
        b"-1",
        b"\"*\"",
        b"\"\"",
        b"{}",
        b"[]",
        b",",
    ],
};

/// Patches of an object, each as all of the kinds of patch.
pub const API_PATCH: Target = Target {
    name: "api_patch",
    body: tidegate_apiserver::rest::fuzzing::patch,
    words: &[
        b"\"$patch\":\"delete\"",
        b"\"$patch\":\"replace\"",
        b"\"$retainKeys\":[",
        b"\"$setElementOrder/ports\":[",
        b"\"$deleteFromPrimitiveList/finalizers\":[",
        b"\"op\":\"copy\",\"from\":\"/spec\"",
        b"\"op\":\"move\"",
        b"\"op\":\"remove\"",
        b"\"path\":\"/spec/ports/-\"",
        b"~0",
        b"~1",
        b"\"k:{\\\"port\\\":80}\":{",
        b"\"f:spec\":{",
        b"\"port\":80",
        b"null",
        b"{}",
        b",",
    ],
};

/// Paths, queries, selectors and `Accept` of API requests.
pub const API_REQUEST: Target = Target {
    name: "api_request",
    body: tidegate_apiserver::rest::fuzzing::request_line,
    words: &[
        b"/apis/",
        b"/api/v1/",
        b"/namespaces/",
        b"/status",
        b"?watch=true",
        b"&limit=1",
        b"%2F",
        b"%00",
        b" in (",
        b" notin (",
        b")",
        b"!=",
        b",",
        b"\\",
        b"metadata.name=",
        b"application/json;as=Table;v=v1;g=meta.k8s.io",
        b";q=0.5",
        b"*/*",
    ],
};

/// Tokens, as they are sent and as the lines of JSON that they are made of.
pub const JWT: Target = Target {
    name: "jwt",
    body: tidegate_proxy::filter::jwt::fuzzing::token,
    words: &[
        b".",
        b"\n",
        b"=",
        b"\"alg\":\"",
        b"\"RS256\"",
        b"\"none\"",
        b"\"kid\":",
        b"\"crit\":[",
        b"\"iss\":",
        b"\"aud\":[",
        b"\"exp\":",
        b"1e308",
        b"18446744073709551616",
        b"\\u0061",
        b"{\"a\":",
    ],
};

/// Key sets.
pub const JWKS: Target = Target {
    name: "jwks",
    body: tidegate_proxy::filter::jwt::fuzzing::keys,
    words: &[
        b"\"keys\":[",
        b"\"kty\":\"RSA\"",
        b"\"kty\":\"EC\"",
        b"\"kty\":\"OKP\"",
        b"\"kty\":\"oct\"",
        b"\"crv\":\"P-256\"",
        b"\"crv\":\"P-521\"",
        b"\"crv\":\"Ed25519\"",
        b"\"alg\":\"ES384\"",
        b"\"use\":\"enc\"",
        b"\"x\":\"AA\"",
        b"\"e\":\"AQAB\"",
    ],
};

/// What a connection in plain text begins with.
pub const OPENING: Target = Target {
    name: "opening",
    body: tidegate_proxy::http::fuzzing::opening,
    words: &[
        b"\r\n",
        b"\n",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"GET /",
        b"CONNECT ",
        b"http://",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
};

/// All targets.
pub const TARGETS: &[Target] = &[
    CERTIFICATE,
    CLIENT_HELLO,
    DNS_MESSAGE,
    HTTP1,
    HTTP2,
    JWT,
    JWKS,
    OPENING,
    PATH,
    ACCESS_LOG,
    YAML,
    BOOTSTRAP,
    ENVOY_JSON,
    ENVOY_WIRE,
    API_BODY,
    API_OBJECT,
    API_PATCH,
    API_REQUEST,
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::{Budget, drive, seeds};

    /// Inputs of each target in `cargo test`: enough to notice what broke, quick in a debug build.
    const INPUTS: u64 = 3_000;

    #[test]
    fn every_target_holds_for_seeded_inputs() {
        for target in TARGETS {
            let report = drive(target, 1, Budget::Inputs(INPUTS)).expect("seeds can be read");
            assert!(report.failure.is_none(), "{}: {:?}", target.name, report.failure);
            assert_eq!(report.inputs, INPUTS);
        }
    }

    #[test]
    fn every_target_has_seeds_and_a_libfuzzer_entry() {
        for target in TARGETS {
            assert!(!seeds(target).expect("seeds can be read").is_empty(), "{}", target.name);
            let file = format!("{}/fuzz_targets/{}.rs", env!("CARGO_MANIFEST_DIR"), target.name);
            assert!(std::path::Path::new(&file).is_file(), "{file}");
        }
    }
}
