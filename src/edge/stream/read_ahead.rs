//! What follows the current request: it waits for its turn.

use bytes::{Buf, BytesMut};
use tokio::{io::ReadBuf, time::Instant};

use super::deadline_timer::DeadlineTimer;

/// Octets that were read ahead, and whether the client has ended.
///
/// A client may send its next request before it has the response (RFC 9112, section 9.3.2), and one that has
/// half-closed may still read. The library would take the first for an error and the second for a client that
/// has disconnected.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    bytes: BytesMut,
    /// When the client closed its side.
    pub(super) ended: Option<Instant>,
    pub(super) deadline_timer: DeadlineTimer,
}

impl ReadAhead {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Stores octets that may not be read yet.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Copies as much as fits. It stays here until it is [taken](Self::take).
    pub(super) fn copy_to(&self, buf: &mut ReadBuf<'_>) {
        buf.put_slice(self.bytes.get(..buf.remaining()).unwrap_or(&self.bytes));
    }

    /// Removes octets that were passed on. A connection that waits for a request keeps no buffer.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes.advance(bytes.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}
