//! What one node counts and keeps in memory between requests: quotas, bans, challenges, key sets, the use of
//! keys, descriptors.

mod bans;
mod challenge;
mod descriptors;
mod key_sets;
mod key_use;
mod memory;
mod quota_key;

pub use bans::{Bans, MOST_BY_OPERATOR, TooManyBans};
pub use challenge::{ChallengeError, Challenges, Running};
pub use descriptors::{Descriptor, Descriptors};
pub use key_sets::{FetchStatus, KeySets};
pub use key_use::{KeyUsed, KeyUses};
pub use memory::MemoryQuotas;
pub use quota_key::QuotaKey;

use crate::{
    model::{QuotaAnswer, Tick},
    quota::Limit,
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
