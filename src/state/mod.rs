//! What is remembered between requests: how often somebody asked, and which sessions were ended.
//!
//! Two small traits stand between the pipeline and its stores. [`MemoryQuotas`] and [`Journal`] are the stores of one node.

mod admission;
mod bans;
mod began;
mod bell;
mod challenge;
mod date;
mod descriptors;
mod ended;
mod error;
mod journal;
mod key_sets;
mod key_use;
mod known;
mod log;
#[cfg_attr(not(feature = "gateway"), allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's"))]
mod marks;
mod memory;
mod notes;
#[cfg_attr(not(feature = "gateway"), allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's"))]
mod peers;
mod quota_key;
mod record;
#[cfg(feature = "gateway")]
pub mod redis;
mod registry;
mod succession;
mod whole;

pub use bans::{Bans, MOST_BY_OPERATOR, TooManyBans};
pub use began::Beginning;
pub use challenge::{ChallengeError, Challenges, Running};
pub use descriptors::{Descriptor, Descriptors};
pub use ended::Ended;
pub use error::StoreError;
pub use journal::{DEFAULT_BOUND, Journal, Torn, Unkept};
pub use key_sets::{KeySets, Standing};
pub use key_use::{KeyUsed, KeyUses};
pub use known::Listed;
pub use memory::MemoryQuotas;
pub use peers::Spread;
pub use quota_key::QuotaKey;
pub use registry::{MOST_KNOWN, MOST_OF_TENANT, Note, Terms};
pub use succession::{Follower, Heir};
pub use whole::Begun;

use crate::{
    model::{ClientPrefix, QuotaAnswer, RevocationAnswer, SessionId, TenantName, Tick, UnixTime, UserId},
    quota::Limit,
    session::{Claims, Turn},
};

/// Counts charges against quotas.
pub trait QuotaStore: Send + Sync {
    /// Takes one charge, or says when one would be taken.
    fn take(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> impl Future<Output = QuotaAnswer> + Send;

    /// Gives one charge back, as far as it is not forgotten already.
    fn give_back(&self, key: &QuotaKey, limit: Limit, tick: Tick);

    /// Says what [`QuotaStore::take`] would answer, and charges nothing.
    fn peek(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer;
}

/// Knows which sessions were ended.
pub trait RevocationStore: Send + Sync {
    /// Says whether a session was ended: itself, with all of its user who signed in up to a time, or with all of its tenant.
    ///
    /// `auth_time` and `epoch` are the session's own claims. A revocation for a later date counts from that date on.
    fn lookup(
        &self,
        tenant: &TenantName,
        user: &UserId,
        session: &SessionId,
        auth_time: UnixTime,
        epoch: u32,
        now: UnixTime,
    ) -> RevocationAnswer;

    /// Returns the epoch of a tenant, which a new session of it carries; 0 for one that nobody knows.
    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32;

    /// Returns the epoch of a session that carries none: the tenant's, where the user signed in behind its beginning, otherwise an
    /// earlier one.
    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32;

    /// Says whether it would be known had somebody ended a session whose user signed in at a time. A store that never loses anything knows.
    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        let (_, _) = (auth_time, is_foreign);
        true
    }

    /// Says what a token is beside the newest one of its session that was presented, and takes it for presented: asked once for each request
    /// whose session holds. A store that does not keep count of tokens takes each for the newest.
    fn present(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> Turn {
        let (_, _, _) = (claims, client, now);
        Turn::Same
    }
}
