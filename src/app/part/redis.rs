//! The connection to Redis, and the revocations that nodes share through it.

use std::time::Duration;

use super::change::{Change, Part, Refused};
use crate::policy::Policy;

/// Refuses another Redis, or another way to share revocations.
pub(in crate::app) struct RedisPart;

impl Part for RedisPart {
    fn refuse(&self, change: &Change) -> Result<(), Refused> {
        let (old, new) = (change.old(), change.next());
        change.refuse_changed(&[
            ("redis", old.redis != new.redis),
            ("sessions.revocation", shares(old) != shares(new)),
        ])
    }
}

/// Returns how revocations are shared. What silence means (`on_stale`) is left out: requests ask the policy
/// in force.
fn shares(policy: &Policy) -> Option<(bool, Duration)> {
    policy
        .sessions
        .as_ref()
        .map(|sessions| (sessions.revocation.is_shared, sessions.revocation.stale_after))
        .filter(|(is_shared, _)| *is_shared)
}
