//! The quota table of one node, of a fixed size.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{ChargeAnswers, QuotaCharge, QuotaKey, QuotaStore};
use crate::{
    model::{QuotaAnswer, Tick},
    quota::{Limit, decide, give_back},
};

/// Counts in memory, in a table that never grows: sets of eight ways, each set under a lock of its own.
///
/// A way is a 32-bit tag and a 64-bit time in nanoseconds, as [`decide`] takes it, so that rates of 100,000 a
/// second and periods of a day are both exact. A set is two cache lines, so a slot costs 16 bytes. The lock
/// is held for some ten nanoseconds, never across a wait. It makes "two requests at once never take more than
/// the burst" true by construction; a table of single words cannot guarantee this during an insertion.
///
/// A hash with a random seed chooses the set of a key, so attackers cannot aim at one. In a full set, the key
/// that has used the smallest share of its burst is evicted. An eviction counts only if that share was not
/// zero: a key at rest loses nothing. Two keys share a count with a probability of one in two million, and
/// then their limits have windows of similar length.
pub struct MemoryQuotas {
    sets: Box<[Locked]>,
    hash: ahash::RandomState,
    evictions: AtomicU64,
}

const WAYS: usize = 8;

/// A set that begins at a cache line and shares none.
#[derive(Default)]
#[repr(align(128))]
struct Locked(Mutex<Set>);

/// Tag and time of each way; the time of an unused way is 0.
#[derive(Default)]
struct Set {
    tags: [u32; WAYS],
    times: [u64; WAYS],
}

impl MemoryQuotas {
    /// Makes a table of at least this many slots, rounded up to a power of two and to one set.
    pub fn new(slots: usize) -> Self {
        Self::with_hash(slots, ahash::RandomState::new())
    }

    fn with_hash(slots: usize, hash: ahash::RandomState) -> Self {
        let sets = slots.div_ceil(WAYS).max(1).next_power_of_two();
        let sets = std::iter::repeat_with(Locked::default).take(sets).collect();
        Self { sets, hash, evictions: AtomicU64::new(0) }
    }

    /// Returns how many keys were evicted before they were at rest; each regained up to a burst. If it rises,
    /// the table is too small.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Returns how many slots there are.
    pub fn slots(&self) -> usize {
        self.sets.len().saturating_mul(WAYS)
    }

    /// Calls `act` with the key's set, locked, and its tag.
    fn with_set<T>(&self, key: &QuotaKey, limit: Limit, act: impl FnOnce(&mut Set, u32) -> T) -> Option<T> {
        let hash = self.hash.hash_one(key);
        let mask = u64::try_from(self.sets.len()).ok()?.wrapping_sub(1);
        let set = self.sets.get(usize::try_from(hash & mask).ok()?)?;
        let mut set = set.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(&mut set, tag(hash, limit)))
    }

    fn charge(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer {
        let charged = self.with_set(key, limit, |set, tag| match set.find(tag) {
            Some(time) => {
                let (answer, new) = decide(*time, limit, tick);
                *time = new;
                answer
            }
            None => {
                let (answer, new) = decide(0, limit, tick);
                if let QuotaAnswer::Taken { .. } = answer
                    && set.insert(tag, new, tick)
                {
                    self.evictions.fetch_add(1, Ordering::Relaxed);
                }
                answer
            }
        });
        // There is always a set.
        charged.unwrap_or(QuotaAnswer::Exceeded { retry_after: limit.period })
    }
}

impl QuotaStore for MemoryQuotas {
    fn take(&self, charges: &[QuotaCharge], tick: Tick) -> impl Future<Output = ChargeAnswers> + Send {
        let answers = ChargeAnswers::in_order(charges, |key, limit| self.charge(key, limit, tick));
        std::future::ready(answers)
    }

    fn give_back(&self, key: &QuotaKey, limit: Limit, _tick: Tick) {
        self.with_set(key, limit, |set, tag| {
            if let Some(time) = set.find(tag) {
                *time = give_back(*time, limit);
            }
        });
    }

    fn peek(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer {
        let kept = self.with_set(key, limit, |set, tag| set.find(tag).copied());
        decide(kept.flatten().unwrap_or(0), limit, tick).0
    }
}

impl Set {
    fn find(&mut self, tag: u32) -> Option<&mut u64> {
        self.tags
            .iter()
            .zip(&mut self.times)
            .find(|(kept, time)| **kept == tag && **time != 0)
            .map(|(_, time)| time)
    }

    /// Puts a key in the place of the least used one. Says whether that one was not at rest.
    fn insert(&mut self, tag: u32, time: u64, now: Tick) -> bool {
        let least =
            self.tags.iter_mut().zip(&mut self.times).min_by_key(|(tag, time)| share(**tag, **time, now));
        let Some((kept_tag, kept_time)) = least else { return false };
        let forgotten = *kept_time > now.as_nanos();
        (*kept_tag, *kept_time) = (tag, time);
        forgotten
    }
}

/// Returns a key's tag: 24 bits of the hash above those that choose the set, and the [`length`] of the
/// limit's window. A limit that a reload changed by more than a fifth counts anew.
fn tag(hash: u64, limit: Limit) -> u32 {
    let [.., a, b, c] = (hash >> 40).to_be_bytes();
    u32::from_be_bytes([a, b, c, length(limit.window())])
}

/// Returns the length of a window in quarters of powers of two: 4 · log2, rounded down.
fn length(window: u128) -> u8 {
    let window = u64::try_from(window).unwrap_or(u64::MAX).max(4);
    let exponent = window.ilog2();
    let quarter = (window >> exponent.saturating_sub(2)) & 3;
    u8::try_from(u64::from(exponent) * 4 + quarter).unwrap_or(u8::MAX)
}

/// Returns how much of a window is used, in 65,536ths: 0 at rest, about 65,536 or a little more at the limit.
fn share(tag: u32, time: u64, now: Tick) -> u128 {
    let [.., length] = tag.to_be_bytes();
    let window = (4 + u128::from(length & 3)) << (length >> 2) >> 2;
    (u128::from(time.saturating_sub(now.as_nanos())) << 16) / window.max(1)
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        pin::pin,
        sync::atomic::AtomicU32,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::store::ChargeAnswer;

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn limit(count: u32, period: u64, burst: u32) -> Limit {
        Limit {
            count: NonZeroU32::new(count).unwrap(),
            period: Duration::from_secs(period),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    fn key(subject: u128) -> QuotaKey {
        QuotaKey::new(&"acme".parse().unwrap(), &"per_client".parse().unwrap(), subject)
    }

    fn charge(subject: u128, limit: Limit) -> QuotaCharge {
        QuotaCharge { key: key(subject), limit, of_site: None, observed: false }
    }

    fn take_all(table: &MemoryQuotas, charges: &[QuotaCharge], tick: Tick) -> ChargeAnswers {
        let mut taking = pin!(table.take(charges, tick));
        match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answers) => answers,
            Poll::Pending => panic!("memory does not wait"),
        }
    }

    fn take(table: &MemoryQuotas, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer {
        let charge = QuotaCharge { key: key.clone(), limit, of_site: None, observed: false };
        take_all(table, &[charge], tick).at(0).unwrap().own
    }

    fn is_taken(answer: QuotaAnswer) -> bool {
        matches!(answer, QuotaAnswer::Taken { .. })
    }

    #[test]
    fn a_burst_is_taken_and_comes_back() {
        let (table, limit) = (MemoryQuotas::new(64), limit(10, 1, 2));

        assert_eq!([1, 2, 3].map(|_| is_taken(take(&table, &key(1), limit, NOW))), [true, true, false]);
        assert_eq!(
            take(&table, &key(1), limit, NOW),
            QuotaAnswer::Exceeded { retry_after: Duration::from_millis(100) }
        );
        assert!(is_taken(take(&table, &key(1), limit, NOW.plus(Duration::from_millis(100)))));
    }

    #[test]
    fn tenants_quotas_and_subjects_are_counted_apart() {
        let (table, limit) = (MemoryQuotas::new(64), limit(1, 1, 1));
        let keys = [("acme", "a", 1), ("acme", "a", 2), ("acme", "b", 1), ("globex", "a", 1)];
        for (tenant, quota, subject) in keys {
            let key = QuotaKey::new(&tenant.parse().unwrap(), &quota.parse().unwrap(), subject);

            assert!(is_taken(take(&table, &key, limit, NOW)));
            assert!(!is_taken(take(&table, &key, limit, NOW)));
        }
    }

    #[test]
    fn a_look_charges_nothing() {
        let (table, limit) = (MemoryQuotas::new(64), limit(1, 1, 1));

        let looks = [1, 2].map(|_| table.peek(&key(1), limit, NOW));

        assert_eq!(looks, [QuotaAnswer::Taken { remaining: 0, reset: Duration::from_secs(1) }; 2]);
        assert!(is_taken(take(&table, &key(1), limit, NOW)));
        assert!(!is_taken(table.peek(&key(1), limit, NOW)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (table, limit) = (MemoryQuotas::new(64), limit(1, 60, 1));
        take(&table, &key(1), limit, NOW);

        table.give_back(&key(1), limit, NOW);
        table.give_back(&key(2), limit, NOW);

        assert_eq!([1, 2].map(|_| is_taken(take(&table, &key(1), limit, NOW))), [true, false]);
    }

    #[test]
    fn threads_together_take_no_more_than_the_burst() {
        let (table, limit) = (MemoryQuotas::new(8), limit(1, 86_400, 1000));
        let taken = AtomicU32::new(0);

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let answer = take(&table, &key(1), limit, NOW);
                        taken.fetch_add(u32::from(is_taken(answer)), Ordering::Relaxed);
                    }
                });
            }
        });

        assert_eq!(taken.into_inner(), 1000);
    }

    #[test]
    fn threads_that_charge_two_quotas_at_once_take_the_second_only_behind_the_first() {
        let table = MemoryQuotas::new(8);
        // The second has less, so that some take the first in vain; the third is behind both.
        let charges =
            [(1, 1000), (2, 600), (3, 2000)].map(|(subject, burst)| charge(subject, limit(1, 86_400, burst)));
        let passed = AtomicU32::new(0);

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let last = take_all(&table, &charges, NOW).at(2);
                        passed.fetch_add(u32::from(last.is_some()), Ordering::Relaxed);
                    }
                });
            }
        });

        assert_eq!(passed.into_inner(), 600);
        let left = charges.map(|charge| table.peek(&charge.key, charge.limit, NOW));
        assert!(!is_taken(left[0]) && !is_taken(left[1]), "{left:?}");
        assert!(matches!(left[2], QuotaAnswer::Taken { remaining: 1399, .. }), "{left:?}");
    }

    #[test]
    fn a_key_at_its_limit_outlives_a_flood() {
        let (table, limit) = (MemoryQuotas::new(8), limit(1, 60, 5));
        while is_taken(take(&table, &key(0), limit, NOW)) {}

        for stranger in 1..10_000 {
            assert!(is_taken(take(&table, &key(stranger), limit, NOW)));
        }

        assert!(!is_taken(take(&table, &key(0), limit, NOW)));
        assert_eq!(table.evictions(), 10_000 - 8);
        assert_eq!(table.slots(), 8);
    }

    #[test]
    fn a_fast_quota_at_its_limit_outlives_a_slow_one_hardly_used() {
        let (table, fast, slow) = (MemoryQuotas::new(8), limit(50, 1, 100), limit(10, 3600, 20));
        while is_taken(take(&table, &key(0), fast, NOW)) {}

        for stranger in 1..100 {
            take(&table, &key(stranger), slow, NOW);
        }

        assert!(!is_taken(take(&table, &key(0), fast, NOW)));
    }

    #[test]
    fn a_key_at_rest_makes_room_unnoticed() {
        let (table, limit) = (MemoryQuotas::new(8), limit(1, 1, 2));
        for early in 0..8 {
            take(&table, &key(early), limit, NOW);
        }

        let later = NOW.plus(Duration::from_secs(1));
        for late in 8..16 {
            take(&table, &key(late), limit, later);
        }
        assert_eq!(table.evictions(), 0);

        take(&table, &key(16), limit, later);
        assert_eq!(table.evictions(), 1);
    }

    #[test]
    fn a_set_is_two_cache_lines() {
        assert_eq!((size_of::<Locked>(), align_of::<Locked>()), (128, 128));
        assert_eq!(MemoryQuotas::new(0).slots(), 8);
        assert_eq!(MemoryQuotas::new(1000).slots(), 1024);
    }

    /// One charge after the other, each with a call of its own: what several at once must amount to.
    fn one_by_one(table: &MemoryQuotas, charges: &[QuotaCharge], tick: Tick) -> Vec<ChargeAnswer> {
        let mut answers = Vec::new();
        for QuotaCharge { key, limit, of_site, observed } in charges {
            let own = take(table, key, *limit, tick);
            let of_site = match of_site {
                Some((subject, limit)) if is_taken(own) => {
                    Some(take(table, &key.with_subject(*subject), *limit, tick))
                }
                Some(_) | None => None,
            };
            answers.push(ChargeAnswer { own, of_site });
            let denies = !is_taken(own) || of_site.is_some_and(|answer| !is_taken(answer));
            if denies && !observed {
                break;
            }
        }
        answers
    }

    prop_compose! {
        fn any_charge()(
            subject in 0_u128..4,
            burst in 1_u32..5,
            of_site in proptest::option::of((10_u128..12, 1_u32..8)),
            observed in any::<bool>(),
        ) -> QuotaCharge {
            let of_site = of_site.map(|(subject, burst)| (subject, limit(1, 60, burst)));
            QuotaCharge { of_site, observed, ..charge(subject, limit(1, 60, burst)) }
        }
    }

    proptest! {
        #[test]
        fn several_charges_at_once_are_as_many_in_a_row(
            steps in proptest::collection::vec(
                (proptest::collection::vec(any_charge(), 0..12), 0_u64..30), 1..12,
            ),
        ) {
            let hash = ahash::RandomState::with_seeds(1, 2, 3, 4);
            let (at_once, in_a_row) =
                (MemoryQuotas::with_hash(8, hash.clone()), MemoryQuotas::with_hash(8, hash));
            let mut now = NOW;
            for (charges, later) in &steps {
                now = now.plus(Duration::from_secs(*later));

                let answers = take_all(&at_once, charges, now);

                let expected = one_by_one(&in_a_row, charges, now);
                let answered: Vec<_> = (0..charges.len()).map_while(|place| answers.at(place)).collect();
                prop_assert_eq!(answered, expected);
            }
            prop_assert_eq!(at_once.evictions(), in_a_row.evictions());
            for subject in (0..4).chain(10..12) {
                for burst in 1..8 {
                    let left = |table: &MemoryQuotas| table.peek(&key(subject), limit(1, 60, burst), now);
                    prop_assert_eq!(left(&at_once), left(&in_a_row));
                }
            }
        }

        #[test]
        fn a_share_is_the_used_part_of_a_window(window in 4_u64.., used in 0_u64..=1000) {
            let used_nanos = u64::try_from(u128::from(window) * u128::from(used) / 1000).unwrap();
            prop_assume!(used_nanos < u64::MAX - NOW.as_nanos());
            let tag = u32::from(length(u128::from(window)));

            let share = share(tag, NOW.as_nanos() + used_nanos, NOW);

            // The window is kept rounded down, by less than a quarter.
            let (exact, slack) = (u128::from(used) * 65_536 / 1000, if window < 4096 { 16_384 } else { 66 });
            prop_assert!(share + slack >= exact && share <= exact * 5 / 4 + slack, "{} of {}", share, exact);
        }
    }
}
