//! Where certificates come from: the files of each entry of a policy.

use std::path::PathBuf;

use super::{TlsError, certificate::Loaded, dev, setup::provider};
use crate::model::{HostPattern, UnixTime};
use crate::policy::{Acme, CertificateSource, Policy};

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Files {
    /// The chain, leaf first.
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// An OCSP answer to staple.
    pub(super) ocsp: Option<PathBuf>,
}

impl Files {
    /// Chain and key in one file.
    pub(super) fn of_one(path: PathBuf) -> Self {
        Self { cert: path.clone(), key: path, ocsp: None }
    }
}

impl From<dev::PairFiles> for Files {
    fn from(pair: dev::PairFiles) -> Self {
        Self { cert: pair.cert, key: pair.key, ocsp: None }
    }
}

/// Lists the files of an entry, and makes those that are ours to make.
pub(super) fn provide(source: &CertificateSource, policy: &Policy, now: UnixTime) -> Result<Vec<Files>, TlsError> {
    match source {
        CertificateSource::Files { .. } => Ok(written(source).into_iter().collect()),
        CertificateSource::Dev { dir } => Ok(dev::provide(dir, hosts(policy), now)?.into_iter().map(Files::from).collect()),
        // Nor is an old one a mistake of the policy: who keeps it tells, and has another one made.
        CertificateSource::Acme(acme) => {
            let provider = provider();
            Ok(stored(acme, policy).filter(|files| Loaded::from_files(files.clone(), &provider, now).is_ok()).collect())
        }
    }
}

/// Lists the files of an entry, whether they are there or not.
pub(super) fn pairs(source: &CertificateSource, policy: &Policy) -> Vec<Files> {
    match source {
        CertificateSource::Files { .. } => written(source).into_iter().collect(),
        CertificateSource::Dev { dir } => dev::pairs(dir, hosts(policy)).map(Files::from).collect(),
        CertificateSource::Acme(acme) => stored(acme, policy).collect(),
    }
}

/// Lists what a CA gave so far.
fn stored<'a>(acme: &'a Acme, policy: &'a Policy) -> impl Iterator<Item = Files> + 'a {
    let paths = acme.certificates.iter().map(|certificate| policy.state_dir.join(certificate.file()));
    paths.filter(|path| path.exists()).map(Files::of_one)
}

/// Returns the hosts of every tenant, by its name.
fn hosts(policy: &Policy) -> impl Iterator<Item = (&str, &[HostPattern])> {
    policy.tenants.iter().map(|tenant| (tenant.name.as_str(), &*tenant.hosts))
}

/// Returns the files that an operator wrote, of an entry that names such.
pub(super) fn written(source: &CertificateSource) -> Option<Files> {
    match source {
        CertificateSource::Files { cert, key, ocsp } => Some(Files { cert: cert.clone(), key: key.clone(), ocsp: ocsp.clone() }),
        CertificateSource::Dev { .. } | CertificateSource::Acme(_) => None,
    }
}

/// Returns a host of a tenant that a certificate is for and its successor is not.
pub(super) fn lost_host(before: &Loaded, after: &Loaded, policy: &Policy) -> Option<HostPattern> {
    if before.names.iter().all(|name| after.names.contains(name)) {
        return None;
    }
    let mut hosts = policy.tenants.iter().flat_map(|tenant| &*tenant.hosts);
    hosts.find(|host| before.covers(host) && !after.covers(host)).cloned()
}
