//! The one way to the API server that all kinds share, made again when what leads there has changed.

use std::time::Duration;

use kube::Client;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::access::{Access, AccessError, Terms};
use super::fault::Fault;

/// How old a client has to be to be replaced on the mere word that its credentials are not good.
const FRESH: Duration = Duration::from_secs(10);

/// The way to an API server.
#[derive(Debug)]
pub(super) struct Server {
    access: Access,
    present: Mutex<Option<Present>>,
}

#[derive(Debug)]
struct Present {
    connection: Connection,
    terms: Terms,
    made: Instant,
}

/// A client; another one has another number.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) number: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(access: Access) -> Self {
        Self { access, present: Mutex::default() }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// The present client; made, if there is none.
    pub(super) async fn connection(&self) -> Result<Connection, Fault> {
        let mut present = self.present.lock().await;
        if let Some(present) = &*present {
            return Ok(present.connection.clone());
        }
        let (client, terms) = self.connect().await.map_err(|error| plain(&self.access, &error))?;
        let connection = Connection { client, number: 0 };
        *present = Some(Present { connection: connection.clone(), terms, made: Instant::now() });
        Ok(connection)
    }

    /// Makes another client where its terms have changed: the kubeconfig, a certificate, a token; or, as commands make tokens,
    /// too, where the server says that ours are not good.
    pub(super) async fn renew(&self, unauthorized: bool) {
        let mut present = self.present.lock().await;
        let Some(before) = &mut *present else { return };
        // What cannot be read now, may be in writing: the client of before is as good as any.
        let Ok((client, terms)) = self.connect().await else { return };
        if terms != before.terms || unauthorized && before.made.elapsed() > FRESH {
            let number = before.connection.number + 1;
            let connection = Connection { client, number };
            *before = Present { connection, terms, made: Instant::now() };
        }
    }

    /// Reads files, and runs what a kubeconfig says makes tokens: elsewhere, as nobody knows how long that takes.
    async fn connect(&self) -> Result<(Client, Terms), AccessError> {
        let (access, runtime) = (self.access.clone(), Handle::current());
        let connecting = spawn_blocking(move || runtime.block_on(access.connect()));
        connecting.await.unwrap_or_else(|error| Err(AccessError::defect(&error)))
    }
}

/// The access is named wherever a fault is told.
fn plain(access: &Access, error: &AccessError) -> Fault {
    let words = error.to_string();
    let prefix = format!("{access}: ");
    Fault::Other(words.strip_prefix(&prefix).unwrap_or(&words).to_owned())
}
