//! What a quota's count is kept under.

use sha2::{Digest, Sha256};

use crate::model::{QuotaName, TenantName};

/// Whose count of which quota of which tenant: one customer cannot drain another's.
///
/// It is made of names, which survive a reload, not of positions in the rules, which do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    tenant: TenantName,
    quota: QuotaName,
    subject: u128,
    apart: bool,
}

impl QuotaKey {
    /// Names a count. The subject is a client's prefix as a number, or a [`digest`](Self::digest) of what
    /// else is counted.
    pub fn new(tenant: &TenantName, quota: &QuotaName, subject: u128) -> Self {
        Self { tenant: tenant.clone(), quota: quota.clone(), subject, apart: false }
    }

    /// Returns the count beside it, of what another site makes the same client ask for.
    #[must_use]
    pub fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// Turns a user, session or route into a subject: the first 128 bits of SHA-256, so that nobody finds
    /// another's by trying names.
    pub fn digest(subject: &[u8]) -> u128 {
        Sha256::digest(subject).first_chunk().copied().map_or(0, u128::from_be_bytes)
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// Returns the quota's name.
    pub fn quota(&self) -> &QuotaName {
        &self.quota
    }

    /// Returns the subject.
    pub fn subject(&self) -> u128 {
        self.subject
    }
}
