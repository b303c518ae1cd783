//! What a node keeps to share its sessions: the outbox, the scripts, and the clock of Redis.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{clock_offset::ClockOffset, outbox::Outbox, session_script::SessionScripts};
use crate::model::UnixTime;

/// What is shared of sessions.
#[derive(Default)]
pub(super) struct SessionSync {
    pub(super) scripts: SessionScripts,
    pub(super) outbox: Outbox,
    clock_offset: Mutex<ClockOffset>,
    /// Since when Redis is there, in milliseconds since 1970: before, others could not say what they saw.
    reached: AtomicU64,
}

impl SessionSync {
    /// Redis was not there before.
    pub(super) fn reach(&self, now: UnixTime) {
        self.reached.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Returns since when Redis is there.
    pub(super) fn reached(&self) -> UnixTime {
        UnixTime::from_millis(self.reached.load(Ordering::Relaxed))
    }

    /// Notes what the clock of Redis says, and returns when something was by ours.
    pub(super) fn our_time(&self, theirs: u64, since: u64, now: UnixTime) -> UnixTime {
        self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner).ours(theirs, since, now)
    }
}
