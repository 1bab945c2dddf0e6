//! HTTP/1 on both sides.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tidegate_testing::HeldPort;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Origin, Script, stream_back};
use tokio::time::sleep;

use super::{Behaviour, CLIENTS, HOST, Host, Kind, Soak};

const KINDS: &[Kind] = &[
    Kind { name: "answers", client: Behaviour::Post(64 * 1024), logged: &["200 -"] },
    Kind { name: "stalls", client: Behaviour::Get, logged: &["504 UT"] },
    Kind { name: "resets", client: Behaviour::Get, logged: &["503 UC"] },
    Kind { name: "half-closes", client: Behaviour::Get, logged: &["503 UC"] },
    Kind { name: "early", client: Behaviour::Begin, logged: &["413 -"] },
    Kind { name: "breaks-off", client: Behaviour::Lose, logged: &["200 UPE"] },
    Kind { name: "refuses", client: Behaviour::Get, logged: &["503 UF"] },
    Kind { name: "is-left", client: Behaviour::Leave, logged: &["0 DC"] },
];

/// The origins, by the names of the kinds.
async fn origins() -> (Vec<(&'static str, SocketAddr)>, Vec<Origin>, HeldPort) {
    let head = || Script::new().read_head();
    let scripts = [
        ("stalls", head().read_to_end()),
        ("resets", head().reset()),
        ("half-closes", head().finish().read_to_end()),
        (
            "early",
            head().send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").read_to_end(),
        ),
        ("breaks-off", head().send_head(9).send("abc")),
        ("is-left", head().read_to_end()),
    ];
    let echo = Origin::start().http(stream_back).await;
    let refuses = HeldPort::any();
    let mut places = vec![("answers", echo.address()), ("refuses", refuses.address)];
    let mut origins = vec![echo];
    for (name, script) in scripts {
        let origin = Origin::start().script(script).await;
        places.push((name, origin.address()));
        origins.push(origin);
    }
    (places, origins, refuses)
}

/// One request on a connection of its own.
pub(super) async fn once(address: SocketAddr, kind: Kind) -> Result<usize, String> {
    let mut client = Client::connect(address).await;
    let head = |method: &str, more: &str| {
        let path = kind.name;
        format!("{method} /{path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{more}\r\n")
    };
    let sent = match kind.client {
        Behaviour::Get | Behaviour::Lose => head("GET", ""),
        Behaviour::Post(size) => {
            head("POST", &format!("Content-Length: {size}\r\n")) + &"x".repeat(size)
        }
        Behaviour::Begin => head("POST", "Content-Length: 1000000\r\n") + "abc",
        Behaviour::Leave => {
            client.send(head("GET", "")).await;
            sleep(Duration::from_millis(20)).await;
            return Ok(1);
        }
    };
    client.send(sent).await;
    match (client.read(false).await, kind.client) {
        (Err(error), _) if error.kind() == std::io::ErrorKind::TimedOut => Err("stuck".to_owned()),
        (Err(_), Behaviour::Lose) => Ok(1),
        (Ok(answer), Behaviour::Post(size)) if answer.status == 200 => {
            if answer.body.len() == size { Ok(1) } else { Err("another content".to_owned()) }
        }
        (Ok(answer), client)
            if !matches!(client, Behaviour::Lose) && kind.answers(answer.status) =>
        {
            Ok(1)
        }
        (other, _) => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn half_load_with_origins_of_every_kind_leaves_nothing_behind() {
    let (places, _origins, _refuses) = origins().await;
    let hosts = places.into_iter().map(|(name, origin)| {
        let host = Host::new(name, "HTTP", vec![origin]);
        let rule = json!({"retries": {"attempts": 0}, "timeout": "0.25s"});
        if name == "stalls" { host.rule(rule) } else { host }
    });
    let mut soak = Soak::new(&hosts.collect::<Vec<_>>()).await;
    KINDS.iter().for_each(|kind| soak.load(*kind, CLIENTS, once));
    soak.end().await;
}
