//! Changes of sessions.

use crate::model::{SessionEvent, TenantName, UserId};

/// A session changed, or a change was refused.
#[derive(Clone, Copy, Debug)]
pub struct SessionChanged<'a> {
    /// The session's tenant, if known; for a change that was ignored or refused, the tenant of the request.
    pub tenant: Option<&'a TenantName>,
    /// The session's user, if known.
    pub user: Option<&'a UserId>,
    /// What happened.
    pub change: SessionEvent,
}
