//! The TLS state of all listeners: what a handshake needs.

use std::{fmt, sync::Arc};

use rustls::{ServerConfig, crypto::CryptoProvider, server::ServerSessionMemoryCache};
use sha2::{Digest, Sha256};

use super::{
    CertificateExpiry, TlsError,
    certificate::LoadedCertificate,
    client_auth::ClientAuth,
    peer::RealmVerifier,
    resolver::{Certificates, Sni},
    setup::{server_config, versions},
    ticket::Tickets,
};
use crate::model::{Clock, HostPattern, UnixTime};
use crate::policy::{MinVersion, Policy, TicketSecrets, UnknownSni};

/// How many TLS 1.2 sessions of clients without tickets are cached, at some 300 bytes each: 10 MiB at most.
const SESSIONS: usize = 32_768;
/// How many tickets a TLS 1.3 client gets: one for each of the two connections that browsers open at once.
const TICKETS: usize = 2;

/// Everything that a TLS handshake needs. Immutable; a reload builds another one and swaps it in.
pub struct TlsState {
    config: Arc<ServerConfig>,
    pub(super) certificates: Arc<Certificates>,
    /// The realms that ask for client certificates.
    pub(super) clients: Arc<ClientAuth>,
    min_version: MinVersion,
    pub(super) loaded: Vec<Arc<LoadedCertificate>>,
    /// The contents of the file of `tls.ticket_keys`.
    pub(super) secrets: Option<TicketSecrets>,
    unknown_sni: UnknownSni,
    /// Whether some tenant serves clients without SNI.
    takes_no_sni: bool,
    ja4: bool,
    /// A digest of everything that a handshake shows or depends on.
    digest: [u8; 32],
    /// A digest of what a resumed session stands for: the certificates, and the secrets that sealed its
    /// ticket.
    resumption: [u8; 32],
}

/// What a state is assembled from.
pub(super) struct Parts {
    pub(super) loaded: Vec<Arc<LoadedCertificate>>,
    pub(super) secrets: Option<TicketSecrets>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) clients: Arc<ClientAuth>,
}

impl TlsState {
    /// Puts a state together from what was loaded for a policy.
    pub(super) fn assemble(policy: &Policy, parts: Parts, clock: &Arc<dyn Clock>) -> Result<Self, TlsError> {
        let Parts { loaded, secrets, provider, clients } = parts;
        let chains = chains(&loaded);
        let certificates = Arc::new(Certificates::new(&loaded));
        let mut config = server_config(provider, policy.tls.min_version, &certificates)?;
        let tickets = match &secrets {
            Some(secrets) => Tickets::shared(clock, secrets.clone(), chains),
            None => Tickets::own(clock),
        };
        config.ticketer = Arc::new(tickets.map_err(|_| TlsError::NoRandom)?);
        config.send_tls13_tickets = TICKETS;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let resumption = resumption(&chains, secrets.as_ref());
        Ok(Self {
            config: Arc::new(config),
            certificates,
            digest: digest(policy, &loaded, &resumption, &clients),
            clients,
            min_version: policy.tls.min_version,
            resumption,
            loaded,
            secrets,
            unknown_sni: policy.tls.unknown_sni,
            takes_no_sni: takes_no_sni(policy),
            ja4: policy.tls.ja4,
        })
    }

    /// Keeps the state in use if this one would change nothing, and its tickets if this one has the same
    /// certificates.
    pub fn or_keep(self, in_force: &Arc<Self>) -> Arc<Self> {
        if self.digest == in_force.digest { Arc::clone(in_force) } else { Arc::new(self.resuming(in_force)) }
    }

    /// Takes over the tickets of the state before, if they stand for the same certificates: new keys would
    /// end all resumption.
    pub(super) fn resuming(mut self, before: &Self) -> Self {
        if self.resumption == before.resumption {
            let mut config = ServerConfig::clone(&self.config);
            config.ticketer = Arc::clone(&before.config.ticketer);
            config.session_storage = Arc::clone(&before.config.session_storage);
            self.config = Arc::new(config);
        }
        self
    }

    /// Returns when the next OCSP response expires. It must not be stapled from then on, whether its file
    /// changes or not.
    pub fn next_staple_expiry(&self) -> Option<UnixTime> {
        self.loaded.iter().filter_map(|one| Some(one.staple.as_ref()?.until)).min()
    }

    /// Returns when each certificate expires, for the metric.
    pub fn certificate_expiries(&self) -> Vec<CertificateExpiry> {
        self.certificates.expiries()
    }

    /// Says whether a certificate covers the host, or all hosts of the wildcard.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        self.certificates.covers(pattern)
    }

    pub(super) fn clients(&self) -> &ClientAuth {
        &self.clients
    }

    /// Returns the configuration of one handshake, and the verifier of the client's certificate, where the
    /// host's realm asks for one.
    pub(in crate::edge) fn config_for(
        &self,
        sni: &Sni,
    ) -> Result<(Arc<ServerConfig>, Option<Arc<RealmVerifier>>), TlsError> {
        let realm = match sni {
            Sni::Named(host) => self.clients.realm(host),
            Sni::Absent => None,
        };
        let Some(realm) = realm else { return Ok((Arc::clone(&self.config), None)) };
        let verifier = RealmVerifier::new(realm, self.clients.number(), self.config.crypto_provider());
        let config = verifier.config(&self.config, versions(self.min_version))?;
        Ok((Arc::new(config), Some(verifier)))
    }

    /// Validates the SNI of a client. Returns a refused name as the error.
    ///
    /// A client without SNI would learn the name of the first customer from the certificate. So it is
    /// refused, where no tenant could serve it anyway and unknown names are refused.
    pub(in crate::edge) fn judge_sni(&self, name: Option<&str>) -> Result<Sni, Option<String>> {
        if name.is_none() && !self.takes_no_sni && self.unknown_sni == UnknownSni::Refuse {
            return Err(None);
        }
        self.certificates.judge(name, self.unknown_sni).map_err(Some)
    }

    /// Says whether the fingerprints of clients are logged, so that the ClientHello must be kept.
    pub(in crate::edge) fn reads_fingerprints(&self) -> bool {
        self.ja4
    }
}

impl fmt::Debug for TlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsState").field("certificates", &self.certificate_expiries()).finish_non_exhaustive()
    }
}

fn takes_no_sni(policy: &Policy) -> bool {
    policy.tenants.iter().any(|tenant| tenant.allow_no_sni)
}

/// Returns a digest of everything that a handshake shows or depends on.
fn digest(
    policy: &Policy,
    loaded: &[Arc<LoadedCertificate>],
    resumption: &[u8; 32],
    clients: &ClientAuth,
) -> [u8; 32] {
    let mut digest = Sha256::new();
    let tls = &policy.tls;
    let settings = format!(
        "{:?} {:?} {} {} {}",
        tls.min_version,
        tls.unknown_sni,
        takes_no_sni(policy),
        tls.ja4,
        loaded.len()
    );
    digest.update(settings);
    digest.update(resumption);
    digest.update(clients.digest());
    for one in loaded {
        let staple = one.key.ocsp.as_deref().unwrap_or_default();
        digest.update(staple.len().to_be_bytes());
        digest.update(staple);
    }
    digest.finalize().into()
}

/// Returns a digest of the certificates and of the ticket secrets.
fn resumption(chains: &[u8; 32], secrets: Option<&TicketSecrets>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(chains);
    for secret in secrets.map(TicketSecrets::newest_first).unwrap_or_default() {
        digest.update(secret.expose());
    }
    digest.finalize().into()
}

/// Returns a digest of all certificates, in the order of the policy.
fn chains(loaded: &[Arc<LoadedCertificate>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for one in loaded {
        digest.update(one.key.cert.len().to_be_bytes());
        for der in &one.key.cert {
            digest.update(der.len().to_be_bytes());
            digest.update(der);
        }
    }
    digest.finalize().into()
}
