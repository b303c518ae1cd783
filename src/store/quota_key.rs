//! The key of a count.

use crate::model::{QuotaName, TenantName};

/// The key of a count: tenant, quota and subject. The tenant is part of it, so one customer cannot drain
/// another's quota.
///
/// It consists of names, which survive a reload; positions in the rules do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    tenant: TenantName,
    quota: QuotaName,
    subject: u128,
    apart: bool,
}

impl QuotaKey {
    /// Makes a key. The subject is a client's prefix as a number, or a digest of a user, session or
    /// route.
    pub fn new(tenant: &TenantName, quota: &QuotaName, subject: u128) -> Self {
        Self { tenant: tenant.clone(), quota: quota.clone(), subject, apart: false }
    }

    /// Returns the key of the separate count, for requests that another site makes the same client send.
    #[must_use]
    pub fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// Returns the count of another subject.
    #[must_use]
    pub fn with_subject(&self, subject: u128) -> Self {
        Self { subject, ..self.clone() }
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
