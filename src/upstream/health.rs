//! Whether the servers of an upstream take connections, as far as requests have found out (passive health
//! checks).
//!
//! A server that accepts none is left aside: the others get its requests. After ten seconds, and then after
//! twice as long each time, one request probes it. If that fails, the request goes to another server, since
//! nothing was sent. Where all servers are left aside, all are tried, and the only server of an upstream
//! always is.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::model::Tick;

/// For how long a server is left aside the first time, and at the most.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The most characters of the reason that are kept.
const WHY_BYTES: usize = 200;

/// The health of one server. It survives a reload that does not change the server.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Outside the state, so that a request takes no lock while the server is healthy.
    aside: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many probes failed in a row.
    failures: u32,
    /// Since when it is left aside, and until when it is not probed.
    since: Tick,
    until: Tick,
    /// When it was probed last.
    last: Tick,
    /// Until when the result of the current probe is awaited.
    trying: Option<Tick>,
    why: String,
}

/// Whether a request may go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// It is the probe of a server that was left aside.
    Trial,
    Aside,
}

/// A server that is left aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) failures: u32,
    pub(crate) since: Tick,
    pub(crate) until: Tick,
    pub(crate) last: Tick,
    pub(crate) why: String,
}

impl Health {
    /// Says whether a request may go to the server. A probe may take `within`.
    pub(crate) fn admit(&self, now: Tick, within: Duration) -> Admission {
        if !self.is_aside() {
            return Admission::Open;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now < state.until || state.trying.is_some_and(|until| now < until) {
            return Admission::Aside;
        }
        state.trying = Some(now.plus(within));
        Admission::Trial
    }

    pub(crate) fn is_aside(&self) -> bool {
        self.aside.load(Ordering::Relaxed)
    }

    /// Notes that the server accepted a connection. Says whether it was left aside.
    pub(crate) fn reached(&self) -> bool {
        if !self.is_aside() {
            return false;
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
        self.aside.swap(false, Ordering::Relaxed)
    }

    /// Notes that the server accepted no connection, and whether that was a probe (`trial`). Returns for how
    /// long it is left aside, where it was not before. A failure while all servers are left aside is nothing
    /// new.
    pub(crate) fn failed(&self, trial: bool, why: &str, now: Tick) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_aside = self.is_aside();
        if was_aside && !trial {
            return None;
        }
        let wait = FIRST.saturating_mul(1_u32.checked_shl(state.failures).unwrap_or(u32::MAX)).min(LONGEST);
        let since = if was_aside { state.since } else { now };
        let why = why.chars().take(WHY_BYTES).collect();
        *state = State {
            failures: state.failures.saturating_add(1),
            since,
            until: now.plus(wait),
            last: now,
            trying: None,
            why,
        };
        self.aside.store(true, Ordering::Relaxed);
        (!was_aside).then_some(wait)
    }

    /// Returns the details where the server is left aside.
    pub(crate) fn aside(&self) -> Option<Aside> {
        if !self.is_aside() {
            return None;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Aside {
            failures: state.failures,
            since: state.since,
            until: state.until,
            last: state.last,
            why: state.why.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_server_is_left_aside_for_longer_each_time_and_tried_by_one_request_at_a_time() {
        let health = Health::default();
        assert_eq!(health.admit(at(0), SECOND), Admission::Open);

        let mut now = 100;
        for (times, wait) in [10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
            assert_eq!(health.failed(times > 0, "refused", at(now)), (times == 0).then_some(FIRST));
            // Of those that were under way.
            assert_eq!(health.failed(false, "refused", at(now)), None);
            assert_eq!(health.admit(at(now + wait - 1), SECOND), Admission::Aside, "{wait}");
            assert_eq!(health.admit(at(now + wait), SECOND), Admission::Trial, "{wait}");
            assert_eq!(health.admit(at(now + wait), SECOND), Admission::Aside, "another tries it");
            now += wait;
        }
        let aside = health.aside().unwrap();
        assert_eq!((aside.failures, aside.since, &*aside.why), (7, at(100), "refused"));

        // One that tries it and is never heard of again holds nothing up.
        assert_eq!(health.admit(at(now + 1), SECOND), Admission::Trial);
        assert!(health.reached());
        assert_eq!(
            (health.admit(at(now), SECOND), health.aside(), health.reached()),
            (Admission::Open, None, false)
        );
        assert_eq!(health.failed(false, "again", at(now)), Some(FIRST));
    }
}
