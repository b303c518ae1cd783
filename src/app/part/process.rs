//! What belongs to the process as a whole.

use super::change::{Change, Part, Refused};

/// Refuses keys that a process reads once.
pub(in crate::app) struct ProcessPart;

impl Part for ProcessPart {
    fn refuse(&self, change: &Change) -> Result<(), Refused> {
        let (old, new) = (change.old(), change.next());
        change.refuse_changed(&[
            ("server.state_dir", old.state_dir != new.state_dir),
            ("server.threads", old.threads != new.threads),
            ("node", old.node != new.node),
        ])
    }
}
