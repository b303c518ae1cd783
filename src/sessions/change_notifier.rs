//! Tells one listener that something has changed, without saying what.

use std::sync::{Arc, OnceLock};

/// What is done when it rings. It is called under the writers' lock, for every change: it must not block, and
/// a flag or a counter is enough.
type Listener = Arc<dyn Fn() + Send + Sync>;

/// Rings for whoever holds open what a change may end: a tunnel, an answer that streams.
#[derive(Clone, Default)]
pub(crate) struct ChangeNotifier(Arc<OnceLock<Listener>>);

impl ChangeNotifier {
    /// Has it ring there. The first listener stays.
    pub(super) fn listen(&self, listener: Listener) {
        let _ = self.0.set(listener);
    }

    /// Tells that something has changed. The change is there for every reader before.
    pub(super) fn notify(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}
