//! `tidegate analyze`: what there is to say against objects, compiled here as running proxies compile them.
//!
//! The gateway is asked first; of what it leaves to others, the sidecar of a workload in the object's namespace.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_explain::{Finding, Said, Told, World};
use tidegate_pilot::{Input, Options};

use crate::cli::{AnalyzeArgs, AnalyzeOutput};
use crate::explain::live::{self, Live};
use crate::explain::proxies;
use crate::failure::{Failure, Outcome};
use crate::up::gateway::NAMESPACE;
use crate::{manifests, mesh, terminal};

/// The exit status where something was found, as istioctl's.
const FOUND: u8 = 79;

/// Analyzes and prints; the status says whether anything was found.
///
/// # Errors
/// The objects cannot be had.
pub fn run(args: &AnalyzeArgs) -> Outcome<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let (found, faults) = runtime.block_on(objects(args))?;
    let mut findings = judge(args, &found)?;
    // The worst first; among equals, by object.
    findings.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| name(a).cmp(&name(b))));
    let shown: Vec<&Finding> =
        findings.iter().filter(|finding| args.output_threshold.is_met_by(finding.level)).collect();
    terminal::print(match args.output {
        AnalyzeOutput::Log => shown.iter().map(|finding| line(finding)).collect(),
        AnalyzeOutput::Json => format!("{:#}\n", list(&shown)),
        AnalyzeOutput::Yaml => tidegate_yaml::write(&list(&shown)),
    })?;
    if shown.is_empty() && faults == 0 {
        terminal::say(format!("✔ No validation issues found when analyzing {}.", subject(args)));
    }
    let bad = findings.iter().any(|finding| args.failure_threshold.is_met_by(finding.level));
    Ok(if bad || faults > 0 { FOUND.into() } else { ExitCode::SUCCESS })
}

/// What is analyzed, and how many faults of manifests were told.
async fn objects(args: &AnalyzeArgs) -> Outcome<(Live, usize)> {
    let mut found = match args.live() {
        true => live::ask(&args.access).await?,
        false => Live::default(),
    };
    let paths = args.manifests();
    if paths.is_empty() {
        return Ok((found, 0));
    }
    let given = manifests::look(paths).await?;
    let keys: BTreeSet<ObjectKey> =
        given.manifests.iter().map(|manifest| manifest.object.key.clone()).collect();
    found.objects.retain(|object| !keys.contains(&object.key));
    found.later.retain(|later| !concerns(later, &keys));
    // What is written down is about other objects beside them.
    found.conditions.clear();
    found.objects.extend(given.manifests.into_iter().map(|manifest| manifest.object));
    Ok((found, given.faults))
}

fn concerns(later: &Input, keys: &BTreeSet<ObjectKey>) -> bool {
    match later {
        Input::Apply(object) => keys.contains(&object.key),
        Input::Invalid { key, .. } => keys.contains(key),
        _ => false,
    }
}

fn judge(args: &AnalyzeArgs, found: &Live) -> Outcome<Vec<Finding>> {
    let judges = Judges::new(args, found)?;
    let mut findings = Vec::new();
    for key in keys(found) {
        let judged = args.scope().is_none_or(|namespace| *key.namespace == *namespace);
        if judged && !found.shown.contains(&key) {
            findings.extend(judges.findings(&key)?);
        }
    }
    Ok(findings)
}

/// The proxies that say what they make of objects.
struct Judges<'a> {
    found: &'a Live,
    mesh: Option<mesh::Config>,
    gateway: World,
    sidecars: RefCell<BTreeMap<Arc<str>, World>>,
}

impl<'a> Judges<'a> {
    fn new(args: &AnalyzeArgs, found: &'a Live) -> Outcome<Self> {
        let given = args.mesh_config.as_deref().map(mesh::read).transpose()?;
        let mesh = given.or_else(|| found.mesh.clone());
        let any = Options {
            workload_certificates: args.workload_certs.as_deref().map(mesh::folder),
            ..proxies::any(NAMESPACE)
        };
        let gateway = proxies::gateway(any, args.gateway_labels.as_ref(), &found.objects);
        let gateway = compile(found, mesh.as_ref(), gateway)?;
        Ok(Self { found, mesh, gateway, sidecars: RefCell::default() })
    }

    fn findings(&self, key: &ObjectKey) -> Outcome<Vec<Finding>> {
        let in_mesh = match key.kind {
            Kind::VirtualService => self.asked_sidecar(key, |sidecar| sidecar.said_in_mesh(key))?,
            _ => None,
        };
        let remark = match (self.said_by_gateway(key), in_mesh) {
            (Said::Here(mut findings), in_mesh) => {
                // Both find what is not there; which of them wins a host differs.
                let known: BTreeSet<String> =
                    findings.iter().map(|finding| finding.reason.clone()).collect();
                let more = in_mesh.into_iter().flatten();
                findings.extend(more.filter(|finding| !known.contains(&finding.reason)));
                return Ok(findings);
            }
            (Said::Elsewhere(_), Some(findings)) => return Ok(findings),
            (Said::Elsewhere(remark), None) => remark,
        };
        Ok(match self.asked_sidecar(key, |sidecar| sidecar.said_of(key))? {
            Said::Here(findings) => findings,
            Said::Elsewhere(_) if remark.reason == "NoMatch" => vec![remark],
            // Which workloads and gateways there are besides is not known.
            Said::Elsewhere(_) => Vec::new(),
        })
    }

    /// What the running gateway has written down counts: it knows which ports it has, and which certificates.
    fn said_by_gateway(&self, key: &ObjectKey) -> Said {
        let conditions = self.found.conditions.get(key);
        match conditions.and_then(|conditions| written(&self.gateway, key, conditions)) {
            Some(findings) => Said::Here(findings),
            None => self.gateway.said_of(key),
        }
    }

    /// What a sidecar in the namespace of an object says.
    fn asked_sidecar<T>(&self, key: &ObjectKey, say: impl FnOnce(&World) -> T) -> Outcome<T> {
        let mut sidecars = self.sidecars.borrow_mut();
        let sidecar = match sidecars.entry(Arc::clone(&key.namespace)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let any = proxies::any(&key.namespace);
                let objects = &self.found.objects;
                let sidecar = proxies::sidecar(any, BTreeMap::new(), None, objects);
                place.insert(compile(self.found, self.mesh.as_ref(), sidecar)?)
            }
        };
        Ok(say(sidecar))
    }
}

fn compile(found: &Live, mesh: Option<&mesh::Config>, mut options: Options) -> Outcome<World> {
    mesh::apply(mesh, &mut options)?;
    Ok(World::of_process(options, found.objects.clone(), found.later.clone()))
}

/// What conditions that a gateway has written say against an object; `None` where they say that it is for other proxies.
fn written(gateway: &World, key: &ObjectKey, conditions: &[Value]) -> Option<Vec<Finding>> {
    fn told(condition: &Value) -> Told<'_> {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let holds = match text("status") {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Told { kind: text("type"), holds, reason: text("reason"), message: text("message") }
    }
    gateway.findings(key, &conditions.iter().map(told).collect::<Vec<_>>())
}

/// Every object that there is in some form.
fn keys(found: &Live) -> BTreeSet<ObjectKey> {
    let unreadable = found.later.iter().filter_map(|later| match later {
        Input::Invalid { key, .. } => Some(key),
        _ => None,
    });
    found.objects.iter().map(|object| &object.key).chain(unreadable).cloned().collect()
}

/// What was analyzed, in words.
fn subject(args: &AnalyzeArgs) -> String {
    let paths = args.manifests();
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    match (args.scope(), paths.as_slice()) {
        (None, []) => "all namespaces".to_owned(),
        (Some(namespace), []) => format!("namespace: {namespace}"),
        (_, paths) => paths.join(", "),
    }
}

/// `VirtualService default/web`.
fn name(finding: &Finding) -> String {
    let object = &finding.object;
    match object.namespace.as_str() {
        "" => format!("{} {}", object.kind, object.name),
        namespace => format!("{} {namespace}/{}", object.kind, object.name),
    }
}

/// `web.yaml:12`, where it comes from a file.
fn place(finding: &Finding) -> Option<String> {
    let file = finding.object.file.as_ref()?;
    Some(finding.object.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")))
}

fn line(finding: &Finding) -> String {
    let place = place(finding).map(|place| format!(" {place}")).unwrap_or_default();
    let Finding { level, reason, message, .. } = finding;
    format!("{level:?} [{reason}] ({}{place}) {message}\n", name(finding))
}

fn list(findings: &[&Finding]) -> Value {
    let one = |finding: &&Finding| {
        json!({
            "level": finding.level,
            "code": finding.reason,
            "origin": name(finding),
            "reference": place(finding),
            "message": finding.message,
        })
    };
    findings.iter().map(one).collect()
}
