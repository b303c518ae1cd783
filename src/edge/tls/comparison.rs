//! Compares two TLS states for the same policy: which hosts would lose a good certificate.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rustls::sign::CertifiedKey;

use super::{
    TlsError, certificate::LoadedCertificate, content::Files, error::some_of, source, state::TlsState,
};
use crate::model::UnixTime;
use crate::policy::{CertificateSource, Policy};

impl TlsState {
    /// Says which hosts another state for this policy would shut out that this one serves: it would replace
    /// good certificates by ones that clients reject because of their dates or because octroi's own
    /// development CA made them, or by none where a CA has issued one.
    pub fn worse(&self, next: &Self, policy: &Policy, now: UnixTime) -> Option<String> {
        // An operator who configures `dev: true` gets it.
        let written: HashSet<Files> =
            policy.tls.certificates.iter().filter_map(|one| source::written(&one.source)).collect();
        let refused = |one: &LoadedCertificate| {
            if written.contains(&one.files) { one.refused(now) } else { one.out_of_date(now) }
        };
        let bad = |state: &Self| -> HashMap<*const CertifiedKey, TlsError, ahash::RandomState> {
            state.loaded.iter().filter_map(|one| Some((Arc::as_ptr(&one.key), refused(one)?))).collect()
        };
        let (bad_before, bad_next) = (bad(self), bad(next));
        let mut given: HashSet<*const CertifiedKey> = HashSet::new();
        for certificate in &policy.tls.certificates {
            let CertificateSource::Acme(acme) = &certificate.source else { continue };
            let paths: HashSet<_> =
                acme.certificates.iter().map(|one| policy.state_dir.join(one.file())).collect();
            given.extend(
                self.loaded
                    .iter()
                    .filter(|one| paths.contains(&one.files.cert))
                    .map(|one| Arc::as_ptr(&one.key)),
            );
        }
        let (mut hosts, mut why) = (Vec::new(), None);
        for host in policy.tenants.iter().flat_map(|tenant| &*tenant.hosts) {
            let (before, after) = (self.certificates.keys(host), next.certificates.keys(host));
            let count = |keys: &[Arc<CertifiedKey>], bad: &HashMap<_, TlsError, _>| {
                keys.iter().filter(|key| bad.contains_key(&Arc::as_ptr(key))).count()
            };
            let is_good = before.iter().any(|key| !bad_before.contains_key(&Arc::as_ptr(key)));
            if !is_good {
                continue;
            }
            if count(after, &bad_next) > count(before, &bad_before) {
                why = why.or_else(|| {
                    after.iter().find_map(|key| bad_next.get(&Arc::as_ptr(key))).map(ToString::to_string)
                });
                hosts.push(host.clone());
            } else if after.is_empty() && before.iter().any(|key| given.contains(&Arc::as_ptr(key))) {
                why = why.or_else(|| {
                    Some("the certificate that the CA gave is gone or cannot be used".to_owned())
                });
                hosts.push(host.clone());
            }
        }
        Some(format!(
            "{}; the certificate in force is good, and clients would refuse: {}",
            why?,
            some_of(&hosts)
        ))
    }
}
