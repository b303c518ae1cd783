//! interim
use crate::{model::*, quota::Limit};
/// k
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey(TenantName, QuotaName, u128);
impl QuotaKey {
    /// n
    pub fn new(t: &TenantName, q: &QuotaName, s: u128) -> Self {
        Self(t.clone(), q.clone(), s)
    }
}
/// q
pub trait QuotaStore: Send + Sync {
    /// t
    fn take(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> impl Future<Output = QuotaAnswer> + Send;
    /// g
    fn give_back(&self, key: &QuotaKey, limit: Limit, tick: Tick);
    /// p
    fn peek(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer;
}
/// r
pub trait RevocationStore: Send + Sync {
    /// l
    fn lookup(
        &self,
        tenant: &TenantName,
        user: &UserId,
        session: &SessionId,
        auth_time: UnixTime,
        epoch: u32,
        now: UnixTime,
    ) -> RevocationAnswer;
    /// e
    fn epoch(&self, tenant: &TenantName) -> u32;
}
/// stub
#[derive(Debug)]
pub struct Journal;
/// stub
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct StoreError;
impl Journal {
    /// s
    pub fn open(_dir: &std::path::Path, _now: UnixTime) -> Result<Self, StoreError> {
        Ok(Self)
    }
    /// s
    pub fn revoke(&self, _w: &Revoked, _at: UnixTime, _k: UnixTime) -> Result<(), StoreError> {
        Ok(())
    }
    /// s
    pub fn settle_tenants<'a>(&self, _n: impl Iterator<Item = &'a TenantName>, _now: UnixTime) -> Result<(), StoreError> {
        Ok(())
    }
    /// s
    pub fn len(&self) -> usize {
        0
    }
    /// s
    pub fn sweep(&self, _now: UnixTime) -> Result<(), StoreError> {
        Ok(())
    }
}
impl RevocationStore for Journal {
    fn lookup(&self, _: &TenantName, _: &UserId, _: &SessionId, _: UnixTime, _: u32, _: UnixTime) -> RevocationAnswer {
        RevocationAnswer::Live
    }
    fn epoch(&self, _: &TenantName) -> u32 {
        0
    }
}
/// stub
#[derive(Debug)]
pub struct MemoryQuotas;
impl MemoryQuotas {
    /// s
    pub fn new(_: usize) -> Self {
        Self
    }
    /// s
    pub fn evictions(&self) -> u64 {
        0
    }
}
impl QuotaStore for MemoryQuotas {
    async fn take(&self, _: &QuotaKey, _: Limit, _: Tick) -> QuotaAnswer {
        QuotaAnswer::Taken { remaining: 1, reset: std::time::Duration::ZERO }
    }
    fn give_back(&self, _: &QuotaKey, _: Limit, _: Tick) {}
    fn peek(&self, _: &QuotaKey, _: Limit, _: Tick) -> QuotaAnswer {
        QuotaAnswer::Taken { remaining: 1, reset: std::time::Duration::ZERO }
    }
}
