//! What happens to sessions.

use crate::model::{SessionEvent, TenantName, UserId};

/// Something happened to a session, or was to happen.
#[derive(Clone, Copy, Debug)]
pub struct SessionChanged<'a> {
    /// The session's tenant, where one is known; of what is ignored or refused, the tenant of the request.
    pub tenant: Option<&'a TenantName>,
    /// The session's user, where that is known.
    pub user: Option<&'a UserId>,
    /// What happened.
    pub change: SessionEvent,
}
