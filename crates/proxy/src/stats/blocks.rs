//! The metrics, by what they are about. Names and meanings are Envoy's.

use super::{Counter, Gauge, Histogram, ResponseClasses, ResponseCodes, metric::block};

block! {
    /// `listener.NAME.`: one listening address.
    ListenerStats {
        /// Connections accepted.
        downstream_cx_total: Counter,
        /// Connections accepted and now closed.
        downstream_cx_destroy: Counter,
        /// Connections open now, from the choice of their filter chain on.
        downstream_cx_active: Gauge,
        /// Connections refused because the process's connection limit was reached.
        downstream_global_cx_overflow: Counter,
        /// Connections now in listener filters (TLS inspector and others).
        downstream_pre_cx_active: Gauge,
        /// Connections closed because listener filters took too long.
        downstream_pre_cx_timeout: Counter,
        /// Connections a listener filter refused.
        downstream_listener_filter_error: Counter,
        /// Connections the peer closed during listener filters.
        downstream_listener_filter_remote_close: Counter,
        /// Connections refused because they go round: what the proxy dials is redirected to it, again and again.
        downstream_cx_circle: Counter,
        /// Connections closed because no filter chain matches.
        no_filter_chain_match: Counter,
        /// Lifetime of connections, milliseconds.
        downstream_cx_length_ms: Histogram,
        /// Connections whose TLS handshake took too long.
        downstream_cx_transport_socket_connect_timeout: Counter,
        /// TLS handshakes that succeeded.
        ssl_handshake: Counter = "ssl.handshake",
        /// … in which an earlier session went on.
        ssl_session_reused: Counter = "ssl.session_reused",
        /// … in which the client showed no certificate.
        ssl_no_certificate: Counter = "ssl.no_certificate",
        /// TLS connections that failed, but for what the client's certificate is.
        ssl_connection_error: Counter = "ssl.connection_error",
        /// Handshakes that failed because the client showed no certificate.
        ssl_fail_verify_no_cert: Counter = "ssl.fail_verify_no_cert",
        /// … because the chain of its certificate is not trusted.
        ssl_fail_verify_error: Counter = "ssl.fail_verify_error",
        /// … because no name in its certificate is as asked.
        ssl_fail_verify_san: Counter = "ssl.fail_verify_san",
        /// … because its certificate is none of those listed.
        ssl_fail_verify_cert_hash: Counter = "ssl.fail_verify_cert_hash",
        /// Connections closed because a secret that the chain needs is not there.
        ssl_context_not_ready: Counter = "server_ssl_socket_factory.downstream_context_secrets_not_ready",
        /// Handshakes by version.
        ssl_version_tls12: Counter = "ssl.versions.TLSv1.2",
        /// …
        ssl_version_tls13: Counter = "ssl.versions.TLSv1.3",
        /// Handshakes by cipher suite.
        ssl_cipher_aes128_gcm: Counter = "ssl.ciphers.TLS_AES_128_GCM_SHA256",
        /// …
        ssl_cipher_aes256_gcm: Counter = "ssl.ciphers.TLS_AES_256_GCM_SHA384",
        /// …
        ssl_cipher_chacha20: Counter = "ssl.ciphers.TLS_CHACHA20_POLY1305_SHA256",
        /// …
        ssl_cipher_ecdsa_aes128_gcm: Counter = "ssl.ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
        /// …
        ssl_cipher_ecdsa_aes256_gcm: Counter = "ssl.ciphers.ECDHE-ECDSA-AES256-GCM-SHA384",
        /// …
        ssl_cipher_ecdsa_chacha20: Counter = "ssl.ciphers.ECDHE-ECDSA-CHACHA20-POLY1305",
        /// …
        ssl_cipher_rsa_aes128_gcm: Counter = "ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256",
        /// …
        ssl_cipher_rsa_aes256_gcm: Counter = "ssl.ciphers.ECDHE-RSA-AES256-GCM-SHA384",
        /// …
        ssl_cipher_rsa_chacha20: Counter = "ssl.ciphers.ECDHE-RSA-CHACHA20-POLY1305",
    }

    /// `http.PREFIX.`: one HTTP connection manager.
    HttpStats {
        /// Connections.
        downstream_cx_total: Counter,
        /// HTTP/1.0 and HTTP/1.1 connections.
        downstream_cx_http1_total: Counter,
        /// HTTP/2 connections.
        downstream_cx_http2_total: Counter,
        /// Connections that were upgraded (WebSocket, CONNECT).
        downstream_cx_upgrades_total: Counter,
        /// Connections open now.
        downstream_cx_active: Gauge,
        /// HTTP/1 connections open now.
        downstream_cx_http1_active: Gauge,
        /// HTTP/2 connections open now.
        downstream_cx_http2_active: Gauge,
        /// Upgraded connections open now.
        downstream_cx_upgrades_active: Gauge,
        /// Connections closed.
        downstream_cx_destroy: Counter,
        /// Connections closed by the peer.
        downstream_cx_destroy_remote: Counter,
        /// Connections closed by us.
        downstream_cx_destroy_local: Counter,
        /// Connections closed while requests were under way.
        downstream_cx_destroy_active_rq: Counter,
        /// … by us.
        downstream_cx_destroy_local_active_rq: Counter,
        /// … by the peer.
        downstream_cx_destroy_remote_active_rq: Counter,
        /// Connections closed because of an idle timeout.
        downstream_cx_idle_timeout: Counter,
        /// Connections closed because of their maximal duration.
        downstream_cx_max_duration_reached: Counter,
        /// Connections closed after their maximal number of requests.
        downstream_cx_max_requests_reached: Counter,
        /// Connections closed for draining.
        downstream_cx_drain_close: Counter,
        /// Connections whose peer did not close them in the time that it was given.
        downstream_cx_delayed_close_timeout: Counter,
        /// Protocol errors.
        downstream_cx_protocol_error: Counter,
        /// Bytes received.
        downstream_cx_rx_bytes_total: Counter,
        /// Bytes sent.
        downstream_cx_tx_bytes_total: Counter,
        /// Lifetime of connections, milliseconds.
        downstream_cx_length_ms: Histogram,
        /// Requests.
        downstream_rq_total: Counter,
        /// HTTP/1 requests.
        downstream_rq_http1_total: Counter,
        /// HTTP/2 requests.
        downstream_rq_http2_total: Counter,
        /// Requests under way.
        downstream_rq_active: Gauge,
        /// Responses by class, and all of them as `downstream_rq_completed`.
        downstream_rq: ResponseClasses,
        /// Requests reset by the peer.
        downstream_rq_rx_reset: Counter,
        /// Requests reset by us.
        downstream_rq_tx_reset: Counter,
        /// Requests refused because their path could not be normalized.
        downstream_rq_failed_path_normalization: Counter,
        /// Requests redirected to their normalized path.
        downstream_rq_redirected_with_normalized_path: Counter,
        /// Requests whose head took too long.
        downstream_rq_header_timeout: Counter,
        /// Requests that took too long to arrive.
        downstream_rq_timeout: Counter,
        /// Requests idle for too long.
        downstream_rq_idle_timeout: Counter,
        /// Requests that reached their maximal duration.
        downstream_rq_max_duration_reached: Counter,
        /// Connections that were closed because too many of their requests were given up at once.
        downstream_rq_too_many_premature_resets: Counter,
        /// Responses that ended before their request.
        downstream_rq_response_before_rq_complete: Counter,
        /// Upgrades refused because the route does not allow them.
        downstream_rq_ws_on_non_ws_route: Counter,
        /// Time to serve a request, milliseconds.
        downstream_rq_time: Histogram,
        /// Requests without a route: 404, flag NR.
        no_route: Counter,
        /// Requests whose route names a cluster that is not there: 503, flag NC.
        no_cluster: Counter,
        /// Requests answered by the route itself: direct responses and redirects.
        rq_direct_response: Counter,
        /// Requests that reached the router.
        rq_total: Counter,
        /// Responses that were cut after their start.
        rq_reset_after_downstream_response_started: Counter,
    }

    /// `http.PREFIX.rbac.`, `PREFIX.rbac.`: what RBAC filters decided.
    RbacStats {
        /// Requests or connections that passed.
        allowed: Counter,
        /// … that did not.
        denied: Counter,
        /// … that a policy of the action LOG matches. Envoy counts them nowhere.
        logged: Counter,
    }

    /// The same names: what their shadow rules would have decided.
    RbacShadowStats {
        /// Requests or connections that would have passed.
        allowed: Counter = "shadow_allowed",
        /// … that would not have.
        denied: Counter = "shadow_denied",
    }

    /// `http.PREFIX.jwt_authn.`: what filters of tokens decided.
    JwtStats {
        /// Requests that passed.
        allowed: Counter,
        /// … that did not.
        denied: Counter,
        /// … that passed because they are CORS preflights.
        cors_preflight_bypassed: Counter,
        /// Tokens that the worker had verified before.
        jwt_cache_hit: Counter,
        /// … that it had not.
        jwt_cache_miss: Counter,
        /// Fetches of keys that the filter uses, which other filters may use as well.
        jwks_fetch_success: Counter,
        /// … that failed.
        jwks_fetch_failed: Counter,
    }

    /// `http.PREFIX.cors.`: requests from other origins.
    CorsStats {
        /// Those from origins that are let in.
        origin_valid: Counter,
        /// … that are not.
        origin_invalid: Counter,
    }

    /// `http.PREFIX.fault.`: faults that were made on purpose.
    FaultStats {
        /// Requests that waited.
        delays_injected: Counter,
        /// Requests that failed.
        aborts_injected: Counter,
        /// Faults that were not made because there were as many as there may be.
        faults_overflow: Counter,
        /// Faults under way.
        active_faults: Gauge,
    }

    /// `PREFIX.http_local_rate_limit.`: what local rate limits decided.
    LocalRateLimitStats {
        /// Requests that the limit was for.
        enabled: Counter,
        /// … that there were tokens for.
        ok: Counter,
        /// … that there were none for.
        rate_limited: Counter,
        /// … and that were answered therefore.
        enforced: Counter,
        /// … or passed, as the bucket was for show.
        shadow_mode: Counter,
    }

    /// `tcp.PREFIX.`: one TCP proxy filter.
    TcpStats {
        /// Connections.
        downstream_cx_total: Counter,
        /// Connections closed because there is no route or no cluster.
        downstream_cx_no_route: Counter,
        /// Bytes received from the peer.
        downstream_cx_rx_bytes_total: Counter,
        /// Bytes sent to the peer.
        downstream_cx_tx_bytes_total: Counter,
        /// Connections closed because of the idle timeout.
        idle_timeout: Counter,
        /// Connections closed because of their maximal duration.
        max_downstream_connection_duration: Counter,
    }

    /// `cluster.NAME.`: what workers count of a cluster.
    ClusterStats {
        /// Connections, attempts that failed among them.
        upstream_cx_total: Counter,
        /// HTTP/1 connections.
        upstream_cx_http1_total: Counter,
        /// HTTP/2 connections.
        upstream_cx_http2_total: Counter,
        /// Connections being made or open now.
        upstream_cx_active: Gauge,
        /// Connections refused or reset while they were made.
        upstream_cx_connect_fail: Counter,
        /// Connections not made in time.
        upstream_cx_connect_timeout: Counter,
        /// Connections given up after all attempts.
        upstream_cx_connect_attempts_exceeded: Counter,
        /// Choices among all endpoints, as too few of them are healthy.
        lb_healthy_panic: Counter,
        /// Connections closed because of an idle timeout.
        upstream_cx_idle_timeout: Counter,
        /// Connections closed because of their maximal duration.
        upstream_cx_max_duration_reached: Counter,
        /// Connections closed after their maximal number of requests.
        upstream_cx_max_requests: Counter,
        /// HTTP/2 connections closed because a PING was not answered in time.
        http2_keepalive_timeout: Counter = "http2.keepalive_timeout",
        /// Connections not made because the circuit breaker was open.
        upstream_cx_overflow: Counter,
        /// Connections not made because no endpoint is there.
        upstream_cx_none_healthy: Counter,
        /// Requests that were to say where they go, and said no address.
        original_dst_host_invalid: Counter,
        /// Connections closed.
        upstream_cx_destroy: Counter,
        /// … by us.
        upstream_cx_destroy_local: Counter,
        /// … by the upstream.
        upstream_cx_destroy_remote: Counter,
        /// Connections closed while requests were under way.
        upstream_cx_destroy_with_active_rq: Counter,
        /// … by us.
        upstream_cx_destroy_local_with_active_rq: Counter,
        /// … by the upstream.
        upstream_cx_destroy_remote_with_active_rq: Counter,
        /// Connections closed after `connection: close` or GOAWAY.
        upstream_cx_close_notify: Counter,
        /// Protocol errors of the upstream.
        upstream_cx_protocol_error: Counter,
        /// Bytes received from upstreams.
        upstream_cx_rx_bytes_total: Counter,
        /// Bytes sent to upstreams.
        upstream_cx_tx_bytes_total: Counter,
        /// TLS handshakes that succeeded.
        ssl_handshake: Counter = "ssl.handshake",
        /// TLS handshakes that failed, but for what the certificate is.
        ssl_connection_error: Counter = "ssl.connection_error",
        /// … because the chain of the certificate is not trusted.
        ssl_fail_verify_error: Counter = "ssl.fail_verify_error",
        /// … because no name in the certificate is as asked.
        ssl_fail_verify_san: Counter = "ssl.fail_verify_san",
        /// … because the certificate is none of those listed.
        ssl_fail_verify_cert_hash: Counter = "ssl.fail_verify_cert_hash",
        /// Time to connect, milliseconds.
        upstream_cx_connect_ms: Histogram,
        /// Lifetime of connections, milliseconds.
        upstream_cx_length_ms: Histogram,
        /// Requests.
        upstream_rq_total: Counter,
        /// Requests under way.
        upstream_rq_active: Gauge,
        /// Requests that had to wait for a connection.
        upstream_rq_pending_total: Counter,
        /// … and wait now.
        upstream_rq_pending_active: Gauge,
        /// Requests refused since as many waited for a connection as may: 503, flag UO.
        upstream_rq_pending_overflow: Counter,
        /// Requests refused since as many were under way as may be: 503, flag UO.
        upstream_rq_active_overflow: Counter,
        /// Requests that failed while they waited, because the connection did.
        upstream_rq_pending_failure_eject: Counter,
        /// Requests that went before they got a connection.
        upstream_rq_cancelled: Counter,
        /// Requests that timed out: 504, flag UT.
        upstream_rq_timeout: Counter,
        /// HTTP/2 requests reset by the upstream.
        upstream_rq_rx_reset: Counter,
        /// … by us.
        upstream_rq_tx_reset: Counter,
        /// Requests that were sent again.
        upstream_rq_retry: Counter,
        /// … and then answered otherwise than with 5xx.
        upstream_rq_retry_success: Counter,
        /// Requests that were to be sent again and had been as often as they may.
        upstream_rq_retry_limit_exceeded: Counter,
        /// … while as many others were as may be: flag UO.
        upstream_rq_retry_overflow: Counter,
        /// Requests that were sent again after a pause.
        upstream_rq_retry_backoff_exponential: Counter,
        /// Copies of requests that were given up, as they fell behind the request.
        retry_or_shadow_abandoned: Counter,
        /// Attempts that timed out.
        upstream_rq_per_try_timeout: Counter,
        /// … because nothing moved.
        upstream_rq_per_try_idle_timeout: Counter,
        /// Responses that were dropped for another attempt.
        retry_upstream_rq: ResponseCodes = "retry.upstream_rq",
        /// Responses by status and class, all as `upstream_rq_completed`; also those given for want of the upstream's.
        upstream_rq: ResponseCodes,
        /// Requests per connection.
        upstream_rq_per_cx: Histogram,
        /// Time from the request to the end of the response, milliseconds.
        upstream_rq_time: Histogram,
    }

    /// `cluster.NAME.`: what the control side knows of a cluster.
    MembershipStats {
        /// 1 while a limit of the default priority is reached: that of connections.
        cx_open: Gauge = "circuit_breakers.default.cx_open",
        /// … that of requests under way.
        rq_open: Gauge = "circuit_breakers.default.rq_open",
        /// … that of requests that wait for a connection.
        rq_pending_open: Gauge = "circuit_breakers.default.rq_pending_open",
        /// … that of retries.
        rq_retry_open: Gauge = "circuit_breakers.default.rq_retry_open",
        /// Changes of the set of endpoints.
        membership_change: Counter,
        /// Endpoints that are healthy now.
        membership_healthy: Gauge,
        /// Endpoints now.
        membership_total: Gauge,
        /// Lookups of its names, for clusters found by DNS.
        update_attempt: Counter,
        /// … that were answered, were it that there is no such name.
        update_success: Counter,
        /// … that failed; the last good endpoints stay.
        update_failure: Counter,
        /// … that found what was there already.
        update_no_rebuild: Counter,
        /// 1 while the cluster waits for its first endpoints.
        warming_state: Gauge,
    }

    /// `cluster.NAME.outlier_detection.`: who is ejected.
    OutlierStats {
        /// Endpoints that are ejected now.
        ejections_active: Gauge,
        /// Ejections because of 5xx in a row or of success rates, whether enforced or not.
        ejections_total: Counter,
        /// … because of 5xx in a row, whether any could be.
        ejections_consecutive_5xx: Counter,
        /// … because of success rates.
        ejections_success_rate: Counter,
        /// Ejections that there were too many for.
        ejections_overflow: Counter,
        /// Ejections.
        ejections_enforced_total: Counter,
        /// Outliers because of 5xx in a row, and what is answered in their place.
        ejections_detected_consecutive_5xx: Counter,
        /// … that were ejected.
        ejections_enforced_consecutive_5xx: Counter,
        /// Outliers because of 502, 503 and 504 in a row.
        ejections_detected_consecutive_gateway_failure: Counter,
        /// … that were ejected.
        ejections_enforced_consecutive_gateway_failure: Counter,
        /// Outliers because of no answers in a row.
        ejections_detected_consecutive_local_origin_failure: Counter,
        /// … that were ejected.
        ejections_enforced_consecutive_local_origin_failure: Counter,
        /// Outliers because of fewer good answers than the others.
        ejections_detected_success_rate: Counter,
        /// … that were ejected.
        ejections_enforced_success_rate: Counter,
        /// Outliers because of fewer good connections than the others.
        ejections_detected_local_origin_success_rate: Counter,
        /// … that were ejected.
        ejections_enforced_local_origin_success_rate: Counter,
        /// Outliers because of too many bad answers.
        ejections_detected_failure_percentage: Counter,
        /// … that were ejected.
        ejections_enforced_failure_percentage: Counter,
        /// Outliers because of too many bad connections.
        ejections_detected_local_origin_failure_percentage: Counter,
        /// … that were ejected.
        ejections_enforced_local_origin_failure_percentage: Counter,
    }

    /// One endpoint of a cluster, in the words of `/clusters`.
    EndpointStats {
        /// Connections open now.
        cx_active: Gauge,
        /// Connections that failed.
        cx_connect_fail: Counter,
        /// Connections.
        cx_total: Counter,
        /// Requests under way.
        rq_active: Gauge,
        /// Requests answered with 5xx or not at all.
        rq_error: Counter,
        /// Requests that wait for a connection.
        rq_pending_active: Gauge,
        /// Requests answered otherwise.
        rq_success: Counter,
        /// Requests that timed out.
        rq_timeout: Counter,
        /// Requests.
        rq_total: Counter,
    }

    /// `http_inspector.`: what connections in plain text begin with.
    HttpInspectorStats {
        /// Requests of HTTP/1.0, or of no version that is known.
        http10_found: Counter,
        /// Requests of HTTP/1.1.
        http11_found: Counter,
        /// HTTP/2 with prior knowledge.
        http2_found: Counter,
        /// Something else.
        http_not_found: Counter,
        /// Connections closed as their request line was too long.
        read_error: Counter,
    }

    /// `tls_inspector.`: what ClientHellos said.
    TlsInspectorStats {
        /// ClientHellos with ALPN.
        alpn_found: Counter,
        /// ClientHellos without ALPN.
        alpn_not_found: Counter,
        /// ClientHellos larger than the limit.
        client_hello_too_large: Counter,
        /// ClientHellos with a server name.
        sni_found: Counter,
        /// ClientHellos without a server name.
        sni_not_found: Counter,
        /// Connections that start with TLS.
        tls_found: Counter,
        /// Connections that start otherwise.
        tls_not_found: Counter,
    }

    /// `filesystem.`: access logging. What Envoy has no name for is named `access_log_…`.
    AccessLogStats {
        /// Records handed over by workers.
        records: Counter = "access_log_records",
        /// Records lost because a worker's buffer was full: the log thread did not keep up.
        records_dropped: Counter = "access_log_records_dropped",
        /// Records that a file or stdout missed because it was too slow.
        records_overrun: Counter = "access_log_records_overrun",
        /// Bytes written.
        write_total: Counter = "access_log_written_bytes",
        /// Writes that succeeded.
        write_completed: Counter,
        /// Writes that failed.
        write_failed: Counter,
        /// Files that could not be opened again; the old one stays in use.
        reopen_failed: Counter,
    }

    /// `listener.NAME.ssl.certificate.CERTIFICATE.`, `cluster.…`: a certificate in force.
    CertificateStats {
        /// When it expires, in seconds since 1970.
        expiration: Gauge = "expiration_unix_time_seconds",
    }

    /// `sds.NAME.`: a secret that came by itself.
    SdsStats {
        /// How often it came.
        update_attempt: Counter,
        /// … and was taken.
        update_success: Counter,
        /// … and was refused: the one before serves on.
        update_rejected: Counter,
    }

    /// `cluster_manager.`: clusters as a whole.
    ClusterManagerStats {
        /// Clusters in force.
        active_clusters: Gauge,
        /// Clusters that wait for their first endpoints.
        warming_clusters: Gauge,
        /// Clusters added.
        cluster_added: Counter,
        /// Clusters changed.
        cluster_modified: Counter,
        /// Clusters removed.
        cluster_removed: Counter,
    }

    /// `dns.hickory.`: name resolution by the resolver of that name, as Envoy's `dns.cares.`.
    DnsStats {
        /// Questions asked: one for each address family of a name.
        resolve_total: Counter,
        /// Questions under way.
        pending_resolutions: Gauge,
        /// Answers that the name is not there.
        not_found: Counter,
        /// Questions not answered in time.
        timeouts: Counter,
        /// Questions that failed otherwise.
        get_addr_failure: Counter,
    }

    /// `listener_manager.`: listeners as a whole.
    ListenerManagerStats {
        /// Listeners added.
        listener_added: Counter,
        /// Listeners changed.
        listener_modified: Counter,
        /// … without closing their sockets.
        listener_in_place_updated: Counter,
        /// Listeners removed.
        listener_removed: Counter,
        /// Listeners stopped.
        listener_stopped: Counter,
        /// Listeners that could be opened, counted once for each worker.
        listener_create_success: Counter,
        /// … that could not be.
        listener_create_failure: Counter,
        /// Listeners in force.
        total_listeners_active: Gauge,
        /// Listeners that only serve their open connections.
        total_listeners_draining: Gauge,
        /// 1 once all workers run.
        workers_started: Gauge,
    }

    /// `server.`: the process.
    ServerStats {
        /// Number of workers.
        concurrency: Gauge,
        /// Days until the first certificate in force expires; 4294967295 without one.
        days_until_first_cert_expiring: Gauge,
        /// Time from the start of the process until it served, milliseconds.
        initialization_time_ms: Histogram,
        /// 1 while the process serves, 0 while it drains.
        live: Gauge,
        /// Resident memory in bytes.
        memory_physical_size: Gauge,
        /// 0 live, 1 draining, 2 before initialization, 3 initializing.
        state: Gauge,
        /// Connections of all listeners open now.
        total_connections: Gauge,
        /// Seconds since the start.
        uptime: Gauge,
    }
}
