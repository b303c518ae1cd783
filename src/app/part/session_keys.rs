//! Session keys.

use std::sync::Arc;

use async_trait::async_trait;

use super::change::{Adopted, Change, Part, Prepared, Refused};
use crate::{gateway::Shared, policy::Policy, session::MasterKey};

/// Notes which session keys there are, and warns of one whose secret was exchanged. The keys themselves are
/// rules.
pub(in crate::app) struct SessionKeysPart<'a> {
    pub(in crate::app) shared: &'a Shared,
}

struct PreparedSessionKeys<'a> {
    shared: &'a Shared,
    policy: Arc<Policy>,
    exchanged: Vec<String>,
}

#[async_trait]
impl Part for SessionKeysPart<'_> {
    fn foresee(&self, change: &Change) -> Vec<String> {
        exchanged(change.old(), change.next())
    }

    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let prepared = PreparedSessionKeys {
            shared: self.shared,
            policy: Arc::clone(&change.policy),
            exchanged: exchanged(change.old(), change.next()),
        };
        Ok(Box::new(prepared))
    }
}

impl Prepared for PreparedSessionKeys<'_> {
    fn adopt(self: Box<Self>, adopted: &mut Adopted) {
        for warning in &self.exchanged {
            tracing::warn!(event = "session_key_exchanged", "{warning}");
        }
        let ring = self.policy.sessions.as_ref().map(|sessions| &sessions.ring);
        self.shared.key_uses.settle(ring, self.shared.clock.now());
        adopted.warnings.extend(self.exchanged);
    }
}

/// Names the session keys that hold another secret than before under the same number: mostly one that was
/// lost and made anew. The new one is taken into force, for an operator may have to replace a stolen secret
/// at once.
fn exchanged(before: &Policy, after: &Policy) -> Vec<String> {
    let keys = |policy: &Policy| {
        policy.sessions.iter().flat_map(|sessions| sessions.ring.keys().to_vec()).collect::<Vec<_>>()
    };
    let had = keys(before);
    let is_other = |key: &MasterKey| had.iter().any(|had| had.id == key.id && had.secret != key.secret);
    let found = keys(after).into_iter().filter(is_other);
    let words = found.map(|key| {
        format!(
            "warning: session key {} holds another secret than the one in force had under this number: what that one sealed is refused (401 \
             `session_invalid`), and users sign in again; the old one from the backup brings them back; a new key has a new number",
            key.id
        )
    });
    words.collect()
}
