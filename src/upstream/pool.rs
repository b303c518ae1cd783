//! The servers of an upstream: which one is next, how it is reached, and when a request may be retried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    h2_pool::H2Pool,
    health::{Admission, Health},
    idle::Idle,
    unread_bodies::Bodies,
};
use crate::{
    model::{
        AsideStatus, FailingStatus, ServerStatus, Tick, UnixTime, UpstreamName, UpstreamStatus, error_chain,
    },
    outbound::{OutboundError, ServerTls, Trust},
    policy::{Protocol, ServerAddress, Upstream, UpstreamTls},
};

/// The most retries that can be saved up, in tenths of a request: this bounds bursts of failures, not only
/// their share.
const BUDGET_MAX: i64 = 1000;
/// What a retry costs where a request earns one: retries stay under a tenth of the requests
/// (`threat-model.md` 1.7, row 82).
const RETRY_COST: i64 = 10;
/// How much longer than a connect may take we wait for the request that probes a server which was left aside.
const TRIAL_GRACE: Duration = Duration::from_secs(1);

/// The servers of one upstream with their turns.
#[derive(Debug)]
pub(crate) struct Pool {
    upstream: UpstreamName,
    names: Box<[Arc<str>]>,
    health: Box<[Arc<Health>]>,
    /// How long a probe of a server that was left aside may take.
    trial: Duration,
    bodies: Arc<Bodies>,
    idle: Box<[Idle]>,
    /// The connections to each of them where HTTP/2 is spoken.
    h2_pools: Box<[Arc<H2Pool>]>,
    /// TLS towards them, or why there can be none.
    tls: Option<Result<ServerTls, OutboundError>>,
    /// One round of the servers, by weight.
    round: Box<[usize]>,
    next: AtomicUsize,
    budget: AtomicI64,
}

impl Pool {
    /// Makes the pool of an upstream. What the same servers were seen to do `before`, under the rules until
    /// now, is not forgotten.
    pub(crate) fn new(upstream: &Upstream, before: Option<(&Upstream, &Self)>) -> Self {
        let names = upstream.servers.iter().map(|server| name(&server.address)).collect();
        let same = |before: &Upstream| {
            before.servers == upstream.servers && before.reads_bodies == upstream.reads_bodies
        };
        let bodies = match before {
            Some((before, pool)) if same(before) => Arc::clone(&pool.bodies),
            Some(_) | None => Arc::new(Bodies::new(upstream.name.clone(), upstream.reads_bodies)),
        };
        // The failure may have been caused by our own settings.
        let spoken = |before: &Upstream| before.tls == upstream.tls && before.protocol == upstream.protocol;
        let known = |address: &ServerAddress| {
            let (before, pool) = before.filter(|(before, _)| spoken(before))?;
            pool.health
                .get(before.servers.iter().position(|server| server.address == *address)?)
                .map(Arc::clone)
        };
        Self {
            upstream: upstream.name.clone(),
            health: upstream
                .servers
                .iter()
                .map(|server| known(&server.address).unwrap_or_default())
                .collect(),
            trial: upstream.timeouts.connect + TRIAL_GRACE,
            bodies,
            idle: upstream.servers.iter().map(|_| Idle::default()).collect(),
            h2_pools: upstream.servers.iter().map(|_| Arc::default()).collect(),
            tls: upstream.tls.as_ref().map(|tls| trusted(upstream, tls)),
            names,
            round: round(&upstream.servers.iter().map(|server| server.weight.get()).collect::<Vec<_>>()),
            next: AtomicUsize::new(0),
            budget: AtomicI64::new(BUDGET_MAX),
        }
    }

    /// Selects the next server, and not the one that has just `failed` if there is another. Servers that are
    /// left aside are skipped, unless all are; a retry does not advance the round of first attempts.
    pub(crate) fn select(&self, failed: Option<usize>, now: Tick) -> Option<Selection> {
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left < BUDGET_MAX).then_some(left + 1)
            })
            .ok();
        let turn = match failed {
            None => self.next.fetch_add(1, Ordering::Relaxed),
            Some(_) => self.next.load(Ordering::Relaxed),
        };
        let turn = turn.checked_rem(self.round.len())?;
        let due = self.in_turn(turn, failed)?;
        if self.is_alone() {
            return Some(Selection { index: due, trial: false });
        }
        // Usually the first one in the round is usable.
        let open = |index: usize| match self.admit(index, failed.is_some(), now) {
            Admission::Open => Some(Selection { index, trial: false }),
            Admission::Trial => Some(Selection { index, trial: true }),
            Admission::Aside => None,
        };
        if let Some(turn) = open(due) {
            return Some(turn);
        }
        // The others share its requests as they share their own.
        let (before, after) = self.round.split_at_checked(turn)?;
        for (passed, &index) in after.iter().chain(before).enumerate() {
            if index != due
                && Some(index) != failed
                && let Some(turn) = open(index)
            {
                if failed.is_none() {
                    self.next.fetch_add(passed, Ordering::Relaxed);
                }
                return Some(turn);
            }
        }
        Some(Selection { index: due, trial: false })
    }

    /// Says whether a request may go to a server. A retry never probes a server that was left aside.
    fn admit(&self, index: usize, again: bool, now: Tick) -> Admission {
        match self.health.get(index) {
            Some(health) if again && health.is_aside() => Admission::Aside,
            Some(health) => health.admit(now, self.trial),
            None => Admission::Open,
        }
    }

    /// Says whether there is only one server: it is never left aside.
    pub(crate) fn is_alone(&self) -> bool {
        self.names.len() < 2
    }

    /// Notes that a server accepted a connection, or answered.
    pub(crate) fn reached(&self, index: usize) {
        if self.health.get(index).is_some_and(|health| health.reached()) {
            let (upstream, server) = (&self.upstream, self.server_name(index));
            tracing::info!(event = "server_back", %upstream, %server, "a server takes connections again");
        }
    }

    /// Notes that a server accepted no connection, and leaves it aside where there are others. The only
    /// server of an upstream is tried by every request, so each failure is reported.
    pub(crate) fn unreachable(&self, selection: Selection, why: &str, now: Tick) {
        let Some(health) = self.health.get(selection.index) else { return };
        if self.is_alone() {
            if health.failed(true, why, now).is_some() {
                let (upstream, server) = (&self.upstream, self.server_name(selection.index));
                tracing::warn!(event = "upstream_down", %upstream, %server, error = why, "the only server of an upstream takes no connections");
            }
            return;
        }
        if let Some(wait) = health.failed(selection.trial, why, now) {
            let (upstream, server, seconds) =
                (&self.upstream, self.server_name(selection.index), wait.as_secs());
            tracing::warn!(event = "server_aside", %upstream, %server, seconds, error = why, "a server takes no connections and is left aside");
        }
    }

    /// Returns how the servers do.
    pub(crate) fn status(&self, now: UnixTime, tick: Tick) -> UpstreamStatus {
        let aside = |health: &Health| {
            let aside = health.aside()?;
            let [since, last] = [aside.since, aside.last].map(|then| now.minus(tick.since(then)));
            Some((
                AsideStatus {
                    since,
                    next: now.plus(aside.until.since(tick)),
                    failures: aside.failures,
                    error: aside.why,
                },
                last,
            ))
        };
        let is_alone = self.is_alone();
        let server = |(name, health): (&Arc<str>, &Arc<Health>)| {
            let (address, aside) = (name.to_string(), aside(health));
            if !is_alone {
                return ServerStatus { address, aside: aside.map(|(aside, _)| aside), failing: None };
            }
            let failing = aside.map(|(AsideStatus { since, failures, error, .. }, last)| FailingStatus {
                since,
                last,
                failures,
                error,
            });
            ServerStatus { address, aside: None, failing }
        };
        UpstreamStatus {
            name: self.upstream.clone(),
            bodies_unread: self.bodies.are_unread(),
            servers: self.names.iter().zip(&self.health).map(server).collect(),
        }
    }

    /// Returns what is known of how the servers take bodies.
    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// Returns the idle connections to a server.
    pub(crate) fn idle(&self, index: usize) -> Option<&Idle> {
        self.idle.get(index)
    }

    /// Returns the connections to a server that many exchanges share.
    pub(crate) fn h2_pool(&self, index: usize) -> Option<&Arc<H2Pool>> {
        self.h2_pools.get(index)
    }

    /// Returns the TLS settings towards the servers.
    pub(crate) fn tls(&self) -> Option<&Result<ServerTls, OutboundError>> {
        self.tls.as_ref()
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn sweep(&self, now: Tick) {
        self.idle.iter().for_each(|idle| idle.sweep(now, &self.bodies));
        self.h2_pools.iter().for_each(|pool| pool.sweep(now));
    }

    /// Closes an idle connection. Says whether there was one.
    pub(crate) fn close_one_at_rest(&self) -> bool {
        self.idle.iter().any(Idle::close_oldest) || self.h2_pools.iter().any(|pool| pool.close_one_at_rest())
    }

    fn in_turn(&self, turn: usize, failed: Option<usize>) -> Option<usize> {
        let due = self.round.get(turn).copied();
        if failed.is_none() || due != failed {
            return due;
        }
        let (before, after) = self.round.split_at_checked(turn)?;
        after.iter().chain(before).copied().find(|&index| Some(index) != failed).or(due)
    }

    pub(crate) fn server_name(&self, index: usize) -> Arc<str> {
        self.names.get(index).map_or_else(|| Arc::from("-"), Arc::clone)
    }

    /// Takes one retry from the budget, if one is left.
    pub(crate) fn may_retry(&self) -> bool {
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left >= RETRY_COST).then_some(left - RETRY_COST)
            })
            .is_ok()
    }
}

/// What is known of the last attempt to have a server answer.
#[derive(Clone, Debug)]
pub(crate) struct ServerAttempt {
    pub(crate) server: Arc<str>,
    pub(crate) tries: u32,
    pub(crate) began: Tick,
}

/// The server that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) index: usize,
    /// Whether the request probes a server that was left aside.
    pub(crate) trial: bool,
}

/// Builds the TLS settings. Where no CA can be trusted, no request reaches the upstream, and an operator must
/// act.
fn trusted(upstream: &Upstream, tls: &UpstreamTls) -> Result<ServerTls, OutboundError> {
    let trust = tls.ca.as_ref().map_or(Trust::System, |ca| Trust::Only(ca.clone()));
    let alpn: &[u8] = match upstream.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    };
    ServerTls::new(&trust, &tls.sni, alpn)
        .inspect_err(|error| tracing::error!(upstream = %upstream.name, error = %error_chain(error), "no TLS towards this upstream"))
}

fn name(address: &ServerAddress) -> Arc<str> {
    match address {
        ServerAddress::Tcp(address) => address.to_string().into(),
        ServerAddress::Unix(path) => path.display().to_string().into(),
    }
}

/// One round of turns in which each server comes as often as its weight says, evenly spread (nginx's smooth
/// weighted round robin).
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
        let best = current
            .iter()
            .enumerate()
            .max_by_key(|&(index, have)| (*have, std::cmp::Reverse(index)))
            .map_or(0, |(index, _)| index);
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

    fn pool(weights: &[u32]) -> Pool {
        Pool {
            upstream: "app".parse().unwrap(),
            names: weights.iter().enumerate().map(|(index, _)| index.to_string().into()).collect(),
            health: weights.iter().map(|_| Arc::default()).collect(),
            trial: Duration::from_secs(4),
            bodies: Arc::new(Bodies::new("app".parse().unwrap(), true)),
            idle: Box::default(),
            h2_pools: Box::default(),
            tls: None,
            round: round(weights),
            next: AtomicUsize::new(0),
            budget: AtomicI64::new(BUDGET_MAX),
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    fn turns(pool: &Pool, count: usize, now: Tick) -> Vec<usize> {
        (0..count).map(|_| pool.select(None, now).unwrap().index).collect()
    }

    #[test]
    fn another_server_is_tried_where_there_is_one() {
        assert_eq!(
            (0..7).map(|turn| pool(&[5, 1, 1]).in_turn(turn, Some(0)).unwrap()).collect::<Vec<_>>(),
            [1, 1, 1, 2, 2, 1, 1]
        );
        assert_eq!(pool(&[5, 1]).in_turn(0, None), Some(0));
        assert_eq!(pool(&[1]).in_turn(0, Some(0)), Some(0));
    }

    #[test]
    fn a_second_attempt_takes_no_turn() {
        let pool = pool(&[1, 1, 1]);

        assert_eq!(turns(&pool, 1, at(0)), [0]);
        assert_eq!(pool.select(Some(0), at(0)).unwrap().index, 1);
        assert_eq!(pool.select(Some(1), at(0)).unwrap().index, 2);
        assert_eq!(turns(&pool, 3, at(0)), [1, 2, 0]);
    }

    #[test]
    fn who_is_aside_has_no_turn_until_one_tries_it() {
        let pool = pool(&[1, 1, 1]);
        let first = pool.select(None, at(0)).unwrap();
        pool.unreachable(first, "refused", at(0));

        // The others share its turns evenly.
        assert_eq!(turns(&pool, 6, at(9)), [1, 2, 1, 2, 1, 2]);
        assert_eq!(pool.select(Some(2), at(10)).unwrap().index, 1, "who has failed once tries none");
        let tried: Vec<Selection> = (0..6).map(|_| pool.select(None, at(10)).unwrap()).collect();
        assert_eq!(
            tried.iter().filter(|selection| selection.trial).collect::<Vec<_>>(),
            [&Selection { index: 0, trial: true }]
        );
        assert_eq!(tried.iter().filter(|selection| selection.index == 0).count(), 1);
        pool.reached(0);
        assert_eq!(turns(&pool, 30, at(11)).iter().filter(|&&index| index == 0).count(), 10);
    }

    #[test]
    fn where_all_are_aside_all_are_tried_and_the_only_one_never_is() {
        let two = pool(&[1, 1]);
        for index in [0, 1] {
            two.unreachable(Selection { index, trial: false }, "refused", at(0));
        }
        let tried = turns(&two, 10, at(1));
        assert!(tried.contains(&0) && tried.contains(&1), "{tried:?}");
        assert_eq!(two.select(Some(0), at(1)).unwrap().index, 1);

        let alone = pool(&[1]);
        alone.unreachable(Selection { index: 0, trial: false }, "refused", at(0));
        assert_eq!(alone.select(None, at(0)), Some(Selection { index: 0, trial: false }));
        alone.unreachable(Selection { index: 0, trial: false }, "reset", at(5));
        let status = |pool: &Pool| pool.status(UnixTime::from_secs(100), at(10));
        let down = status(&alone);
        let failing = FailingStatus {
            since: UnixTime::from_secs(90),
            last: UnixTime::from_secs(95),
            failures: 2,
            error: "reset".to_owned(),
        };
        assert_eq!((&down.servers[0].aside, &down.servers[0].failing), (&None, &Some(failing)));
        assert!(down.is_down() && !down.is_healthy() && status(&two).is_down());
        alone.reached(0);
        two.reached(1);
        assert!(status(&alone).is_healthy() && !status(&two).is_down());
    }

    #[test]
    fn retries_are_a_tenth_of_the_requests_after_a_burst() {
        let pool = pool(&[1]);

        let granted = (0..1000).filter(|_| pool.may_retry()).count();

        assert_eq!(granted, 100);
    }
}
