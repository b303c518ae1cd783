//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use std::io::IoSlice;

use super::stream::{Frames, Http2Refusal};

/// Follows what the HTTP/2 library sends, write by write.
pub fn refusals(writes: &[&[u8]]) -> Vec<Http2Refusal> {
    let (mut frames, mut seen) = (Frames::default(), Vec::new());
    for write in writes {
        frames.sent(&[IoSlice::new(write)], write.len(), |refusal| seen.push(refusal));
    }
    seen
}
