//! The state with which a node shares its sessions: the outbox, the scripts, and the clock of Redis.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{clock_offset::ClockOffset, outbox::Outbox, session_script::SessionScripts};
use crate::model::UnixTime;

/// The state with which a node shares its sessions.
#[derive(Default)]
pub(super) struct SessionSync {
    pub(super) scripts: SessionScripts,
    pub(super) outbox: Outbox,
    clock_offset: Mutex<ClockOffset>,
    /// Since when Redis is connected, in milliseconds since 1970. Before that, others could not announce what
    /// they saw.
    reached: AtomicU64,
}

impl SessionSync {
    /// Redis was not connected before.
    pub(super) fn reach(&self, now: UnixTime) {
        self.reached.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Returns since when Redis is connected.
    pub(super) fn reached(&self) -> UnixTime {
        UnixTime::from_millis(self.reached.load(Ordering::Relaxed))
    }

    /// Notes the time of the clock of Redis, and converts a time of it into ours.
    pub(super) fn our_time(&self, theirs: u64, since: u64, now: UnixTime) -> UnixTime {
        self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner).ours(theirs, since, now)
    }
}
