//! The sessions that a user has.

use std::sync::Arc;

use super::parts::App;
use crate::model::{ControlError, SessionsOfUser, TenantName, UserId, error_chain};

impl App {
    /// Lists what stores know of a user's sessions: this node's, and the one that nodes share.
    pub(super) async fn list_sessions(
        &self,
        tenant: &TenantName,
        user: &UserId,
    ) -> Result<SessionsOfUser, ControlError> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let found =
            policy.tenants.named(tenant.as_str()).ok_or_else(|| ControlError::Unknown(tenant.to_string()))?;
        let idle = found.sessions.idle;
        let ledger = &self.shared.revocations;
        let began = self.shared.clock.now();
        let (mut sessions, unlisted) = ledger.list(tenant, user, idle, began, &policy.node).await;
        let silence = match (unlisted, &self.sharing) {
            (Some(error), _) => Some(error_chain(&error)),
            (None, None) => policy.redis.as_ref().map(|_| "nodes share no revocations".to_owned()),
            (None, Some(_)) => None,
        };
        let now = self.shared.clock.now();
        for session in &mut sessions {
            session.ends = session.ends.min(session.granted.plus(found.sessions.absolute));
        }
        sessions.retain(|session| session.ends > now);
        Ok(SessionsOfUser {
            sessions,
            silence,
            has_foreign: policy
                .sessions
                .as_ref()
                .is_some_and(|sessions| !sessions.foreign.formats().is_empty()),
        })
    }
}
