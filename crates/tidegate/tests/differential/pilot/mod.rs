//! What pilot compiles, on Envoy and on `tidegate proxy`: every example and several hundred generated configurations, each with
//! requests made from its own conditions. Where each goes, what arrives there and what comes back is compared.
//!
//! `PILOT=generated/17 cargo test …` runs the configurations whose name starts so, and prints them with their listeners,
//! requests and answers.

mod compile;
mod destinations;
mod exchange;
mod generate;
mod origins;
mod policies;
mod provoke;
mod requests;
mod tls;
mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_testing::tools::Tool;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::compile::{Compiled, compile};
use self::exchange::answer;
use self::origins::Origins;
use self::requests::{Ask, Asker};
use self::tls::Keys;
use crate::sides::{Listeners, Side};

/// How many configurations are generated.
const GENERATED: u64 = 300;
/// Requests to each configuration.
const REQUESTS: usize = 20;
/// Requests under way at a time.
const ABREAST: usize = 24;

/// A request, to one listener of a configuration.
struct Question {
    listener: String,
    ask: Ask,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pilot_compiles_does_the_same_on_envoy_and_here() {
    let Some(program) = Tool::Envoy.need() else { return };
    let only = std::env::var("PILOT").ok();
    let mut worlds = worlds::written();
    worlds.extend(
        (0..GENERATED).map(|seed| (format!("generated/{seed}"), generate::configuration(seed))),
    );
    if let Some(only) = &only {
        worlds.retain(|(name, _)| name.starts_with(only));
    }
    let keys = Arc::new(Keys::new());
    let origins = Origins::start(&keys).await;
    let [mut listeners, mut clusters, mut secrets] = [(); 3].map(|()| Vec::new());
    let mut questions = Vec::new();
    for (name, manifests) in &worlds {
        let compiled = compile(name, manifests, &origins, &keys);
        if only.is_some() {
            eprintln!(
                "{:#}\n{:#}",
                Value::from(manifests.clone()),
                Value::from(compiled.listener_resources.clone())
            );
        }
        questions.extend(ask(name, manifests, &compiled));
        listeners.extend(compiled.listener_resources);
        clusters.extend(compiled.cluster_resources);
        secrets.extend(compiled.secret_resources);
    }
    let bootstrap = json!({
        "static_resources": { "listeners": listeners, "clusters": clusters, "secrets": secrets },
    });
    let questions = Arc::new(questions);
    let envoy = Side::envoy(&program, &bootstrap).await;
    let theirs = play(&questions, &envoy.listeners, &keys).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    let ours = play(&questions, &tidegate.listeners, &keys).await;
    let report = compare(&questions, &theirs, &ours, only.is_some());
    assert!(report.is_empty(), "{} requests\n{}", questions.len(), report.join("\n"));
    if only.is_none() {
        assert_is_telling(&theirs);
    }
}

/// The requests to one configuration, over its listeners in turn.
fn ask(name: &str, manifests: &[Value], compiled: &Compiled) -> Vec<Question> {
    // The same requests, whichever configurations stand beside it.
    let seed = name.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut asker = Asker::new(manifests, seed);
    let listeners = compiled.listeners.iter().cycle().take(if compiled.listeners.is_empty() {
        0
    } else {
        REQUESTS
    });
    listeners
        .map(|listener| Question { listener: listener.name.clone(), ask: asker.ask(listener) })
        .collect()
}

/// Asks one side everything; the answers as lines.
async fn play(
    questions: &Arc<Vec<Question>>,
    listeners: &Listeners,
    keys: &Arc<Keys>,
) -> Vec<Vec<String>> {
    let places = Arc::new(Semaphore::new(ABREAST));
    let mut running = JoinSet::new();
    for (number, question) in questions.iter().enumerate() {
        let name = &question.listener;
        let address = *listeners.get(name).unwrap_or_else(|| panic!("no listener {name}"));
        let (ask, places, keys) = (question.ask.clone(), Arc::clone(&places), Arc::clone(keys));
        running.spawn(async move {
            let _turn = places.acquire().await;
            (number, answer(address, &ask, &keys).await)
        });
    }
    let mut all = vec![Vec::new(); questions.len()];
    while let Some(done) = running.join_next().await {
        let (number, lines) = done.expect("a request's task");
        all[number] = lines;
    }
    all
}

fn compare(
    questions: &[Question],
    theirs: &[Vec<String>],
    ours: &[Vec<String>],
    all: bool,
) -> Vec<String> {
    let mut report = Vec::new();
    for (question, (envoy, tidegate)) in questions.iter().zip(theirs.iter().zip(ours)) {
        let Question { listener, ask, .. } = question;
        if all {
            eprintln!("{listener}: {ask}\n  {}", envoy.join("\n  "));
        }
        if envoy != tidegate {
            report.push(format!(
                "{listener}: {ask}\n  envoy:\n    {}\n  tidegate:\n    {}",
                envoy.join("\n    "),
                tidegate.join("\n    ")
            ));
        }
    }
    report
}

/// That what was compared says something: answers of every kind occur, and none alone makes up most of them.
fn assert_is_telling(answers: &[Vec<String>]) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        let told = answer.iter().find(|line| !line.starts_with("certificate"));
        let status = told.and_then(|line| line.split("\r\n").next()).unwrap_or_default();
        *kinds.entry(status.to_owned()).or_default() += 1;
    }
    for status in [
        "200",
        "301",
        "307",
        "401",
        "403",
        "404",
        "418",
        "421",
        "429",
        "503",
        "closed",
        "HTTP/1.1 200 OK",
    ] {
        assert!(kinds.contains_key(status), "no {status} among {kinds:?}");
    }
    // What each policy says, and what it leaves on requests.
    for told in [
        "RBAC: access denied",
        "Audiences in Jwt are not allowed",
        "Jwt is expired",
        "fault filter abort",
        "local_rate_limited",
        "< access-control-allow-methods: ",
        "< x-limit: ",
        "> x-envoy-attempt-count: 2",
        "> x-envoy-attempt-count: 3",
        "> x-over: ",
        "> x-payload: ",
        "> x-sub: ",
    ] {
        let lines = || answers.iter().flatten();
        assert!(lines().any(|line| line.starts_with(told)), "no {told:?} in any answer");
    }
    let most = kinds.values().max().copied().unwrap_or_default();
    assert!(most < answers.len() * 2 / 3, "{kinds:?}");
}
