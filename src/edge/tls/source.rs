//! Where certificates come from: the files of each entry of a policy.

use super::{TlsError, certificate::LoadedCertificate, content::Files, dev, setup::provider};
use crate::model::{HostPattern, UnixTime};
use crate::policy::{Acme, CertificateSource, Policy};

impl From<dev::PairFiles> for Files {
    fn from(pair: dev::PairFiles) -> Self {
        Self { cert: pair.cert, key: pair.key, ocsp: None }
    }
}

/// Lists the files of an entry, and makes those that octroi makes itself.
pub(super) fn provide(
    source: &CertificateSource,
    policy: &Policy,
    now: UnixTime,
) -> Result<Vec<Files>, TlsError> {
    match source {
        CertificateSource::Files { .. } => Ok(written(source).into_iter().collect()),
        CertificateSource::Dev { dir } => {
            Ok(dev::provide(dir, hosts(policy), now)?.into_iter().map(Files::from).collect())
        }
        // An expired one is not a mistake in the policy either: the renewer reports it and obtains another.
        CertificateSource::Acme(acme) => {
            let provider = provider();
            Ok(stored(acme, policy)
                .filter(|files| LoadedCertificate::from_files(files.clone(), &provider, now).is_ok())
                .collect())
        }
    }
}

/// Lists the files of an entry, whether they exist or not.
pub(super) fn pairs(source: &CertificateSource, policy: &Policy) -> Vec<Files> {
    match source {
        CertificateSource::Files { .. } => written(source).into_iter().collect(),
        CertificateSource::Dev { dir } => dev::pairs(dir, hosts(policy)).map(Files::from).collect(),
        CertificateSource::Acme(acme) => stored(acme, policy).collect(),
    }
}

/// Lists what a CA has issued so far.
fn stored<'a>(acme: &'a Acme, policy: &'a Policy) -> impl Iterator<Item = Files> + 'a {
    let paths = acme.certificates.iter().map(|certificate| policy.state_dir.join(certificate.file()));
    paths.filter(|path| path.exists()).map(Files::of_one)
}

/// Returns the hosts of every tenant, by its name.
fn hosts(policy: &Policy) -> impl Iterator<Item = (&str, &[HostPattern])> {
    policy.tenants.iter().map(|tenant| (tenant.name.as_str(), &*tenant.hosts))
}

/// Returns the files of an entry whose certificate the operator provides.
pub(super) fn written(source: &CertificateSource) -> Option<Files> {
    match source {
        CertificateSource::Files { cert, key, ocsp } => {
            Some(Files { cert: cert.clone(), key: key.clone(), ocsp: ocsp.clone() })
        }
        CertificateSource::Dev { .. } | CertificateSource::Acme(_) => None,
    }
}

/// Returns a host of a tenant that a certificate covers and its successor does not.
pub(super) fn lost_host(
    before: &LoadedCertificate,
    after: &LoadedCertificate,
    policy: &Policy,
) -> Option<HostPattern> {
    if before.names.iter().all(|name| after.names.contains(name)) {
        return None;
    }
    let mut hosts = policy.tenants.iter().flat_map(|tenant| &*tenant.hosts);
    hosts.find(|host| before.covers(host) && !after.covers(host)).cloned()
}
