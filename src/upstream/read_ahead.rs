//! Reads an answer ahead of its client.
//!
//! An upstream that has sent everything is free for others, however slowly a client reads. So while a piece
//! waits for the client, the rest of a short answer is read: up to [`MOST`], from one budget for all requests
//! of the process.

use std::collections::VecDeque;

use super::{
    budget::{AT_REST, BudgetGuard, MOST_MEMORY, Owner},
    capacity::Resources,
};
use crate::pipeline::Permit;

/// The most octets of one answer that are read ahead. The rest of a longer one is read as its client takes
/// it.
const MOST: usize = 64 * 1024;

/// Pieces of one answer.
pub(crate) struct ReadAhead<'a, T> {
    resources: &'a Resources<'a>,
    pieces: VecDeque<(T, usize)>,
    bytes: usize,
    owner: Owner,
    share: Option<BudgetGuard>,
    /// Whether the budget had nothing left, or there is nothing more to read.
    shut: bool,
    /// Whether there is nothing more to read.
    ended: bool,
}

impl<'a, T> ReadAhead<'a, T> {
    /// Begins without pieces.
    pub(crate) fn new(resources: &'a Resources<'a>, permit: &Permit) -> Self {
        let owner = resources.budgets.memory.owner_of(permit);
        Self { resources, pieces: VecDeque::new(), bytes: 0, owner, share: None, shut: false, ended: false }
    }

    /// Says whether more may be read while we wait for the client. `left` is how much is still to come, where
    /// that is known: an answer that does not fit is not read ahead, because that would not free its server.
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

    /// Notes that nothing more will come, while `in_hand` octets wait for the client. Says whether the
    /// exchange has its share: without one it keeps its connection or place at the upstream, which is bounded
    /// too and can be preempted.
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
                // The last piece waits for the client.
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
