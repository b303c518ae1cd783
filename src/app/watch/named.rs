//! The files that a policy names and that are read again when they change.

use std::path::PathBuf;

use crate::policy::{CertificateSource, Policy};

/// The part of the gateway that a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// What a handshake shows or goes by.
    Tls,
}

impl Group {
    pub(super) const ALL: &[Self] = &[Self::Tls];
}

/// Lists the files of a policy.
pub(super) fn files(policy: &Policy) -> Vec<(Group, PathBuf)> {
    let mut files: Vec<_> = policy.tls.ticket_keys.iter().map(|path| (Group::Tls, path.clone())).collect();
    for certificate in &policy.tls.certificates {
        match &certificate.source {
            CertificateSource::Files { cert, key, ocsp } => {
                files.extend([Some(cert), Some(key), ocsp.as_ref()].into_iter().flatten().map(|path| (Group::Tls, path.clone())));
            }
            // They are made at the start, and nobody renews them.
            CertificateSource::Dev { .. } => {}
        }
    }
    files
}
