//! A cluster that hashes: the cookie that leads back to its endpoint.

use super::*;
use crate::route::{HashCookie, HashOf, HashPolicy};
use crate::upstream::cluster::HashKey;

#[tokio::test]
async fn a_cookie_is_made_and_leads_back_to_its_endpoint() {
    let mut origins = Vec::new();
    for _ in 0..4 {
        origins.push(Origin::start().http(echo).await);
    }
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let maglev = Balancing::Maglev { size: 251, key: HashKey::Address };
    let limits = Limits::default();
    let cluster = balanced("hashed", &addresses, UpstreamProtocol::Http1, limits, maglev);
    let cookie =
        HashCookie { name: "c".into(), ttl: Some(60), path: "/".into(), attributes: Vec::new() };
    let mut hashed = forward(cluster, None);
    if let Action::Forward(forward) = &mut hashed {
        forward.hash = vec![HashPolicy { of: HashOf::Cookie(cookie), terminal: false }];
    }
    let proxy = Proxy::start(manager(vec![route("/", hashed)])).await;
    let taken = || origins.iter().map(Origin::requests).collect::<Vec<_>>();

    let mut client = Client::connect(proxy.address).await;
    let made = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let made = made.header("set-cookie").expect("a cookie").to_owned();
    let (pair, rest) = made.split_once("; ").expect("attributes");
    assert_eq!(rest, "Max-Age=60; Path=/; HttpOnly");
    let value = pair.strip_prefix("c=\"").and_then(|rest| rest.strip_suffix('"'));
    let value = value.filter(|value| value.len() == 16).expect("sixteen digits in quotes");
    let again = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(again.header("set-cookie"), Some(made.as_str()), "the same on one connection");
    let first = taken().iter().position(|requests| *requests == 2).expect("both at one endpoint");

    for _ in 0..8 {
        let mut client = Client::connect(proxy.address).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; c={value}\r\n\r\n");
        let answer = client.request(request).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    }
    assert_eq!((taken()[first], taken().iter().sum::<usize>()), (10, 10));
}

#[tokio::test]
async fn no_cookie_is_made_where_the_cluster_does_not_hash() {
    let origin = Origin::start().http(echo).await;
    let cluster = cluster("turns", &[origin.address()], UpstreamProtocol::Http1);
    let cookie =
        HashCookie { name: "c".into(), ttl: Some(60), path: "/".into(), attributes: Vec::new() };
    let mut hashed = forward(cluster, None);
    if let Action::Forward(forward) = &mut hashed {
        forward.hash = vec![HashPolicy { of: HashOf::Cookie(cookie), terminal: false }];
    }
    let proxy = Proxy::start(manager(vec![route("/", hashed)])).await;
    let answer = get(proxy.address, "a", "/").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
}
