//! What a case is: what the client does, what the origin does.

use super::frames::Frame;

/// One request, or a few on one connection, and how the origin takes part.
#[derive(Clone, Debug)]
pub struct Case {
    /// Theme and name, such as `methods/HEAD`; unique.
    pub name: String,
    /// The listener it goes to.
    pub listener: &'static str,
    /// What the client does.
    pub client: Client,
    /// What the origin does once it has read a request's head, over HTTP/1.
    pub origin: Vec<Act>,
    /// What the origin does over HTTP/2.
    pub origin2: Act2,
    /// What the origin does with the first requests, before it does the above.
    pub first: Vec<Vec<Act>>,
    /// The same over HTTP/2.
    pub first2: Vec<Act2>,
    /// How many requests origins are to have had, as copies come when they come.
    pub requests: usize,
}

#[derive(Clone, Debug)]
pub enum Client {
    Http1(Vec<Step>),
    Http2(Request2),
    /// Sends frames as they are.
    Frames(Vec<Frame>),
}

/// What a client does on its HTTP/1 connection.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Waits, so that what was sent and what comes next do not travel together.
    Pause(u64),
    /// Reads one answer, with its interim ones.
    Read,
    /// Reads the answer to a HEAD.
    ReadHead,
    /// Reads so many bytes of a tunnel.
    Raw(usize),
    /// Reads to the end of a tunnel.
    RawEnd,
    /// Ends the sending direction.
    Finish,
    /// Asks, with a further request, whether the connection is open.
    Probe,
    /// Waits for a while for the connection to close, where a further request would be taken for a body.
    Ends,
    /// Sends a request on a connection of its own and reads the answer.
    Beside(Vec<u8>),
}

/// A request over HTTP/2.
#[derive(Clone, Debug, Default)]
pub struct Request2 {
    pub method: &'static str,
    pub uri: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<Vec<u8>>,
    pub trailers: Vec<(&'static str, &'static str)>,
    /// Whether its content goes on for as long as there is no answer, and is not ended after that either.
    pub unended: bool,
    /// How much the client takes at a time; the default is large.
    pub window: Option<u32>,
}

/// What the origin does after a head, over HTTP/1.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads and records the body. Implied unless the first act is `Early`.
    Body,
    /// The answer does not wait for the body, which is not recorded.
    Early,
    Send(Vec<u8>),
    Pause(u64),
    /// Sends back so many bytes of a tunnel.
    Echo(usize),
    /// Waits for the proxy to close.
    Hold,
    Close,
    Reset,
}

/// What the origin does over HTTP/2.
#[derive(Clone, Debug, Default)]
pub enum Act2 {
    /// 200, the content, these trailers.
    #[default]
    Ok,
    Answer {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: Vec<u8>,
        trailers: Vec<(&'static str, &'static str)>,
    },
    /// Resets the stream before an answer.
    Refuse(u32),
    /// Resets the stream inside the answer.
    Cut(u32),
}

impl Case {
    /// Sends bytes, reads one answer, asks whether the connection is open.
    pub fn new(name: &str, request: impl AsRef<[u8]>) -> Self {
        let request = request.as_ref();
        let read = if request.starts_with(b"HEAD ") { Step::ReadHead } else { Step::Read };
        Self::steps(name, vec![Step::Send(request.to_vec()), read, Step::Probe])
    }

    pub fn steps(name: &str, steps: Vec<Step>) -> Self {
        Self {
            name: name.to_owned(),
            listener: "edge",
            client: Client::Http1(steps),
            origin: Vec::new(),
            origin2: Act2::Ok,
            first: Vec::new(),
            first2: Vec::new(),
            requests: 0,
        }
    }

    pub fn http2(name: &str, request: Request2) -> Self {
        Self { client: Client::Http2(request), ..Self::steps(name, Vec::new()) }
    }

    pub fn frames(name: &str, frames: Vec<Frame>) -> Self {
        Self { client: Client::Frames(frames), ..Self::steps(name, Vec::new()) }
    }

    pub fn at(mut self, listener: &'static str) -> Self {
        self.listener = listener;
        self
    }

    /// What the origin does.
    pub fn origin(mut self, acts: Vec<Act>) -> Self {
        self.origin = acts;
        self
    }

    /// The origin answers with these bytes.
    pub fn answer(self, bytes: impl AsRef<[u8]>) -> Self {
        self.origin(vec![Act::Send(bytes.as_ref().to_vec())])
    }

    /// The origin answers with these bytes and closes.
    pub fn answer_close(self, bytes: impl AsRef<[u8]>) -> Self {
        self.origin(vec![Act::Send(bytes.as_ref().to_vec()), Act::Close])
    }

    /// What the origin does with the first requests.
    pub fn first(mut self, acts: Vec<Vec<Act>>) -> Self {
        self.first = acts;
        self
    }

    /// What the origin does with the first requests over HTTP/2.
    pub fn first2(mut self, acts: Vec<Act2>) -> Self {
        self.first2 = acts;
        self
    }

    pub fn origin2(mut self, act: Act2) -> Self {
        self.origin2 = act;
        self
    }

    /// Origins have so many requests before they are compared.
    pub fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    /// The connection is watched for its end, instead of probed with a further request.
    pub fn watch(mut self) -> Self {
        if let Client::Http1(steps) = &mut self.client
            && let Some(last) = steps.last_mut()
        {
            *last = Step::Ends;
        }
        self
    }
}

/// A request to host `a` that names the case.
pub fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: a\r\n{headers}\r\n{body}").into_bytes()
}

/// A GET of a path that goes to the origin.
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    request(&format!("GET {path}"), headers, "")
}

/// Puts the case's number, and the listener's port, where a request asks for them.
pub fn fill(bytes: &[u8], id: usize, port: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"{id}") {
            out.extend_from_slice(id.to_string().as_bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"{port}") {
            out.extend_from_slice(port.to_string().as_bytes());
            rest = after;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}
