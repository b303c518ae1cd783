//! Binds what a start listens on, and opens what it writes.

use std::sync::Arc;

use super::{
    admin_listeners::AdminListeners,
    prepare::{self, PrepareError},
    start::{RunError, StartContext},
    start_journal::StartJournal,
};
use crate::{
    policy::Policy,
    process::{Added, InheritedSockets, bind_all},
    sessions::SessionLedger,
    telemetry::AccessLog,
};

/// What is bound and open; nothing is served yet.
pub(super) struct Bound {
    pub(super) added: Added,
    pub(super) admin_listeners: AdminListeners,
    pub(super) log: Arc<AccessLog>,
    /// The journal, where no predecessor has it.
    pub(super) journal: Option<Arc<SessionLedger>>,
}

/// Binds the listeners, the admin listeners and the control socket, and opens the access log.
///
/// Alone, the journal comes first: it says whether another octroi has this state directory. In a
/// predecessor's place it comes when all is bound, for the predecessor cannot write it from then on.
pub(super) fn bind(
    policy: &Policy,
    context: &mut StartContext,
    journal: &mut StartJournal,
) -> Result<Bound, RunError> {
    let alone = context.joining.is_none();
    // Where nobody has served yet, no other octroi has it. There a start that finds a port taken, or a log
    // that cannot be opened, leaves nothing behind that looks as if somebody had served.
    let is_new = !SessionLedger::is_begun(&policy.state_dir);
    let mut opened = if alone && !is_new { Some(journal.open_alone()?) } else { None };
    let added = bind_all(policy, &mut context.inherited)?;
    let mut log = None;
    let control = context.control.take();
    let admin_listeners = AdminListeners::bind(policy, &mut context.inherited, control, || {
        if alone && is_new {
            log = Some(open_log(policy)?);
            opened = Some(journal.open_alone()?);
        }
        Ok(())
    })?;
    close_unused(std::mem::take(&mut context.inherited), !alone);
    let log = log.map_or_else(|| open_log(policy), Ok)?;
    Ok(Bound { added, admin_listeners, log, journal: opened })
}

fn open_log(policy: &Policy) -> Result<Arc<AccessLog>, RunError> {
    Ok(prepare::log(policy, None).map_err(PrepareError::Log)?)
}

/// Logs the sockets that no listener took, and closes them.
#[expect(clippy::needless_pass_by_value, reason = "dropping the list closes its sockets")]
fn close_unused(inherited: InheritedSockets, handed_over: bool) {
    for socket in inherited.left() {
        let (name, address) = (&socket.name, socket.socket.local_addr().ok());
        if handed_over {
            tracing::info!(
                listener = name,
                ?address,
                "the predecessor's listener is not in this configuration; it closes with the predecessor"
            );
        } else {
            tracing::warn!(
                name,
                ?address,
                "the service manager passed a socket that no listener has; it is closed"
            );
        }
    }
}
