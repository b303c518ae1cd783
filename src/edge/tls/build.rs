//! Builds the TLS state from a policy, for a start and for a reload.

use std::{collections::HashSet, sync::Arc};

use super::{
    TlsError,
    certificate::{self, LoadedCertificate},
    client_auth::ClientAuth,
    content::{self, Files},
    setup::provider,
    source,
    state::{Parts, TlsState},
};
use crate::model::{Clock, HostPattern, UnixTime};
use crate::policy::{CertificateSource, ListenerKind, Policy};

/// A state, and what was left out of it.
#[derive(Debug)]
pub struct Built {
    /// The state.
    pub state: TlsState,
    /// Why some hosts are not served, or some responses not stapled.
    pub out: Vec<TlsError>,
}

impl TlsState {
    /// Loads and validates every certificate of the policy, and makes those that `dev: true` entries lack.
    ///
    /// Returns all errors at once. Blocks on files. A policy without TLS listeners needs no certificate.
    pub fn build(policy: &Policy, clock: &Arc<dyn Clock>) -> Result<Self, Vec<TlsError>> {
        let Built { state, out } = Self::build_without(policy, clock, &|_| false, None)?;
        debug_assert!(out.is_empty(), "nothing may be left out");
        Ok(state)
    }

    /// Does the same, and leaves out pairs that cannot be used, as long as another one is left: only their
    /// hosts are not served. For a start, which has nothing else to serve.
    pub fn build_to_start(policy: &Policy, clock: &Arc<dyn Clock>) -> Result<Built, Vec<TlsError>> {
        Self::build_without(policy, clock, &|_| true, None)
    }

    /// Does the same while this state is in use under the policy `before`. Only pairs that are left out
    /// already may be left out, and a certificate in use is not replaced by one that clients reject because
    /// of its dates, or because octroi's own development CA made it.
    pub fn rebuild(
        &self,
        before: &Policy,
        policy: &Policy,
        clock: &Arc<dyn Clock>,
    ) -> Result<Built, Vec<TlsError>> {
        let out = self.left_out(before);
        Self::build_without(policy, clock, &|files| out.contains(files), Some(self))
    }

    /// Lists the pairs of the current policy that are not in use because they could not be used.
    fn left_out(&self, policy: &Policy) -> HashSet<Files> {
        let written =
            policy.tls.certificates.iter().filter_map(|certificate| source::written(&certificate.source));
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
        // Pairs without an earlier version in use.
        let mut missing = Vec::new();
        for certificate in &policy.tls.certificates {
            match source::provide(&certificate.source, policy, now) {
                Ok(pairs) => pairs.into_iter().for_each(|files| {
                    let may_be_out = may_be_out(&files);
                    match LoadedCertificate::from_files(files.clone(), &provider, now) {
                        Ok(one) => {
                            let before = in_force
                                .and_then(|state| state.loaded.iter().find(|before| before.files == files));
                            match before.and_then(|before| Some((before, one.worse_than(before, now)?))) {
                                Some((before, why)) => {
                                    loaded.push(Arc::clone(before));
                                    out.push(why);
                                }
                                None => loaded.push(Arc::new(one)),
                            }
                        }
                        Err(error @ TlsError::Ocsp { .. }) if may_be_out => {
                            // A fault of the response says nothing about the certificate.
                            match LoadedCertificate::from_files(
                                Files { ocsp: None, ..files.clone() },
                                &provider,
                                now,
                            ) {
                                Ok(one) => loaded.push(Arc::new(one.of(files))),
                                Err(worse) => missing.push((files, worse)),
                            }
                            out.push(error);
                        }
                        Err(error) if may_be_out => missing.push((files, error)),
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
        // A CA issues the first certificate to a server that is running already.
        let by_acme = policy
            .tls
            .certificates
            .iter()
            .any(|certificate| matches!(certificate.source, CertificateSource::Acme(_)));
        let needs_one =
            !by_acme && policy.listeners.iter().any(|listener| listener.kind == ListenerKind::Tls);
        if errors.is_empty() && loaded.is_empty() && needs_one {
            // If there are certificates and none can be used, their faults are the error.
            if out.is_empty() && missing.is_empty() {
                errors.push(TlsError::NoCertificate);
            } else {
                errors.extend(missing.drain(..).map(|(_, error)| error).chain(out.drain(..)));
            }
        }
        let clients = ClientAuth::new(policy, &provider).unwrap_or_else(|more| {
            errors.extend(more);
            ClientAuth::default()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let state =
            Self::assemble(policy, Parts { loaded, secrets, provider, clients: Arc::new(clients) }, clock)
                .map_err(|error| vec![error])?;
        out.extend(missing.into_iter().map(|(files, cause)| state.out(&files, cause, policy)));
        Ok(Built { state, out })
    }

    /// Says which hosts are not served because a pair cannot be used and no earlier one is in use. Where its
    /// hosts are unknown, these are all hosts without a certificate.
    pub(super) fn out(&self, files: &Files, cause: TlsError, policy: &Policy) -> TlsError {
        let names = LoadedCertificate::names_in(files);
        let is_for = |host: &HostPattern| names.as_ref().is_none_or(|names| certificate::cover(names, host));
        let hosts = policy.tenants.iter().flat_map(|tenant| &*tenant.hosts);
        let hosts = hosts.filter(|host| !self.covers(host) && is_for(host)).cloned().collect();
        TlsError::Out { cause: Box::new(cause), hosts }
    }

    /// Validates the certificates that exist, and makes none: a start makes those that `dev: true` entries
    /// lack.
    pub fn judge(policy: &Policy, now: UnixTime) -> Result<(), Vec<TlsError>> {
        let provider = provider();
        let files =
            policy.tls.certificates.iter().filter_map(|certificate| source::written(&certificate.source));
        let clients = ClientAuth::new(policy, &Arc::new(provider.clone())).err().unwrap_or_default();
        let errors = files.filter_map(|files| LoadedCertificate::from_files(files, &provider, now).err());
        let errors: Vec<TlsError> = errors.chain(clients).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
