//! TLS contexts of both roles: what configuration says, made ready for handshakes.
//!
//! A context is ready once its secrets are there. When one of them changes, the next handshake makes the
//! library's configuration anew; connections that are open keep theirs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::crypto::provider;
use super::identity::{Identity, choose};
use super::secret::{IdentitySource, Missing, Secrets, ValidationSource};
use super::suites;
use super::validation::Validation;
use super::verify::{Unverifiable, Verifier};

/// Sessions that a context remembers towards servers, over all its endpoints.
const SESSIONS: usize = 256;

/// What both roles have in common (`CommonTlsContext`).
#[derive(Debug, Clone)]
pub struct Common {
    /// What we present.
    pub identities: Vec<IdentitySource>,
    /// What peers must present.
    pub validation: ValidationSource,
    /// Versions, at least one.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Suites of TLS 1.2, in the order of preference; empty for all.
    pub suites: Vec<CipherSuite>,
    /// Groups for key exchange, in the order of preference; empty for the library's choice.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// ALPN protocols, in the order of preference.
    pub alpn: Vec<Box<[u8]>>,
}

/// Why a context cannot be used now.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotReady {
    /// A secret is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// What peers must present makes no sense.
    #[error(transparent)]
    Unverifiable(#[from] Unverifiable),
    /// The library refuses.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// What configuration says cannot be served.
    #[error("the TLS context is refused: {0}")]
    Refused(Box<str>),
}

impl Common {
    fn provider(&self) -> Arc<CryptoProvider> {
        if self.suites.is_empty() && self.groups.is_empty() {
            return Arc::clone(provider());
        }
        let mut provider = (**provider()).clone();
        provider.cipher_suites = suites::supported(&self.suites);
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        Arc::new(provider)
    }

    /// What peers must present, with what the secret adds.
    fn validation(&self, secrets: &Secrets) -> Option<Validation> {
        let here = self.validation.here.as_deref();
        match (here, secrets.validation.as_deref()) {
            (Some(here), Some(secret)) => Some(here.with(secret)),
            (here, secret) => here.or(secret).cloned(),
        }
    }

    fn alpn_protocols(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|protocol| protocol.to_vec()).collect()
    }
}

/// Any context, ready with some secrets.
#[derive(Debug)]
struct Ready<T> {
    secrets: Secrets,
    made: T,
}

// === servers ===

/// How a filter chain does TLS (`DownstreamTlsContext`).
#[derive(Debug)]
pub struct ServerTls {
    /// What both roles have in common.
    pub common: Common,
    /// Whether a client must present a certificate, whatever is asked of those who have one.
    pub require_client_certificate: bool,
    /// Whether a client must name a server.
    pub require_sni: bool,
    /// Whether sessions are resumed.
    pub resumes: bool,
    /// Whether the client's order of suites counts.
    pub prefers_client_suites: bool,
    /// How long a handshake may take.
    pub timeout: Duration,
    /// Why no handshake can be served, where configuration is at fault.
    refused: Option<Box<str>>,
    ready: ArcSwapOption<Ready<Arc<ServerConfigs>>>,
}

/// What a server needs for handshakes. Each takes one of them.
#[derive(Debug)]
pub struct ServerConfigs {
    /// Suites in our order.
    ours: ByAlpn,
    /// Suites in the client's order.
    theirs: ByAlpn,
    /// Whether a certificate that a client presents is verified.
    pub verifies: bool,
    /// What looks at it, where one is asked for.
    verifier: Option<Arc<Verifier>>,
}

/// What a server needs for handshakes, by what the client offers in ALPN.
#[derive(Debug)]
struct ByAlpn {
    /// For clients that offer a protocol that we have.
    with: Arc<ServerConfig>,
    /// For others. They are served without ALPN, as Envoy does; the library would refuse them.
    without: Arc<ServerConfig>,
}

impl ServerConfigs {
    /// What serves the client of a hello. One that cannot be read is left to the library.
    #[must_use]
    pub fn of(&self, hello: Option<&super::ClientHello>) -> Arc<ServerConfig> {
        let theirs = hello.is_some_and(|hello| hello.prefers_chacha);
        let order = if theirs { &self.theirs } else { &self.ours };
        let in_common = hello
            .is_none_or(|hello| self.agreed(|protocol| hello.alpn.contains(protocol)).is_some());
        Arc::clone(if in_common { &order.with } else { &order.without })
    }

    /// What a handshake agrees on in ALPN with a client that offers what `offered` says: the first of the server's protocols
    /// that it has, whatever its own order (RFC 7301 section 3.2). `None` where there is nothing in common, which is served
    /// all the same.
    pub fn agreed(&self, offered: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        let protocols = self.ours.with.alpn_protocols.iter().map(Vec::as_slice);
        protocols.into_iter().find(|protocol| offered(protocol))
    }

    /// Whether clients are asked for a certificate.
    #[must_use]
    pub fn asks_certificate(&self) -> bool {
        self.verifier.is_some()
    }

    /// Looks at the certificates (DER) that a client shows, its own first, as a handshake does that is held now.
    ///
    /// # Errors
    /// Why the handshake fails.
    pub fn judge(&self, chain: &[impl AsRef<[u8]>]) -> Result<(), rustls::Error> {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let (Some(verifier), [leaf, others @ ..]) = (&self.verifier, &*chain) else {
            return Ok(());
        };
        verifier.verify_client_cert(leaf, others, UnixTime::now()).map(|_| ())
    }
}

impl ByAlpn {
    fn new(without: ServerConfig, alpn: Vec<Vec<u8>>) -> Self {
        let mut with = without.clone();
        with.alpn_protocols = alpn;
        Self { with: Arc::new(with), without: Arc::new(without) }
    }
}

impl ServerTls {
    /// A context; its secrets may be missing still.
    #[must_use]
    pub fn new(common: Common, require_client_certificate: bool, timeout: Duration) -> Self {
        Self {
            common,
            require_client_certificate,
            require_sni: false,
            resumes: true,
            prefers_client_suites: false,
            timeout,
            refused: None,
            ready: ArcSwapOption::empty(),
        }
    }

    /// A context that serves no handshake, in the place of one that is at fault: its connections are closed, and those
    /// of its neighbours are not.
    #[must_use]
    pub fn refusing(why: &str, timeout: Duration) -> Self {
        let nothing = Common {
            identities: Vec::new(),
            validation: ValidationSource::default(),
            versions: Vec::new(),
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
        };
        Self { refused: Some(why.into()), ..Self::new(nothing, false, timeout) }
    }

    /// What a handshake needs now.
    ///
    /// # Errors
    /// See [`NotReady`].
    pub fn configs(&self) -> Result<Arc<ServerConfigs>, NotReady> {
        if let Some(why) = &self.refused {
            return Err(NotReady::Refused(why.clone()));
        }
        let secrets = Secrets::load(&self.common.identities, &self.common.validation)?;
        let before = self.ready.load();
        if let Some(ready) = &*before
            && ready.secrets.is(&secrets)
        {
            return Ok(Arc::clone(&ready.made));
        }
        // Sessions of clients that were looked at in another way are not resumed.
        let same = before.as_ref().filter(|ready| ready.secrets.validates_as(&secrets));
        let tickets = match same {
            Some(ready) => Arc::clone(&ready.made.ours.with.ticketer),
            None => Ticketer::new()?,
        };
        let made = Arc::new(self.make(&secrets, tickets)?);
        self.ready.store(Some(Arc::new(Ready { secrets, made: Arc::clone(&made) })));
        Ok(made)
    }

    /// Whether a client without a certificate is sent away, with what is there now to verify it by.
    #[must_use]
    pub fn demands_certificate(&self) -> bool {
        let ready = self.ready.load();
        let validation = ready.as_ref().and_then(|ready| self.common.validation(&ready.secrets));
        self.demands(&validation.unwrap_or_default())
    }

    fn demands(&self, validation: &Validation) -> bool {
        self.require_client_certificate || validation.demands()
    }

    /// Whether clients are asked for a certificate, with what is there now to verify it by.
    #[must_use]
    pub fn asks_certificate(&self) -> bool {
        let ready = self.ready.load();
        let validation = ready.as_ref().and_then(|ready| self.common.validation(&ready.secrets));
        self.require_client_certificate || validation.is_some_and(|validation| validation.asks())
    }

    /// URIs of the certificate that is presented: all of a context are of one workload.
    #[must_use]
    pub fn local_uris(&self) -> Vec<Box<str>> {
        let ready = self.ready.load();
        let first = ready.as_ref().and_then(|ready| ready.secrets.identities.first());
        first.map(|identity| identity.leaf.uris.clone()).unwrap_or_default()
    }

    fn make(
        &self,
        secrets: &Secrets,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfigs, NotReady> {
        let builder = ServerConfig::builder_with_provider(self.common.provider())
            .with_protocol_versions(&self.common.versions)?;
        let validation = self.common.validation(secrets).unwrap_or_default();
        let verifies = validation.verifies();
        let demanded = self.demands(&validation);
        let asked = demanded || validation.asks();
        let verifier = asked.then(|| Verifier::of_clients(validation, demanded)).transpose()?;
        let verifier = verifier.map(Arc::new);
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::<Verifier>::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(Identities(secrets.identities.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = if self.resumes { 1 } else { 0 };
        if self.resumes {
            config.ticketer = tickets;
        }
        config.ignore_client_order = !self.prefers_client_suites;
        let ours = ByAlpn::new(config.clone(), self.common.alpn_protocols());
        // Suites that configuration names stand in its order, whatever a client has hardware for.
        config.ignore_client_order &= !self.common.suites.is_empty();
        let theirs = ByAlpn::new(config, self.common.alpn_protocols());
        Ok(ServerConfigs { ours, theirs, verifies, verifier })
    }
}

/// The chains that a server has, chosen from by name and key.
#[derive(Debug)]
struct Identities(Vec<Arc<Identity>>);

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = choose(&self.0, hello.server_name(), hello.signature_schemes());
        let now = SystemTime::now();
        chosen.or(self.0.first()).map(|identity| Arc::clone(identity.presented(now)))
    }
}

// === clients ===

/// How a cluster does TLS (`UpstreamTlsContext`).
#[derive(Debug)]
pub struct ClientTls {
    /// What both roles have in common.
    pub common: Common,
    /// The server that is asked for; empty when it is taken from the request, or none is.
    pub sni: Box<str>,
    /// Whether the certificate must be for the server that is asked for.
    pub by_name: bool,
    /// Whether sessions are resumed.
    pub resumes: bool,
    ready: ArcSwapOption<Ready<ClientConfigs>>,
}

/// What a client needs for handshakes.
#[derive(Debug, Clone)]
pub struct ClientConfigs {
    /// The library's configuration.
    pub config: Arc<ClientConfig>,
    /// Whether the server is verified.
    pub verifies: bool,
}

impl ClientTls {
    /// A context; its secrets may be missing still.
    #[must_use]
    pub fn new(common: Common, sni: &str, by_name: bool, resumes: bool) -> Self {
        Self { common, sni: sni.into(), by_name, resumes, ready: ArcSwapOption::empty() }
    }

    /// What a handshake needs now.
    ///
    /// # Errors
    /// See [`NotReady`].
    pub fn configs(&self) -> Result<ClientConfigs, NotReady> {
        let secrets = Secrets::load(&self.common.identities, &self.common.validation)?;
        if let Some(ready) = &*self.ready.load()
            && ready.secrets.is(&secrets)
        {
            return Ok(ready.made.clone());
        }
        let made = self.make(&secrets)?;
        self.ready.store(Some(Arc::new(Ready { secrets, made: made.clone() })));
        Ok(made)
    }

    /// Forgets its sessions, so that the next handshake is a whole one.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.ready.store(None);
    }

    /// Whether servers are verified, as far as is known without the secrets.
    #[must_use]
    pub fn verifies(&self) -> bool {
        let here = self.common.validation.here.as_deref();
        match &self.common.validation.secret {
            Some(_) => !here.is_some_and(|here| here.accept_untrusted),
            None => here.is_some_and(Validation::verifies),
        }
    }

    fn make(&self, secrets: &Secrets) -> Result<ClientConfigs, NotReady> {
        let validation = self.common.validation(secrets).unwrap_or_default();
        let verifies = validation.verifies();
        let verifier = Arc::new(Verifier::of_servers(validation, self.by_name)?);
        let builder = ClientConfig::builder_with_provider(self.common.provider())
            .with_protocol_versions(&self.common.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match secrets.identities.first() {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from((*identity.key).clone()),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.common.alpn_protocols();
        config.resumption = if self.resumes {
            Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)))
        } else {
            Resumption::disabled()
        };
        Ok(ClientConfigs { config: Arc::new(config), verifies })
    }
}
