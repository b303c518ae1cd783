//! When the client of an HTTP/2 connection must have sent its first head, a frame or field block that it has
//! begun, or another request. Pure rules, no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{CutReason, HeadDeadlines};

/// How many CONTINUATION frames a head of 64 KiB needs at most.
const MAX_CONTINUATIONS: u64 = 4;

/// The deadlines of frames and field blocks. Frames are numbered from 1.
#[derive(Debug)]
pub(super) struct BlockDeadlines {
    header_timeout: Duration,
    idle_timeout: Duration,
    /// When the first head must be complete.
    first_by: Instant,
    /// Whether a head has arrived.
    asked: bool,
    /// The latest field block.
    block: Option<Block>,
    /// The number of the frame or block that is incomplete, and when it must be complete.
    whole_by: Option<(u64, Instant)>,
    idle_by: Option<Instant>,
}

/// A field block: HEADERS, and CONTINUATION up to the one that ends it (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug)]
struct Block {
    first: u64,
    last: u64,
    ended: bool,
}

impl BlockDeadlines {
    /// Begins at the end of the handshake.
    pub(super) fn new(deadlines: &HeadDeadlines, now: Instant) -> Self {
        Self {
            header_timeout: deadlines.header_timeout,
            idle_timeout: deadlines.idle_timeout,
            first_by: now + deadlines.header_timeout,
            asked: false,
            block: None,
            whole_by: None,
            idle_by: None,
        }
    }

    /// Notes a frame of a field block.
    pub(super) fn note_fields(&mut self, number: u64, ends_block: bool) {
        let first = self.block.filter(|block| !block.ended).map_or(number, |block| block.first);
        self.block = Some(Block { first, last: number, ended: ends_block });
        self.asked |= ends_block;
    }

    /// Returns when the first head must be complete, and the cut if it is not; `None` once it has arrived.
    pub(super) fn first_head(&self) -> Option<(Instant, CutReason)> {
        let cut = if self.block.is_some() { CutReason::HeadTimeout } else { CutReason::NoRequest };
        (!self.asked).then_some((self.first_by, cut))
    }

    /// Returns when a connection without open requests ends.
    pub(super) fn idle(&mut self, now: impl Fn() -> Instant) -> Instant {
        *self.idle_by.get_or_insert_with(|| now() + self.idle_timeout)
    }

    /// Notes that a request is open.
    pub(super) fn note_busy(&mut self) {
        self.idle_by = None;
    }

    /// Returns when the frame or block that is incomplete must be complete. `unfinished` is the number of the
    /// frame that has arrived in part.
    pub(super) fn incomplete(
        &mut self,
        unfinished: Option<u64>,
        now: impl Fn() -> Instant,
    ) -> Option<Instant> {
        let open = self.block.filter(|block| !block.ended || unfinished == Some(block.last));
        let Some(number) = open.map(|block| block.first).or(unfinished) else {
            self.whole_by = None;
            return None;
        };
        if let Some((_, by)) = self.whole_by.filter(|(of, _)| *of == number) {
            return Some(by);
        }
        let by = if self.asked || open.is_none() { now() + self.header_timeout } else { self.first_by };
        self.whole_by = Some((number, by));
        Some(by)
    }

    /// Says whether a head arrives in more frames than any head needs.
    pub(super) fn is_dripping(&self) -> bool {
        self.block.is_some_and(|block| !block.ended && block.last - block.first >= MAX_CONTINUATIONS)
    }
}
