//! What one node keeps in memory between requests: quotas, bans, challenges, key sets, the use of keys, file
//! descriptors.

mod bans;
mod challenge;
mod charge;
mod descriptors;
mod key_sets;
mod key_use;
mod memory;
mod quota_key;

pub use bans::{Bans, MOST_BY_OPERATOR, TooManyBans};
pub use challenge::{ChallengeError, Challenges, Running};
pub use charge::{ChargeAnswer, ChargeAnswers, IN_PLACE, QuotaCharge};
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
///
/// Memory always answers. A store that can fail needs one more kind of answer, and a rule for it, which is
/// closed by default.
pub trait QuotaStore: Send + Sync {
    /// Takes the charges of one step in order, as [`ChargeAnswers::in_order`] does: one call, and one wait,
    /// for all of them.
    fn take(&self, charges: &[QuotaCharge], tick: Tick) -> impl Future<Output = ChargeAnswers> + Send;

    /// Gives one charge back, unless the count was evicted.
    fn give_back(&self, key: &QuotaKey, limit: Limit, tick: Tick);

    /// Says what a single charge would be answered, and charges nothing.
    fn peek(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer;
}
