//! The files that a policy names and that are read again when they change.

use std::{collections::BTreeSet, path::PathBuf};

use crate::policy::{CertificateSource, Policy};

/// The part of the gateway that a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// What a handshake shows or goes by.
    Tls,
    /// Ranges that are dropped before it.
    Deny,
    /// Whose certificates are accepted of clients: a part of the policy.
    ClientTrust,
    /// Session keys of a folder: a part of the policy.
    SessionKeys,
}

impl Group {
    pub(super) const ALL: &[Self] = &[Self::Tls, Self::Deny, Self::ClientTrust, Self::SessionKeys];
}

/// Lists the files of a policy.
pub(super) fn files(policy: &Policy) -> Vec<(Group, PathBuf)> {
    let mut files: Vec<_> = policy.tls.ticket_keys.iter().map(|path| (Group::Tls, path.clone())).collect();
    for certificate in &policy.tls.certificates {
        match &certificate.source {
            CertificateSource::Files { cert, key, ocsp } => {
                files.extend(
                    [Some(cert), Some(key), ocsp.as_ref()]
                        .into_iter()
                        .flatten()
                        .map(|path| (Group::Tls, path.clone())),
                );
            }
            // They are made at the start, and nobody renews them.
            // Whoever writes these takes them into force, too.
            CertificateSource::Dev { .. } | CertificateSource::Acme(_) => {}
        }
    }
    let admin = policy.admin.iter().filter_map(|admin| admin.tls.as_ref());
    files.extend(admin.flat_map(|(cert, key)| [cert, key]).map(|path| (Group::Tls, path.clone())));
    for trust in policy.tenants.iter().filter_map(|tenant| tenant.client_certificate.as_ref()?.trust.as_ref())
    {
        files.extend(trust.files.iter().map(|file| (Group::ClientTrust, file.path.clone())));
    }
    for trust in
        policy.tenants.iter().filter_map(|tenant| tenant.client_certificate.as_ref()?.unusable.as_ref())
    {
        files.extend(trust.files.iter().map(|(path, _)| (Group::ClientTrust, path.clone())));
    }
    if let Some(dir) = policy.sessions.as_ref().and_then(|sessions| sessions.key_dir.as_ref()) {
        // As a whole: a key that comes, or that was refused, is not named in the policy.
        files.push((Group::SessionKeys, dir.path.clone()));
    }
    let lists = policy.listeners.iter().flat_map(|listener| &listener.deny.files);
    let paths: BTreeSet<&PathBuf> = lists.map(|file| &file.path).collect();
    files.extend(paths.into_iter().map(|path| (Group::Deny, path.clone())));
    files
}
