//! `create`, `apply`, `replace` and `delete`. Every object is dealt with, whatever becomes of the others.

use http::{Method, StatusCode};
use serde_json::Value;
use tidegate_source::cluster::{Ask, escaped};

use super::Faults;
use super::manifest::{self, Manifest};
use super::resource::{Resource, named};
use super::server::{Refusal, Server, object};
use crate::cli::{ApplyArgs, CreateArgs, DeleteArgs, ManifestArgs, ReplaceArgs};
use crate::failure::{Failure, Outcome};
use crate::terminal;

const JSON: &str = "application/json";

/// The media type of server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// Under whose name fields are owned, and what becomes of those that no schema has: they are refused, as by kubectl.
const PARAMETERS: &str = "fieldManager=tidegate&fieldValidation=Strict";

/// An object of a manifest, and where it goes.
struct Target {
    manifest: Manifest,
    resource: Resource,
    namespace: String,
    name: String,
}

/// Creates objects.
///
/// # Errors
/// Some could not be created.
pub async fn create(args: CreateArgs) -> Outcome<()> {
    each(&args.manifests, async |server, target| {
        let path = format!("{}?{PARAMETERS}", target.resource.list(Some(&target.namespace)));
        let body = target.manifest.value.to_string().into_bytes();
        let answer = server.ask(Ask::new(Method::POST, &path).with(JSON, body)).await?;
        let created = object(answer).map_err(|refusal| {
            let failure = target.refused(&refusal);
            match refusal.code {
                409 => failure.or("tidegate apply or tidegate replace, to change what is there"),
                _ => failure,
            }
        })?;
        // The server may have made the name.
        let name = created["metadata"]["name"].as_str().unwrap_or(&target.name);
        said(&target.resource, name, "created")
    })
    .await
}

/// Replaces objects.
///
/// # Errors
/// Some could not be replaced.
pub async fn replace(args: ReplaceArgs) -> Outcome<()> {
    each(&args.manifests, async |server, target| {
        let path = target.path();
        let missing = |refusal: &Refusal| {
            let failure = target.refused(refusal);
            match refusal.code {
                404 => failure.or("tidegate create, or tidegate apply"),
                _ => failure,
            }
        };
        let mut value = target.manifest.value.clone();
        if target.manifest.metadata("resourceVersion").is_none() {
            // Whoever names no version means the present one.
            let present = server.get(&path).await?.map_err(|refusal| missing(&refusal))?;
            value["metadata"]["resourceVersion"] = present["metadata"]["resourceVersion"].clone();
        }
        let path = format!("{path}?{PARAMETERS}");
        let ask = Ask::new(Method::PUT, &path).with(JSON, value.to_string().into_bytes());
        object(server.ask(ask).await?).map_err(|refusal| missing(&refusal))?;
        said(&target.resource, &target.name, "replaced")
    })
    .await
}

/// Creates objects, and changes those that are there to what manifests say; fields of others stay.
///
/// # Errors
/// Some could not be applied.
pub async fn apply(args: ApplyArgs) -> Outcome<()> {
    let (manager, force) = (escaped(&args.field_manager), args.force_conflicts);
    each(&args.manifests, async |server, target| {
        let path = target.path();
        let version = |value: &Value| value["metadata"]["resourceVersion"].clone();
        let before = server.get(&path).await?.map(|object| version(&object)).unwrap_or_default();
        let path = format!("{path}?fieldManager={manager}&fieldValidation=Strict&force={force}");
        let body = target.manifest.value.to_string().into_bytes();
        let answer = server.ask(Ask::new(Method::PATCH, &path).with(APPLY, body)).await?;
        let created = answer.status == StatusCode::CREATED;
        let applied = object(answer).map_err(|refusal| {
            let failure = target.refused(&refusal);
            match refusal.code {
                409 => failure
                    .or("--force-conflicts, to take these fields over")
                    .or("leave these fields out of the manifest"),
                _ => failure,
            }
        })?;
        let word = match version(&applied) == before {
            _ if created => "created",
            true => "unchanged",
            false => "configured",
        };
        said(&target.resource, &target.name, word)
    })
    .await
}

/// Deletes objects.
///
/// # Errors
/// Some could not be deleted.
pub async fn delete(args: DeleteArgs) -> Outcome<()> {
    let mut faults = Faults::default();
    let server = Server::of(&args.server).await?;
    let mut found = Vec::new();
    for manifest in manifests(&args.files, &mut faults) {
        if let Some(target) = faults.take(Target::of(&server, manifest).await) {
            found.push((target.resource, target.namespace, target.name));
        }
    }
    if !args.what.is_empty() {
        for (resource, names) in named(&args.what)? {
            if names.is_empty() {
                return Err(Failure::new(format!("which {}?", resource.word()))
                    .or(format!("tidegate delete {} NAME", args.what[0])));
            }
            let namespace = server.namespace();
            found.extend(names.into_iter().map(|n| (resource.clone(), namespace.to_owned(), n)));
        }
    }
    for (resource, namespace, name) in found {
        let deleted = async {
            let path = resource.path(&namespace, &name);
            let answer = server.ask(Ask::new(Method::DELETE, &path)).await?;
            match object(answer) {
                Ok(_) => terminal::print(format_args!("{} {name:?} deleted\n", resource.word())),
                Err(refusal) if refusal.code == 404 && args.ignore_not_found => Ok(()),
                Err(refusal) => {
                    let failure = refusal.failure();
                    Err(match refusal.code {
                        404 => elsewhere(failure, &resource, &namespace),
                        _ => failure,
                    })
                }
            }
        };
        faults.take(deleted.await);
    }
    faults.outcome()
}

/// Something is not where it was looked for.
pub fn elsewhere(failure: Failure, resource: &Resource, namespace: &str) -> Failure {
    match resource.namespaced() {
        true => failure.or(format!("-n NAMESPACE, for another one than {namespace}")),
        false => failure,
    }
}

fn manifests(files: &[std::path::PathBuf], faults: &mut Faults) -> Vec<Manifest> {
    if files.is_empty() { Vec::new() } else { manifest::read(files, faults) }
}

/// Does something with every object of manifests.
async fn each(
    args: &ManifestArgs,
    act: impl AsyncFn(&Server, &Target) -> Outcome<()>,
) -> Outcome<()> {
    let mut faults = Faults::default();
    let manifests = manifest::read(&args.files, &mut faults);
    if manifests.is_empty() {
        return faults.outcome();
    }
    let server = Server::of(&args.server).await?;
    for manifest in manifests {
        let done = async {
            let target = Target::of(&server, manifest).await?;
            act(&server, &target).await
        };
        faults.take(done.await);
    }
    faults.outcome()
}

fn said(resource: &Resource, name: &str, what: &str) -> Outcome<()> {
    terminal::print(format_args!("{}/{name} {what}\n", resource.word()))
}

impl Target {
    async fn of(server: &Server, manifest: Manifest) -> Outcome<Self> {
        let (api_version, kind) = (manifest.text("apiVersion")?, manifest.text("kind")?);
        let resource = Resource::of_manifest(server, api_version, kind).await;
        let resource = resource.map_err(|failure| {
            let words = failure.to_string();
            manifest.wrong("kind", words.trim_start_matches("error: "))
        })?;
        let namespace = manifest.metadata("namespace").unwrap_or_else(|| server.namespace());
        let namespace = namespace.to_owned();
        let name = manifest.metadata("name").unwrap_or_default().to_owned();
        if name.is_empty() && manifest.metadata("generateName").is_none() {
            return Err(manifest.wrong("metadata", "metadata.name is missing"));
        }
        Ok(Self { manifest, resource, namespace, name })
    }

    fn path(&self) -> String {
        self.resource.path(&self.namespace, &self.name)
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let name = format!("{} {}/{}", self.resource.kind(), self.namespace, self.name);
        self.manifest.refused(&name, refusal)
    }
}
