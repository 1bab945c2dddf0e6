//! Limits on the way of a request, and who set them.

use std::sync::Arc;

use tidegate_proxy::config::listener::HttpManager;
use tidegate_proxy::filter::{Filter, LocalRateLimit};
use tidegate_proxy::route::{Fraction, Route, VirtualHost};
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use crate::World;
use crate::answer::{Part, Source};

impl World {
    /// The limits that stand on the way to a route; `place` is the listener, the route configuration and the virtual host.
    pub(crate) fn limits(
        &self,
        manager: &HttpManager,
        route: &Route,
        (listener, table, host): (&str, &str, &VirtualHost),
    ) -> Vec<Part> {
        let limits = manager.filters.iter().filter_map(|filter| {
            let limit = filter.limit(Some(route)).filter(|limit| limit.enabled.numerator > 0)?;
            let own = filter.limit(None).is_none_or(|around| !Arc::ptr_eq(around, limit));
            let from = match own {
                true => self.patched_on((table, host), route, &filter.name),
                false => self.patched_in(listener, manager, filter),
            };
            Some(Part { name: filter.name.to_string(), asks: told(limit), from })
        });
        limits.collect()
    }

    /// The patches that a filter of a listener is from, of which there may be several with one name.
    fn patched_in(&self, listener: &str, manager: &HttpManager, filter: &Filter) -> Vec<Source> {
        let behind = self.behind(ResourceType::Listener, listener);
        let Some(sent) = behind.snapshot.get(ResourceType::Listener, listener) else {
            return Vec::new();
        };
        let same = || manager.filters.iter().filter(|other| other.name == filter.name);
        let number = same().position(|other| std::ptr::eq(other, filter)).unwrap_or_default();
        let what = (&*manager.routes.slot().name, &*filter.name);
        let patches = behind.pilot.patched_in(&sent, what, (number, same().count()));
        patches.iter().map(|origin| behind.source(origin)).collect()
    }

    /// The patches that speak of a filter for a route of a virtual host.
    fn patched_on(
        &self,
        (table, host): (&str, &VirtualHost),
        route: &Route,
        filter: &str,
    ) -> Vec<Source> {
        let name = virtual_host_name(table, &host.name);
        let behind = self.behind(ResourceType::VirtualHost, &name);
        let sent = behind.snapshot.get(ResourceType::VirtualHost, &name);
        let number = host.routes().iter().position(|own| std::ptr::eq(&**own, route));
        let Some((sent, number)) = sent.zip(number) else {
            return self.patched(ResourceType::VirtualHost, &name, filter);
        };
        let patches = behind.pilot.patched_on(&sent, filter, (number, host.routes().len()));
        patches.iter().map(|origin| behind.source(origin)).collect()
    }

    /// The patches that speak of a filter, among those that changed a resource.
    pub(crate) fn patched(&self, kind: ResourceType, name: &str, filter: &str) -> Vec<Source> {
        let behind = self.behind(kind, name);
        let patches = behind.pilot.patched_for(kind, name, filter);
        patches.iter().map(|origin| behind.source(origin)).collect()
    }
}

/// What a limit does, in words.
fn told(limit: &LocalRateLimit) -> String {
    let LocalRateLimit { plan, status, enabled, enforced, .. } = limit;
    let all = |share: &Fraction| share.numerator >= share.denominator;
    let shown = |share: &Fraction| format!("{} of {}", share.numerator, share.denominator);
    let asked =
        if all(enabled) { String::new() } else { format!(", of {} requests", shown(enabled)) };
    if enforced.numerator == 0 {
        return format!("allows {plan}{asked}; what is beyond is counted, and goes on");
    }
    let answered =
        if all(enforced) { String::new() } else { format!(" {} times", shown(enforced)) };
    format!("allows {plan}{asked}; {status}{answered} beyond that")
}
