//! What long lists cost: as much more as they are longer. A client's body has a bound, and with it what one request may take.

use std::fs;
use std::time::Duration;

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const APPLY: &str = "application/apply-patch+yaml";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Lengths of a list: what costs the square of it costs sixteen times as much.
const LENGTHS: [usize; 2] = [500, 2_000];

/// A Pod with lists that merge by one key, by two keys, and by value.
fn pod(entries: usize, said: &str) -> Value {
    let each = || 0..entries;
    let env: Vec<Value> = each().map(|n| json!({"name": format!("E{n}"), "value": said})).collect();
    let ports: Vec<Value> =
        each().map(|n| json!({"containerPort": n + 1, "protocol": "TCP", "name": said})).collect();
    let finalizers: Vec<String> = each().map(|n| format!("example.com/{n}")).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "finalizers": finalizers},
        "spec": {"containers": [{"name": "c", "image": "i", "env": env, "ports": ports}]},
    })
}

/// The same as kubectl would have it patched, with the order of each list.
fn ordered(mut pod: Value) -> Value {
    let container = &mut pod["spec"]["containers"][0];
    for (list, key) in [("env", "name"), ("ports", "containerPort")] {
        let entries = container[list].as_array().expect("a list").iter();
        let order: Vec<Value> = entries.map(|entry| json!({key: entry[key]})).collect();
        container[format!("$setElementOrder/{list}")] = order.into();
    }
    let finalizers = pod["metadata"]["finalizers"].clone();
    pod["metadata"]["$setElementOrder/finalizers"] = finalizers.clone();
    pod["metadata"]["$deleteFromPrimitiveList/finalizers"] =
        finalizers.as_array().expect("a list")[1..].into();
    pod
}

/// How long this thread has been on a processor, whatever else the machine does.
fn worked() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// What each kind of write costs on lists of this length.
async fn costs(entries: usize) -> Vec<(&'static str, Duration)> {
    let lab = lab();
    let item = format!("{PODS}/p");
    lab.patch(&format!("{item}?fieldManager=one"), APPLY, pod(entries, "a")).await.expect(201);
    let (same, other) = (pod(entries, "a"), pod(entries, "b"));
    let bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
    let mut put = lab.get(&item).await.expect(200);
    put["spec"]["containers"][0]["env"] = other["spec"]["containers"][0]["env"].clone();
    let with = |query: &str| format!("{item}?dryRun=All&{query}");
    let patch = |target: String, media: &'static str, body: Value, code: u16| {
        let lab = &lab;
        async move { lab.patch(&target, media, body).await.expect(code) }
    };
    let mut costs = Vec::new();
    let mut began = worked();
    let mut spent = |what| {
        costs.push((what, worked() - began));
        began = worked();
    };
    patch(with("fieldManager=two"), APPLY, other.clone(), 409).await;
    spent("an apply that conflicts");
    patch(with("fieldManager=two&force=true"), APPLY, other.clone(), 200).await;
    spent("an apply that takes over");
    patch(with("fieldManager=two"), APPLY, same, 200).await;
    spent("an apply of the same");
    patch(with("fieldManager=one"), APPLY, bare, 422).await;
    spent("an apply that gives up all");
    patch(with("fieldManager=two"), STRATEGIC, ordered(other), 200).await;
    spent("a strategic patch");
    lab.put(&with("fieldManager=two"), put).await.expect(200);
    spent("a replacement");
    costs
}

#[tokio::test]
async fn a_list_costs_as_much_more_as_it_is_longer() {
    let [short, long] = [costs(LENGTHS[0]).await, costs(LENGTHS[1]).await];
    for ((what, short), (_, long)) in short.into_iter().zip(long) {
        let times = long.as_secs_f64() / short.as_secs_f64();
        assert!(times < 8.0, "{what}: {short:?}, of four times the length {long:?}");
    }
}
