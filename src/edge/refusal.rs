//! Why a connection ends before a request begins.

use crate::model::Abuse;

pub use crate::model::{EdgeRefusal, Http2Error};

/// Why a request was refused before the handler began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyCause {
    /// The head was not complete within `header_timeout`.
    HeadTimeout,
    /// The head exceeded `header_bytes` without an end.
    HeadTooLarge,
    /// The HTTP library refused it on its own, with this status.
    Library(u16),
}

/// What was refused on an HTTP/2 connection before a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Refusal {
    /// The library reset one stream, given by its number, with this code.
    Stream(u32, Http2Error),
    /// The library answered one stream with 400: its authority is missing, malformed, or differs from Host.
    Authority(u32),
    /// The library ended the connection with this code.
    Connection(Http2Error),
    /// The library ended the connection with PROTOCOL_ERROR right after fields arrived: a web page can set
    /// values that the library rejects.
    Fields,
    /// We ended the connection: a field block was not complete within `header_timeout`.
    HeadTimeout,
    /// We ended the connection: the client exceeded its limits.
    Abuse(Abuse),
}
