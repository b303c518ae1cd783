//! The TLS state as a whole: built from a policy, renewed from its files.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use rustls::{ServerConfig, crypto::CryptoProvider, server::ServerSessionMemoryCache};
use sha2::{Digest, Sha256};

use super::{
    CertificateExpiry, TlsError,
    certificate::Loaded,
    client_auth::ClientAuth,
    content::{self, Content},
    peer::Asking,
    resolver::{Certificates, Sni},
    setup::{provider, server_config, versions},
    source::{self, Files},
    ticket::Tickets,
};
use crate::model::{Clock, HostPattern, UnixTime};
use crate::policy::{CertificateSource, ListenerKind, MinVersion, Policy, TicketSecrets, UnknownSni};

/// How many TLS 1.2 sessions of clients without tickets are kept, at some 300 bytes each: 10 MiB at the most, whatever comes.
const SESSIONS: usize = 32_768;
/// How many tickets a TLS 1.3 client gets: one for each of the two connections that browsers open at once.
const TICKETS: usize = 2;

/// Everything a TLS handshake needs. Immutable; a reload builds another one and swaps it in.
pub struct TlsState {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    /// The realms that ask for client certificates.
    clients: Arc<ClientAuth>,
    min_version: MinVersion,
    loaded: Vec<Arc<Loaded>>,
    /// What the file of `tls.ticket_keys` held.
    secrets: Option<TicketSecrets>,
    unknown_sni: UnknownSni,
    /// Whether some tenant serves clients that name no host.
    takes_no_sni: bool,
    ja4: bool,
    /// Of everything that a handshake shows or goes by.
    digest: [u8; 32],
    /// Of what a resumed session stands for: the certificates, and the secrets that its ticket was sealed with.
    resumption: [u8; 32],
}

/// What came of reading the files again.
#[derive(Debug, Default)]
pub struct Renewal {
    /// The state with what was renewed. Nothing, where nothing was.
    pub state: Option<TlsState>,
    /// What is new: certificates by name, OCSP answers and the secrets for tickets by file.
    pub renewed: Vec<String>,
    /// What is on disk and cannot be used; what is in force instead stays.
    pub refused: Vec<TlsError>,
}

/// A state, and what was left out of it.
#[derive(Debug)]
pub struct Built {
    /// The state.
    pub state: TlsState,
    /// Why some hosts are not served, or some answers not stapled.
    pub out: Vec<TlsError>,
}

impl TlsState {
    /// Loads and judges every certificate of the policy, and makes what `dev: true` entries lack.
    ///
    /// All errors are returned at once. Blocks on files. A policy without TLS listeners needs no certificate.
    pub fn build(policy: &Policy, clock: &Arc<dyn Clock>) -> Result<Self, Vec<TlsError>> {
        let Built { state, out } = Self::build_without(policy, clock, &|_| false, None)?;
        debug_assert!(out.is_empty(), "nothing may be left out");
        Ok(state)
    }

    /// Does the same, and leaves out pairs that cannot be used, as long as another one is left: their hosts alone are not served. For a
    /// start, which has nothing else to serve.
    pub fn build_to_start(policy: &Policy, clock: &Arc<dyn Clock>) -> Result<Built, Vec<TlsError>> {
        Self::build_without(policy, clock, &|_| true, None)
    }

    /// Does the same where this state is in force under the policy `before`: only pairs may be left out that are out already, and one
    /// that is in force is not exchanged for one that clients refuse by its dates.
    pub fn rebuild(&self, before: &Policy, policy: &Policy, clock: &Arc<dyn Clock>) -> Result<Built, Vec<TlsError>> {
        let out = self.left_out(before);
        Self::build_without(policy, clock, &|files| out.contains(files), Some(self))
    }

    /// Lists the pairs of the policy in force that are not shown, because they could not be used.
    fn left_out(&self, policy: &Policy) -> HashSet<Files> {
        let written = policy.tls.certificates.iter().filter_map(|certificate| source::written(&certificate.source));
        written.filter(|files| self.loaded.iter().all(|one| one.files != *files)).collect()
    }

    fn build_without(
        policy: &Policy,
        clock: &Arc<dyn Clock>,
        may_be_out: &dyn Fn(&Files) -> bool,
        in_force: Option<&Self>,
    ) -> Result<Built, Vec<TlsError>> {
        let (provider, now) = (Arc::new(provider()), clock.now());
        let mut loaded = Vec::new();
        let mut errors = Vec::new();
        let mut out = Vec::new();
        for certificate in &policy.tls.certificates {
            match source::provide(&certificate.source, policy, now) {
                Ok(pairs) => pairs.into_iter().for_each(|files| {
                    let may_be_out = may_be_out(&files);
                    match Loaded::from_files(files.clone(), &provider, now) {
                        Ok(one) => {
                            let before = in_force.and_then(|state| state.loaded.iter().find(|before| before.files == files));
                            match (before.filter(|before| before.out_of_date(now).is_none()), one.out_of_date(now)) {
                                (Some(before), Some(why)) => {
                                    loaded.push(Arc::clone(before));
                                    out.push(why);
                                }
                                (None, _) | (_, None) => loaded.push(Arc::new(one)),
                            }
                        }
                        Err(error @ TlsError::Ocsp { .. }) if may_be_out => {
                            // What is wrong with the answer says nothing of the certificate.
                            match Loaded::from_files(Files { ocsp: None, ..files.clone() }, &provider, now) {
                                Ok(one) => loaded.push(Arc::new(one.of(files))),
                                Err(worse) => out.push(worse),
                            }
                            out.push(error);
                        }
                        Err(error) if may_be_out => out.push(error),
                        Err(error) => errors.push(error),
                    }
                }),
                Err(error) => errors.push(error),
            }
        }
        let secrets = policy.tls.ticket_keys.as_deref().map(content::ticket_secrets).transpose();
        let secrets = secrets.unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        // A CA gives its first certificate to who serves already.
        let by_acme = policy.tls.certificates.iter().any(|certificate| matches!(certificate.source, CertificateSource::Acme(_)));
        let needs_one = !by_acme && policy.listeners.iter().any(|listener| listener.kind == ListenerKind::Tls);
        if errors.is_empty() && loaded.is_empty() && needs_one {
            // If there are some, and none can be used, what is wrong with them is the error.
            if out.is_empty() {
                errors.push(TlsError::NoCertificate);
            } else {
                errors.append(&mut out);
            }
        }
        let clients = ClientAuth::new(policy, &provider).unwrap_or_else(|more| {
            errors.extend(more);
            ClientAuth::default()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let state = Self::assemble(policy, loaded, secrets, (provider, Arc::new(clients)), clock).map_err(|error| vec![error])?;
        Ok(Built { state, out })
    }

    /// Reads the files of the policy in force again. A pair that cannot be used changes nothing about the others.
    ///
    /// Blocks on files. A pair whose files hold what they held is not judged again.
    pub fn renew(&self, policy: &Policy, clock: &Arc<dyn Clock>) -> Renewal {
        let (provider, now) = (Arc::new(provider()), clock.now());
        let mut renewal = Renewal::default();
        let pairs = policy.tls.certificates.iter().flat_map(|certificate| {
            // Which hosts a certificate by ACME is for is the policy's own word, and who keeps it has compared them.
            let whose = (!matches!(certificate.source, CertificateSource::Acme(_))).then_some(policy);
            source::pairs(&certificate.source, policy).into_iter().map(move |files| (files, whose))
        });
        let (mut loaded, mut changed) = (Vec::new(), false);
        let in_force: HashMap<&Files, &Arc<Loaded>, ahash::RandomState> = self.loaded.iter().map(|one| (&one.files, one)).collect();
        for (files, whose) in pairs {
            let before = in_force.get(&files).map(|one| Arc::clone(one));
            let pair = match renewed(files, before.as_ref(), whose, &provider, now) {
                Ok(pair) => Some(pair),
                Err(error) => {
                    renewal.refused.push(error);
                    before.clone()
                }
            };
            let Some(pair) = pair else { continue };
            let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &pair));
            let (one, bad_staple) = Arc::clone(&pair).restapled(now);
            if is_new {
                renewal.renewed.push(one.expiry.name.clone());
            } else if !Arc::ptr_eq(&pair, &one) && one.staple.is_some() {
                renewal.renewed.extend(one.files.ocsp.iter().map(|path| path.display().to_string()));
            }
            changed |= is_new || !Arc::ptr_eq(&pair, &one);
            renewal.refused.extend(bad_staple);
            loaded.push(one);
        }
        let mut secrets = self.secrets.clone();
        if let Some(path) = &policy.tls.ticket_keys {
            match content::ticket_secrets(path) {
                Ok(same) if secrets.as_ref() == Some(&same) => {}
                Ok(new) => {
                    renewal.renewed.push(path.display().to_string());
                    secrets = Some(new);
                    changed = true;
                }
                Err(error) => renewal.refused.push(error),
            }
        }
        if changed {
            // The CAs of clients are part of the policy, which is the same.
            let clients = Arc::clone(&self.clients);
            match Self::assemble(policy, loaded, secrets, (provider, clients), clock) {
                Ok(state) => renewal.state = Some(state.resuming(self)),
                Err(error) => renewal.refused.push(error),
            }
        }
        renewal
    }

    fn assemble(
        policy: &Policy,
        loaded: Vec<Arc<Loaded>>,
        secrets: Option<TicketSecrets>,
        (provider, clients): (Arc<CryptoProvider>, Arc<ClientAuth>),
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
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

    /// Stays with the state in force if this one would change nothing, and with its tickets if it shows the same certificates.
    pub fn or_keep(self, in_force: &Arc<Self>) -> Arc<Self> {
        if self.digest == in_force.digest { Arc::clone(in_force) } else { Arc::new(self.resuming(in_force)) }
    }

    /// Opens the tickets of the state before, where they stand for the same certificates: new keys would end every resumption.
    fn resuming(mut self, before: &Self) -> Self {
        if self.resumption == before.resumption {
            let mut config = ServerConfig::clone(&self.config);
            config.ticketer = Arc::clone(&before.config.ticketer);
            config.session_storage = Arc::clone(&before.config.session_storage);
            self.config = Arc::new(config);
        }
        self
    }

    /// Judges the certificates that are there, and makes nothing: what `dev: true` entries lack is made at the start.
    pub fn judge(policy: &Policy, now: UnixTime) -> Result<(), Vec<TlsError>> {
        let provider = provider();
        let files = policy.tls.certificates.iter().filter_map(|certificate| source::written(&certificate.source));
        let clients = ClientAuth::new(policy, &Arc::new(provider.clone())).err().unwrap_or_default();
        let errors = files.filter_map(|files| Loaded::from_files(files, &provider, now).err());
        let errors: Vec<TlsError> = errors.chain(clients).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns when the next OCSP answer ends: it must not be stapled from then on, whether its file changes or not.
    pub fn next_lapse(&self) -> Option<UnixTime> {
        self.loaded.iter().filter_map(|one| Some(one.staple.as_ref()?.until)).min()
    }

    /// Returns when each certificate ends, for the metric.
    pub fn certificate_expiries(&self) -> Vec<CertificateExpiry> {
        self.certificates.expiries()
    }

    /// Says whether a certificate is for the host, or for all hosts of the wildcard.
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        self.certificates.covers(pattern)
    }

    pub(super) fn clients(&self) -> &ClientAuth {
        &self.clients
    }

    /// Returns the configuration of one handshake, and who asks for the client's certificate, where the host's realm does.
    pub(in crate::edge) fn config_for(&self, sni: &Sni) -> Result<(Arc<ServerConfig>, Option<Arc<Asking>>), TlsError> {
        let realm = match sni {
            Sni::Named(host) => self.clients.realm(host),
            Sni::Absent => None,
        };
        let Some(realm) = realm else { return Ok((Arc::clone(&self.config), None)) };
        let asking = Asking::new(realm, self.clients.number(), self.config.crypto_provider());
        let config = asking.config(&self.config, versions(self.min_version))?;
        Ok((Arc::new(config), Some(asking)))
    }

    /// Judges the name that a client asks for; a refused one is handed back.
    ///
    /// A client that names none learns the first customer's name from the certificate it is shown. So it is refused, where no
    /// tenant could serve it anyway and unknown names are.
    pub(in crate::edge) fn judge_sni(&self, name: Option<&str>) -> Result<Sni, Option<String>> {
        if name.is_none() && !self.takes_no_sni && self.unknown_sni == UnknownSni::Refuse {
            return Err(None);
        }
        self.certificates.judge(name, self.unknown_sni).map_err(Some)
    }

    /// Says whether the beginning of a connection is looked at for the client's fingerprint.
    pub(in crate::edge) fn reads_fingerprints(&self) -> bool {
        self.ja4
    }
}

impl fmt::Debug for TlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsState").field("certificates", &self.certificate_expiries()).finish_non_exhaustive()
    }
}

/// Loads a pair again. Where its files are what they were, it is the same. `whose` says which hosts must not be lost.
fn renewed(
    files: Files,
    before: Option<&Arc<Loaded>>,
    whose: Option<&Policy>,
    provider: &CryptoProvider,
    now: UnixTime,
) -> Result<Arc<Loaded>, TlsError> {
    let content = Content::read(&files)?;
    if let Some(before) = before.filter(|before| before.content == content.digest()) {
        return Ok(Arc::clone(before));
    }
    let one = Loaded::judge(files, content, provider)?;
    // What is in force stays rather than one that clients refuse.
    if let Some(why) = one.out_of_date(now).filter(|_| before.is_some_and(|before| before.out_of_date(now).is_none())) {
        return Err(why);
    }
    match before.zip(whose).and_then(|(before, policy)| source::lost_host(before, &one, policy)) {
        Some(host) => Err(TlsError::LosesHost { path: one.files.cert, host }),
        None => Ok(Arc::new(one)),
    }
}

fn takes_no_sni(policy: &Policy) -> bool {
    policy.tenants.iter().any(|tenant| tenant.allow_no_sni)
}

/// A digest of everything that a handshake shows or goes by.
fn digest(policy: &Policy, loaded: &[Arc<Loaded>], resumption: &[u8; 32], clients: &ClientAuth) -> [u8; 32] {
    let mut digest = Sha256::new();
    let tls = &policy.tls;
    let settings = format!("{:?} {:?} {} {} {}", tls.min_version, tls.unknown_sni, takes_no_sni(policy), tls.ja4, loaded.len());
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

/// A digest of the certificates and of the secrets that tickets are sealed with.
fn resumption(chains: &[u8; 32], secrets: Option<&TicketSecrets>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(chains);
    for secret in secrets.map(TicketSecrets::newest_first).unwrap_or_default() {
        digest.update(secret.expose());
    }
    digest.finalize().into()
}

/// A digest of all certificates, in the order of the policy.
fn chains(loaded: &[Arc<Loaded>]) -> [u8; 32] {
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
