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

/// All targets.
pub const TARGETS: &[Target] = &[CLIENT_HELLO, HTTP1, YAML, ENVOY_JSON, ENVOY_WIRE];

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
