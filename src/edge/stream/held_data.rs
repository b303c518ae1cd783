//! The data of a stream that waits because the library already holds many small DATA frames of it.
//!
//! A DATA frame of one octet costs the library 300 octets or more until somebody reads it, which no
//! flow-control window counts. So the library gets only a few of them at once. What follows waits here, as
//! octets, until one was read or there is enough for a frame that is not small. The library's own bound for
//! them is off: it ends the connection with all its streams, and is never credited for what arrives on a
//! stream that was reset.

use crate::{model::SMALL_PIECE, wire::http2::FrameHeader};

/// How many small DATA frames of one stream may be in the library that nobody has read.
const MAX_UNREAD: u32 = 8;
/// The most octets of padding, with the octet that says how many.
const MAX_PADDING: usize = 256;

/// The data of one stream that waits.
#[derive(Debug, Default)]
pub(super) struct HeldData {
    /// Small DATA frames that are in the library and that nobody has read.
    unread: u32,
    octets: Vec<u8>,
}

impl HeldData {
    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Says whether the library may get another small frame now.
    pub(super) fn may_forward(&self) -> bool {
        self.unread < MAX_UNREAD
    }

    /// Notes that the library gets a small frame.
    pub(super) fn note_forwarded(&mut self) {
        self.unread += 1;
    }

    /// Notes that small frames were read.
    pub(super) fn note_read(&mut self, frames: u32) {
        self.unread = self.unread.saturating_sub(frames);
    }

    /// Holds more data. Says whether there is enough now for a frame that is not small.
    pub(super) fn hold(&mut self, data: &[u8]) -> bool {
        self.octets.extend_from_slice(data);
        self.octets.len() >= SMALL_PIECE
    }

    /// Returns all data, for one frame that does not end the stream.
    pub(super) fn release(&mut self) -> Vec<u8> {
        self.unread += u32::from(self.octets.len() < SMALL_PIECE);
        self.release_last()
    }

    /// Returns all data, for the frame that ends the stream.
    pub(super) fn release_last(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }
}

/// Says whether a DATA frame may carry fewer octets than count as small.
pub(super) fn may_be_small(frame: &FrameHeader) -> bool {
    frame.payload_bytes() < SMALL_PIECE + if frame.is_padded() { MAX_PADDING } else { 0 }
}
