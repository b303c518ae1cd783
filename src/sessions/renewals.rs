//! When each session was renewed last. A session is renewed at most once in a while, however many requests
//! come at once, and whatever the client makes of the answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::model::{SessionId, Tick};

/// The longest time between two renewals of a session.
const PAUSE: Duration = Duration::from_secs(60);

/// How many sessions are remembered, in 512 KiB. Two that share a slot evict each other, and are renewed once
/// more.
const SLOTS: usize = 1 << 16;

/// The last renewals of sessions, in a table that does not grow.
#[derive(Debug)]
pub struct Renewals {
    seed: ahash::RandomState,
    /// A hash of the session in the upper 32 bits, milliseconds in the lower.
    slots: Box<[AtomicU64]>,
}

impl Default for Renewals {
    fn default() -> Self {
        Self { seed: ahash::RandomState::new(), slots: (0..SLOTS).map(|_| AtomicU64::default()).collect() }
    }
}

impl Renewals {
    /// Says whether it is time to renew a session, and notes that it was renewed. Of concurrent requests one
    /// is told so.
    ///
    /// The pause is a minute, or a fourth of the idle time if that is shorter.
    pub fn take(&self, session: &SessionId, idle: Duration, now: Tick) -> bool {
        let pause = PAUSE.min(idle / 4);
        let hash = self.seed.hash_one(session.as_bytes());
        let Some(slot) = usize::try_from(hash).ok().and_then(|hash| self.slots.get(hash % SLOTS)) else {
            return true;
        };
        let mark = hash & MARK;
        // It wraps after 49 days, when a renewal may come a minute late.
        let millis = (now.as_nanos() / 1_000_000) & !MARK;
        let known = slot.load(Ordering::Relaxed);
        let since = millis.wrapping_sub(known) & !MARK;
        if known & MARK == mark && known != 0 && u128::from(since) < pause.as_millis() {
            return false;
        }
        slot.compare_exchange(known, mark | millis, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

const MARK: u64 = 0xffff_ffff_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick::from_nanos(5_000_000_000);

    fn after(millis: u64) -> Tick {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_session_is_renewed_once_a_minute() {
        let renewals = Renewals::default();
        let (one, other) = (SessionId::new([1; 16]), SessionId::new([2; 16]));
        let half_an_hour = Duration::from_secs(1800);

        assert!(renewals.take(&one, half_an_hour, START));
        assert!(!renewals.take(&one, half_an_hour, after(0)));
        assert!(renewals.take(&other, half_an_hour, START));
        assert!(!renewals.take(&one, half_an_hour, after(59_999)));
        assert!(renewals.take(&one, half_an_hour, after(60_000)));
    }

    #[test]
    fn a_session_that_rests_for_a_short_time_is_renewed_in_time() {
        let renewals = Renewals::default();
        let session = SessionId::new([1; 16]);

        assert!(renewals.take(&session, Duration::from_secs(2), START));
        assert!(!renewals.take(&session, Duration::from_secs(2), after(499)));
        assert!(renewals.take(&session, Duration::from_secs(2), after(500)));
    }

    #[test]
    fn of_many_at_once_one_is_renewed() {
        let renewals = Renewals::default();
        let session = SessionId::new([1; 16]);

        let renewed: usize = std::thread::scope(|scope| {
            let ask = || usize::from(renewals.take(&session, Duration::from_secs(1800), START));
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).sum()
        });

        assert_eq!(renewed, 1);
    }
}
