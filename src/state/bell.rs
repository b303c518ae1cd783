//! Tells one listener that something has changed, without saying what.

use std::sync::{Arc, OnceLock};

/// What is done when it rings. It is called under the writers' lock, for every change: it must not block, and a flag or a counter is
/// enough.
type Listener = Arc<dyn Fn() + Send + Sync>;

/// Rings for whoever holds open what a change may end: a tunnel, an answer that streams.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<OnceLock<Listener>>);

impl Bell {
    /// Has it ring there. The first listener stays.
    pub(super) fn hang(&self, listener: Listener) {
        let _ = self.0.set(listener);
    }

    /// Tells that something has changed. The change is there for every reader before.
    pub(super) fn ring(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}
