//! HTTP/2: frames, header compression, and the octets that fields may have (RFC 9113 and RFC 7541).

mod code;
mod encode;
pub mod field;
mod frame_header;
mod frame_tracker;
pub mod hpack;
mod payload;

pub use code::{INITIAL_WINDOW, MAX_STREAM, MAX_WINDOW, error_code, setting};
pub use encode::{data_frame, goaway, interim_frame, literal, rst_stream, window_update};
pub use field::FIELD_OVERHEAD;
pub use frame_header::{
    ACK, END_HEADERS, END_STREAM, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_type,
};
pub use frame_tracker::{Frame, FrameEvent, FrameTracker, PREFACE};
pub use payload::{PayloadError, field_block_fragment, without_padding};
