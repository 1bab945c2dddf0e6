//! `tidegate explain`: one decision, from manifests or from the running process.
//!
//! Either way the objects are compiled here, by the code that a running gateway compiles them with; a running
//! process is only asked for its objects.

mod live;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_api::{Object, ObjectKey, Spec};
use tidegate_explain::{Question, World, render};
use tidegate_pilot::{GatewayService, Options};
use tidegate_source::{FileChange, Files};
use tidegate_yaml::Severity;

use crate::cli::{ExplainArgs, ExplainOutput};
use crate::data_plane;
use crate::failure::{Failure, Outcome};
use crate::{mesh, terminal};

/// Explains and prints.
///
/// # Errors
/// The objects cannot be had.
pub fn run(args: &ExplainArgs) -> Outcome<()> {
    let mut question = args.question()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let objects = if args.files.is_empty() {
        runtime.block_on(live::objects(args.kubeconfig.as_deref()))?
    } else {
        runtime.block_on(manifests(args.files.clone()))?
    };
    let mut options = options(args, &objects);
    mesh::apply(args.mesh_config.as_deref(), &mut options)?;
    let note = through_service(&mut question, &options);
    let world = World::new(options, objects);
    let mut answer = world.explain(&question);
    answer.notes.extend(note);
    terminal::print(match args.output {
        ExplainOutput::Text => render(&question, &answer, std::io::stdout().is_terminal()),
        ExplainOutput::Json => {
            let answer = serde_json::to_value(&answer);
            let answer = answer.map_err(|error| Failure::new(format!("the answer: {error}")))?;
            format!("{answer:#}\n")
        }
    })
}

/// The gateway that the flags name, behind the Service that shows it.
fn options(args: &ExplainArgs, objects: &[Arc<Object>]) -> Options {
    let mut options = Options {
        labels: args.labels.of_gateway(),
        namespace: args.namespace.clone(),
        system_roots: data_plane::system_roots(),
        workload_certificates: args.workload_certs.as_deref().map(mesh::folder),
        ..Options::default()
    };
    let (namespace, name) = (args.namespace.as_str(), args.labels.gateway_name());
    let front = objects.iter().find(|o| (o.namespace(), o.name()) == (namespace, &name));
    if let Some(Spec::Service(service)) = front.map(|o| &o.spec) {
        let port = |port: &tidegate_api::kube::service::ServicePort| {
            let number = u16::try_from(port.port).ok()?;
            let target = match &port.target_port {
                Some(tidegate_api::scalar::IntOrString::Int(target)) => {
                    u16::try_from(*target).ok()?
                }
                _ => number,
            };
            Some((number, target))
        };
        let ports: BTreeMap<u16, u16> = service.spec.ports.iter().filter_map(port).collect();
        let host = format!("{name}.{namespace}.svc.{}", options.domain);
        options.services = vec![GatewayService { host, namespace: namespace.to_owned(), ports }];
    }
    options
}

/// Clients connect to the Service; what is listened on is its target port.
fn through_service(question: &mut Question, options: &Options) -> Option<String> {
    let target = options.services.iter().find_map(|s| s.ports.get(&question.port).copied())?;
    let port = std::mem::replace(&mut question.port, target);
    (port != target).then(|| format!("port {port} of the gateway's Service is bound at {target}"))
}

/// The objects in files.
async fn manifests(paths: Vec<PathBuf>) -> Outcome<Vec<Arc<Object>>> {
    let mut files = Files::new(paths, Timestamp::UNIX_EPOCH)
        .map_err(|error| Failure::new(format!("manifests cannot be read: {error}")))?;
    let batch = files.next().await;
    let color = std::io::stderr().is_terminal();
    for finding in &batch.findings {
        terminal::say(finding.render(color).trim_end());
    }
    let faults = batch.findings.iter().filter(|f| f.diagnostic.severity == Severity::Error);
    if faults.count() > 0 {
        // An answer without what is wrong would be one about other manifests.
        return Err(Failure::new(
            "the manifests are wrong where it is told above: nothing is explained",
        ));
    }
    let mut objects: BTreeMap<ObjectKey, Arc<Object>> = BTreeMap::new();
    for change in batch.changes {
        match change {
            FileChange::Put { object, .. } => {
                objects.insert(object.key.clone(), object);
            }
            FileChange::Remove { key, .. } | FileChange::Invalid { key, .. } => {
                objects.remove(&key);
            }
        }
    }
    Ok(objects.into_values().collect())
}
