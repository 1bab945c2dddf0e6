//! Transport sockets, and the secrets that they name.

use super::super::row::{ROW, Row, whole};

pub(super) const DOWNSTREAM: &str =
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
pub(super) const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
pub(super) const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const PROXY_HEADER: &str =
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

const FROM_RESOURCE: &str =
    "files are read when the resource is taken; send it again when they change";
const OWN_KEYS: &str = "keys of session tickets are made and changed in the process";
const ONE_LIBRARY: &str = "the TLS library has no such extension point";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.config.core.v3.TransportSocket",
        honoured: &["name", "typed_config"],
        // Who compiles one of them refuses those of the other side.
        holds: &[("typed_config", &[RAW_BUFFER, DOWNSTREAM, UPSTREAM, PROXY_HEADER])],
        ..ROW
    },
    whole(RAW_BUFFER),
    Row {
        message: PROXY_HEADER,
        honoured: &["config", "transport_socket"],
        refused: &[
            ("allow_unspecified_address", "Envoy does not implement it: clients have addresses"),
            ("tlv_as_pool_key", "Envoy does not implement it: no client shares connections"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.ProxyProtocolConfig",
        honoured: &["version", "added_tlvs"],
        ignored: &[("pass_through_tlvs", "no listener takes a PROXY header that could have any")],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.TlvEntry",
        honoured: &["type", "value"],
        refused: &[("format_string", "use value: what is added is the same for all connections")],
        ..ROW
    },
    Row {
        message: DOWNSTREAM,
        honoured: &[
            "common_tls_context",
            "require_client_certificate",
            "require_sni",
            "disable_stateless_session_resumption",
            "prefer_client_ciphers",
            "ocsp_staple_policy",
        ],
        values: &[("ocsp_staple_policy", &["LENIENT_STAPLING"])],
        ignored: &[
            (
                "disable_stateful_session_resumption",
                "sessions are resumed by tickets only, nothing is stored",
            ),
            (
                "full_scan_certs_on_sni_mismatch",
                "of several certificates one for the server name is always preferred",
            ),
        ],
        refused: &[
            ("session_ticket_keys", OWN_KEYS),
            ("session_ticket_keys_sds_secret_config", OWN_KEYS),
            ("session_timeout", OWN_KEYS),
        ],
        ..ROW
    },
    Row {
        message: UPSTREAM,
        honoured: &[
            "common_tls_context",
            "sni",
            "auto_sni_san_validation",
            "allow_renegotiation",
            "max_session_keys",
        ],
        values: &[("allow_renegotiation", &["false"])],
        ignored: &[("enforce_rsa_key_usage", "the TLS library decides what a key may be used for")],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        honoured: &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "alpn_protocols",
        ],
        refused: &[
            ("tls_certificate_provider_instance", "use tls_certificate_sds_secret_configs"),
            ("custom_handshaker", ONE_LIBRARY),
            ("custom_tls_certificate_selector", ONE_LIBRARY),
            ("key_log", "keys are not written anywhere"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
        honoured: &["default_validation_context", "validation_context_sds_secret_config"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
        honoured: &["name", "sds_config"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
        honoured: &[
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
        ],
        refused: &[
            ("signature_algorithms", "the TLS library offers those that are not weak"),
            (
                "compliance_policies",
                "use tls_minimum_protocol_version, cipher_suites and ecdh_curves",
            ),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        honoured: &["certificate_chain", "private_key", "ocsp_staple"],
        ignored: &[("watched_directory", FROM_RESOURCE)],
        refused: &[
            ("pkcs12", "use certificate_chain and private_key in PEM"),
            ("password", "give the private key without a password"),
            ("private_key_provider", ONE_LIBRARY),
            ("signed_certificate_timestamp", "Envoy does not implement it"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        honoured: &[
            "trusted_ca",
            "system_root_certs",
            "crl",
            "only_verify_leaf_cert_crl",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "trust_chain_verification",
            "suppress_client_ca_list",
            "allow_expired_certificate",
        ],
        values: &[
            ("trust_chain_verification", &["VERIFY_TRUST_CHAIN", "ACCEPT_UNTRUSTED"]),
            ("allow_expired_certificate", &["false"]),
        ],
        ignored: &[
            ("watched_directory", FROM_RESOURCE),
            ("max_verify_depth", "the TLS library bounds the depth itself"),
        ],
        refused: &[
            ("ca_certificate_provider_instance", "use trusted_ca, or a secret"),
            ("require_signed_certificate_timestamp", "Envoy does not implement it"),
            ("custom_validator_config", ONE_LIBRARY),
        ],
        ..ROW
    },
    whole("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts"),
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
        honoured: &["san_type", "matcher"],
        values: &[("san_type", &["DNS", "URI", "EMAIL", "IP_ADDRESS"])],
        ..ROW
    },
    Row {
        message: "envoy.extensions.transport_sockets.tls.v3.Secret",
        honoured: &["name", "tls_certificate", "validation_context"],
        refused: &[("session_ticket_keys", OWN_KEYS), ("generic_secret", "no filter takes one")],
        ..ROW
    },
];
