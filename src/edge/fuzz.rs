//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use super::{Http2Refusal, stream::refusal};
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
