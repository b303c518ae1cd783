//! What is read of an answer before its client has taken what came before it.
//!
//! An upstream that has said all it had to say is free for others, however slowly a client reads. So while a piece waits for the client,
//! the rest of a short answer is taken in: up to [`MOST`], out of one budget for all requests of the process.

use std::collections::VecDeque;

use crate::gateway::{
    proxy::{Context, Gateway},
    share::{MOST_MEMORY, Owner, Share},
};

/// The most of one answer that is kept. What is longer goes on as its client takes it.
pub(super) const MOST: usize = 64 * 1024;

/// Pieces of one answer.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    pieces: VecDeque<(T, usize)>,
    bytes: usize,
    owner: Option<Owner>,
    share: Option<Share>,
    /// Whether the budget had nothing, or there is nothing more to read.
    shut: bool,
}

impl<T> Ahead<T> {
    /// Begins with nothing.
    pub(super) fn new(gateway: &Gateway, ctx: &Context) -> Self {
        let owner = ctx.permit.as_ref().map(|permit| gateway.shared.scarce.memory.owner_of(permit));
        Self { pieces: VecDeque::new(), bytes: 0, owner, share: None, shut: false }
    }

    /// Says whether more may be read while the client is waited for. `left` is how much is to come, where that is known: of what would not
    /// be whole nothing is read, for it would free nobody.
    pub(super) fn may_read(&mut self, gateway: &Gateway, left: Option<u64>) -> bool {
        let wanted = left.map_or(Some(MOST), |left| usize::try_from(left).ok()?.checked_add(self.bytes)).filter(|wanted| *wanted <= MOST);
        let (Some(owner), Some(wanted)) = (self.owner, wanted) else { return false };
        if self.shut || self.bytes >= MOST {
            return false;
        }
        if self.share.is_none() {
            self.share = gateway.shared.scarce.memory.take(owner, wanted, MOST_MEMORY, gateway.shared.clock.tick()).ok();
            self.shut = self.share.is_none();
        }
        self.share.is_some()
    }

    /// Keeps a piece, which takes so much memory.
    pub(super) fn push(&mut self, piece: T, bytes: usize) {
        self.bytes += bytes;
        self.pieces.push_back((piece, bytes));
    }

    /// Notes that nothing more is to come.
    pub(super) fn ends(&mut self) {
        self.shut = true;
        if let Some(share) = &mut self.share {
            share.shrink(self.bytes);
        }
    }

    /// Takes the first piece.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (piece, bytes) = self.pieces.pop_front()?;
        self.bytes -= bytes;
        if self.pieces.is_empty() {
            self.share = None;
        }
        Some(piece)
    }

    /// Says whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}
