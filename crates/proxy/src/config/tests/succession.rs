//! What routes have counted up goes on in their new forms: buckets of limits, and turns among weights.

use tokio::time::Instant;

use super::*;
use crate::filter::{LocalRateLimit, Override};
use crate::route::Route;

const LIMIT: &str = "envoy.filters.http.local_ratelimit";

/// A limit of three requests a day, for a route or what is around it.
fn limited(status: u32) -> Value {
    let day = json!({"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "86400s"});
    json!({LIMIT: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "l", "token_bucket": day, "status": {"code": status},
    }})
}

fn route_json(name: &str, prefix: &str, more: &Value) -> Value {
    let json = json!({
        "name": name, "match": {"prefix": prefix}, "direct_response": {"status": 200},
        "typed_per_filter_config": limited(429),
    });
    with(&json, more)
}

/// A virtual host of its own.
fn host_of(routes: &[Value], more: &Value) -> Resource {
    let json = with(&json!({"name": "h", "domains": ["h"], "routes": routes}), more);
    resource::<VirtualHost>(ResourceType::VirtualHost, "r/h", &json)
}

/// Routes with limits of their own: names with prefixes.
fn routes(all: &[(&str, &str)]) -> Resource {
    let all: Vec<_> =
        all.iter().map(|(name, prefix)| route_json(name, prefix, &json!({}))).collect();
    host_of(&all, &json!({}))
}

fn served(side: &Side, path: &str) -> Arc<Route> {
    let head = RequestHead::get("h", path, &[]);
    let table = side.applier.config().routes["r"].table.load_full();
    match table.decide(&head, 0) {
        Decision::Route { route, .. } => Arc::clone(route),
        other => panic!("{other:?}"),
    }
}

fn limit(route: &Route) -> &Arc<LocalRateLimit> {
    match route.filters.get(LIMIT) {
        Some(Override::LocalRateLimit(limit)) => limit,
        other => panic!("{other:?}"),
    }
}

/// How many requests the bucket of a path has left; takes them.
fn drain(side: &Side, path: &str) -> usize {
    let route = served(side, path);
    let limiter = limit(&route).limiter.load_full();
    (0..10).filter(|_| limiter.judge(&[], false, Instant::now()).allowed).count()
}

#[test]
fn buckets_stay_with_their_routes() {
    let mut side = Side::new();
    side.serve(vec![
        table(&json!({})),
        routes(&[("", "/a"), ("", "/b"), ("n", "/c"), ("n", "/d")]),
    ]);
    assert_eq!(["/a", "/c"].map(|path| drain(&side, path)), [3, 3]);

    // Whatever comes between them, or goes.
    side.serve(vec![routes(&[("", "/new"), ("n", "/d"), ("n", "/c"), ("", "/b"), ("", "/a")])]);
    let left = ["/a", "/b", "/c", "/d", "/new"].map(|path| drain(&side, path));
    assert_eq!(left, [0, 3, 0, 3, 3]);

    // Of those of one name that match something else, the first goes on from the first that is left, and so forth.
    side.serve(vec![routes(&[("n", "/1"), ("n", "/2"), ("n", "/3"), ("", "/4")])]);
    assert_eq!(["/1", "/2", "/3", "/4"].map(|path| drain(&side, path)), [0, 0, 3, 3]);
    side.serve(vec![routes(&[("n", "/3"), ("n", "/5"), ("m", "/2")])]);
    assert_eq!(["/3", "/5", "/2"].map(|path| drain(&side, path)), [0, 0, 3]);
}

#[test]
fn routes_under_a_limit_of_their_host_share_its_bucket() {
    let mut side = Side::new();
    let plain =
        |prefix: &str| json!({"match": {"prefix": prefix}, "direct_response": {"status": 200}});
    let host = |prefixes: &[&str], status: u32| {
        let routes: Vec<_> = prefixes.iter().map(|prefix| plain(prefix)).collect();
        host_of(&routes, &json!({"typed_per_filter_config": limited(status)}))
    };
    side.serve(vec![table(&json!({})), host(&["/a", "/b"], 429)]);
    assert_eq!(["/a", "/b"].map(|path| drain(&side, path)), [3, 0]);
    // A new form, that of the limit, too: what the answer is has nothing to do with the bucket.
    side.serve(vec![host(&["/new", "/b"], 503)]);
    assert_eq!(["/new", "/b"].map(|path| drain(&side, path)), [0, 0]);
    assert!(Arc::ptr_eq(limit(&served(&side, "/new")), limit(&served(&side, "/b"))));
    assert_eq!(limit(&served(&side, "/b")).status, 503);
}

#[test]
fn a_form_that_stands_in_goes_on_with_the_buckets() {
    let mut side = Side::new();
    let answer = json!({"status": 200});
    let form = |matched: Value| {
        let routes = [json!({"match": matched, "direct_response": answer})];
        host_of(&routes, &json!({"typed_per_filter_config": limited(429)}))
    };
    side.serve(vec![table(&json!({})), form(json!({"prefix": "/"}))]);
    assert_eq!(drain(&side, "/"), 3);
    side.apply(vec![form(json!({"safe_regex": {"regex": "("}}))], &[]);
    assert_eq!(side.refused().len(), 1);
    assert_eq!(drain(&side, "/"), 0);
    side.serve(vec![form(json!({"prefix": "/"}))]);
    assert_eq!(drain(&side, "/"), 0);
}

/// Of any thousand requests each cluster has its share, however often the host changes among them.
#[test]
fn turns_go_on_while_their_host_changes() {
    let mut side = Side::new();
    let host = |round: usize| {
        let clusters = json!([{"name": "a", "weight": 90}, {"name": "b", "weight": 10}]);
        let weighted = json!({
            "match": {"prefix": "/"},
            "route": {"weighted_clusters": {"clusters": clusters}, "timeout": format!("{}s", 1 + round)},
        });
        let other = route_json("", &format!("/{round}"), &json!({}));
        host_of(
            &if round.is_multiple_of(2) { vec![weighted] } else { vec![other, weighted] },
            &json!({}),
        )
    };
    side.serve(vec![table(&json!({})), cluster("a", &json!({})), cluster("b", &json!({}))]);
    let mut tenth = 0;
    for round in 0..1_000 {
        side.serve(vec![host(round)]);
        let route = served(&side, "/");
        let Action::Forward(forward) = &route.action else { panic!("{route:?}") };
        tenth += usize::from(*forward.targets.next(|| 7).cluster.name == *"b");
    }
    assert!((91..110).contains(&tenth), "{tenth} of 1,000");
}
