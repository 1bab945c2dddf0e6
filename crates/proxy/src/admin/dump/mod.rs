//! `/config_dump`: what is in force and what was refused, as `envoy.admin.v3.ConfigDump`.

mod inline;
mod mask;
mod redact;
mod sections;
mod write;

use http::StatusCode;

use self::mask::Mask;
use self::sections::Part;
use super::answer::Answer;
use super::commands::Call;
use super::server::Admin;

/// Lists that Envoy has, whether or not anything here ever stands in them.
const LISTS: [&str; 14] = [
    "static_clusters",
    "dynamic_active_clusters",
    "dynamic_warming_clusters",
    "static_endpoint_configs",
    "dynamic_endpoint_configs",
    "static_listeners",
    "dynamic_listeners",
    "inline_scoped_route_configs",
    "dynamic_scoped_route_configs",
    "static_route_configs",
    "dynamic_route_configs",
    "static_secrets",
    "dynamic_active_secrets",
    "dynamic_warming_secrets",
];

/// Fields of sections that are no lists.
const FIELDS: [&str; 3] = ["bootstrap", "version_info", "last_updated"];

pub(super) fn answer(admin: &Admin, call: Call<'_>) -> Answer {
    let names = match call.pattern("name_regex") {
        Ok(names) => names,
        Err(answer) => return answer,
    };
    let asked = call.parameter("mask").filter(|mask| !mask.is_empty());
    let mask = asked.as_deref().map_or(Mask::All, Mask::parse);
    let resource = call.parameter("resource").filter(|resource| !resource.is_empty());
    if let Some(refusal) = resource.as_deref().and_then(refusal) {
        return refusal;
    }
    let endpoints = call.has("include_eds") || resource.as_deref().is_some_and(is_endpoints);
    let mut sections = sections::all(&*admin.state, endpoints);
    if let Some(names) = names {
        let keep = |name: &str| names.is_match(name);
        sections.iter_mut().for_each(|section| section.retain(keep));
    }
    if let Some(resource) = resource {
        let lists = sections.into_iter().flat_map(|section| section.parts);
        let list = lists.into_iter().find_map(|part| match part {
            Part::List(list) if list.name == resource => Some(list),
            _ => None,
        });
        return Answer::pieces(Answer::JSON, write::list(list, &mask));
    }
    let masked: Vec<_> = sections.into_iter().filter_map(|section| section.mask(&mask)).collect();
    if masked.is_empty() {
        let asked = asked.unwrap_or_default();
        let text = format!("FieldMask {asked} could not be successfully applied to any configs.\n");
        return Answer::error(StatusCode::BAD_REQUEST, text);
    }
    Answer::pieces(Answer::JSON, write::sections(masked))
}

fn is_endpoints(resource: &str) -> bool {
    resource.ends_with("_endpoint_configs")
}

/// Why a resource cannot be dumped, if it cannot.
fn refusal(resource: &str) -> Option<Answer> {
    if FIELDS.contains(&resource) {
        let text = format!(
            "{resource} is not a repeated field. Use ?mask={resource} to get only this field\n"
        );
        return Some(Answer::error(StatusCode::BAD_REQUEST, text));
    }
    let known = LISTS.contains(&resource);
    (!known).then(|| {
        let text = format!("{resource} not found in config dump\n");
        Answer::error(StatusCode::NOT_FOUND, text)
    })
}
