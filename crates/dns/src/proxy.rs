//! One query and its answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::led::Led;
use crate::message::{
    Answer, Malformed, Request, TTL, Transport, address, aliases, code_of, exists, pointer,
};
use crate::stale::Stale;
use crate::table::{End, Found, Host, Table};
use crate::upstream::{AskError, Upstream, is_failure};

/// How many queries may be on their way to resolvers at a time; more are told that they failed.
const MAX_FORWARDED: usize = 512;

/// How long a client waits whose query was answered before: the client response timer of RFC 8767, section 5.
const PATIENCE: Duration = Duration::from_millis(1800);
/// How long while no resolver has answered since the last that none did.
const IMPATIENCE: Duration = Duration::from_millis(300);

/// The table, the resolvers behind it, and what they led to. Shared by everybody who asks or fills it.
#[derive(Debug)]
pub struct DnsProxy {
    table: RwLock<Table>,
    upstream: Upstream,
    led: Led,
    stale: Stale,
    counters: Counters,
    forwarding: Semaphore,
    /// Which of several addresses comes first.
    turn: AtomicUsize,
    /// Whether it was told that resolvers fail, and not yet that they answer again.
    failing: AtomicBool,
    /// Whether it was told that queries come back.
    circles: AtomicBool,
}

/// What was asked, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries that came in.
    pub queries: AtomicU64,
    /// Those that the table answered, wholly or as another name of what a resolver knows.
    pub from_table: AtomicU64,
    /// Questions that resolvers were asked.
    pub forwarded: AtomicU64,
    /// Those that no resolver answered.
    pub failed: AtomicU64,
    /// Queries and connections that were too many at a time.
    pub overflow: AtomicU64,
    /// Queries that this proxy had sent itself.
    pub circles: AtomicU64,
    /// What came in and was no query.
    pub malformed: AtomicU64,
}

fn asks_for_addresses(request: &Request) -> bool {
    matches!(request.kind(), RecordType::A | RecordType::AAAA)
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl DnsProxy {
    /// A proxy with nothing in its table.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self {
            table: RwLock::default(),
            upstream,
            led: Led::default(),
            stale: Stale::default(),
            counters: Counters::default(),
            forwarding: Semaphore::new(MAX_FORWARDED),
            turn: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            circles: AtomicBool::new(false),
        }
    }

    /// Puts hosts in place of what there was under their names, all at once; `None` takes one away.
    pub fn update(&self, changes: impl IntoIterator<Item = (Name, Option<Host>)>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|(name, host)| table.set(&name, host));
    }

    /// How many hosts the table has.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The name that a client asked for last of those that led it to an address, while the answer may be in use.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        self.led.name_of(address)
    }

    /// Whether a name that fits led a client to an address, as far as that is remembered.
    pub fn led_by(&self, address: IpAddr, fits: impl Fn(&str) -> bool) -> bool {
        self.led.was_by(address, fits)
    }

    /// What was asked so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The answer to a message; none to what is no query. `own` is where this proxy listens.
    pub(crate) async fn answer(
        &self,
        bytes: &[u8],
        from: SocketAddr,
        transport: Transport,
        own: &[SocketAddr],
    ) -> Option<Vec<u8>> {
        let request = match Request::read(bytes, transport) {
            Ok(request) => request,
            Err(malformed) => {
                count(&self.counters.malformed);
                return match malformed {
                    Malformed::Nothing => None,
                    Malformed::Query(answer) => Some(answer),
                };
            }
        };
        count(&self.counters.queries);
        if self.upstream.sent(from, request.id()) {
            self.tell_circle();
            return Some(request.code(ResponseCode::ServFail));
        }
        if request.is_transfer() {
            return Some(request.code(ResponseCode::NotImp));
        }
        if let Some(answer) = self.names_asked_for(&request) {
            return Some(answer);
        }
        let answer = match self.find(&request) {
            Some(found) => self.answer_found(&request, found, bytes, own).await,
            None => self.forward(&request, bytes, own).await,
        };
        Some(answer.unwrap_or_else(|| request.code(ResponseCode::ServFail)))
    }

    /// The names that the table has for an address, where a client asks for them; others are for resolvers to say.
    fn names_asked_for(&self, request: &Request) -> Option<Vec<u8>> {
        let address = request.address()?;
        let names = self.table.read().unwrap_or_else(PoisonError::into_inner).names_of(address);
        if names.is_empty() {
            return None;
        }
        count(&self.counters.from_table);
        let records = names.iter().map(|name| pointer(request.name(), name)).collect();
        Some(request.written(Answer { authoritative: true, records, ..Answer::default() }))
    }

    fn find(&self, request: &Request) -> Option<Found> {
        if !request.is_lookup() {
            return None;
        }
        let search = self.upstream.search();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.find(request.name(), search.as_ref())
    }

    async fn answer_found(
        &self,
        request: &Request,
        found: Found,
        bytes: &[u8],
        own: &[SocketAddr],
    ) -> Option<Vec<u8>> {
        let Found { aliases: names, end } = found;
        match (end, request.kind()) {
            // Hints in records of type HTTPS would lead past the addresses of the table.
            (
                End::Addresses(name, addresses),
                kind @ (RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::HTTPS),
            ) => {
                count(&self.counters.from_table);
                let mut records = aliases(&names, &name);
                let addresses = self.rotated(addresses, kind);
                self.remember(&name, addresses.iter().map(|address| (*address, TTL)));
                records.extend(addresses.into_iter().map(|one| address(&name, one)));
                Some(request.written(Answer { authoritative: true, records, ..Answer::default() }))
            }
            (End::Addresses(..), _) => {
                let mut answer = self.forward(request, bytes, own).await?;
                if names.is_empty() {
                    exists(&mut answer);
                }
                Some(answer)
            }
            (End::Elsewhere(target), RecordType::CNAME) => {
                count(&self.counters.from_table);
                let records = aliases(&names, &target);
                Some(request.written(Answer { authoritative: true, records, ..Answer::default() }))
            }
            (End::Elsewhere(target), _) => {
                count(&self.counters.from_table);
                let (about, query) = request.about(&target)?;
                let answer = self.forward(&about, &query, own).await?;
                let Message { metadata, answers, authorities, .. } =
                    Message::from_vec(&answer).ok()?;
                let mut records = aliases(&names, &target);
                records.extend(answers);
                let (code, cut) = (metadata.response_code, metadata.truncation);
                let answer = Answer { code, cut, records, authorities, authoritative: false };
                Some(request.written(answer))
            }
        }
    }

    /// The addresses of the family asked for, with another one first each time.
    fn rotated(&self, mut addresses: Vec<IpAddr>, kind: RecordType) -> Vec<IpAddr> {
        addresses.retain(|address| match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        });
        if !addresses.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        addresses
    }

    /// What a resolver says; `None` when none does.
    async fn forward(
        &self,
        request: &Request,
        query: &[u8],
        own: &[SocketAddr],
    ) -> Option<Vec<u8>> {
        let Ok(_turn) = self.forwarding.try_acquire() else {
            count(&self.counters.overflow);
            return None;
        };
        count(&self.counters.forwarded);
        let stale = self.stale_for(request);
        let asked = self.upstream.ask(request, query, own);
        let outcome = match stale {
            Some(_) => timeout(self.patience(), asked).await.unwrap_or(Err(AskError::Slowness)),
            None => asked.await,
        };
        match outcome {
            Ok(answer) if is_failure(code_of(&answer)) && stale.is_some() => stale,
            Ok(answer) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("resolvers answer again");
                }
                self.remember_answer(request, &answer);
                Some(answer)
            }
            Err(error) => {
                count(&self.counters.failed);
                self.tell_failure(request, &error);
                stale
            }
        }
    }

    fn remember_answer(&self, request: &Request, answer: &[u8]) {
        if !asks_for_addresses(request) {
            return;
        }
        let Ok(message) = Message::from_vec(answer) else { return };
        let records = message.answers.iter();
        let addresses = records.filter_map(|record| Some((record.data.ip_addr()?, record.ttl)));
        self.remember(request.name(), addresses);
        // What is cut is not all that there is.
        if !is_failure(code_of(answer)) && !message.metadata.truncation {
            self.stale.put(request.name(), request.kind(), message.answers);
        }
    }

    /// The answer to a query by what resolvers said last.
    fn stale_for(&self, request: &Request) -> Option<Vec<u8>> {
        let asks = asks_for_addresses(request) && request.is_lookup();
        let records = self.stale.get(request.name(), request.kind()).filter(|_| asks)?;
        Some(request.written(Answer { records, ..Answer::default() }))
    }

    /// How long resolvers are waited for by those who can do without them.
    fn patience(&self) -> Duration {
        if self.failing.load(Ordering::Relaxed) { IMPATIENCE } else { PATIENCE }
    }

    fn remember(&self, name: &Name, addresses: impl Iterator<Item = (IpAddr, u32)>) {
        let mut addresses = addresses.peekable();
        if addresses.peek().is_none() {
            return;
        }
        let name = name.to_lowercase().to_ascii();
        let name: Arc<str> = name.strip_suffix('.').unwrap_or(&name).into();
        for (address, ttl) in addresses {
            self.led.remember(&name, address, Duration::from_secs(ttl.into()));
        }
    }

    fn tell_failure(&self, request: &Request, error: &AskError) {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!("{} is not known: {error}", request.name());
        } else {
            tracing::warn!("{} is not known: {error}; this is told once", request.name());
        }
    }

    fn tell_circle(&self) {
        count(&self.counters.circles);
        if !self.circles.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the DNS proxy was sent a query of its own: what it sends is redirected to it. Run it as a user whose \
                 traffic is not captured (capture apply --proxy-uid), or name another resolver with --dns-server"
            );
        }
    }
}
