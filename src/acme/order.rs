//! One order, from the wish to the pair on disk.

use std::{path::Path, sync::Arc, time::Duration};

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;

use super::{
    account,
    client::RetryAfter,
    error::{AcmeError, CaProblem},
    schedule::POLLING,
    store::{self, TempFile},
};
use crate::{
    edge::StoredPair,
    model::{Clock, Host, pem_certificates},
    policy::{Acme, AcmeCertificate, AcmeChallenge},
    process::Blocking,
    store::{Challenges, Running},
};

/// How long all of an order may take.
const ORDER: Duration = Duration::from_secs(600);
/// How often it is asked meanwhile, unless it says when.
const POLL: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(POLLING);
/// The longest chain that is taken.
const CHAIN: usize = 10;

/// What orders need.
#[derive(Clone)]
pub(super) struct OrderContext {
    pub(super) state_dir: Box<Path>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retry_after: RetryAfter,
    /// What it reads and writes.
    pub(super) blocking: Blocking,
}

impl OrderContext {
    /// Has a certificate made, and keeps it. The old one is replaced only by one that is judged fit.
    ///
    /// Where there are several ways to prove a host, `turns` says with which to begin.
    pub(super) async fn order(
        &self,
        acme: &Acme,
        certificate: &AcmeCertificate,
        turns: u32,
    ) -> Result<StoredPair, AcmeError> {
        tokio::time::timeout(ORDER, self.all(acme, certificate, turns))
            .await
            .unwrap_or(Err(AcmeError::Timeout(ORDER)))
    }

    async fn all(
        &self,
        acme: &Acme,
        certificate: &AcmeCertificate,
        turns: u32,
    ) -> Result<StoredPair, AcmeError> {
        let account =
            account::open(acme, &self.state_dir, &self.retry_after, &self.clock, &self.blocking).await?;
        let names: Vec<Identifier> =
            certificate.hosts.iter().map(|host| Identifier::Dns(host.to_string())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let ways = turned(&acme.challenges, turns);
        let proofs = self.prove(&mut order, &ways).await?;
        if let Some(failed) = wait_until_ready(&mut order).await? {
            return Err(why_not(&mut order, &ways, failed).await);
        }
        drop(proofs);
        let (key, chain) = finish(&mut order, &certificate.hosts).await?;
        self.keep(acme, certificate, &key, chain).await
    }

    /// Begins to answer for every host that is not proven yet, and tells the CA so.
    async fn prove(&self, order: &mut Order, ways: &[AcmeChallenge]) -> Result<Vec<Running>, AcmeError> {
        let mut proofs = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => return Err(failure(&authorization, ways, name)),
            }
            let offered = |way: &&AcmeChallenge| {
                authorization.challenges.iter().any(|challenge| challenge.r#type == kind(**way))
            };
            let Some(&way) = ways.iter().find(offered) else {
                return Err(AcmeError::NoWay { host: name, wanted: ways.to_vec() });
            };
            let host: Host = name.parse().map_err(|_| {
                AcmeError::Protocol("the CA asks about a host that was not ordered".to_owned())
            })?;
            let Some(mut challenge) = authorization.challenge(kind(way)) else {
                return Err(AcmeError::NoWay { host: name, wanted: ways.to_vec() });
            };
            let answer = challenge.key_authorization();
            proofs.push(self.challenges.begin(&host, way, &challenge.token, answer.as_str())?);
            challenge.set_ready().await?;
        }
        Ok(proofs)
    }

    /// Judges what came, and puts it in the place of what was there.
    async fn keep(
        &self,
        acme: &Acme,
        certificate: &AcmeCertificate,
        key: &KeyPair,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<StoredPair, AcmeError> {
        let path = self.state_dir.join(certificate.file());
        let text = store::pair(&acme.directory, &key.serialize_pem(), &chain);
        let (hosts, clock) = (certificate.hosts.clone(), Arc::clone(&self.clock));
        let kept = self.blocking.run(move || {
            let storage = |source| AcmeError::Storage { path: path.clone(), source };
            let temp = TempFile::write(&path, text.as_bytes()).map_err(storage)?;
            let pair = StoredPair::judge(temp.beside(), clock.now()).map_err(AcmeError::Unusable)?;
            if let Some(host) = hosts.iter().find(|host| !pair.is_for(host)) {
                return Err(AcmeError::NotFor(host.to_string()));
            }
            temp.keep().map_err(storage)?;
            Ok(pair)
        });
        kept.await?
    }
}

/// Begins with another way each time.
fn turned(ways: &[AcmeChallenge], turns: u32) -> Vec<AcmeChallenge> {
    let mut ways = ways.to_vec();
    let count = u32::try_from(ways.len()).unwrap_or(1).max(1);
    ways.rotate_left(usize::try_from(turns % count).unwrap_or(0));
    ways
}

fn kind(way: AcmeChallenge) -> ChallengeType {
    match way {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// Waits until the CA has looked at the proofs. Returns what it says of the order if that failed.
async fn wait_until_ready(order: &mut Order) -> Result<Option<CaProblem>, AcmeError> {
    match order.poll_ready(&POLL).await {
        Ok(OrderStatus::Ready) => Ok(None),
        Ok(_) => Ok(Some(CaProblem::nothing())),
        Err(instant_acme::Error::Api(problem)) if order.state().status == OrderStatus::Invalid => {
            Ok(Some(CaProblem::of(&problem)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Finds the host that the CA did not find proven, and what it says of it.
async fn why_not(order: &mut Order, ways: &[AcmeChallenge], problem: CaProblem) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_ok() && authorization.status == AuthorizationStatus::Invalid {
            let name = authorization.identifier().to_string();
            return failure(&authorization, ways, name);
        }
    }
    AcmeError::Refused(problem)
}

fn failure(authorization: &AuthorizationHandle<'_>, ways: &[AcmeChallenge], host: String) -> AcmeError {
    let failed = authorization
        .challenges
        .iter()
        .find_map(|challenge| Some((&challenge.r#type, challenge.error.as_ref()?)));
    let way = failed.and_then(|(tried, _)| ways.iter().find(|way| kind(**way) == *tried));
    AcmeError::Challenge {
        host,
        challenge: way.or(ways.first()).map_or("no challenge", |way| way.as_str()),
        problem: failed.map_or_else(CaProblem::nothing, |(_, problem)| CaProblem::of(problem)),
    }
}

/// Makes a key, asks for its certificate, and waits for it. Every certificate has a key of its own.
async fn finish(
    order: &mut Order,
    hosts: &[Host],
) -> Result<(KeyPair, Vec<CertificateDer<'static>>), AcmeError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let text = order.poll_certificate(&POLL).await?;
    let chain = pem_certificates(text.as_bytes()).map_err(|_| AcmeError::NoChain)?;
    if chain.is_empty() || chain.len() > CHAIN {
        return Err(AcmeError::NoChain);
    }
    Ok((key, chain.into_iter().map(CertificateDer::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_take_turns() {
        use AcmeChallenge::{Http01, TlsAlpn01};

        assert_eq!(turned(&[TlsAlpn01, Http01], 0), [TlsAlpn01, Http01]);
        assert_eq!(turned(&[TlsAlpn01, Http01], 1), [Http01, TlsAlpn01]);
        assert_eq!(turned(&[TlsAlpn01, Http01], 2), [TlsAlpn01, Http01]);
        assert_eq!(turned(&[Http01], 7), [Http01]);
    }
}
