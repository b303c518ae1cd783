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
    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32;
}
