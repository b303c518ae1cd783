//! Notifies one listener that a lookup may now answer differently.

use std::sync::{Arc, OnceLock};

/// The callback. It runs under the writers' lock, for every change, so it must not block; it should set a
/// flag or increase a counter.
type Listener = Arc<dyn Fn() + Send + Sync>;

/// Notifies the owner of open exchanges that a change may end: a tunnel, a streamed answer.
#[derive(Clone, Default)]
pub(crate) struct ChangeNotifier(Arc<OnceLock<Listener>>);

impl ChangeNotifier {
    /// Sets the listener. Later calls change nothing.
    pub(super) fn listen(&self, listener: Listener) {
        let _ = self.0.set(listener);
    }

    /// Notifies the listener. Every reader must see the change before this is called.
    pub(super) fn notify(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}
