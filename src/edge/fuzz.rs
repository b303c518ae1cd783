//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use super::{
    Http2Refusal,
    stream::{Given, all_of, refusal},
};
use crate::model::{Frames, Passed};

/// Follows what the HTTP/2 library sends, write by write.
pub fn refusals(writes: &[&[u8]]) -> Vec<Http2Refusal> {
    let (mut frames, mut seen) = (Frames::of_server(), Vec::new());
    for write in writes {
        frames.take(write, |passed| match passed {
            Passed::Frame(frame) => seen.extend(refusal(&frame)),
            Passed::Setting { .. } => {}
        });
    }
    seen
}

/// Returns what the HTTP/2 library is given of a client that sends these pieces, where it reads so many octets at a time. Heads have the
/// bounds of `limits.header_bytes` and `limits.header_count`.
pub fn given(pieces: &[&[u8]], room: usize, (bytes, count): (usize, usize), key: u64) -> Vec<u8> {
    all_of(&mut Given::new(bytes, count, Some(key)), pieces, room)
}
