//! Frames after which the octets of a connection could be read in more than one way.

use crate::{
    model::Http2Error,
    wire::http2::{ACK, FRAME_BYTES, FrameHeader, FrameKind},
};

/// Refuses a frame that ends the connection whatever its stream is. `open_block` is the stream of the field
/// block that has begun and not ended.
pub(super) fn check_frame(frame: &FrameHeader, open_block: Option<u32>) -> Result<(), Http2Error> {
    let is_continuation = frame.kind == FrameKind::Continuation;
    // RFC 9113, section 6.10: a CONTINUATION follows, and no other frame interrupts a field block.
    if is_continuation != open_block.is_some() || open_block.is_some_and(|stream| stream != frame.stream) {
        return Err(Http2Error::Protocol);
    }
    // Sections 5.1.1 and 8.4: the streams of a client have odd numbers, and it pushes nothing.
    let has_no_stream = frame.kind == FrameKind::Headers && frame.stream.is_multiple_of(2);
    if has_no_stream || frame.kind == FrameKind::PushPromise {
        return Err(Http2Error::Protocol);
    }
    let length = frame.payload_bytes();
    let is_valid = match frame.kind {
        FrameKind::Reset | FrameKind::WindowUpdate => length == 4,
        FrameKind::Ping => length == 8,
        FrameKind::Settings if frame.flags & ACK != 0 => length == 0,
        FrameKind::Settings => length.is_multiple_of(6),
        FrameKind::GoAway => length >= 8,
        FrameKind::Data
        | FrameKind::Headers
        | FrameKind::Priority
        | FrameKind::PushPromise
        | FrameKind::Continuation
        | FrameKind::Other => true,
    };
    if is_valid && length <= FRAME_BYTES { Ok(()) } else { Err(Http2Error::FrameSize) }
}
