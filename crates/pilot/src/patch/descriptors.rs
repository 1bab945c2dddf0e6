//! Limits by descriptors: which patches have some, and which say what requests are known by.

use tidegate_envoy::dynamic;
use tidegate_envoy::prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::merge::any;

const LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const ANY: &str = "google.protobuf.Any";
/// The field that says what a request is known by: of a limit, of a route, and of a virtual host.
const KNOWN_BY: &str = "rate_limits";

/// What a value has to do with limits by descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Where it has `descriptors` without saying itself what requests are known by.
    pub open: Vec<String>,
    /// Whether it says so of requests of a route or virtual host.
    pub known: bool,
}

impl Descriptors {
    /// Those of a patch's value.
    #[must_use]
    pub fn of(value: &DynamicMessage) -> Self {
        let mut found = Self::default();
        found.look_into(value, "");
        found
    }

    fn look_into(&mut self, message: &DynamicMessage, path: &str) {
        if message.descriptor().full_name() == ANY {
            let (url, bytes) = any(message);
            if let Ok(inside) = dynamic(&url, &bytes) {
                self.look_into(&inside, path);
            }
            return;
        }
        let says = |field: &str| {
            let value = message.get_field_by_name(field);
            value.as_deref().and_then(Value::as_list).is_some_and(|list| !list.is_empty())
        };
        if message.descriptor().full_name() == LIMIT {
            if says("descriptors") && !says(KNOWN_BY) {
                self.open.push(format!("{path}.descriptors"));
            }
            return;
        }
        self.known |= says(KNOWN_BY);
        for (field, value) in message.fields() {
            let path = format!("{path}.{}", field.name());
            match value {
                Value::Message(inner) => self.look_into(inner, &path),
                Value::List(items) => {
                    let inner = items.iter().enumerate();
                    let inner = inner.filter_map(|(at, item)| Some((at, item.as_message()?)));
                    inner.for_each(|(at, item)| self.look_into(item, &format!("{path}[{at}]")));
                }
                Value::Map(all) => {
                    let mut all: Vec<_> = all
                        .iter()
                        .filter_map(|(key, value)| Some((key.as_str()?, value.as_message()?)))
                        .collect();
                    all.sort_unstable_by_key(|(key, _)| *key);
                    for (key, value) in all {
                        self.look_into(value, &format!("{path}[{key:?}]"));
                    }
                }
                _ => {}
            }
        }
    }
}
