//! The access line of a request whose task ended under way: with the process behind a drain, or by a panic.
//! The library reports neither.

use super::{context::Context, record};
use crate::model::{Deny, Reason};

impl Drop for Context {
    fn drop(&mut self) {
        if self.ended_itself || self.logged_by_edge || self.connection.is_none() {
            return;
        }
        if let (Some(connection), Some(stream)) = (&self.connection, self.stream) {
            self.reset = connection.stream_ends(stream);
        }
        let deny = if std::thread::panicking() {
            Deny::new(Reason::Internal, "a filter panicked; the operational log says where")
        } else {
            Deny::new(Reason::Draining, "the process ended before the request did")
        };
        self.fail(deny);
        record::cut_off(&self.shared, self);
    }
}
