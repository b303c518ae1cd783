//! How the client of an HTTP/2 connection broke the protocol.

/// The error codes for a client that broke the protocol (RFC 9113, section 7). The other codes are for faults
/// of ours, or for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Error {
    /// PROTOCOL_ERROR.
    Protocol,
    /// FLOW_CONTROL_ERROR.
    FlowControl,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSize,
    /// COMPRESSION_ERROR.
    Compression,
    /// ENHANCE_YOUR_CALM.
    Calm,
}

impl Http2Error {
    /// Reads a code; `None` for the other codes.
    pub fn of(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Protocol),
            3 => Some(Self::FlowControl),
            5 => Some(Self::StreamClosed),
            6 => Some(Self::FrameSize),
            9 => Some(Self::Compression),
            11 => Some(Self::Calm),
            _ => None,
        }
    }

    /// Says that a stream was reset so.
    pub fn of_stream(self, stream: u32) -> String {
        format!("stream {stream} was reset: {}", self.as_str())
    }

    /// Returns the code.
    pub const fn code(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::FlowControl => 3,
            Self::StreamClosed => 5,
            Self::FrameSize => 6,
            Self::Compression => 9,
            Self::Calm => 11,
        }
    }

    /// Says whether no web page and no correct client can be made to break one stream this way. Values with
    /// control characters cause PROTOCOL_ERROR, and frames in flight when a stream is reset cause
    /// STREAM_CLOSED.
    pub const fn is_offence_of_a_stream(self) -> bool {
        matches!(self, Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// The same for a whole connection. The library answers ENHANCE_YOUR_CALM to streams that are cancelled
    /// at once.
    pub const fn is_offence_of_a_connection(self) -> bool {
        matches!(self, Self::Protocol | Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// Returns the name in the standard.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "PROTOCOL_ERROR",
            Self::FlowControl => "FLOW_CONTROL_ERROR",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::Compression => "COMPRESSION_ERROR",
            Self::Calm => "ENHANCE_YOUR_CALM",
        }
    }
}
