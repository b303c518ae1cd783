//! What every request shares: the rules in force, the stores, the recorders, the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::{
    model::{
        BanCause, Clock, EventKind, EventSink, Facts, NodeChanged, RequestId, Tick, UnixTime, UpstreamStatus,
    },
    policy::Policy,
    redis::Redis,
    sessions::{Renewals, SessionLedger},
    store::{Bans, Challenges, KeySets, KeyUses, MemoryQuotas},
    telemetry::{Metrics, Recorder},
    upstream::{Budgets, LiveExchanges, Pools},
};

/// One revision of the rules with what is derived from it. A request takes it once, when it begins.
#[derive(Debug)]
pub struct Snapshot {
    /// The rules.
    pub policy: Arc<Policy>,
    /// Records what happens under them.
    pub recorder: Recorder,
    pools: Pools,
}

impl Snapshot {
    /// Derives what traffic needs from the rules, and takes over what was learned under those `before`.
    pub fn new(policy: Arc<Policy>, recorder: Recorder, before: Option<&Self>) -> Self {
        let pools = Pools::new(&policy, before.map(|before| (&*before.policy, &before.pools)));
        Self { policy, recorder, pools }
    }

    /// Closes connections to upstreams that have rested for too long.
    pub fn sweep(&self, now: Tick) {
        self.pools.sweep(now);
    }

    /// Returns how the servers of every upstream do, as far as requests have found out.
    pub fn upstreams<'a>(&'a self, clock: &dyn Clock) -> impl Iterator<Item = UpstreamStatus> + use<'a> {
        self.pools.status(clock)
    }

    /// Returns the servers of every upstream.
    pub(super) const fn pools(&self) -> &Pools {
        &self.pools
    }
}

/// A deadline for the library that is longer than any of the stream's, which are the ones that count.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What every request shares.
pub struct Shared {
    /// The rules in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// What requests share that is scarce. What is taken of it survives a reload.
    pub budgets: Budgets,
    /// Quotas. They survive a reload.
    pub quotas: MemoryQuotas,
    /// Revocations.
    pub revocations: Arc<SessionLedger>,
    /// Exchanges that go on for long.
    pub live_exchanges: Arc<LiveExchanges>,
    /// What CAs that prove our hosts may ask for.
    pub challenges: Arc<Challenges>,
    /// Keys that issuers publish. They survive a reload.
    pub key_sets: Arc<KeySets>,
    /// Told when a token names a key that is not among them.
    pub key_missed: watch::Sender<()>,
    /// Bans. They survive a reload.
    pub bans: Bans,
    /// When sessions were renewed last. They survive a reload.
    pub renewals: Renewals,
    /// How session keys are used. They survive a reload.
    pub key_uses: KeyUses,
    /// The store that nodes share, where there is one.
    pub redis: Option<Redis>,
    /// For gauges, and for who tells them: what happens is counted by its event.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of requests.
    pub ids: RequestIds,
    /// Whether the process is going down.
    pub draining: Draining,
}

/// What the listeners serve requests with.
#[derive(Debug)]
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
}

impl Gateway {
    /// Serves with these rules, stores and recorders.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Whether the process is going down.
#[derive(Debug, Default)]
pub struct Draining {
    begun: AtomicBool,
    notify: Notify,
}

impl Draining {
    /// Begins, and tells those who wait for that.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until it has begun.
    pub(super) async fn began(&self) {
        let begins = self.notify.notified();
        // Behind the call: `notify_waiters` reaches whoever has called before.
        if !self.begun.load(Ordering::Acquire) {
            begins.await;
        }
    }
}

/// Makes the identifiers of requests.
///
/// They must differ, also between nodes and after a restart; they need not be a secret. So the random bits
/// are a count, hashed with a seed of this process: the system's generator would cost each request as much as
/// opening its session.
pub struct RequestIds {
    seed: ahash::RandomState,
    count: AtomicU64,
}

impl RequestIds {
    /// Begins with a seed from the system's generator.
    pub fn new() -> Self {
        let mut seeds = [[0; 8]; 4];
        seeds.iter_mut().for_each(|seed| fill_random(seed));
        let [a, b, c, d] = seeds.map(u64::from_ne_bytes);
        Self { seed: ahash::RandomState::with_seeds(a, b, c, d), count: AtomicU64::new(0) }
    }

    fn random_bits(&self) -> u128 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        (u128::from(self.seed.hash_one((count, true))) << 64) | u128::from(self.seed.hash_one((count, false)))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    /// Makes the identifier of a request.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(self.clock.now().as_millis(), self.ids.random_bits())
    }

    /// Holds a broken protocol against who connected, where the policy bans for that. The one way in, for
    /// listeners and requests alike.
    ///
    /// The client that a proxy of ours names is not who connected, and the proxy is not who offended: neither
    /// is banned for it.
    pub fn offended(&self, facts: &Facts, code: &'static str) {
        let source = facts.source_ip();
        let snapshot = self.snapshot.load();
        let Some(rules) = &snapshot.policy.bans else { return };
        if !snapshot.policy.is_own_proxy(&facts.listener, source, facts.is_peer())
            && self.bans.offend(source.prefix(), code, rules, self.clock.tick())
        {
            let cause = BanCause::Protocol(code);
            self.emit(EventKind::Node(NodeChanged::Banned { client: source.prefix(), cause: &cause }));
        }
    }

    /// Says whether the process is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.has_begun()
    }
}

/// Records under the rules in force. A request records its end under those that it began with:
/// [`Snapshot::recorder`].
impl EventSink for Shared {
    fn emit(&self, what: EventKind<'_>) {
        self.snapshot.load().recorder.emit(what);
    }

    fn emit_at(&self, time: UnixTime, what: EventKind<'_>) {
        self.snapshot.load().recorder.emit_at(time, what);
    }
}

/// Fills a slice from the system's random generator.
///
/// A machine without randomness serves nobody: zeros would make session identifiers guessable, so the request
/// ends here.
#[expect(clippy::expect_used, reason = "no entropy, no gateway: the request task ends and answers 500")]
pub(super) fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system's random generator works");
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("revision", &self.snapshot.load().policy.revision)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_of_one_moment_differ_and_so_do_those_of_two_processes() {
        let (one, other) = (RequestIds::new(), RequestIds::new());
        let low = |ids: &RequestIds| ids.random_bits() & ((1 << 80) - 1);

        let all: std::collections::BTreeSet<u128> =
            (0..1000).flat_map(|_| [low(&one), low(&other)]).collect();

        assert_eq!(all.len(), 2000);
    }
}
