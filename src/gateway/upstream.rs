//! Servers of an upstream: whose turn it is, how they are reached, when a request is tried again.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use super::exchange::{Idle, Lines};
use crate::{
    model::{Tick, told},
    outbound::{OutboundError, ServerTls, Trust},
    policy::{Protocol, ServerAddress, Upstream, UpstreamTls},
};

/// The retries in hand at the most, in tenths of a request: bursts of failures are bounded, not only their share.
const BUDGET_MAX: i64 = 1000;
/// What a retry costs where a request earns one: retries stay under a tenth of the requests (`security.md` 1.7, row 82).
const RETRY_COST: i64 = 10;

/// The servers of one upstream with their turns.
#[derive(Debug)]
pub(super) struct Pool {
    names: Box<[Arc<str>]>,
    idle: Box<[Idle]>,
    /// The connections to each of them where HTTP/2 is spoken.
    lines: Box<[Arc<Lines>]>,
    /// TLS towards them, or why there can be none.
    tls: Option<Result<ServerTls, OutboundError>>,
    /// One round of turns by weight.
    round: Box<[usize]>,
    next: AtomicUsize,
    budget: AtomicI64,
}

impl Pool {
    pub(super) fn new(upstream: &Upstream) -> Self {
        let names = upstream.servers.iter().map(|server| name(&server.address)).collect();
        Self {
            idle: upstream.servers.iter().map(|_| Idle::default()).collect(),
            lines: upstream.servers.iter().map(|_| Arc::default()).collect(),
            tls: upstream.tls.as_ref().map(|tls| trusted(upstream, tls)),
            names,
            round: round(&upstream.servers.iter().map(|server| server.weight.get()).collect::<Vec<_>>()),
            next: AtomicUsize::new(0),
            budget: AtomicI64::new(BUDGET_MAX),
        }
    }

    /// Says whose turn it is, and not the server that has just `failed` if there is another.
    pub(super) fn turn(&self, failed: Option<usize>) -> Option<usize> {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left < BUDGET_MAX).then_some(left + 1)).ok();
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.round.len())?;
        self.in_turn(turn, failed)
    }

    /// Returns the connections to a server that rest between two exchanges of our own.
    pub(super) fn idle(&self, index: usize) -> Option<&Idle> {
        self.idle.get(index)
    }

    /// Returns the connections to a server that many exchanges share.
    pub(super) fn lines(&self, index: usize) -> Option<&Arc<Lines>> {
        self.lines.get(index)
    }

    /// Returns what TLS towards the servers goes by.
    pub(super) fn tls(&self) -> Option<&Result<ServerTls, OutboundError>> {
        self.tls.as_ref()
    }

    /// Closes connections that have rested for too long.
    pub(super) fn sweep(&self, now: Tick) {
        self.idle.iter().for_each(|idle| idle.sweep(now));
        self.lines.iter().for_each(|lines| lines.sweep(now));
    }

    fn in_turn(&self, turn: usize, failed: Option<usize>) -> Option<usize> {
        let due = self.round.get(turn).copied();
        if failed.is_none() || due != failed {
            return due;
        }
        let (before, after) = self.round.split_at_checked(turn)?;
        after.iter().chain(before).copied().find(|&index| Some(index) != failed).or(due)
    }

    pub(super) fn server_name(&self, index: usize) -> Arc<str> {
        self.names.get(index).map_or_else(|| Arc::from("-"), Arc::clone)
    }

    /// Takes one retry out of the budget, if it holds one.
    pub(super) fn may_retry(&self) -> bool {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left >= RETRY_COST).then_some(left - RETRY_COST)).is_ok()
    }
}

/// Whom to trust. Where nobody can be trusted, no request reaches the upstream, and somebody must act.
fn trusted(upstream: &Upstream, tls: &UpstreamTls) -> Result<ServerTls, OutboundError> {
    let trust = tls.ca.as_ref().map_or(Trust::System, |ca| Trust::Only(ca.clone()));
    let alpn: &[u8] = match upstream.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    };
    ServerTls::new(&trust, &tls.sni, alpn)
        .inspect_err(|error| tracing::error!(upstream = %upstream.name, error = %told(error), "no TLS towards this upstream"))
}

fn name(address: &ServerAddress) -> Arc<str> {
    match address {
        ServerAddress::Tcp(address) => address.to_string().into(),
        ServerAddress::Unix(path) => path.display().to_string().into(),
    }
}

/// One round of turns in which each server comes as often as its weight says, evenly spread (nginx's smooth weighted round robin).
fn round(weights: &[u32]) -> Box<[usize]> {
    let common = weights.iter().copied().reduce(gcd).unwrap_or(1).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total.min(MAX_ROUND) {
        for (have, weight) in current.iter_mut().zip(&weights) {
            *have += weight;
        }
        let best = current.iter().enumerate().max_by_key(|&(index, have)| (*have, std::cmp::Reverse(index))).map_or(0, |(index, _)| index);
        if let Some(have) = current.get_mut(best) {
            *have -= total;
        }
        turns.push(best);
    }
    turns.into()
}

/// The longest round; weights beyond it are approximated.
const MAX_ROUND: i64 = 10_000;

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        assert_eq!(*round(&[1, 1]), [0, 1]);
        assert_eq!(*round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*round(&[100, 50]), [0, 1, 0]);
        assert_eq!(*round(&[7]), [0]);
    }

    #[test]
    fn another_server_is_tried_where_there_is_one() {
        let pool = |weights: &[u32]| Pool {
            names: Box::default(),
            idle: Box::default(),
            lines: Box::default(),
            tls: None,
            round: round(weights),
            next: AtomicUsize::new(0),
            budget: AtomicI64::new(BUDGET_MAX),
        };

        assert_eq!((0..7).map(|turn| pool(&[5, 1, 1]).in_turn(turn, Some(0)).unwrap()).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 1, 1]);
        assert_eq!(pool(&[5, 1]).in_turn(0, None), Some(0));
        assert_eq!(pool(&[1]).in_turn(0, Some(0)), Some(0));
    }

    #[test]
    fn retries_are_a_tenth_of_the_requests_after_a_burst() {
        let pool = Pool {
            names: Box::default(),
            idle: Box::default(),
            lines: Box::default(),
            tls: None,
            round: Box::default(),
            next: AtomicUsize::new(0),
            budget: AtomicI64::new(BUDGET_MAX),
        };

        let granted = (0..1000).filter(|_| pool.may_retry()).count();

        assert_eq!(granted, 100);
    }
}
