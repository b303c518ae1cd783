//! The nine octets that every frame begins with (RFC 9113, section 4.1).

/// The length of a frame header.
pub const FRAME_HEADER_BYTES: usize = 9;
/// The largest payload that every peer accepts (RFC 9113, section 6.5.2): we neither announce nor send more.
pub const FRAME_BYTES: usize = 16 * 1024;

/// In DATA and HEADERS: nothing follows on the stream.
pub const END_STREAM: u8 = 0x1;
/// In HEADERS, PUSH_PROMISE and CONTINUATION: the field block ends here.
pub const END_HEADERS: u8 = 0x4;
/// In SETTINGS and PING: acknowledges ours.
pub const ACK: u8 = 0x1;
/// In DATA, HEADERS and PUSH_PROMISE: padding follows the payload.
pub(super) const PADDED: u8 = 0x8;
/// In HEADERS: five octets of priority precede the fields; they are deprecated (RFC 9113, section 5.3.2).
pub(super) const PRIORITY: u8 = 0x20;

/// Types of frames, as they are written.
pub mod frame_type {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// What a frame is (RFC 9113, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameKind {
    /// DATA.
    #[default]
    Data,
    /// HEADERS.
    Headers,
    /// PRIORITY.
    Priority,
    /// RST_STREAM.
    Reset,
    /// SETTINGS.
    Settings,
    /// PUSH_PROMISE.
    PushPromise,
    /// PING.
    Ping,
    /// GOAWAY.
    GoAway,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// A type that the standard does not define: an extension.
    Other,
}

impl FrameKind {
    /// Reads the type of a frame.
    pub const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// The length of the payload.
    pub length: u32,
    /// The type.
    pub kind: FrameKind,
    /// The flags.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads a header. The reserved bit is ignored.
    pub fn parse(octets: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = *octets;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: FrameKind::of(kind),
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
        }
    }

    /// Writes a header; `kind` is one of [`frame_type`].
    pub fn encode(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEADER_BYTES] {
        let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let [d, e, f, g] = stream.to_be_bytes();
        [a, b, c, kind, flags, d, e, f, g]
    }

    /// Returns the length of the payload.
    pub fn payload_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Says whether nothing follows on its stream.
    pub const fn ends_stream(&self) -> bool {
        matches!(self.kind, FrameKind::Data | FrameKind::Headers) && self.flags & END_STREAM != 0
    }

    /// Says whether its payload is padded.
    pub const fn is_padded(&self) -> bool {
        self.flags & PADDED != 0
    }

    /// Says whether it ends a field block.
    pub const fn ends_block(&self) -> bool {
        matches!(self.kind, FrameKind::Headers | FrameKind::PushPromise | FrameKind::Continuation)
            && self.flags & END_HEADERS != 0
    }
}
