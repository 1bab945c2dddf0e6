#!/usr/bin/env python3
"""Starts `tidegate proxy` for one case of the harness: writes an Envoy bootstrap and becomes the proxy.

The bootstrap is the one that the harness gives Envoy: the same filters, limits and access-log format.
$TIDEGATE names the binary (`cargo xtask bench` sets it).
"""
import argparse, json, os, pathlib

TYPE = "type.googleapis.com/envoy."
HTTP = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy"
ROUTER = TYPE + "extensions.filters.http.router.v3.Router"
TLS = TYPE + "extensions.transport_sockets.tls.v3."
TLS_INSPECTOR = TYPE + "extensions.filters.listener.tls_inspector.v3.TlsInspector"
FILE_LOG = TYPE + "extensions.access_loggers.file.v3.FileAccessLog"

# Cases in which the client speaks TLS with the proxy.
TLS_CASES = {"tls-term", "tls-hs", "h2", "idle-tls"}

LOG_LINE = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def passthrough(args):
    filters = [{"name": "tcp", "typed_config": {"@type": TCP, "stat_prefix": "tcp", "cluster": "be"}}]
    return {
        "listener_filters": [{"name": "tls_inspector", "typed_config": {"@type": TLS_INSPECTOR}}],
        "filter_chains": [{"filter_chain_match": {"server_names": [args.sni]}, "filters": filters}],
    }


def http(args):
    prefixes = pathlib.Path(args.routes).read_text().split()
    routes = [{"match": {"prefix": prefix}, "route": {"cluster": "be"}} for prefix in prefixes]
    manager = {
        "@type": HTTP,
        "stat_prefix": "in",
        "use_remote_address": True,
        "normalize_path": True,
        "route_config": {
            "name": "rc",
            "virtual_hosts": [{"name": "app", "domains": [args.host], "routes": routes}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    if args.case == "h1-log":
        form = {"text_format_source": {"inline_string": LOG_LINE}}
        log = {"@type": FILE_LOG, "path": args.log, "log_format": form}
        manager["access_log"] = [{"name": "file", "typed_config": log}]
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    if args.case in TLS_CASES:
        chain["transport_socket"] = tls_socket("DownstreamTlsContext", common_tls_context=terms(args))
    return {"filter_chains": [chain]}


def tls_socket(context, **fields):
    return {"name": "tls", "typed_config": {"@type": TLS + context, **fields}}


def terms(args):
    """What the listener offers: the harness asks for TLS 1.3 alone where it counts handshakes."""
    lowest = "TLSv1_3" if args.case == "tls-hs" else "TLSv1_2"
    certificate = {"certificate_chain": {"filename": args.cert}, "private_key": {"filename": args.key}}
    return {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [certificate],
        "tls_params": {"tls_minimum_protocol_version": lowest, "tls_maximum_protocol_version": "TLSv1_3"},
    }


def bootstrap(args):
    traffic = passthrough(args) if args.case.startswith("sni") else http(args)
    originates = args.case == "tls-orig"
    endpoint = {"endpoint": {"address": address(args.tls_backend if originates else args.backend)}}
    most = {"max_connections": 100000, "max_requests": 100000, "max_pending_requests": 100000}
    cluster = {
        "name": "be",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "be", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if originates:
        # The origin's certificate is nobody's to vouch for; the peers do not verify it either.
        trust = {"validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"}}
        cluster["transport_socket"] = tls_socket("UpstreamTlsContext", sni=args.host, common_tls_context=trust)
    listener = {"name": "l", "address": address(args.port), **traffic}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["case", "dir", "host", "sni", "routes", "log", "cert", "key"]:
        parser.add_argument(f"--{name}", required=True)
    for name in ["port", "backend", "tls-backend"]:
        parser.add_argument(f"--{name}", required=True, type=int)
    args = parser.parse_args()
    config = pathlib.Path(args.dir, "bootstrap.json")
    config.write_text(json.dumps(bootstrap(args)))
    binary = os.environ["TIDEGATE"]
    os.execv(binary, [binary, "proxy", "-c", str(config), "--workers", "1", "--log-level", "error"])


if __name__ == "__main__":
    main()
