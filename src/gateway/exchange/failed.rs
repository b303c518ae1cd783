//! An attempt that brought no answer.

use pingora::{Error, ErrorType};

use crate::model::Deny;

/// How an attempt ended that brought no answer.
pub(super) struct Failed {
    pub(super) error: Box<Error>,
    /// Whether another attempt changes nothing that the first one did.
    pub(super) repeatable: bool,
    /// Whether no connection could be had, and that was the server's fault. Nothing was sent then.
    pub(super) unreachable: bool,
    /// What it is called, if there is no other attempt.
    pub(super) deny: Option<Deny>,
}

impl Failed {
    pub(super) fn new(kind: ErrorType, repeatable: bool, detail: String) -> Self {
        Self { error: Error::explain(kind, detail).into_up(), repeatable, unreachable: false, deny: None }
    }

    pub(super) fn last(error: Box<Error>) -> Self {
        Self { error, repeatable: false, unreachable: false, deny: None }
    }

    /// A server that takes no connection, or none that can be used.
    pub(super) fn unreachable(kind: ErrorType, repeatable: bool, detail: String) -> Self {
        Self { unreachable: true, ..Self::new(kind, repeatable, detail) }
    }

    pub(super) fn why(&self) -> &str {
        self.error.context.as_ref().map_or("", |context| context.as_str())
    }

    /// The same for another exchange, which waited for the same.
    pub(super) fn shared(&self) -> Self {
        let error = Error::explain(self.error.etype().clone(), self.why().to_owned()).into_up();
        Self { error, repeatable: self.repeatable, unreachable: self.unreachable, deny: self.deny.clone() }
    }
}
