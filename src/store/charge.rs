//! The charges of one step of a request, and a store's answer to them.

use smallvec::SmallVec;

use super::QuotaKey;
use crate::{model::QuotaAnswer, quota::Limit};

/// How many charges of one step are kept in place: more cost an allocation. A step has one per quota.
pub const IN_PLACE: usize = 8;

/// One charge against one quota.
#[derive(Clone, Debug)]
pub struct QuotaCharge {
    /// The count.
    pub key: QuotaKey,
    /// Its limit.
    pub limit: Limit,
    /// The subject and the limit of the client's IPv6 /48, where the quota counts clients. It is charged only
    /// where the client's own count was: whoever has used that up takes nothing of what its neighbours have.
    pub of_site: Option<(u128, Limit)>,
    /// Whether the quota only observes: the charges behind it are taken even where it is used up.
    pub observed: bool,
}

impl QuotaCharge {
    /// Returns the count of the client's /48, with its limit.
    pub fn site(&self) -> Option<(QuotaKey, Limit)> {
        self.of_site.map(|(subject, limit)| (self.key.with_subject(subject), limit))
    }
}

/// The answer to one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeAnswer {
    /// What the count of the subject says.
    pub own: QuotaAnswer,
    /// What the count of its /48 says, where that was asked.
    pub of_site: Option<QuotaAnswer>,
}

impl ChargeAnswer {
    fn is_taken(&self) -> bool {
        [Some(self.own), self.of_site]
            .into_iter()
            .flatten()
            .all(|answer| matches!(answer, QuotaAnswer::Taken { .. }))
    }
}

/// The answers to the charges of one step, in their order. They end with the first that denies: nothing
/// behind that one was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeAnswers(SmallVec<[ChargeAnswer; IN_PLACE]>);

impl ChargeAnswers {
    /// Asks for each charge in order, up to the first that denies. `take` takes a single one.
    pub fn in_order(charges: &[QuotaCharge], mut take: impl FnMut(&QuotaKey, Limit) -> QuotaAnswer) -> Self {
        let mut answers = SmallVec::new();
        for charge in charges {
            let own = take(&charge.key, charge.limit);
            let is_taken = matches!(own, QuotaAnswer::Taken { .. });
            let site = if is_taken { charge.site() } else { None };
            let answer = ChargeAnswer { own, of_site: site.map(|(key, limit)| take(&key, limit)) };
            answers.push(answer);
            if !answer.is_taken() && !charge.observed {
                break;
            }
        }
        Self(answers)
    }

    /// Returns the answer to the charge at this place; none stands behind the one that denies.
    pub fn at(&self, place: usize) -> Option<ChargeAnswer> {
        self.0.get(place).copied()
    }
}
