//! Manifests, and what they are with a sidecar in them. What is compared, the format says: arguments, environment and hooks of the
//! proxy belong to Istio's image, and images and resources to its installation.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_inject::{Settings, inject, with_mesh_config};

use crate::cases::{self, Tally};

#[derive(Deserialize)]
struct Case {
    input: Vec<Value>,
    #[serde(default, rename = "installValues")]
    values: BTreeMap<String, String>,
    #[serde(default, rename = "installOverlay")]
    overlay: Value,
    #[serde(default, rename = "meshConfig")]
    mesh: Value,
    #[serde(default)]
    env: BTreeMap<String, String>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expect {
    #[serde(default)]
    workloads: Vec<Value>,
    #[serde(default)]
    error: bool,
    #[serde(default)]
    error_contains_ignore_case: String,
}

/// Runs every case of a folder.
pub fn run(folder: &Path) -> Result<Tally> {
    cases::run(folder, judge)
}

/// In what the manifest is not as expected.
fn judge(case: &Case) -> Result<Option<String>> {
    let settings = match settings(case) {
        Ok(settings) => settings,
        Err(why) => return Ok(Some(why)),
    };
    let source: Vec<String> = case.input.iter().map(tidegate_yaml::write).collect();
    let text = match inject(&source.join("---\n"), &settings) {
        Ok(_) if case.expect.error => {
            return Ok(Some("it is taken, and should be refused".to_owned()));
        }
        Ok(injected) => injected.text,
        Err(error) if case.expect.error => {
            let hint = &case.expect.error_contains_ignore_case;
            let told = error.to_string();
            let is_told = told.to_lowercase().contains(&hint.to_lowercase());
            return Ok(
                (!is_told).then(|| format!("the error tells nothing of {hint}, but: {told}"))
            );
        }
        Err(error) => return Ok(Some(format!("refused: {error}"))),
    };
    let mut made = Vec::new();
    for document in tidegate_yaml::parse(&text) {
        match document {
            Ok(document) => made.push(document.to_json()),
            Err(fault) => bail!("what is written is no YAML: {fault}"),
        }
    }
    let (made, input) = (items(made), items(case.input.clone()));
    let expected = &case.expect.workloads;
    if (made.len(), input.len()) != (expected.len(), expected.len()) {
        return Ok(Some(format!("{} objects, not {}", made.len(), expected.len())));
    }
    let objects = expected.iter().zip(made.iter().zip(&input));
    let mut differences = objects.filter_map(|(expected, (made, input))| {
        differs(expected, made, input).map(|why| format!("{}: {why}", expected["name"]))
    });
    Ok(differences.next())
}

/// What an installation's values are among our settings.
fn settings(case: &Case) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (name, value) in &case.values {
        let number = || value.parse::<u32>().map_err(|_| format!("{name} is no number: {value}"));
        match name.as_str() {
            "values.global.imagePullPolicy" => settings.pull_policy = Some(value.clone()),
            "values.global.proxy_init.image" => settings.init_image = Some(value.clone()),
            "values.global.proxy.statusPort" => {
                settings.status_port = value.parse().map_err(|_| format!("{name} is no port"))?;
            }
            "values.global.proxy.readinessInitialDelaySeconds" => {
                settings.readiness.initial_delay = number()?;
            }
            "values.global.proxy.readinessPeriodSeconds" => settings.readiness.period = number()?,
            "values.global.proxy.readinessFailureThreshold" => {
                settings.readiness.failure_threshold = number()?;
            }
            other => return Err(format!("{other} is no setting of ours")),
        }
    }
    for (name, value) in &case.env {
        match name.as_str() {
            "ENABLE_NATIVE_SIDECARS" => settings.native = value != "false",
            other => return Err(format!("{other} is no setting of ours")),
        }
    }
    for overlay in case.overlay.as_array().into_iter().flatten() {
        let values = overlay.pointer("/spec/values").and_then(Value::as_object);
        let is_resources = values.is_some_and(|values| {
            values.len() == 1 && overlay.pointer("/spec/values/global/proxy/resources").is_some()
        });
        if !is_resources {
            return Err("the installation has templates of its own".to_owned());
        }
    }
    if !case.mesh.is_null() {
        with_mesh_config(&case.mesh, &mut settings)?;
    }
    Ok(settings)
}

/// Documents, and the items of lists in place of the lists.
fn items(documents: Vec<Value>) -> Vec<Value> {
    let items = documents.into_iter().flat_map(|document| match document["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![document],
    });
    items.collect()
}

/// The first thing in which an object is not as expected.
fn differs(expected: &Value, made: &Value, input: &Value) -> Option<String> {
    if expected["unchanged"] == true {
        return unequal("it", input, made);
    }
    let pod = match made["kind"].as_str() {
        Some("Pod") => made,
        Some("CronJob") => &made["spec"]["jobTemplate"]["spec"]["template"],
        _ => &made["spec"]["template"],
    };
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let or_none = |value: &Value| if value.is_null() { json!({}) } else { value.clone() };
    unequal("kind", &expected["kind"], &made["kind"])
        .or_else(|| unequal("name", &expected["name"], &made["metadata"]["name"]))
        .or_else(|| unequal("labels", &or_none(&expected["labels"]), &or_none(&metadata["labels"])))
        .or_else(|| {
            unequal(
                "annotations",
                &annotations(&expected["annotations"]),
                &annotations(&metadata["annotations"]),
            )
        })
        .or_else(|| {
            unequal(
                "status",
                &expected["statusAnnotation"],
                &json_of(&metadata["annotations"][STATUS]),
            )
        })
        .or_else(|| containers(&expected["initContainers"], &spec["initContainers"]))
        .or_else(|| containers(&expected["containers"], &spec["containers"]))
        .or_else(|| unequal("volumes", &listed(&expected["volumes"]), &names(&spec["volumes"])))
        .or_else(|| {
            unequal(
                "securityContext",
                &or_none(&expected["securityContext"]),
                &or_none(&spec["securityContext"]),
            )
        })
}

const STATUS: &str = "sidecar.istio.io/status";

/// The annotations that count. What a user said about containers is JSON in a text.
fn annotations(all: &Value) -> Value {
    const PREFIXES: [&str; 3] = ["sidecar.istio.io", "traffic.sidecar.istio.io", "proxy.istio.io"];
    let counts =
        |name: &str| name != STATUS && PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let all = all.as_object().into_iter().flatten().filter(|(name, _)| counts(name));
    let read = |name: &str, value: &Value| match name {
        "proxy.istio.io/overrides" => json_of(value),
        _ => value.clone(),
    };
    all.map(|(name, value)| (name.clone(), read(name, value))).collect::<Map<_, _>>().into()
}

fn json_of(text: &Value) -> Value {
    text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn containers(expected: &Value, made: &Value) -> Option<String> {
    let pairs =
        || expected.as_array().into_iter().flatten().zip(made.as_array().into_iter().flatten());
    unequal("containers", &names(expected), &names(made)).or_else(|| {
        pairs().find_map(|(expected, made)| {
            container(expected, made).map(|why| format!("{}: {why}", expected["name"]))
        })
    })
}

fn container(expected: &Value, made: &Value) -> Option<String> {
    let is_proxy = expected["name"] == "istio-proxy";
    let hooks: &[&str] = if is_proxy { &[] } else { &["lifecycle"] };
    let fields = ["readinessProbe", "livenessProbe", "startupProbe", "restartPolicy"];
    let mut fields = fields.iter().chain(hooks);
    let security = || {
        let fields = ["runAsUser", "runAsGroup", "runAsNonRoot", "capabilities"];
        fields.iter().find_map(|field| {
            unequal(field, &expected["securityContext"][field], &made["securityContext"][field])
        })
    };
    let arguments = || {
        let wanted = expected.get("iptablesArgs")?;
        unequal("arguments", wanted, &flags(&made["args"]))
    };
    fields
        .find_map(|field| unequal(field, &expected[field], &made[field]))
        .or_else(security)
        .or_else(arguments)
}

/// Arguments by flag, behind the name of the command.
fn flags(args: &Value) -> Value {
    let mut words = args.as_array().into_iter().flatten().filter_map(Value::as_str).skip(1);
    let mut flags = Map::new();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, value.into()),
            None if word.starts_with("--") => (word, true.into()),
            None => (word, words.next().unwrap_or_default().into()),
        };
        flags.insert(flag.to_owned(), value);
    }
    flags.into()
}

fn names(list: &Value) -> Value {
    list.as_array().into_iter().flatten().map(|item| item["name"].clone()).collect()
}

fn listed(list: &Value) -> Value {
    list.as_array().into_iter().flatten().cloned().collect()
}

fn unequal(what: &str, wanted: &Value, made: &Value) -> Option<String> {
    (wanted != made).then(|| format!("{what} is {made}, not {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(change: impl FnOnce(&mut Value)) -> Case {
        let mut case = json!({
            "name": "n",
            "input": [{
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" },
                "spec": { "containers": [{ "name": "a", "readinessProbe": { "tcpSocket": { "port": 80 } } }] },
            }],
            "meshConfig": { "defaultConfig": { "interceptionMode": "NONE" } },
            "env": { "ENABLE_NATIVE_SIDECARS": "false" },
            "expect": { "workloads": [{
                "kind": "Pod", "name": "a",
                "labels": {
                    "security.istio.io/tlsMode": "istio",
                    "service.istio.io/canonical-name": "a",
                    "service.istio.io/canonical-revision": "latest",
                },
                "annotations": { "prometheus.io/port": "not compared" },
                "statusAnnotation": {
                    "initContainers": null, "containers": ["istio-proxy"], "imagePullSecrets": null, "revision": "default",
                    "volumes": [],
                },
                "containers": [
                    { "name": "a", "readinessProbe": { "httpGet": { "path": "/app-health/a/readyz", "port": 15020 } } },
                    {
                        "name": "istio-proxy",
                        "securityContext": {
                            "runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] },
                        },
                        "readinessProbe": {
                            "failureThreshold": 4, "periodSeconds": 15, "timeoutSeconds": 3,
                            "httpGet": { "path": "/healthz/ready", "port": 15021 },
                        },
                        "startupProbe": {
                            "failureThreshold": 600, "periodSeconds": 1, "timeoutSeconds": 3,
                            "httpGet": { "path": "/healthz/ready", "port": 15021 },
                        },
                    },
                ],
            }] },
        });
        let volumes = [
            "workload-socket",
            "credential-socket",
            "workload-certs",
            "istio-envoy",
            "istio-data",
            "istio-podinfo",
            "istio-token",
            "istiod-ca-cert",
            "istio-ca-crl",
        ];
        let workload = &mut case["expect"]["workloads"][0];
        workload["volumes"] = json!(volumes);
        workload["statusAnnotation"]["volumes"] = json!(volumes);
        change(&mut case);
        serde_json::from_value(case).expect("a case")
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Option<String> {
        judge(&case(change)).expect("a verdict")
    }

    #[test]
    fn a_broken_expectation_fails() {
        assert_eq!(judged(|_| {}), None);
        let broken = [
            ("/labels/service.istio.io~1canonical-name", json!("b")),
            ("/statusAnnotation/containers", json!(null)),
            ("/containers/0/readinessProbe/httpGet/port", json!(80)),
            ("/containers/1/securityContext/runAsUser", json!(0)),
            ("/containers/1/securityContext/capabilities", json!({})),
            ("/containers/1/name", json!("b")),
            ("/volumes/0", json!("b")),
            ("/name", json!("b")),
            ("/kind", json!("Job")),
        ];
        for (place, value) in broken {
            let place = format!("/expect/workloads/0{place}");
            let why = judged(|case| *case.pointer_mut(&place).expect("a field") = value);
            assert!(why.is_some(), "{place}");
        }
        let more =
            |name: &str, value: Value| judged(|case| case["expect"]["workloads"][0][name] = value);
        assert!(more("unchanged", true.into()).is_some());
        assert!(more("initContainers", json!([{ "name": "istio-init" }])).is_some());
        assert!(more("annotations", json!({ "proxy.istio.io/a": "b" })).is_some());
        assert!(judged(|case| case["expect"] = json!({ "error": true })).is_some());
        assert!(judged(|case| case["expect"]["workloads"] = json!([])).is_some());
        assert!(judged(|case| case["installValues"] = json!({ "values.other": "1" })).is_some());
    }

    #[test]
    fn arguments_are_compared_by_flag() {
        let init = json!({ "name": "istio-init", "args": ["istio-iptables", "-p", "15001", "-x", "", "--a=b", "--c"] });
        let wanted = json!({ "name": "istio-init", "iptablesArgs": { "-p": "15001", "-x": "", "--a": "b", "--c": true } });
        assert_eq!(container(&wanted, &init), None);
        let mut broken = wanted;
        broken["iptablesArgs"]["-x"] = "10.0.0.0/8".into();
        assert!(container(&broken, &init).is_some());
    }
}
