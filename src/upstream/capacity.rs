//! Admits one more exchange: its share of the common budgets, and how long it waits for that.

use std::{pin::pin, sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::{
    budget::{AT_REST, Budget, BudgetGuard, Budgets, Exhausted, MOST_MEMORY, MOST_WAITING, Owner},
    failure::Failure,
    live_exchanges::{LOOK_AGAIN, LiveExchanges, WANTED},
    pools::Pools,
};
use crate::{
    model::{Clock, Deny, Reason},
    pipeline::Permit,
    store::Descriptor,
};

/// The largest head that is not counted: those of browsers and common clients are smaller, and the rest of a
/// request costs more. Its exchange holds or awaits something that is bounded, or counts as [`AT_REST`].
const SMALL_HEAD: usize = 4 * 1024;
/// What all exchanges share.
pub(crate) struct Resources<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) budgets: &'a Budgets,
    pub(crate) live_exchanges: &'a LiveExchanges,
    /// The servers, under the rules that the request began with.
    pub(crate) pools: &'a Pools,
}

impl Resources<'_> {
    /// Takes memory for a large head, which is kept twice during its exchange: as received, and as sent. A
    /// client can make one from a few octets (RFC 7541, section 6.1), and a hundred at once on each
    /// connection.
    pub(crate) fn take_for_head(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
    ) -> Result<Option<BudgetGuard>, Deny> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes <= SMALL_HEAD {
            Ok(None)
        } else {
            self.take_memory(permit, bytes.saturating_mul(2)).map(Some)
        }
    }

    /// Takes memory for a request that waits for its client, and occupies nothing of an upstream yet or any
    /// more.
    pub(crate) fn take_to_wait(&self, permit: &Permit) -> Result<BudgetGuard, Deny> {
        self.take_memory(permit, AT_REST)
    }

    fn take_memory(&self, permit: &Permit, amount: usize) -> Result<BudgetGuard, Deny> {
        let memory = &self.budgets.memory;
        memory.take(memory.owner_of(permit), amount, MOST_MEMORY, self.clock.tick()).map_err(no_memory)
    }

    /// Takes a descriptor for one more connection to a server. An idle connection is closed to make room.
    pub(super) fn descriptor(&self) -> Option<Descriptor> {
        loop {
            let taken = self.budgets.descriptors.server();
            if taken.is_some() || !self.pools.close_one_at_rest() {
                return taken;
            }
        }
    }
}

/// Takes a share of the connections that carry one exchange at a time, and waits for it as long as connecting
/// may take.
pub(super) async fn take_connection(
    resources: &Resources<'_>,
    permit: &Permit,
    within: Duration,
) -> Result<BudgetGuard, Failure> {
    let budget = &resources.budgets.connections;
    let owner = budget.owner_of(permit);
    let most = resources.budgets.descriptors.most_servers();
    let taken = match budget.take(owner, 1, most, resources.clock.tick()) {
        Ok(share) => Ok(share),
        // Boxed: it is seldom.
        Err(_) => Box::pin(wait(resources, budget, owner, most, within)).await,
    };
    taken.map_err(|short| refused(short, "the connections to servers"))
}

async fn wait(
    resources: &Resources<'_>,
    budget: &Arc<Budget>,
    owner: Owner,
    most: usize,
    within: Duration,
) -> Result<BudgetGuard, Exhausted> {
    let by = Instant::now() + within;
    // The number of exchanges that wait is bounded too.
    let _waiting = resources.budgets.waiting.take(owner, 1, MOST_WAITING, resources.clock.tick())?;
    loop {
        let mut freed = pin!(budget.freed());
        // Registered before the check, so that a share given back after it is not missed.
        freed.as_mut().enable();
        let now = resources.clock.tick();
        let short = match budget.take(owner, 1, most, now) {
            Ok(share) => return Ok(share),
            Err(short) => short,
        };
        resources.live_exchanges.preempt(budget.number(), WANTED, now);
        let look_again = by.min(Instant::now() + LOOK_AGAIN);
        if timeout_at(look_again, freed).await.is_err() && look_again == by {
            return Err(short);
        }
    }
}

/// Refuses a request for whose head there is no memory: octroi's own memory, so the upstream is not at fault.
fn no_memory(short: Exhausted) -> Deny {
    Deny::new(
        Reason::MemoryShort,
        format!("of the memory for heads and answers that are kept, {}", short.as_str()),
    )
}

/// Refuses an exchange for which no connection can be opened.
pub(super) fn no_descriptor() -> Failure {
    refused(Exhausted::All, "the connections that the limit of open files allows")
}

/// Refuses an exchange for which a budget has no share.
pub(super) fn refused(short: Exhausted, what: &str) -> Failure {
    let reason = match short {
        Exhausted::All => Reason::UpstreamBusy,
        Exhausted::Client | Exhausted::Tenant => Reason::UpstreamShare,
    };
    Failure::no_room(Deny::new(
        reason,
        format!("of {what}, {}, and none became free in time", short.as_str()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_memory_is_told_so_and_who_finds_no_place_as_before() {
        let reasons = |short: Exhausted| (no_memory(short).reason, refused(short, "the places").deny.reason);

        assert_eq!(reasons(Exhausted::All), (Reason::MemoryShort, Reason::UpstreamBusy));
        for short in [Exhausted::Client, Exhausted::Tenant] {
            assert_eq!(reasons(short), (Reason::MemoryShort, Reason::UpstreamShare));
        }
        let detail = no_memory(Exhausted::Client).detail;
        assert!(
            detail.starts_with(
                "of the memory for heads and answers that are kept, the client, or its IPv6 /48,"
            ),
            "{detail}"
        );
    }
}
