//! Frames of our own on an HTTP/2 connection, and what frames of the library say that it refuses.

use std::collections::VecDeque;

use crate::{
    edge::{Http2Error, Http2Refusal},
    model::{Frame, FrameKind},
};

/// Frames of our own, between those of others.
#[derive(Debug, Default)]
pub(super) struct Own {
    frames: VecDeque<Vec<u8>>,
    /// How much of the first one has passed.
    at: usize,
}

impl Own {
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }

    /// Says whether a part of the first one has passed.
    pub(super) fn has_begun(&self) -> bool {
        self.at > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns what is left of the first frame: behind each, others may come in between.
    pub(super) fn rest(&self) -> &[u8] {
        self.frames.front().and_then(|frame| frame.get(self.at..)).unwrap_or_default()
    }

    pub(super) fn passed(&mut self, bytes: usize) {
        self.at += bytes;
        if self.frames.front().is_some_and(|frame| self.at >= frame.len()) {
            self.frames.pop_front();
            self.at = 0;
        }
    }
}

/// RST_STREAM (RFC 9113, section 6.4).
pub(super) fn reset(id: u32, code: u32) -> Vec<u8> {
    [&[0, 0, 4, 3, 0][..], &id.to_be_bytes(), &code.to_be_bytes()].concat()
}

/// GOAWAY (RFC 9113, section 6.8).
pub(super) fn farewell(last: u32, code: u32) -> Vec<u8> {
    [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last.to_be_bytes(), &code.to_be_bytes()].concat()
}

/// A stream that breaks the protocol is reset, and a connection that does is ended with GOAWAY, before any request begins
/// (RFC 9113, section 5.4).
pub(in crate::edge) fn refusal(frame: &Frame) -> Option<Http2Refusal> {
    let error = Http2Error::of(frame.number)?;
    match frame.kind {
        FrameKind::Reset => Some(Http2Refusal::Stream(frame.stream, error)),
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
