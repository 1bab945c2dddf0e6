//! What an EnvoyFilter may say.

use super::{ApplyTo, ConfigPatch, EnvoyFilter, ListenerMatch, ObjectMatch, Operation};
use crate::istio::rules;
use crate::validation::Report;

/// The filter that HTTP filters are part of, under today's name and the one before.
const CONNECTION_MANAGER: [&str; 2] =
    ["envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"];

impl EnvoyFilter {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, report: &mut Report) {
        report.optional("workloadSelector", self.workload_selector.as_ref(), |report, selector| {
            report.entries("labels", &selector.labels, |report, key, _| {
                if key.is_empty() {
                    report.invalid(key, "key must not be empty");
                }
                if key.contains('*') {
                    report.invalid(key, "wildcard is not supported in selector");
                }
            });
        });
        report.each("configPatches", &self.config_patches, |report, patch| patch.validate(report));
    }
}

impl ConfigPatch {
    fn validate(&self, report: &mut Report) {
        let Some(apply_to) = self.apply_to else {
            return report.field("applyTo", |r| r.required("says what is patched"));
        };
        report.optional("match", self.r#match.as_ref(), |report, what| {
            what.validate(apply_to, report);
        });
        let Some(patch) = &self.patch else {
            return report.field("patch", |r| r.required("says what is done"));
        };
        report.field("patch", |report| {
            let Some(operation) = patch.operation else {
                return report.field("operation", |r| r.required("says what is done"));
            };
            if operation != Operation::Remove && patch.value.is_null() {
                return report
                    .field("value", |r| r.required("every operation but REMOVE needs one"));
            }
            if let Err(error) = self.message() {
                let dot = if error.path.is_empty() { "" } else { "." };
                report.field(&format!("value{dot}{}", error.path), |r| r.wrong(error.reason));
            }
        });
    }
}

impl ObjectMatch {
    fn validate(&self, apply_to: ApplyTo, report: &mut Report) {
        report.optional("proxy", self.proxy.as_ref(), |report, proxy| {
            if !proxy.proxy_version.is_empty() {
                report.field("proxyVersion", |r| rules::regex(r, &proxy.proxy_version));
            }
        });
        let given = [
            ("listener", self.listener.is_some()),
            ("routeConfiguration", self.route_configuration.is_some()),
            ("cluster", self.cluster.is_some()),
        ];
        let fitting = match apply_to {
            ApplyTo::Listener
            | ApplyTo::FilterChain
            | ApplyTo::NetworkFilter
            | ApplyTo::HttpFilter
            | ApplyTo::ListenerFilter => "listener",
            ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
                "routeConfiguration"
            }
            ApplyTo::Cluster => "cluster",
            ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => "proxy",
        };
        for (field, _) in given.iter().filter(|(field, given)| *given && *field != fitting) {
            report.field(field, |r| {
                r.wrong(format!("applyTo {apply_to} is matched by {fitting}"));
            });
        }
        report.optional("listener", self.listener.as_ref(), |report, listener| {
            listener.validate(apply_to, report);
        });
    }
}

impl ListenerMatch {
    fn validate(&self, apply_to: ApplyTo, report: &mut Report) {
        let Some(filter) = self.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref())
        else {
            return;
        };
        report.field("filterChain", |report| {
            report.field("filter", |report| {
                if filter.name.is_empty() {
                    report.field("name", |r| r.required("filter match has no name to match on"));
                    return;
                }
                let Some(sub_filter) = &filter.sub_filter else { return };
                report.field("subFilter", |report| {
                    if apply_to != ApplyTo::HttpFilter {
                        report.advise(format!("has no effect when applyTo is {apply_to}"));
                    }
                    if !CONNECTION_MANAGER.contains(&&*filter.name) {
                        let [name, _] = CONNECTION_MANAGER;
                        report.wrong(format!("subfilter match requires filter match with {name}"));
                    }
                    if sub_filter.name.is_empty() {
                        report.field("name", |r| {
                            r.required("subfilter match has no name to match on");
                        });
                    }
                });
            });
        });
    }
}
