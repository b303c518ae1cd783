//! How a field block begins, and how large trailers may be.

use crate::wire::http2::END_STREAM;

/// The largest trailers, and the most fields in them. They have no share of `room_for_head`, as heads have:
/// they wait while an upstream takes nothing, and whatever waits for an upstream holds or awaits one of a
/// limited number of places there. One octet can stand for a field of 4 KiB in trailers too. The trailers of
/// gRPC have less than 1 KiB.
pub(super) const MAX_TRAILER_BYTES: usize = 8 * 1024;
pub(super) const MAX_TRAILERS: usize = 64;

/// A literal that must never be indexed, with a literal name (RFC 7541, section 6.2.3).
pub(super) const NEVER_INDEXED: u8 = 0x10;

/// The HEADERS frame that begins a field block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockStart {
    pub(super) stream: u32,
    /// Whether the frame has END_STREAM.
    pub(super) ends_stream: bool,
    /// Whether the stream was open before: then the block is trailers.
    pub(super) trailers: bool,
}

impl BlockStart {
    /// Returns END_STREAM or no flag.
    pub(super) fn end_stream_flag(&self) -> u8 {
        if self.ends_stream { END_STREAM } else { 0 }
    }
}
