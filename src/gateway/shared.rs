//! What every request shares: the rules in force, the stores, the recorders, the clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::{renewals::Renewals, share::Scarce, standing::Standing, upstream::Pool};
use crate::{
    model::{ClientIp, Clock, ListenerName, RequestId, Tick, UpstreamName, UpstreamStatus},
    policy::Policy,
    state::{Bans, Challenges, Journal, KeySets, KeyUses, MemoryQuotas, redis::Redis},
    telemetry::{AccessLog, Metrics},
};

/// One revision of the rules with what is derived from it. A request takes it once, when it begins.
#[derive(Debug)]
pub struct Snapshot {
    /// The rules.
    pub policy: Arc<Policy>,
    /// Where its access lines go.
    pub log: Arc<AccessLog>,
    pools: BTreeMap<UpstreamName, Pool>,
}

impl Snapshot {
    /// Derives what traffic needs from the rules, and takes over what was learned under those `before`.
    pub fn new(policy: Arc<Policy>, log: Arc<AccessLog>, before: Option<&Self>) -> Self {
        let known = |name| before.and_then(|before| Some((&**before.policy.upstreams.get(name)?, before.pools.get(name)?)));
        let pools = policy.upstreams.iter().map(|(name, upstream)| (name.clone(), Pool::new(upstream, known(name)))).collect();
        Self { policy, log, pools }
    }

    /// Closes connections to upstreams that have rested for too long.
    pub fn sweep(&self, now: Tick) {
        self.pools.values().for_each(|pool| pool.sweep(now));
    }

    /// Returns how the servers of every upstream do, as far as requests have found out.
    pub fn upstreams<'a>(&'a self, clock: &dyn Clock) -> impl Iterator<Item = UpstreamStatus> + use<'a> {
        let now = (clock.now(), clock.tick());
        self.pools.values().map(move |pool| pool.status(now))
    }

    /// Closes a connection that rests, so that another may be opened. Says whether there was one.
    pub(super) fn close_one_at_rest(&self) -> bool {
        self.pools.values().any(Pool::close_one_at_rest)
    }

    pub(super) fn pool(&self, name: &UpstreamName) -> Option<&Pool> {
        self.pools.get(name)
    }
}

/// What every request shares.
pub struct Shared {
    /// The rules in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// What requests share that is scarce. What is taken of it survives a reload.
    pub scarce: Scarce,
    /// Quotas. They survive a reload.
    pub quotas: MemoryQuotas,
    /// Revocations.
    pub revocations: Arc<Journal>,
    /// Exchanges that go on for long.
    pub standing: Arc<Standing>,
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
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of requests.
    pub ids: RequestIds,
    /// Whether the process is going down.
    pub draining: Draining,
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
/// They must differ, also between nodes and after a restart; they need not be a secret. So the random bits are a count, hashed with
/// a seed of this process: the system's generator would cost each request as much as opening its session.
pub struct RequestIds {
    seed: ahash::RandomState,
    count: AtomicU64,
}

impl RequestIds {
    /// Begins with a seed from the system's generator.
    pub fn new() -> Self {
        let [a, b, c, d] = [random(), random(), random(), random()].map(u64::from_ne_bytes);
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

    /// Holds a broken protocol against who connected, where the policy bans for that. The one way in, for doors and requests alike.
    ///
    /// The client that a proxy of ours names is not who connected, and the proxy is not who offended: neither is banned for it.
    pub fn offended(&self, listener: &ListenerName, source: ClientIp, code: &'static str) {
        let snapshot = self.snapshot.load();
        let Some(rules) = &snapshot.policy.bans else { return };
        if !snapshot.policy.is_own_proxy(listener, source) && self.bans.offend(source.prefix(), code, rules, self.clock.tick()) {
            self.metrics.ban("protocol");
        }
    }

    /// Says whether the process is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.has_begun()
    }
}

/// Random bytes from the system's generator.
///
/// A machine without randomness serves nobody: zeros would make session ids guessable, so the request ends here.
#[expect(clippy::expect_used, reason = "no entropy, no gateway: the request task ends and answers 500")]
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revision", &self.snapshot.load().policy.revision).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_of_one_moment_differ_and_so_do_those_of_two_processes() {
        let (one, other) = (RequestIds::new(), RequestIds::new());
        let low = |ids: &RequestIds| ids.random_bits() & ((1 << 80) - 1);

        let all: std::collections::BTreeSet<u128> = (0..1000).flat_map(|_| [low(&one), low(&other)]).collect();

        assert_eq!(all.len(), 2000);
    }
}
