//! What is read of an answer before its client has taken what came before it.
//!
//! An upstream that has said all it had to say is free for others, however slowly a client reads. So while a
//! piece waits for the client, the rest of a short answer is taken in: up to [`MOST`], out of one budget for
//! all requests of the process.

use std::collections::VecDeque;

use super::{
    budget::{AT_REST, BudgetGuard, MOST_MEMORY, Owner},
    capacity::Resources,
};
use crate::pipeline::Permit;

/// The most of one answer that is kept. What is longer goes on as its client takes it.
const MOST: usize = 64 * 1024;

/// Pieces of one answer.
pub(crate) struct ReadAhead<'a, T> {
    resources: &'a Resources<'a>,
    pieces: VecDeque<(T, usize)>,
    bytes: usize,
    owner: Owner,
    share: Option<BudgetGuard>,
    /// Whether the budget had nothing, or there is nothing more to read.
    shut: bool,
    /// Whether there is nothing more to read.
    ended: bool,
}

impl<'a, T> ReadAhead<'a, T> {
    /// Begins with nothing.
    pub(crate) fn new(resources: &'a Resources<'a>, permit: &Permit) -> Self {
        let owner = resources.budgets.memory.owner_of(permit);
        Self { resources, pieces: VecDeque::new(), bytes: 0, owner, share: None, shut: false, ended: false }
    }

    /// Says whether more may be read while the client is waited for. `left` is how much is to come, where
    /// that is known: of what would not be whole nothing is read, for it would free nobody.
    pub(crate) fn may_read(&mut self, left: Option<u64>) -> bool {
        let wanted = left
            .map_or(Some(MOST), |left| usize::try_from(left).ok()?.checked_add(self.bytes))
            .filter(|wanted| *wanted <= MOST);
        let Some(wanted) = wanted else { return false };
        if self.shut || self.bytes >= MOST {
            return false;
        }
        if self.share.is_none() {
            self.share = self.take(wanted + AT_REST);
            self.shut = self.share.is_none();
        }
        self.share.is_some()
    }

    /// Keeps a piece, which takes so much memory.
    pub(crate) fn push(&mut self, piece: T, bytes: usize) {
        self.bytes += bytes;
        self.pieces.push_back((piece, bytes));
    }

    /// Notes that nothing more is to come, while `in_hand` octets wait for the client. Says whether the
    /// exchange has its share: one that has none keeps what it occupies at the upstream, which is bounded
    /// too, and makes room for others there.
    pub(crate) fn end(&mut self, in_hand: usize) -> bool {
        (self.shut, self.ended) = (true, true);
        let wanted = self.bytes.saturating_add(in_hand).saturating_add(AT_REST);
        match &mut self.share {
            Some(share) if share.amount() >= wanted => share.shrink(wanted),
            share => {
                *share = None;
                self.share = self.take(wanted);
            }
        }
        self.share.is_some()
    }

    /// Takes the first piece.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (piece, bytes) = self.pieces.pop_front()?;
        self.bytes -= bytes;
        if self.pieces.is_empty() {
            match &mut self.share {
                // The last of it waits for the client.
                Some(share) if self.ended => share.shrink(bytes.saturating_add(AT_REST)),
                share => *share = None,
            }
        }
        Some(piece)
    }

    /// Returns the last piece.
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.pieces.back_mut().map(|(piece, _)| piece)
    }

    fn take(&self, amount: usize) -> Option<BudgetGuard> {
        let memory = &self.resources.budgets.memory;
        memory.take(self.owner, amount, MOST_MEMORY, self.resources.clock.tick()).ok()
    }
}
