//! What the pipeline asks about sessions: which were ended, and which token of each is the newest.

use crate::{
    model::{ClientPrefix, RevocationAnswer, SessionId, TenantName, UnixTime, UserId},
    session::{Claims, TokenOrder},
};

/// A session as its own claims tell it: all that a revocation may name.
#[derive(Clone, Copy, Debug)]
pub struct SessionRef<'a> {
    /// The tenant that it belongs to.
    pub tenant: &'a TenantName,
    /// Its user.
    pub user: &'a UserId,
    /// Its id.
    pub id: &'a SessionId,
    /// When its user signed in.
    pub auth_time: UnixTime,
    /// The tenant's epoch that it began in.
    pub epoch: u32,
}

/// Knows which sessions were ended.
pub trait RevocationStore: Send + Sync {
    /// Says whether a session was ended: itself, with all of its user who signed in up to a time, or with all
    /// of its tenant.
    ///
    /// A revocation for a later date counts from that date on.
    fn lookup(&self, session: SessionRef<'_>, now: UnixTime) -> RevocationAnswer;

    /// Returns the epoch of a tenant, which a new session of it carries; 0 for one that nobody knows.
    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32;

    /// Returns the epoch of a session that carries none: the tenant's, where the user signed in behind its
    /// beginning, otherwise an earlier one.
    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32;

    /// Says whether it would be known had somebody ended a session whose user signed in at a time. A store
    /// that never loses anything knows.
    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        let (_, _) = (auth_time, is_foreign);
        true
    }

    /// Says what a token is beside the newest one of its session that was presented, and takes it for
    /// presented: asked once for each request whose session holds. A store that does not keep count of tokens
    /// takes each for the newest.
    fn present(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> TokenOrder {
        let (_, _, _) = (claims, client, now);
        TokenOrder::Same
    }
}
