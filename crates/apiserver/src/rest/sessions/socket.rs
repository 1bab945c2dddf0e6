//! A command's output over WebSocket (RFC 6455), in the channels that Kubernetes multiplexes there: each message begins
//! with the number of its channel, and the error channel says in the end how the command ended.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::rest::ask::Ask;
use crate::rest::failure::Failure;
use crate::rest::logs::CommandOutput;
use crate::rest::reply::{self, Reply};

/// Versions of the protocol, the best one first. They differ in how input ends, which no command here reads.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;

/// Bytes of output in one message.
const PIECE: usize = 32 << 10;
/// Bytes that a client may send at once: what it types, which is not read.
const TYPED: usize = 64 << 10;
/// How long a client may take for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a reply agreed to carry out.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    output: CommandOutput,
    /// Whether it is shown by a terminal (`tty=true`).
    terminal: bool,
}

/// Agrees to a session, which is [`serve`]d once the client has read that. The command is run where there is one.
pub(super) fn open(ask: &Ask, command: impl FnOnce() -> CommandOutput) -> Result<Reply, Failure> {
    let field = |name: header::HeaderName| ask.headers.get(name).and_then(|v| v.to_str().ok());
    let upgrade = field(header::UPGRADE).unwrap_or_default();
    let key = ask.headers.get(header::SEC_WEBSOCKET_KEY);
    let (true, Some(key)) = (upgrade.eq_ignore_ascii_case("websocket"), key) else {
        return Err(Failure::bad_request(format!(
            "a command is run over WebSocket ({}), as kubectl does since 1.31{}",
            PROTOCOLS[0],
            if upgrade.is_empty() { String::new() } else { format!("; {upgrade} is not served") },
        )));
    };
    let Some(protocol) = PROTOCOLS.iter().find(|protocol| offers(&ask.headers, protocol)) else {
        let why = format!("none of the protocols is served: {}", PROTOCOLS.join(", "));
        return Err(Failure::bad_request(why));
    };
    let mut reply = reply::full(StatusCode::SWITCHING_PROTOCOLS, "", "");
    reply.headers_mut().clear();
    reply::set(&mut reply, header::CONNECTION, "Upgrade");
    reply::set(&mut reply, header::UPGRADE, "websocket");
    reply::set(&mut reply, header::SEC_WEBSOCKET_ACCEPT, &derive_accept_key(key.as_bytes()));
    reply::set(&mut reply, header::SEC_WEBSOCKET_PROTOCOL, protocol);
    reply.extensions_mut().insert(Session { output: command(), terminal: ask.query.flag("tty") });
    Ok(reply)
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|offer| offer.trim() == protocol)
}

/// Carries out what a reply agreed to, on the connection that it was for.
pub(crate) async fn serve(connection: OnUpgrade, session: Session) {
    let Session { output, terminal } = session;
    let session = async {
        let stream = TokioIo::new(connection.await.map_err(|error| error.to_string())?);
        let limits =
            WebSocketConfig::default().max_message_size(Some(TYPED)).max_frame_size(Some(TYPED));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
        speak(socket, &output, terminal).await.map_err(|error| error.to_string())
    };
    match timeout(PATIENCE, session).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error, "a session with a pod ended early"),
        Err(_) => tracing::debug!("a client left a session with a pod unread"),
    }
}

async fn speak<S>(
    mut socket: WebSocketStream<S>,
    output: &CommandOutput,
    terminal: bool,
) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let errors = if terminal { STDOUT } else { STDERR };
    for (channel, bytes) in [(STDOUT, &output.stdout), (errors, &output.stderr)] {
        let bytes = if terminal { for_a_terminal(bytes) } else { bytes.clone() };
        for piece in bytes.chunks(PIECE) {
            socket.send(message(channel, piece)).await?;
        }
    }
    socket.send(message(ERROR, outcome(output.status).to_string().as_bytes())).await?;
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await?;
    // What is typed meanwhile is nobody's; the client's own close ends the session.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// Text as a terminal in raw mode shows it, which is kubectl's: a line begins on the left only after a carriage return.
fn for_a_terminal(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len());
    let mut last = None;
    for &byte in text {
        if byte == b'\n' && last != Some(b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
        last = Some(byte);
    }
    out.into()
}

fn message(channel: u8, piece: &[u8]) -> Message {
    let mut message = Vec::with_capacity(1 + piece.len());
    message.push(channel);
    message.extend_from_slice(piece);
    Message::Binary(Bytes::from(message))
}

/// How a command ended, as an object.
fn outcome(status: u8) -> Value {
    if status == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {status}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": status.to_string() }] },
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::rest::query::Query;

    /// What a client is sent, by channel, and the code that closes it.
    async fn heard(output: CommandOutput) -> (Vec<(u8, Vec<u8>)>, Option<CloseCode>) {
        heard_by(output, false).await
    }

    /// The same, by a client that is a terminal or is none.
    async fn heard_by(
        output: CommandOutput,
        terminal: bool,
    ) -> (Vec<(u8, Vec<u8>)>, Option<CloseCode>) {
        let (server, client) = tokio::io::duplex(1 << 10);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let speaking = tokio::spawn(async move { speak(server, &output, terminal).await });
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        client.send(Message::Binary(Bytes::from_static(b"\0typed"))).await.expect("taken");
        let (mut messages, mut code) = (Vec::new(), None);
        while let Some(Ok(message)) = client.next().await {
            match message {
                Message::Binary(bytes) => messages.push((bytes[0], bytes[1..].to_vec())),
                Message::Close(frame) => code = frame.map(|frame| frame.code),
                other => panic!("{other:?}"),
            }
        }
        speaking.await.expect("no panic").expect("a session");
        (messages, code)
    }

    #[tokio::test]
    async fn output_comes_in_pieces_and_then_how_it_ended() {
        let stdout = vec![b'x'; PIECE + 1];
        let output = CommandOutput { stdout: stdout.into(), ..CommandOutput::default() };
        let (messages, code) = heard(output).await;
        let pieces: Vec<_> =
            messages.iter().map(|(channel, bytes)| (*channel, bytes.len())).collect();
        let end = br#"{"metadata":{},"status":"Success"}"#;
        assert_eq!(pieces, [(STDOUT, PIECE), (STDOUT, 1), (ERROR, end.len())]);
        assert_eq!(messages[2].1, end);
        assert_eq!(code, Some(CloseCode::Normal));
    }

    #[tokio::test]
    async fn a_status_is_told_as_a_cause() {
        let output = CommandOutput { stderr: "no".into(), status: 7, ..CommandOutput::default() };
        let (messages, _) = heard(output).await;
        assert_eq!(messages[0], (STDERR, b"no".to_vec()));
        let end: Value = serde_json::from_slice(&messages[1].1).expect("JSON");
        assert_eq!(end["reason"], "NonZeroExitCode");
        assert_eq!(end["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "7" }));
    }

    /// A terminal in raw mode starts a line where the last one ended, and has one stream for everything.
    #[tokio::test]
    async fn a_terminal_is_sent_lines_that_it_can_show() {
        let output =
            CommandOutput { stdout: "a\nb\r\n\n".into(), stderr: "no\n".into(), status: 1 };
        let (messages, _) = heard_by(output, true).await;
        assert_eq!(messages[0], (STDOUT, b"a\r\nb\r\n\r\n".to_vec()));
        assert_eq!(messages[1], (STDOUT, b"no\r\n".to_vec()));
        assert_eq!((messages[2].0, messages.len()), (ERROR, 3));
    }

    #[test]
    fn a_command_is_run_for_who_can_read_its_output() {
        let asks = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().expect("a value"));
            }
            Ask {
                user: None,
                method: http::Method::GET,
                path: "/".into(),
                query: Query::default(),
                headers,
                body: Bytes::new(),
            }
        };
        let (upgrade, key) = (("upgrade", "websocket"), ("sec-websocket-key", "a"));
        let protocol = ("sec-websocket-protocol", PROTOCOLS[0]);
        let spdy = ("upgrade", "SPDY/3.1");
        for (fields, agrees) in [
            (&[][..], false),
            (&[spdy, key, protocol], false),
            (&[upgrade, key], false),
            (&[upgrade, key, protocol], true),
        ] {
            let runs = Cell::new(0);
            let run = || {
                runs.set(runs.get() + 1);
                CommandOutput::default()
            };
            let reply = open(&asks(fields), run);
            assert_eq!((reply.is_ok(), runs.get()), (agrees, u32::from(agrees)), "{fields:?}");
        }
    }
}
