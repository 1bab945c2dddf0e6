//! Real kubectl against the server: what people type, and what they see.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::{Handle, Options};
use tidegate_apiserver::store::{self, Condition, Note, Store, Tone};
use tidegate_apiserver::{ContainerCommand, Containers, LogLines, LogOptions, Server};
use tidegate_testing::PATIENCE;
use tidegate_testing::process::{Output, Process, run};
use tidegate_testing::tools::Tool;
use tokio::process::Command;

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['httpbin.example']
";
const ROUTES: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: routes, labels: {app: demo}}
spec:
  hosts: ['httpbin.example']
  gateways: [front]
  http:
  - route:
    - destination: {host: httpbin.example, port: {number: 80}}
";

struct Bench {
    kubectl: PathBuf,
    home: TempDir,
    store: Store,
    _server: Handle,
    _dir: TempDir,
}

/// Two lines for every container of the gateway's pod.
struct Lines;

struct Given(std::vec::IntoIter<Bytes>);

impl LogLines for Given {
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        let line = self.0.next();
        Box::pin(async move { line })
    }
}

impl Containers for Lines {
    fn logs(
        &self,
        _: &str,
        pod: &str,
        container: &str,
        options: &LogOptions,
    ) -> Option<Box<dyn LogLines>> {
        let all = vec![format!("{pod} {container} one"), format!("{pod} {container} two")];
        let skip = all.len().saturating_sub(options.tail.unwrap_or(usize::MAX));
        let lines: Vec<Bytes> = all.into_iter().skip(skip).map(Bytes::from).collect();
        Some(Box::new(Given(lines.into_iter())))
    }

    fn command<'a>(
        &'a self,
        _: &str,
        _: &str,
        _: &str,
        _: &'a [String],
    ) -> Option<ContainerCommand<'a>> {
        None
    }
}

async fn bench() -> Option<Bench> {
    let kubectl = Tool::Kubectl.need()?;
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    let options = Options::new("127.0.0.1:0".parse().expect("an address"), dir.path().to_owned());
    let server = Server::start(options, store.clone(), Arc::new(Lines)).await.expect("started");
    let home = tempfile::tempdir().expect("a home");
    Some(Bench { kubectl, home, store, _server: server, _dir: dir })
}

impl Bench {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(arguments.split_whitespace()).env("HOME", self.home.path());
        command.env("KUBECONFIG", self._server.kubeconfig());
        command
    }

    async fn kubectl(&self, arguments: &str) -> Output {
        run(self.command(arguments), "").await
    }

    async fn pipe(&self, arguments: &str, input: &str) -> Output {
        run(self.command(arguments), input).await
    }
}

/// For commands of which only success matters.
#[track_caller]
fn succeeded(output: Output) {
    let _ = output.success();
}

/// Fields of a table, one row per line, without those that change.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn apply_get_describe_delete() {
    let Some(bench) = bench().await else { return };
    let both = format!("{GATEWAY}---{ROUTES}");
    let applied = bench.pipe("apply -f -", &both).await.success();
    assert_eq!(
        applied,
        "gateway.networking.istio.io/front created\nvirtualservice.networking.istio.io/routes created\n"
    );
    let again = bench.pipe("apply -f -", &both).await.success();
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    let changed = both.replace("number: 80}}", "number: 8080}}");
    let changed = bench.pipe("apply -f -", &changed).await.success();
    assert!(
        changed.contains("front unchanged\n") && changed.contains("routes configured\n"),
        "{changed}"
    );

    let table = bench.kubectl("get gateway,vs").await.success();
    let rows = rows(&table);
    assert_eq!(rows[0], ["NAME", "AGE"], "Istio's gateway, not the Gateway API's");
    assert_eq!(rows[4][1..3], ["[\"front\"]", "[\"httpbin.example\"]"]);
    let yaml = bench.kubectl("get vs routes -o yaml").await.success();
    assert!(yaml.contains("number: 8080") && yaml.contains("generation: 2"), "{yaml}");
    let named = bench.kubectl("get vs -A -l app=demo -o name").await.success();
    assert_eq!(named, "virtualservice.networking.istio.io/routes\n");
    let none = bench.kubectl("get vs -l app=none").await;
    assert!(none.stderr.contains("No resources found in default namespace."));
    let missing = bench.kubectl("get gw nope").await;
    assert_eq!(
        missing.stderr,
        "Error from server (NotFound): gateways.networking.istio.io \"nope\" not found\n"
    );

    let key = ObjectKey::new(Kind::VirtualService, "default", "routes");
    let condition = Condition {
        name: "Reconciled",
        holds: Some(false),
        reason: "Invalid".into(),
        message: "the host has no endpoints".into(),
        generation: 2,
    };
    bench.store.set_status(&key, vec![condition]).await;
    for _ in 0..2 {
        let note = Note {
            about: key.clone(),
            tone: Tone::Warning,
            reason: "Refused".into(),
            message: "the host has no endpoints".into(),
        };
        bench.store.record_event(note).await;
    }
    let described = bench.kubectl("describe vs routes").await.success();
    assert!(described.contains("Reason:                Invalid"), "{described}");
    assert!(described.contains("(x2 over "), "{described}");
    assert!(described.contains("tidegate  the host has no endpoints"), "{described}");

    let deleted = bench.pipe("delete -f -", &both).await.success();
    assert_eq!(deleted.lines().count(), 2);
    assert_eq!(bench.kubectl("get gw,vs -o name").await.success(), "");
}

#[tokio::test]
async fn a_field_is_explained() {
    let Some(bench) = bench().await else { return };
    let told = bench.kubectl("explain vs.spec.http.route.destination").await.success();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "FIELD: destination <Object> DESCRIPTION: Where requests go. FIELDS:",
        "host <string> -required- Name of the service, from the registry or a ServiceEntry.",
        "port <Object> The service's port; needed when it has several.",
        "subset <string> A subset that a DestinationRule defines for the host.",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
}

#[tokio::test]
async fn objects_that_kubectl_makes_itself() {
    let Some(bench) = bench().await else { return };
    succeeded(bench.kubectl("create namespace shop").await);
    succeeded(bench.kubectl("create secret generic s -n shop --from-literal=user=admin").await);
    let value = bench.kubectl("get secret s -n shop -o jsonpath={.data.user}").await.success();
    assert_eq!(value, "YWRtaW4=");
    succeeded(bench.kubectl("create configmap c -n shop --from-literal=a=b").await);
    succeeded(bench.kubectl("create service clusterip web -n shop --tcp=80:8080").await);
    let table = bench.kubectl("get svc web -n shop").await.success();
    assert_eq!(rows(&table)[1][4], "80/TCP");
    let deployment = bench.kubectl("create deployment d -n shop --image=nginx").await;
    assert!(deployment.stderr.contains("nothing here runs its pods"), "{}", deployment.stderr);
    let can = bench.kubectl("auth can-i create gateways.networking.istio.io").await.success();
    assert_eq!(can, "yes\n");
    succeeded(bench.kubectl("auth whoami").await);
    succeeded(bench.kubectl("delete namespace shop").await);
    let gone = bench.kubectl("get namespace shop").await;
    assert!(gone.stderr.contains("NotFound"), "{}", gone.stderr);
}

#[tokio::test]
async fn wrong_manifests_are_told_apart() {
    let Some(bench) = bench().await else { return };
    let unknown = ROUTES.replace("hosts:", "zzz: 1\n  hosts:");
    let refused = bench.pipe("create -f -", &unknown).await;
    assert!(
        refused.stderr.contains("strict decoding error: unknown field \"spec.zzz\""),
        "{}",
        refused.stderr
    );
    let warned = bench.pipe("create --validate=warn -f -", &unknown).await;
    assert!(warned.stderr.contains("Warning: unknown field \"spec.zzz\""), "{}", warned.stderr);
    succeeded(warned);
    let wrong_type = ROUTES.replace("number: 80", "number: abc").replace("routes", "other");
    let refused = bench.pipe("apply -f -", &wrong_type).await;
    assert!(refused.stderr.contains("must be of type integer"), "{}", refused.stderr);
    let absent = bench
        .pipe("apply -f -", "apiVersion: networking.istio.io/v1\nkind: Nope\nmetadata: {name: a}\n")
        .await;
    assert!(absent.stderr.contains("no matches for kind \"Nope\""), "{}", absent.stderr);
    let rule = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sex}
spec: {hosts: [a.b], resolution: DNS_ROUND_ROBIN, endpoints: [{address: 1.1.1.1}, {address: 2.2.2.2}]}
";
    let refused = bench.pipe("apply -f -", rule).await;
    assert_eq!(
        refused.stderr,
        "The ServiceEntry \"sex\" is invalid: spec: Invalid value: DNS_ROUND_ROBIN mode cannot have multiple \
         endpoints\n"
    );
    // What only Istio's webhook would refuse, an API server takes: its status will tell.
    let meaning = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: meant}
spec: {hosts: [a.b]}
";
    let told = bench.pipe("apply -f -", meaning).await;
    assert!(
        told.stderr.contains("Warning: accepted, but not in effect: spec: "),
        "{}",
        told.stderr
    );
    succeeded(told);
    let dialect = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: sni}
spec:
  hosts: [www.example.com]
  tls:
  - match: [{port: 443, sni_hosts: [www.example.com]}]
    route: [{destination: {host: www.example.com}}]
";
    let applied = bench.pipe("apply -f -", dialect).await;
    assert!(
        applied.stderr.contains("sniHosts"),
        "accepted, with today's spelling: {}",
        applied.stderr
    );
    succeeded(applied);
}

#[tokio::test]
async fn changes_in_place() {
    let Some(bench) = bench().await else { return };
    succeeded(bench.pipe("apply -f -", ROUTES).await);
    let merge = "patch vs routes --type=merge -p {\"spec\":{\"hosts\":[\"b.example\"]}}";
    assert!(bench.kubectl(merge).await.success().contains("patched"));
    assert!(bench.kubectl(merge).await.success().contains("patched (no change)"));
    succeeded(bench.kubectl("label vs routes env=prod").await);
    succeeded(bench.kubectl("annotate vs routes note=hello").await);
    let replaced = bench.pipe("replace -f -", ROUTES).await.success();
    assert!(replaced.contains("replaced"));
    let mut edit = bench.command("edit vs routes");
    edit.env("KUBE_EDITOR", "sed -i s/httpbin.example/edited.example/");
    assert!(run(edit, "").await.success().contains("edited"));
    let hosts = bench.kubectl("get vs routes -o jsonpath={.spec.hosts}").await.success();
    assert_eq!(hosts, "[\"edited.example\"]");
    let applied = bench.pipe("apply --server-side --force-conflicts -f -", ROUTES).await.success();
    assert!(applied.contains("serverside-applied"));
    let diff = bench.pipe("diff -f -", &ROUTES.replace("number: 80", "number: 81")).await;
    assert_eq!(diff.status.code(), Some(1), "{}{}", diff.stdout, diff.stderr);
    assert!(diff.stdout.contains("+          number: 81"), "{}", diff.stdout);
}

#[tokio::test]
async fn watching_and_waiting() {
    let Some(bench) = bench().await else { return };
    succeeded(bench.pipe("apply -f -", ROUTES).await);
    let watch = Process::spawn(bench.command("get vs -w -o name"));
    watch.stdout().containing("virtualservice.networking.istio.io/routes").await;
    succeeded(bench.pipe("apply -f -", &ROUTES.replace("routes", "later")).await);
    watch.stdout().containing("virtualservice.networking.istio.io/later").await;
    watch.kill().await;
    // Whichever of the two gets there first: waiting ends well, as soon as the object is gone.
    let mut wait = Process::spawn(bench.command("wait --for=delete vs/later --timeout=25s"));
    succeeded(bench.kubectl("delete vs later").await);
    assert!(wait.wait(PATIENCE).await.success());
}

#[tokio::test]
async fn logs_of_the_pods_that_the_process_shows() {
    let Some(bench) = bench().await else { return };
    let pod: Value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "gateway", "namespace": "istio-system", "labels": { "istio": "ingressgateway" } },
        "spec": { "containers": [{ "name": "istio-proxy", "image": "tidegate" }] },
        "status": { "phase": "Running" },
    });
    let decoded =
        tidegate_api::Object::decode(Kind::Pod, "v1", &pod, tidegate_api::Origin::Process);
    let push = store::Push::Put {
        object: decoded.expect("valid").object.into(),
        manifest: pod.as_object().expect("an object").clone(),
    };
    bench.store.push(push).await;
    let logs = bench
        .kubectl("logs -l istio=ingressgateway -c istio-proxy -n istio-system")
        .await
        .success();
    assert_eq!(logs, "gateway istio-proxy one\ngateway istio-proxy two\n");
    let tail = bench.kubectl("logs gateway -n istio-system --tail=1").await.success();
    assert_eq!(tail, "gateway istio-proxy two\n");
    let wrong = bench.kubectl("logs gateway -c nope -n istio-system").await;
    assert!(
        wrong.stderr.contains("container nope is not valid for pod gateway"),
        "{}",
        wrong.stderr
    );
    let refused = bench.kubectl("delete pod gateway -n istio-system").await;
    assert!(refused.stderr.contains("it shows this process itself"), "{}", refused.stderr);
}
