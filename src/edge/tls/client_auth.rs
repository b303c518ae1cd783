//! Verifies client certificates: the CAs, revocation lists and names of each tenant, by the realm that asks.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use rustls::{
    CertificateError, DistinguishedName, Error as RustlsError, RootCertStore,
    crypto::CryptoProvider,
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::{
    TlsError,
    presented::{issuers, read},
    refusal::Refused,
    setup::provider,
};
use crate::model::{
    Acceptance, ClientCertificate, Host, HostPattern, Presented, REFUSAL_HOLDS, TenantName, UnixTime,
};
use crate::policy::{ClientCertificates, ClientTrust, Policy, Tenant};

/// The most octets of CA names that are sent to help a client choose a certificate. Beyond that none are
/// sent: the message is limited to 64 KiB, and each handshake would carry it.
const MAX_HINT_BYTES: usize = 16 << 10;

/// The realms that ask for client certificates.
#[derive(Debug, Default)]
pub(in crate::edge) struct ClientAuth {
    /// By host. `None`: the host belongs to a tenant that asks for no certificate, under a wildcard of one
    /// that does.
    exact: HashMap<Host, Option<Arc<Realm>>, ahash::RandomState>,
    wildcard: HashMap<Host, Arc<Realm>, ahash::RandomState>,
    digest: [u8; 32],
}

/// One realm: whose certificates are accepted at its hosts.
pub(in crate::edge) struct Realm {
    groups: Box<[Group]>,
    /// The groups that may have issued a certificate, by the issuer's name in it.
    by_issuer: HashMap<Box<[u8]>, Vec<usize>>,
    hints: Vec<DistinguishedName>,
}

/// Tenants that trust the same CAs and revocation lists.
struct Group {
    trust: Arc<Trust>,
    tenants: Vec<(TenantName, Arc<ClientCertificates>)>,
}

/// CAs and revocation lists, ready for verification.
struct Trust {
    anchors: Box<[Anchor]>,
    intermediates: Box<[CertificateDer<'static>]>,
    /// When a CA becomes valid or expires, or a revocation list expires.
    turns: Box<[UnixTime]>,
}

/// A trust anchor. The library does not check the validity period of an anchor, so each has its own verifier.
struct Anchor {
    verifier: Arc<dyn ClientCertVerifier>,
    begins: UnixTime,
    ends: UnixTime,
}

impl ClientAuth {
    /// Builds the verifiers of every realm that asks for certificates.
    pub(super) fn new(policy: &Policy, provider: &Arc<CryptoProvider>) -> Result<Self, Vec<TlsError>> {
        let mut auth = Self::default();
        let mut trusts = HashMap::new();
        let mut errors = Vec::new();
        let mut digest = Sha256::new();
        for tenant in policy
            .tenants
            .iter()
            .filter(|tenant| tenant.client_certificate.is_some() && !tenant.hosts.is_empty())
        {
            match realm(tenant, policy, provider, &mut trusts, &mut digest) {
                Ok(realm) => auth.add(tenant, &Arc::new(realm)),
                Err(error) => errors.push(error),
            }
        }
        auth.keep_out_others(policy, &mut digest);
        auth.digest = digest.finalize().into();
        if errors.is_empty() { Ok(auth) } else { Err(errors) }
    }

    /// Finds the realm that asks for certificates at a host.
    pub(in crate::edge) fn realm(&self, host: &Host) -> Option<&Arc<Realm>> {
        match self.exact.get(host) {
            Some(realm) => realm.as_ref(),
            None => self.wildcard.get(host.parent()?),
        }
    }

    /// Returns a digest of everything that a verdict depends on.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns a number that identifies these rules.
    pub(in crate::edge) fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Verifies a certificate that was presented to a host.
    pub(in crate::edge) fn judge(
        &self,
        host: Option<&Host>,
        certificate: &ClientCertificate,
        now: UnixTime,
    ) -> (Acceptance, Refused) {
        match host.and_then(|host| self.realm(host)) {
            Some(realm) => realm.judge(certificate, self.number(), now),
            None => {
                let refused = Refused::unasked();
                (acceptance(Vec::new(), refused.to_string(), self.number(), now, []), refused)
            }
        }
    }

    fn add(&mut self, tenant: &Tenant, realm: &Arc<Realm>) {
        for pattern in &tenant.hosts {
            match pattern {
                HostPattern::Exact(host) => drop(self.exact.insert(host.clone(), Some(Arc::clone(realm)))),
                HostPattern::Wildcard(parent) => {
                    drop(self.wildcard.insert(parent.clone(), Arc::clone(realm)))
                }
            }
        }
    }

    /// An exact host of one tenant may be covered by the wildcard of another.
    fn keep_out_others(&mut self, policy: &Policy, digest: &mut Sha256) {
        if self.wildcard.is_empty() {
            return;
        }
        for pattern in policy
            .tenants
            .iter()
            .filter(|tenant| tenant.client_certificate.is_none())
            .flat_map(|tenant| &tenant.hosts)
        {
            if let HostPattern::Exact(host) = pattern
                && host.parent().is_some_and(|parent| self.wildcard.contains_key(parent))
            {
                part(digest, format!("not {host}").as_bytes());
                self.exact.insert(host.clone(), None);
            }
        }
    }
}

impl Realm {
    /// Returns the names of the CAs, from which a client chooses its certificate.
    pub(super) fn hints(&self) -> &[DistinguishedName] {
        &self.hints
    }

    /// Verifies a certificate for each tenant: chain, revocation, names. Also returns why it was refused.
    pub(super) fn judge(
        &self,
        certificate: &ClientCertificate,
        rules: u64,
        now: UnixTime,
    ) -> (Acceptance, Refused) {
        let chain: Vec<CertificateDer<'_>> =
            certificate.chain.iter().map(|der| CertificateDer::from(&**der)).collect();
        let mut accepted = Vec::new();
        let mut refused = Refused::unknown_issuer();
        let mut turns = certificate.turns.to_vec();
        let candidates: BTreeSet<usize> = issuers(&chain)
            .iter()
            .filter_map(|issuer| self.by_issuer.get(&**issuer))
            .flatten()
            .copied()
            .collect();
        for Group { trust, tenants } in candidates.into_iter().filter_map(|index| self.groups.get(index)) {
            turns.extend(&trust.turns);
            if let Err(why) = trust.verify(&chain, now) {
                refused = refused.or(why);
                continue;
            }
            for (name, rules) in tenants {
                if rules.identities.admit(certificate) {
                    accepted.push(name.clone());
                } else {
                    refused = refused.or(Refused::identity(name));
                }
            }
        }
        (acceptance(accepted, refused.to_string(), rules, now, turns), refused)
    }
}

fn acceptance(
    mut tenants: Vec<TenantName>,
    why_not: String,
    rules: u64,
    now: UnixTime,
    turns: impl IntoIterator<Item = UnixTime>,
) -> Acceptance {
    let next = turns.into_iter().filter(|turn| *turn > now).min();
    tenants.sort_unstable();
    let longest = if tenants.is_empty() { now.plus(REFUSAL_HOLDS) } else { now.plus(LONGEST) };
    let until = next.map_or(longest, |next| next.min(longest));
    Acceptance { tenants: tenants.into(), why_not: why_not.into(), rules, verified: now, until }
}

/// Every acceptance is verified again after a day at most.
const LONGEST: Duration = Duration::from_secs(86_400);

impl Trust {
    fn new(trust: &ClientTrust, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let anchors = trust.anchors.iter().map(|anchor| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(&*anchor.der)).map_err(|error| error.to_string())?;
            let crls = trust.crls.iter().map(|crl| crl.der.to_vec().into());
            // Revocation is checked for the whole chain. Where there are lists, a certificate that none of
            // them covers is refused, and so is one whose list has expired.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .with_crls(crls)
                .enforce_revocation_expiration()
                .allow_unauthenticated()
                .build()
                .map_err(|error: VerifierBuilderError| error.to_string())?;
            Ok(Anchor { verifier, begins: anchor.begins, ends: anchor.ends })
        });
        let authorities = trust.anchors.iter().chain(&trust.intermediates);
        let turns = authorities
            .flat_map(|ca| [ca.begins, ca.ends])
            .chain(trust.crls.iter().map(|crl| crl.next_update));
        Ok(Self {
            anchors: anchors.collect::<Result<_, String>>()?,
            intermediates: trust.intermediates.iter().map(|ca| ca.der.to_vec().into()).collect(),
            turns: turns.collect(),
        })
    }

    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Refused> {
        let Some((leaf, sent)) = chain.split_first() else { return Err(Refused::unknown_issuer()) };
        let intermediates: Vec<CertificateDer<'_>> =
            sent.iter().chain(&self.intermediates).cloned().collect();
        let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        let mut refused = Refused::unknown_issuer();
        for anchor in &self.anchors {
            if now < anchor.begins || anchor.ends <= now {
                refused = refused.or(Refused::ca_not_in_force());
                continue;
            }
            match anchor.verifier.verify_client_cert(leaf, &intermediates, time) {
                Ok(_) => return Ok(()),
                Err(RustlsError::InvalidCertificate(error)) => refused = refused.or(Refused::from(error)),
                Err(error) => {
                    refused = refused
                        .or(Refused::from(CertificateError::Other(rustls::OtherError(Arc::new(error)))))
                }
            }
        }
        Err(refused)
    }
}

/// Verifies a chain (DER, the client's own certificate first) as a handshake for this host would, without a
/// handshake.
///
/// Returns `None` where the chain cannot be read.
pub fn judge_certificate(
    policy: &Policy,
    host: Option<&Host>,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Option<Presented>, Vec<TlsError>> {
    let auth = ClientAuth::new(policy, &Arc::new(provider()))?;
    let Ok(certificate) = read(chain) else { return Ok(None) };
    let (acceptance, _) = auth.judge(host, &certificate, now);
    Ok(Some(Presented { certificate: Arc::new(certificate), acceptance: Arc::new(acceptance) }))
}

/// Builds one realm from its own CAs and those of its members.
fn realm(
    tenant: &Arc<Tenant>,
    policy: &Policy,
    provider: &Arc<CryptoProvider>,
    trusts: &mut HashMap<[u8; 32], Arc<Trust>>,
    digest: &mut Sha256,
) -> Result<Realm, TlsError> {
    let members = tenant.members.iter().filter_map(|member| policy.tenants.named(member.as_str()));
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<[u8; 32], usize> = HashMap::new();
    let mut by_issuer: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
    part(digest, format!("realm {} {:?}", tenant.name, tenant.hosts).as_bytes());
    for owner in std::iter::once(tenant).chain(members) {
        let Some((rules, own)) =
            owner.client_certificate.as_ref().and_then(|rules| Some((rules, rules.trust.as_ref()?)))
        else {
            continue;
        };
        let key = contents(own);
        part(digest, format!("{} {:?}", owner.name, rules.identities).as_bytes());
        part(digest, &key);
        if let Some(group) = places.get(&key).and_then(|&place| groups.get_mut(place)) {
            group.tenants.push((owner.name.clone(), Arc::clone(rules)));
            continue;
        }
        let trust = match trusts.get(&key) {
            Some(trust) => Arc::clone(trust),
            None => {
                let made = Trust::new(own, provider)
                    .map_err(|why| TlsError::ClientTrust { tenant: owner.name.clone(), why })?;
                Arc::clone(trusts.entry(key).or_insert(Arc::new(made)))
            }
        };
        for ca in own.anchors.iter().chain(&own.intermediates) {
            by_issuer.entry(ca.subject.clone()).or_default().push(groups.len());
        }
        places.insert(key, groups.len());
        groups.push(Group { trust, tenants: vec![(owner.name.clone(), Arc::clone(rules))] });
    }
    let bytes: usize = by_issuer.keys().map(|name| name.len() + 2).sum();
    let hints = if bytes > MAX_HINT_BYTES {
        Vec::new()
    } else {
        by_issuer.keys().map(|name| name.to_vec().into()).collect()
    };
    Ok(Realm { groups: groups.into(), by_issuer, hints })
}

/// Returns a digest of CAs and lists. Tenants that name copies of the same ones share a verifier.
fn contents(trust: &ClientTrust) -> [u8; 32] {
    let mut digest = Sha256::new();
    for (kind, list) in [(b"a", &trust.anchors), (b"i", &trust.intermediates)] {
        digest.update(kind);
        list.iter().for_each(|ca| part(&mut digest, &ca.der));
    }
    digest.update(b"c");
    trust.crls.iter().for_each(|crl| part(&mut digest, &crl.der));
    digest.finalize().into()
}

fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update(bytes.len().to_be_bytes());
    digest.update(bytes);
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = self.groups.iter().flat_map(|group| &group.tenants).map(|(name, _)| name);
        f.debug_list().entries(tenants).finish()
    }
}
