//! Secrets from servers of their own (SDS over gRPC), followed on the control side of the process.
//!
//! A secret whose `sds_config` names a cluster is asked for at that cluster's endpoints, by one stream for all secrets of
//! the cluster. What comes is handed to whoever applies configuration, whose verdict goes back to the server. When a
//! stream ends it is opened again, after a wait that grows; secrets that came before serve on meanwhile.

mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::v3::core::Node;
use tidegate_envoy::v3::discovery::DiscoveryRequest;
use tidegate_envoy::{prost_types::Any, types::google::rpc::Status};
use tidegate_xds::ResourceType;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::stream::Stream;
use crate::upstream::ClusterSlot;
use crate::upstream::fault::Fault;

/// The shortest wait before a stream is opened again, which doubles each time: Envoy's.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a server may take to answer until that is told (Envoy's `initial_fetch_timeout`).
const PATIENCE: Duration = Duration::from_secs(15);
/// gRPC's INVALID_ARGUMENT, which a NACK carries.
const INVALID_ARGUMENT: i32 = 3;

/// Names of secrets.
pub type Names = BTreeSet<Arc<str>>;

/// What a server is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The cluster that the server is.
    pub cluster: Arc<ClusterSlot>,
    /// The secrets.
    pub names: Names,
}

/// What is heard of a server, which its cluster names.
#[derive(Debug)]
pub enum News {
    /// It sent secrets.
    Came {
        /// Its cluster.
        server: Arc<str>,
        /// The secrets.
        secrets: Vec<Any>,
        /// Takes the verdict: why they were refused, if any was.
        verdict: oneshot::Sender<Result<(), String>>,
    },
    /// It cannot be asked, or does not answer.
    Lost {
        /// Its cluster.
        server: Arc<str>,
        /// Why.
        why: Fault,
    },
}

/// The servers that are followed.
#[derive(Debug)]
pub struct Follower {
    runtime: Handle,
    node: Node,
    followed: HashMap<Arc<str>, Followed>,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

/// A server that is followed, until this is dropped.
#[derive(Debug)]
struct Followed {
    names: watch::Sender<Names>,
    _task: JoinSet<()>,
}

impl Follower {
    /// Follows nobody yet. Streams live on `runtime`, and say that they come from `node`.
    #[must_use]
    pub fn new(runtime: Handle, node: Node) -> Self {
        let (sender, news) = mpsc::channel(1);
        Self { runtime, node, followed: HashMap::new(), sender, news }
    }

    /// Follows these servers and no others.
    pub fn follow(&mut self, wanted: BTreeMap<Arc<str>, Wanted>) {
        self.followed.retain(|server, _| wanted.contains_key(server));
        for (server, Wanted { cluster, names }) in wanted {
            if let Some(followed) = self.followed.get(&server) {
                followed.names.send_if_modified(|before| {
                    let differs = *before != names;
                    *before = names;
                    differs
                });
                continue;
            }
            let (names, asked) = watch::channel(names);
            let session = Session {
                server: Arc::clone(&server),
                cluster,
                names: asked,
                node: self.node.clone(),
                news: self.sender.clone(),
            };
            let mut task = JoinSet::new();
            task.spawn_on(session.run(), &self.runtime);
            self.followed.insert(server, Followed { names, _task: task });
        }
    }

    /// Waits for what is heard next; for ever when nobody is followed. Safe to cancel.
    pub async fn news(&mut self) -> News {
        loop {
            match self.news.recv().await {
                // Of a server that is followed no longer.
                Some(News::Came { server, .. } | News::Lost { server, .. })
                    if !self.followed.contains_key(&server) => {}
                Some(news) => return news,
                None => std::future::pending().await,
            }
        }
    }
}

/// One server, for as long as it is followed.
struct Session {
    server: Arc<str>,
    cluster: Arc<ClusterSlot>,
    names: watch::Receiver<Names>,
    node: Node,
    news: mpsc::Sender<News>,
}

/// Why a stream ended.
struct Ended {
    why: Fault,
    /// Whether it had answered.
    answered: bool,
}

impl Session {
    async fn run(mut self) {
        let mut wait = SHORTEST_WAIT;
        loop {
            let Ended { why, answered } = self.once().await;
            if !self.tell(why).await {
                return;
            }
            if answered {
                wait = SHORTEST_WAIT;
            }
            // Many proxies lose a server at the same moment, and shall not come back at the same moment.
            sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Says that the server cannot be asked; whether anybody listens.
    async fn tell(&self, why: Fault) -> bool {
        let server = Arc::clone(&self.server);
        self.news.send(News::Lost { server, why }).await.is_ok()
    }

    /// Opens a stream and follows it to its end.
    async fn once(&mut self) -> Ended {
        let mut answered = false;
        let why = match self.open().await {
            Ok(stream) => self.follow(stream, &mut answered).await.into(),
            Err(why) => why,
        };
        Ended { why, answered }
    }

    async fn open(&self) -> Result<Stream, Fault> {
        let cluster = self.cluster.load().ok_or("there is no such cluster")?;
        cluster.use_when_ready().await;
        match timeout(cluster.connect_timeout, Stream::open(&cluster)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no connection within {:?}", cluster.connect_timeout).into()),
        }
    }

    async fn follow(&mut self, mut stream: Stream, answered: &mut bool) -> String {
        let mut request = DiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: ResourceType::Secret.type_url().to_owned(),
            resource_names: named(&self.names.borrow_and_update()),
            ..DiscoveryRequest::default()
        };
        let silence = sleep(PATIENCE);
        tokio::pin!(silence);
        let mut told = false;
        loop {
            if let Err(why) = stream.ask(&request) {
                return why;
            }
            request.node = None;
            request.error_detail = None;
            let response = loop {
                tokio::select! {
                    response = stream.answer() => break Some(response),
                    changed = self.names.changed() => match changed {
                        Ok(()) => break None,
                        Err(_) => return "nobody asks any more".to_owned(),
                    },
                    () = &mut silence, if !told && !*answered => {
                        told = true;
                        self.tell(format!("it has not answered for {PATIENCE:?}").into()).await;
                    }
                }
            };
            match response {
                None => request.resource_names = named(&self.names.borrow_and_update()),
                Some(Err(why)) => return why,
                Some(Ok(response)) => {
                    *answered = true;
                    let Some(verdict) = self.hand_over(response.resources).await else {
                        return "nobody asks any more".to_owned();
                    };
                    request.response_nonce = response.nonce;
                    match verdict {
                        Ok(()) => request.version_info = response.version_info,
                        Err(message) => {
                            let code = INVALID_ARGUMENT;
                            request.error_detail =
                                Some(Status { code, message, details: Vec::new() });
                        }
                    }
                }
            }
        }
    }

    /// Hands secrets over and waits for the verdict; `None` when nobody is there to judge.
    async fn hand_over(&self, secrets: Vec<Any>) -> Option<Result<(), String>> {
        let (verdict, judged) = oneshot::channel();
        let server = Arc::clone(&self.server);
        self.news.send(News::Came { server, secrets, verdict }).await.ok()?;
        judged.await.ok()
    }
}

fn named(names: &Names) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
