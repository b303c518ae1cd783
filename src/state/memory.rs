//! The quota table of one node: fixed in size, whoever asks.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{QuotaKey, QuotaStore};
use crate::{
    model::{QuotaAnswer, Tick},
    quota::{Limit, decide, give_back},
};

/// Counts in memory, in a table that never grows: sets of eight ways, each set under a lock of its own.
///
/// A way is a 32-bit tag and a 64-bit time, to the nanosecond, as [`decide`] wants it: rates of 100,000 a second and periods of a day
/// are exact alike. A set is two cache lines, so a slot costs 16 bytes. The lock is held for some ten nanoseconds and never across
/// anything that waits; it makes "two requests at once never take more than the burst" true by construction, which a table of single
/// words cannot promise while it inserts.
///
/// Where a key goes is decided by a hash with a random seed, so strangers cannot aim at a set. Where a set is full, the key whose quota
/// is used least, as a share of its burst, makes room; a key at rest has nothing to lose, so that is counted only where one did. Two keys
/// share a count with a chance of one in two million, and then have limits of like length.
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

/// Tag and time of each way; the time is 0 where none was used.
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

    /// Returns how many keys were forgotten before they were at rest: each got back up to a burst. If it rises, the table is too small.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Returns how many slots there are.
    pub fn slots(&self) -> usize {
        self.sets.len().saturating_mul(WAYS)
    }

    /// Runs `act` with the key's set, locked, and its tag.
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
    fn take(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> impl Future<Output = QuotaAnswer> + Send {
        std::future::ready(self.charge(key, limit, tick))
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
        self.tags.iter().zip(&mut self.times).find(|(kept, time)| **kept == tag && **time != 0).map(|(_, time)| time)
    }

    /// Puts a key where the one that is used least stood; says whether that one was not at rest.
    fn insert(&mut self, tag: u32, time: u64, now: Tick) -> bool {
        let least = self.tags.iter_mut().zip(&mut self.times).min_by_key(|(tag, time)| share(**tag, **time, now));
        let Some((kept_tag, kept_time)) = least else { return false };
        let forgotten = *kept_time > now.as_nanos();
        (*kept_tag, *kept_time) = (tag, time);
        forgotten
    }
}

/// 24 bits of the hash above those that choose the set, and the [`length`] of the limit's window. A limit that a reload changed by more
/// than a fifth counts anew.
fn tag(hash: u64, limit: Limit) -> u32 {
    let [.., a, b, c] = (hash >> 40).to_be_bytes();
    u32::from_be_bytes([a, b, c, length(limit.window())])
}

/// Writes a window as quarters of powers of two: 4 · log2, rounded down.
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
