//! Frames of our own on an HTTP/2 connection, and frames of the library that refuse something.

use std::collections::VecDeque;

use crate::{
    edge::Http2Refusal,
    model::Http2Error,
    wire::http2::{Frame, FrameKind},
};

/// A queue of frames of our own, which are inserted between those of others.
#[derive(Debug, Default)]
pub(super) struct OwnFrames {
    frames: VecDeque<Vec<u8>>,
    /// How many octets of the first frame have been sent.
    at: usize,
}

impl OwnFrames {
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }

    /// Says whether a part of the first frame has been sent.
    pub(super) fn has_begun(&self) -> bool {
        self.at > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the rest of the first frame. Frames of others may follow each of ours.
    pub(super) fn rest(&self) -> &[u8] {
        self.frames.front().and_then(|frame| frame.get(self.at..)).unwrap_or_default()
    }

    /// Notes that octets were sent.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.at += bytes;
        if self.frames.front().is_some_and(|frame| self.at >= frame.len()) {
            self.frames.pop_front();
            self.at = 0;
        }
    }
}

/// Returns what the library refuses with a frame: it resets a stream that breaks the protocol, and ends such
/// a connection with GOAWAY, before a request begins (RFC 9113, section 5.4).
pub(in crate::edge) fn refusal(frame: &Frame) -> Option<Http2Refusal> {
    let error = Http2Error::of(frame.number)?;
    match frame.header.kind {
        FrameKind::Reset => Some(Http2Refusal::Stream(frame.header.stream, error)),
        FrameKind::GoAway => Some(Http2Refusal::Connection(error)),
        FrameKind::Data
        | FrameKind::Headers
        | FrameKind::Priority
        | FrameKind::Settings
        | FrameKind::PushPromise
        | FrameKind::Ping
        | FrameKind::WindowUpdate
        | FrameKind::Continuation
        | FrameKind::Other => None,
    }
}
