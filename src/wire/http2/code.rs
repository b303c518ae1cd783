//! The numbers that the standard defines.

/// The flow-control window of a new stream or connection, until SETTINGS or WINDOW_UPDATE changes it (RFC
/// 9113, section 6.9.2).
pub const INITIAL_WINDOW: u32 = 65_535;
/// The largest flow-control window (RFC 9113, section 6.9.1).
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The highest stream identifier (RFC 9113, section 5.1.1).
pub const MAX_STREAM: u32 = (1 << 31) - 1;

/// Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7).
pub mod error_code {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// The stream was refused before any processing, so the client may retry it.
    pub const REFUSED_STREAM: u32 = 7;
    /// The stream is no longer needed.
    pub const CANCEL: u32 = 8;
    /// The peer causes excessive load.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Identifiers of settings (RFC 9113, section 6.5.2).
pub mod setting {
    /// SETTINGS_HEADER_TABLE_SIZE.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}
