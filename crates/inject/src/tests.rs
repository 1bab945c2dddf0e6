use serde_json::{Value, json};

use super::*;

const SLEEP: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: sleep, namespace: x}
spec:
  template:
    metadata:
      annotations: ANNOTATIONS
    spec:
      containers: [{name: sleep, image: curl}]
";

fn injected(source: &str) -> Result<(Vec<Value>, Vec<String>), String> {
    injected_with(source, &Settings::default())
}

fn injected_with(source: &str, settings: &Settings) -> Result<(Vec<Value>, Vec<String>), String> {
    let Injected { text, notes } = inject(source, settings).map_err(|error| error.to_string())?;
    let read = |document: Result<Document, Diagnostic>| document.expect("YAML").to_json();
    Ok((tidegate_yaml::parse(&text).into_iter().map(read).collect(), notes))
}

/// A Deployment with an annotation, injected: its pod template.
fn annotated(annotation: &str) -> Result<Value, String> {
    let (mut documents, _) = injected(&SLEEP.replace("ANNOTATIONS", annotation))?;
    Ok(documents.remove(0)["spec"]["template"].take())
}

fn container<'a>(template: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainers", "containers"].map(|list| template["spec"][list].as_array());
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

fn args(template: &Value) -> String {
    let args = container(template, "istio-init")["args"].as_array();
    args.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_no_workload_stays_byte_for_byte() {
    let others = "# of us\nkind:   Service\napiVersion: v1\nmetadata: {name: 'a'}   # one\n---\n\n---\nkind: Gateway\n";
    let Injected { text, notes } = inject(others, &Settings::default()).expect("documents");
    assert_eq!((text.as_str(), notes.len()), (others, 0));
    let service = "kind:   Service\napiVersion: v1\nmetadata: {name: 'a'}   # one\n";
    let both = format!("{service}---\n{}", SLEEP.replace("ANNOTATIONS", ""));
    let Injected { text, .. } = inject(&both, &Settings::default()).expect("documents");
    assert!(text.starts_with(&format!("{service}---\n")), "{text}");
    assert!(text.contains("istio-proxy"), "{text}");
    // Other groups' kinds of the same name are others' kinds.
    let foreign = SLEEP.replace("ANNOTATIONS", "").replace("apps/v1", "example.com/v1");
    assert_eq!(inject(&foreign, &Settings::default()).expect("documents").text, foreign);
}

#[test]
fn what_is_injected_is_not_injected_again() {
    let once = inject(&SLEEP.replace("ANNOTATIONS", ""), &Settings::default()).expect("one");
    let again = inject(&once.text, &Settings::default()).expect("one");
    assert_eq!(again.text, once.text);
    assert!(
        again.notes[0].starts_with("Deployment x/sleep: no sidecar: it has one"),
        "{:?}",
        again.notes
    );
}

#[test]
fn ranges_land_unchanged_in_the_init_container() {
    let mut settings = Settings::default();
    settings.capture.outbound = "10.0.0.1/24,172.20.0.0/16".parse().expect("ranges");
    let (documents, _) = injected_with(&SLEEP.replace("ANNOTATIONS", ""), &settings).expect("one");
    let of_flag = args(&documents[0]["spec"]["template"]);
    assert!(of_flag.contains(" -i 10.0.0.1/24,172.20.0.0/16 "), "{of_flag}");
    let own = annotated("{traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.1/24}");
    let own = args(&own.expect("one"));
    assert!(own.contains(" -i 10.0.0.1/24 "), "{own}");
}

#[test]
fn wrong_annotations_name_object_annotation_reason_and_remedy() {
    for (annotation, told) in [
        ("traffic.sidecar.istio.io/includeInboundPorts: http", "a number from 1 to 65535"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts: '1,2,x'", "--excludeOutboundPorts"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.0/33", "--includeIPRanges"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges: '*'", "--excludeIPRanges"),
        ("traffic.sidecar.istio.io/excludeInterfaces: 'a b'", "one word"),
        ("sidecar.istio.io/interceptionMode: tproxy", "REDIRECT or TPROXY, or NONE"),
        ("status.sidecar.istio.io/port: '70000'", "from 0 to 65535"),
        ("sidecar.istio.io/proxyCPU: much", "such as 100m"),
        ("sidecar.istio.io/nativeSidecar: maybe", "true or false"),
        ("sidecar.istio.io/proxyImage: proxyv2", "registry"),
        ("sidecar.istio.io/userVolume: '[]'", "write JSON"),
        ("inject.istio.io/templates: 'sidecar,gateway'", "not both"),
        ("proxy.istio.io/config: 'interceptionMode: [1]'", "REDIRECT, TPROXY or NONE"),
        ("proxy.istio.io/config: 'a: [b'", "proxy.istio.io/config"),
        ("prometheus.istio.io/scrape-targets: '15020:/x'", "one of the workload's"),
        ("prometheus.io/port: 80", "in quotes"),
    ] {
        let refused = annotated(&format!("{{{annotation}}}")).expect_err(annotation);
        let name = annotation.split(':').next().expect("a name");
        assert!(
            refused.starts_with(&format!("Deployment x/sleep: annotation {name}")),
            "{refused}"
        );
        assert!(refused.contains(told), "{refused}");
    }
    let strange =
        injected("kind: Pod\napiVersion: v1\nspec: {containers: {}}").expect_err("no list");
    assert!(strange.contains("spec.containers: a list of mappings"), "{strange}");
    assert!(injected("kind: Pod\napiVersion: v1\nspec: []").is_err());
    assert!(injected("a: [b\n").is_err());
}

#[test]
fn who_is_left_out_and_what_has_no_effect_is_told() {
    for (change, why) in [
        (("ANNOTATIONS", "{sidecar.istio.io/inject: 'false'}"), "annotation"),
        (("namespace: x", "namespace: kube-system"), "namespace of the cluster"),
        (("containers:", "hostNetwork: true\n      containers:"), "network of its node"),
        (("    spec:", "      labels: {sidecar.istio.io/inject: 'false'}\n    spec:"), "label"),
    ] {
        let source = SLEEP.replace(change.0, change.1).replace("ANNOTATIONS", "{}");
        let Injected { text, notes } = inject(&source, &Settings::default()).expect("one");
        assert_eq!(text, source);
        assert!(notes[0].contains(why), "{notes:?}");
    }
    let (_, notes) =
        injected(&SLEEP.replace("ANNOTATIONS", "{sidecar.istio.io/inject: 'yes'}")).expect("one");
    assert!(notes[0].contains("neither true nor false"), "{notes:?}");
    let (_, notes) =
        injected(&SLEEP.replace("ANNOTATIONS", "{sidecar.istio.io/enableCoreDump: 'true'}"))
            .expect("one");
    assert!(notes[0].contains("enableCoreDump has no effect"), "{notes:?}");
}

#[test]
fn the_proxy_itself_is_never_captured() {
    let with = |annotations: &str, proxy: &str| {
        let source = SLEEP
            .replace("ANNOTATIONS", annotations)
            .replace("[{name: sleep", &format!("[{proxy}, {{name: sleep"));
        let (mut documents, _) = injected(&source).expect("one");
        documents.remove(0)["spec"]["template"].take()
    };
    let other = with("{}", "{name: istio-proxy, image: auto, securityContext: {runAsUser: 5}}");
    assert!(args(&other).contains("-u 5 "), "{}", args(&other));
    // As root it is told by its group.
    let root = with(
        "{sidecar.istio.io/interceptionMode: TPROXY}",
        "{name: istio-proxy, image: auto, securityContext: {runAsUser: 5, runAsGroup: 6}}",
    );
    assert!(
        args(&root).contains("-u 1337 -m TPROXY") && args(&root).contains("-g 6"),
        "{}",
        args(&root)
    );
    assert_eq!(container(&root, "istio-proxy")["securityContext"]["runAsUser"], 0);
    let strange = with(
        "{sidecar.istio.io/interceptionMode: TPROXY}",
        "{name: istio-proxy, securityContext: a}",
    );
    assert_eq!(container(&strange, "istio-proxy")["securityContext"], "a");
}

#[test]
fn probes_that_do_not_come_in_are_left_alone() {
    let source = SLEEP.replace("ANNOTATIONS", "{}").replace(
        "image: curl",
        "image: curl, livenessProbe: {httpGet: {port: 80, host: other.example}}, readinessProbe: {httpGet: {port: unknown}}, \
         startupProbe: {grpc: {port: 9000}, timeoutSeconds: 2}, lifecycle: {preStop: {httpGet: {path: /bye, port: 81}}}",
    );
    let (documents, _) = injected(&source).expect("one");
    let template = &documents[0]["spec"]["template"];
    let sleep = container(template, "sleep");
    assert_eq!(
        sleep["livenessProbe"],
        json!({ "httpGet": { "port": 80, "host": "other.example" } })
    );
    assert_eq!(sleep["readinessProbe"], json!({ "httpGet": { "port": "unknown" } }));
    assert_eq!(sleep["startupProbe"]["httpGet"]["path"], "/app-health/sleep/startupz");
    assert_eq!(sleep["lifecycle"]["preStop"]["httpGet"]["path"], "/app-lifecycle/sleep/prestopz");
    let variables = container(template, "istio-proxy")["env"].as_array().expect("variables");
    let probers =
        variables.iter().find(|one| one["name"] == "ISTIO_KUBE_APP_PROBERS").expect("probers");
    let probers: Value =
        serde_json::from_str(probers["value"].as_str().expect("text")).expect("JSON");
    let wanted = json!({
        "/app-health/sleep/startupz": { "grpc": { "port": 9000 }, "timeoutSeconds": 2 },
        "/app-lifecycle/sleep/prestopz": { "httpGet": { "path": "/bye", "port": 81 } },
    });
    assert_eq!(probers, wanted);
}

#[test]
fn our_own_image_asks_for_probes_and_metrics_of_the_workload() {
    let probe = json!({ "httpGet": { "path": "/live", "port": 80 } });
    let source = |annotations: &str| {
        let probed = format!("image: curl, livenessProbe: {probe}");
        SLEEP.replace("ANNOTATIONS", annotations).replace("image: curl", &probed)
    };
    let of = |annotations: &str| {
        let (mut documents, _) =
            injected_with(&source(annotations), &Settings::own()).expect("one");
        documents.remove(0)["spec"]["template"].take()
    };
    let own = of("{prometheus.io/port: '9000'}");
    let image = container(&own, "istio-proxy")["image"].as_str().expect("an image");
    assert!(image.starts_with("tidegate-sidecar:"), "{image}");
    assert_eq!(container(&own, "istio-init")["image"], image);
    let led = &container(&own, "sleep")["livenessProbe"]["httpGet"]["path"];
    assert_eq!(led, "/app-health/sleep/livez");
    assert_eq!(own["metadata"]["annotations"]["prometheus.io/port"], "15020");
    // Who asks that they be left alone by name has it so.
    let left = of(
        "{sidecar.istio.io/rewriteAppHTTPProbers: 'false', prometheus.istio.io/merge-metrics: 'false', prometheus.io/port: '9000'}",
    );
    assert_eq!(container(&left, "sleep")["livenessProbe"], probe);
    assert_eq!(left["metadata"]["annotations"]["prometheus.io/port"], "9000");
}

#[test]
fn pods_of_a_cron_job_are_heard() {
    let job = "kind: CronJob\napiVersion: batch/v1\nmetadata: {name: j}\nspec: {jobTemplate: {spec: {template: {metadata: METADATA, \
               spec: {containers: [{name: c}]}}}}}\n";
    let left_out = job.replace("METADATA", "{labels: {sidecar.istio.io/inject: 'false'}}");
    assert_eq!(inject(&left_out, &Settings::default()).expect("one").text, left_out);
    let ranges = job.replace(
        "METADATA",
        "{annotations: {traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.0/8}}",
    );
    let (documents, _) = injected(&ranges).expect("one");
    let template = &documents[0]["spec"]["jobTemplate"]["spec"]["template"];
    assert!(args(template).contains(" -i 10.0.0.0/8 "), "{}", args(template));
}

#[test]
fn lists_and_volumes_of_the_pod_are_kept() {
    let list = "kind: List\napiVersion: v1\nitems:\n- {kind: Service, apiVersion: v1}\n- kind: Pod\n  apiVersion: v1\n  \
                metadata: {name: p}\n  spec: {volumes: [{name: istio-data, hostPath: {path: /x}}], containers: [{name: c}]}\n";
    let (documents, _) = injected(list).expect("one");
    let [service, pod] = documents[0]["items"].as_array().expect("items").as_slice() else {
        panic!("two")
    };
    assert_eq!(service, &json!({ "kind": "Service", "apiVersion": "v1" }));
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    assert_eq!(volumes[0]["hostPath"]["path"], "/x");
    assert_eq!(volumes.iter().filter(|volume| volume["name"] == "istio-data").count(), 1);
}
