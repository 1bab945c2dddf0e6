//! `tidegate sidecar` beside a workload whose connections are really captured, in network namespaces.

mod beside_envoy;
mod entries;
mod escapes;
mod imports;
mod inbound;
mod origination;
mod outbound;
mod sockets;
mod status;
mod wildcard;

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_testing::PATIENCE;
use tidegate_testing::origin::{Body, full};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const EVERYTHING: [&str; 4] = ["-i", "*", "-b", "*"];

/// Answers with the host that it was asked for.
async fn host(request: Request<Incoming>) -> Response<Body> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    Response::new(full(host.unwrap_or("nobody").to_owned()))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// What the other end says first; empty where it closes without a word.
async fn first_words(stream: std::io::Result<TcpStream>) -> String {
    let Ok(mut stream) = stream else { return String::new() };
    let mut buffer = [0; 100];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time");
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}
