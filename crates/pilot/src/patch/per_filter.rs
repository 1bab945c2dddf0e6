//! What patches say to HTTP filters about some hosts or routes (`typed_per_filter_config`).

use tidegate_envoy::prost_reflect::{DynamicMessage, MapKey, Value};

/// The field that holds it, in route configurations and all that is inside them.
const FIELD: &str = "typed_per_filter_config";

/// What is said to one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it stands, such as `.routes[0].typed_per_filter_config["x"]`.
    pub path: String,
    /// The name that the filter has in its chain.
    pub filter: String,
}

/// All that a value says to filters, wherever it stands in it.
#[must_use]
pub fn settings(value: &DynamicMessage) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

/// Whether a value says anything but that.
#[must_use]
pub fn says_more(value: &DynamicMessage) -> bool {
    value.fields().any(|(field, _)| ![FIELD, "name"].contains(&field.name()))
}

fn collect(message: &DynamicMessage, path: &str, found: &mut Vec<Setting>) {
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.name());
        match value {
            Value::Map(all) if field.name() == FIELD => {
                let mut filters: Vec<&str> = all.keys().filter_map(MapKey::as_str).collect();
                filters.sort_unstable();
                let setting = |filter: &str| Setting {
                    path: format!("{path}[{filter:?}]"),
                    filter: filter.to_owned(),
                };
                found.extend(filters.into_iter().map(setting));
            }
            Value::Message(inner) => collect(inner, &path, found),
            Value::List(items) => {
                let inner = items.iter().enumerate();
                let inner = inner.filter_map(|(at, item)| Some((at, item.as_message()?)));
                inner.for_each(|(at, item)| collect(item, &format!("{path}[{at}]"), found));
            }
            _ => {}
        }
    }
}
