//! What happens to a frame of the client, and what we send because of it.

use crate::model::Http2Error;

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameAction {
    /// The library gets it unchanged.
    Forward,
    /// It is read here as a whole.
    Inspect,
    /// Nobody gets it.
    Drop,
    /// Nobody gets it, and its stream is reset.
    StreamError(Http2Error),
    /// The connection ends.
    ConnectionError(Http2Error),
}

/// What a field block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// The head of a new request.
    Head,
    /// The head of a request beyond the number of streams that we accept at once.
    Refused,
    /// Trailers.
    Trailers,
    /// It was in flight when we reset its stream.
    Late,
    /// The client itself has ended its stream.
    Closed,
    /// It would open a stream below one that the client has opened already (RFC 9113, section 5.1.1).
    Lower,
}

/// What we have to do because of the client's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Send RST_STREAM with REFUSED_STREAM.
    Refused(u32),
    /// Send RST_STREAM; the library knows.
    Reset(u32, Http2Error),
    /// Send WINDOW_UPDATE for octets that the library never sees.
    Window(u32, u32),
    /// Count DATA that consists of padding only as empty.
    Empty,
}
