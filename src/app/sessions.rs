//! The sessions that a user has.

use std::sync::Arc;

use super::control::App;
use crate::{
    model::{ClientPrefix, ControlError, SessionStatus, SessionsOfUser, TenantName, UserId},
    state::{Listed, Terms},
};

impl App {
    /// Lists what a store knows of a user's sessions.
    pub(super) async fn list_sessions(&self, tenant: &TenantName, user: &UserId) -> Result<SessionsOfUser, ControlError> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let found = policy.tenants.named(tenant.as_str()).ok_or_else(|| ControlError::Unknown(tenant.to_string()))?;
        let terms = Terms { limit: None, idle: found.sessions.idle };
        let status = |listed: Listed| SessionStatus {
            id: listed.note.id,
            granted: listed.note.granted,
            seen: listed.seen,
            ends: listed.note.ends.min(listed.note.granted.plus(found.sessions.absolute)),
            client: Some(listed.note.client).filter(|client| *client != ClientPrefix::default()),
            generation: listed.generation,
            node: policy.node.clone(),
        };
        let now = self.shared.clock.now();
        let listed = self.shared.revocations.sessions_of(tenant, user, terms, now);
        Ok(SessionsOfUser {
            sessions: listed.into_iter().map(status).filter(|session| session.ends > now).collect(),
            is_of_all_nodes: policy.redis.is_none(),
            has_foreign: policy.sessions.as_ref().is_some_and(|sessions| !sessions.foreign.formats().is_empty()),
        })
    }
}
