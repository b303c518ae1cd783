//! What came behind the request in hand: it waits for its turn.

use bytes::{Buf, BytesMut};
use tokio::{io::ReadBuf, time::Instant};

use super::alarm::Alarm;

/// Octets that came before their turn, and the end of the client if that came too.
///
/// A client may send its next request before it has the answer (RFC 9112, section 9.3.2), and one that sends nothing more may still
/// read. The library would take the first for an error and the second for a client that has gone.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: BytesMut,
    /// When the client ended its side.
    pub(super) ended: Option<Instant>,
    pub(super) alarm: Alarm,
}

impl Ahead {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Keeps what is not to be read yet.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Copies as much as there is room for. It stays here until it is [taken](Self::take).
    pub(super) fn show(&self, buf: &mut ReadBuf<'_>) {
        buf.put_slice(self.bytes.get(..buf.remaining()).unwrap_or(&self.bytes));
    }

    /// Takes away what is passed on. A connection that waits for a request keeps no buffer.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes.advance(bytes.min(self.bytes.len()));
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}
