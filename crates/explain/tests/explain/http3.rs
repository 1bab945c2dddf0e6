//! Listeners for HTTP/3, for data planes that speak it.

use tidegate_explain::{Error, Question, World};
use tidegate_pilot::Options;
use tidegate_testing::ca::Ca;
use tidegate_xds::ResourceType;

use crate::https::{SIMPLE, outcome, question, simple};
use crate::support::{answering, gateway, object, secret, server};

/// A data plane that speaks HTTP/3 has a listener for it on the same port. What comes over TCP has nothing to do with it.
#[test]
fn listeners_on_udp_answer_nothing_that_comes_over_tcp() {
    let ca = Ca::new("root");
    let secret = secret("one", &ca, &ca.issue(&["a.example.com"]));
    let own = [
        gateway("gw", &[server("https", SIMPLE, &simple("one"))]),
        answering("all", &["*"], &["gw"], 299),
        secret,
    ];
    let world = |http3: bool| {
        let options = Options { http3, ..Options::default() };
        World::new(options, own.iter().map(object))
    };
    let (with, without) = (world(true), world(false));
    let names = |world: &World| -> Vec<String> {
        let all = world.snapshot().list(ResourceType::Listener);
        all.iter().map(|listener| listener.name.to_string()).collect()
    };
    assert_eq!(names(&with), ["0.0.0.0_443", "udp_0.0.0.0_443"]);
    let asked = question(Some(SIMPLE), SIMPLE);
    let answer = with.explain(&asked);
    assert_eq!(outcome(&answer), Ok(299));
    assert_eq!(answer, without.explain(&asked));
    assert_eq!(answer.listener.expect("one").name, "0.0.0.0_443");
    // Nor is it to blame where nothing listens.
    let elsewhere = Question { port: 444, ..asked };
    let answer = with.explain(&elsewhere);
    assert_eq!(outcome(&answer), Err(Error::NoListener));
    assert_eq!(answer, without.explain(&elsewhere));
}
