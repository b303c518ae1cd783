//! What the fuzz targets need of the stream, and no other caller. It is not part of the documentation.

use tokio::io::ReadBuf;

use super::{
    Http2Refusal,
    stream::{FrameFilter, refusal},
};
use crate::wire::http2::{FrameEvent, FrameTracker};

/// Returns what the HTTP/2 library refuses in what it sends, write by write.
pub fn refusals(writes: &[&[u8]]) -> Vec<Http2Refusal> {
    let (mut frames, mut seen) = (FrameTracker::of_server(), Vec::new());
    for write in writes {
        frames.take(write, |event| match event {
            FrameEvent::Frame(frame) => seen.extend(refusal(&frame)),
            FrameEvent::Setting { .. } => {}
        });
    }
    seen
}

/// The bounds of a head: `limits.header_bytes` and `limits.header_count`.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// The most octets.
    pub bytes: usize,
    /// The most fields.
    pub count: usize,
}

/// Returns what the HTTP/2 library gets of a client that sends these pieces, where it reads `room` octets at
/// a time.
pub fn filtered(pieces: &[&[u8]], room: usize, bounds: HeadBounds, key: u64) -> Vec<u8> {
    all_of(&mut FrameFilter::new(bounds.bytes, bounds.count, Some(key)), pieces, room)
}

/// Passes pieces through a filter. Returns what a library that reads `room` octets at a time gets.
pub(super) fn all_of(filter: &mut FrameFilter, pieces: &[&[u8]], room: usize) -> Vec<u8> {
    let (mut all, mut space) = (Vec::new(), vec![0; room.max(1)]);
    for piece in pieces {
        if filter.is_empty() {
            let passed = filter.pass_on(piece);
            all.extend_from_slice(piece.get(..passed).unwrap_or_default());
        } else {
            filter.keep(piece);
        }
        loop {
            let mut buf = ReadBuf::new(&mut space);
            if !filter.give(&mut buf) {
                break;
            }
            all.extend_from_slice(buf.filled());
        }
    }
    all
}
