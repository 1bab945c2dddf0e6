//! Both ends of a case in HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::case::{Act2, Request2};
use super::origin::Stage;
use super::wire::{Ended, content, fields};

/// Sends the request on a connection of its own; returns what was seen, as lines.
pub async fn run(address: SocketAddr, id: usize, request: &Request2) -> Vec<String> {
    let seen = timeout(Duration::from_secs(10), exchange(address, id, request)).await;
    seen.unwrap_or_else(|_| vec!["no end".to_owned()])
}

async fn exchange(address: SocketAddr, id: usize, request: &Request2) -> Vec<String> {
    let Ok(stream) = TcpStream::connect(address).await else {
        return vec!["no connection".to_owned()];
    };
    let mut client = h2::client::Builder::new();
    if let Some(window) = request.window {
        client.initial_window_size(window).initial_connection_window_size(65_535);
    }
    let Ok((send, connection)) = client.handshake(stream).await else {
        return vec!["no handshake".to_owned()];
    };
    let connection = tokio::spawn(connection);
    let seen = stream_lines(send, id, request).await;
    connection.abort();
    seen.unwrap_or_else(|error| vec![reset(&error)])
}

async fn stream_lines(
    send: h2::client::SendRequest<Bytes>,
    id: usize,
    request: &Request2,
) -> Result<Vec<String>, h2::Error> {
    let mut send = send.ready().await?;
    let mut head = Request::builder().method(request.method).uri(request.uri);
    head = head.header("x-case", id);
    for (name, value) in &request.headers {
        head = head.header(*name, value);
    }
    let head = head.body(()).expect("a request that can be said");
    let bare = request.body.is_empty() && request.trailers.is_empty();
    let (response, mut body) = send.send_request(head, bare)?;
    if !bare {
        for part in &request.body {
            send_all(&mut body, part).await;
        }
        if !request.unended {
            finish(&mut body, &request.trailers);
        }
    }
    let response = response.await?;
    let mut seen = vec![format!("< {}", response.status().as_u16())];
    seen.extend(fields("<", &pairs(response.headers())));
    if request.unended {
        seen.extend(unended_lines(response.into_body(), &mut body).await);
    } else {
        seen.extend(body_lines("<", response.into_body()).await);
    }
    Ok(seen)
}

/// What comes of an answer whose request has not ended: its content, and that no more of the request is wanted. The one may
/// be read before the other is there, or after.
async fn unended_lines(mut answer: RecvStream, request: &mut SendStream<Bytes>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(Ok(data)) = answer.data().await {
        let _ = answer.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    let refused = std::future::poll_fn(|cx| request.poll_reset(cx)).await;
    let refused = refused.unwrap_or_else(|error| error.reason().unwrap_or(Reason::INTERNAL_ERROR));
    vec![content("<", &all, Ended::Whole), format!("< reset {refused:?}")]
}

fn reset(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) => format!("< reset {reason:?}"),
        None => "< no answer".to_owned(),
    }
}

async fn body_lines(mark: &str, mut body: RecvStream) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                all.extend_from_slice(&data);
            }
            Err(error) => return vec![content(mark, &all, Ended::Cut), reset(&error)],
        }
    }
    let mut lines = vec![content(mark, &all, Ended::Whole)];
    match body.trailers().await {
        Ok(Some(trailers)) => lines.extend(fields(&format!("{mark} trailer"), &pairs(&trailers))),
        Ok(None) => {}
        Err(error) => lines.push(reset(&error)),
    }
    lines
}

/// Sends content as windows open.
async fn send_all(stream: &mut SendStream<Bytes>, content: &[u8]) {
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(capacity)) = capacity else { return };
        let part = rest.split_to(capacity.min(rest.len()));
        if stream.send_data(part, false).is_err() {
            return;
        }
    }
}

/// Ends the message; a peer that has gone is seen when reading.
fn finish(stream: &mut SendStream<Bytes>, trailers: &[(&'static str, &'static str)]) {
    let _ = if trailers.is_empty() {
        stream.send_data(Bytes::new(), true)
    } else {
        stream.send_trailers(map(trailers))
    };
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let entry = |(name, value): &(&'static str, &'static str)| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    fields.iter().map(entry).collect()
}

fn pairs(map: &HeaderMap) -> Vec<(String, String)> {
    let text =
        |value: &http::HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// Starts the HTTP/2 origin.
pub async fn start(stage: Arc<Stage>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for the origin");
    let address = listener.local_addr().expect("the origin's address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Arc::clone(&stage), stream));
        }
    });
    address
}

async fn serve(stage: Arc<Stage>, stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(Arc::clone(&stage), request, respond));
    }
}

async fn answer(
    stage: Arc<Stage>,
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let headers = pairs(&head.headers);
    let id = headers.iter().find(|(name, _)| name == "x-case");
    let id = id.and_then(|(_, id)| id.parse::<usize>().ok());
    stage.record(id, [format!("> {} {}", head.method, head.uri)]);
    stage.record(id, fields(">", &headers));
    stage.record(id, body_lines(">", body).await);
    let act = id.and_then(|id| {
        let case = stage.cases.get(id)?;
        Some(case.first2.get(stage.count(id)).unwrap_or(&case.origin2))
    });
    let head = |status: u16, headers: &[(&'static str, &'static str)]| {
        let mut response = Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        *response.headers_mut() = map(headers);
        response
    };
    match act.unwrap_or(&Act2::Ok) {
        Act2::Ok => {
            let headers = [("server", "origin"), ("content-length", "2")];
            if let Ok(mut stream) = respond.send_response(head(200, &headers), false) {
                send_all(&mut stream, b"ok").await;
                finish(&mut stream, &[]);
            }
        }
        Act2::Answer { status, headers, body, trailers } => {
            let bare = body.is_empty() && trailers.is_empty();
            if let Ok(mut stream) = respond.send_response(head(*status, headers), bare)
                && !bare
            {
                send_all(&mut stream, body).await;
                finish(&mut stream, trailers);
            }
        }
        Act2::Refuse(reason) => respond.send_reset(Reason::from(*reason)),
        Act2::Cut(reason) => {
            if let Ok(mut stream) = respond.send_response(head(200, &[]), false) {
                send_all(&mut stream, b"part").await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                stream.send_reset(Reason::from(*reason));
            }
        }
    }
}
