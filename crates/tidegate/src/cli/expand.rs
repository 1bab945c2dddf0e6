//! `tidegate expand`: what an annotation stands for, written out as Istio's own objects.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};
use tidegate_api::{Kind, Object, ObjectKey, Spec};
use tidegate_pilot::expand::{ANNOTATIONS, Claims, Front, GATEWAY_ANNOTATION, Wish, long_form};

use super::values::existing_path;
use crate::failure::{Failure, Outcome};
use crate::manifests::{self, Manifest};
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # What the annotations of ServiceEntries stand for
  tidegate expand -f ./manifests

  # The same objects in a cluster that knows nothing of the annotation
  tidegate expand -f ./manifests > expanded.yaml";

/// Flags of `tidegate expand`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExpandArgs {
    /// Manifests: files, or folders; the Service of the gateway among them says which workloads the gateway is, and all
    /// ServiceEntries that go through it, who has which of its ports
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., required = true)]
    #[arg(value_parser = existing_path)]
    files: Vec<PathBuf>,

    /// Domain of Kubernetes Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    domain: String,
}

/// Reads, writes out, prints.
///
/// # Errors
/// The manifests cannot be read, or an annotation cannot be followed.
pub fn run(args: &ExpandArgs) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let manifests = runtime.block_on(manifests::read(args.files.clone()))?;
    let mut documents = Vec::new();
    let mut failure: Option<Failure> = None;
    for manifest in &manifests {
        match expand(manifest, &manifests, &args.domain) {
            Ok(written) => documents.extend(written),
            Err(fault) => {
                failure = Some(match failure {
                    Some(others) => others.and(fault),
                    None => fault,
                });
            }
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if documents.is_empty() {
        let none = format!("no ServiceEntry has the annotation {GATEWAY_ANNOTATION}");
        return Err(Failure::new(none).or(format!(
            "kubectl annotate serviceentry NAME {GATEWAY_ANNOTATION}=istio-egressgateway.istio-system"
        )));
    }
    let documents: Vec<String> = documents.iter().map(tidegate_yaml::write).collect();
    terminal::print(documents.join("---\n"))
}

/// The ServiceEntry without its annotations, and the objects that these stand for; nothing for what has none.
fn expand(manifest: &Manifest, all: &[Manifest], domain: &str) -> Outcome<Vec<Value>> {
    let object = &*manifest.object;
    let Spec::ServiceEntry(entry) = &object.spec else { return Ok(Vec::new()) };
    let fault = |fault: &str| Failure::new(format!("{}: {}: {fault}", object.origin, object.key));
    let wish = match Wish::of(object, domain) {
        None => return Ok(Vec::new()),
        Some(wish) => wish.map_err(|why| fault(&why))?,
    };
    let front = all.iter().find_map(|other| front(&other.object, &wish.gateway));
    let ports = claims(all, &wish.gateway, domain).settle(front.as_ref()).remove(&object.key);
    let ports = ports.unwrap_or_default();
    let form = long_form(object, entry, &wish, front.as_ref(), &ports, domain);
    if let Some(faults) = form.faults.iter().map(|why| fault(why)).reduce(Failure::and) {
        return Err(faults);
    }
    Ok([plain(manifest.written.clone())].into_iter().chain(form.manifests).collect())
}

/// What all ServiceEntries want of the ports of a gateway.
fn claims(all: &[Manifest], gateway: &ObjectKey, domain: &str) -> Claims {
    let mut claims = Claims::default();
    for object in all.iter().map(|manifest| &*manifest.object) {
        let Spec::ServiceEntry(entry) = &object.spec else { continue };
        if let Some(Ok(wish)) = Wish::of(object, domain)
            && wish.gateway == *gateway
        {
            claims.enter(object, entry, &wish);
        }
    }
    claims
}

/// The Service, where an object is that.
fn front(object: &Object, key: &ObjectKey) -> Option<Front> {
    let Spec::Service(service) = &object.spec else { return None };
    let ports = service.spec.ports.iter().filter_map(|port| u16::try_from(port.port).ok());
    let selector = service.spec.selector.clone();
    (key.kind == Kind::Service && object.key == *key)
        .then(|| Front { selector, ports: ports.collect() })
}

/// A manifest without the annotations that are written out.
fn plain(mut manifest: Map<String, Value>) -> Value {
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            ANNOTATIONS.into_iter().for_each(|annotation| _ = annotations.remove(annotation));
        }
        if metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
            metadata.remove("annotations");
        }
    }
    Value::Object(manifest)
}
