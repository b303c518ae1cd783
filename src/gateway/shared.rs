//! What every request shares: the rules in force, the stores, the recorders, the clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::upstream::Pool;
use crate::{
    model::{Clock, RequestId, UpstreamName},
    policy::Policy,
    state::{Journal, MemoryQuotas},
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
    /// Derives what traffic needs from the rules.
    pub fn new(policy: Arc<Policy>, log: Arc<AccessLog>) -> Self {
        let pools = policy.upstreams.iter().map(|(name, upstream)| (name.clone(), Pool::new(upstream))).collect();
        Self { policy, log, pools }
    }

    pub(super) fn pool(&self, name: &UpstreamName) -> Option<&Pool> {
        self.pools.get(name)
    }
}

/// What every request shares.
pub struct Shared {
    /// The rules in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// Quotas. They survive a reload.
    pub quotas: MemoryQuotas,
    /// Revocations.
    pub revocations: Arc<Journal>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether the process is going down.
    pub draining: AtomicBool,
}

impl Shared {
    /// Makes the identifier of a request.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(self.clock.now().as_millis(), u128::from_ne_bytes(random()))
    }

    /// Says whether the process is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
