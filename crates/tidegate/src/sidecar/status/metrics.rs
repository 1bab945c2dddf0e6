//! The workload's own metrics: Prometheus asks one place for them and for the proxy's, as injection has told it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use super::probes::Place;

/// How long Prometheus waits, as it says itself, in seconds.
const TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// How long it does that does not say so, as is its default.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one answer at most.
const MOST: usize = 16 << 20;
/// The form that the proxy's own counters have.
const FORM: &str = "text/plain;version=0.0.4";

/// Where the workload tells its own metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnMetrics(Vec<Target>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    port: u16,
    path: String,
}

impl OwnMetrics {
    /// What injection tells; `own` is the port at which all of it is told.
    ///
    /// # Errors
    /// It is no such text, or names that port.
    pub fn read(text: &str, own: u16) -> Result<Self, String> {
        let told: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if told["scrape"].as_str().is_some_and(|scrape| scrape.eq_ignore_ascii_case("false")) {
            return Ok(Self::default());
        }
        let target = |told: &Value| {
            let port = told["port"].as_str().unwrap_or("80");
            let number = port.parse().ok().filter(|port| *port > 0);
            let number = number.ok_or_else(|| format!("{port:?} is no port"))?;
            if number == own {
                return Err(format!("port {own} is where these metrics are told"));
            }
            let path = told["path"].as_str().filter(|path| !path.is_empty()).unwrap_or("/metrics");
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            Ok(Target { port: number, path })
        };
        let targets = match told["targets"].as_array() {
            Some(targets) => targets.iter().map(target).collect(),
            None => target(&told).map(|one| vec![one]),
        };
        targets.map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the workload tells now, at the loopback of the family of its address; of a place that does not answer nothing, which the
    /// log says.
    pub async fn ask(&self, of: IpAddr, headers: &HeaderMap) -> Vec<u8> {
        let address = match of {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let place = Place { address, source: None };
        let mut all = Vec::new();
        for target in &self.0 {
            let Target { port, path } = target;
            match timeout(patience(headers), target.ask(place, headers)).await {
                Ok(Ok(text)) => {
                    all.push(b'\n');
                    all.extend(text);
                }
                Ok(Err(why)) => {
                    tracing::warn!("metrics of the workload at port {port}, {path}: {why}");
                }
                Err(_) => {
                    tracing::warn!("metrics of the workload at port {port}, {path}: no answer");
                }
            }
        }
        all
    }
}

impl Target {
    async fn ask(&self, place: Place, headers: &HeaderMap) -> Result<Bytes, String> {
        let words = |error: hyper::Error| error.to_string();
        let stream = place.dial(self.port).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
        let connection = tokio::spawn(connection);
        let host = SocketAddr::new(place.address, self.port).to_string();
        let request = Request::get(&*self.path)
            .header(header::HOST, host)
            .header(header::ACCEPT, FORM)
            .body(Empty::<Bytes>::new());
        let mut request = request.map_err(|error| error.to_string())?;
        for name in [header::USER_AGENT.as_str(), TIMEOUT] {
            if let Some(value) = headers.get(name) {
                let name = http::HeaderName::from_static(name);
                request.headers_mut().insert(name, value.clone());
            }
        }
        let told = async {
            let answer = sender.send_request(request).await.map_err(words)?;
            if !answer.status().is_success() {
                return Err(format!("it answers {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes())
        };
        let told = told.await;
        connection.abort();
        told
    }
}

fn patience(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
    let patience = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    patience.filter(|patience| !patience.is_zero()).unwrap_or(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_injection_writes_them() {
        let read = |text| OwnMetrics::read(text, 15020);
        let target = |port, path: &str| Target { port, path: path.to_owned() };
        for (text, wanted) in [
            (r#"{"scrape":"true","path":"/own","port":"9090"}"#, vec![target(9090, "/own")]),
            (r#"{"path":"own"}"#, vec![target(80, "/own")]),
            (r#"{"port":"9090"}"#, vec![target(9090, "/metrics")]),
            (r#"{"scrape":"false","port":"9090"}"#, vec![]),
            (
                r#"{"port":"1","path":"/a","targets":[{"port":"1","path":"/a"},{"port":"2","path":"/b"}]}"#,
                vec![target(1, "/a"), target(2, "/b")],
            ),
        ] {
            assert_eq!(read(text), Ok(OwnMetrics(wanted)), "{text}");
        }
        for (text, why) in [
            (r#"{"port":"15020"}"#, "where these metrics are told"),
            (r#"{"port":"http"}"#, "no port"),
            ("{", "EOF"),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn prometheus_says_how_long_it_waits() {
        let mut headers = HeaderMap::new();
        assert_eq!(patience(&headers), PATIENCE);
        headers.insert(TIMEOUT, "1.5".parse().expect("a value"));
        assert_eq!(patience(&headers), Duration::from_millis(1500));
        headers.insert(TIMEOUT, "-1".parse().expect("a value"));
        assert_eq!(patience(&headers), PATIENCE);
    }
}
