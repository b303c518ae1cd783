//! How the client of an HTTP/2 connection broke the protocol.

/// The codes that say that the client broke the protocol (RFC 9113, section 7). The others are ours, or no errors.
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
    /// Reads a code; those that are ours, or no errors, are none.
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

    /// Says whether no page and no correct client can be made to break one stream so. Values with control characters are
    /// PROTOCOL_ERROR, and what was under way when a stream was reset is STREAM_CLOSED.
    pub const fn is_offence_of_a_stream(self) -> bool {
        matches!(self, Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// The same of a whole connection. The library is calm with streams that are cancelled at once.
    pub const fn is_offence_of_a_connection(self) -> bool {
        matches!(self, Self::Protocol | Self::FlowControl | Self::FrameSize | Self::Compression)
    }

    /// Returns the name of the standard.
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
