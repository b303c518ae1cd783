//! Budgets of scarce resources: connections to servers, places on them, memory. No client and no tenant can
//! exhaust one for the others.
//!
//! While at most half of a budget is taken, anybody may take more. Beyond that, a tenant may take more only
//! while it holds less than what is left, and a client only while it holds less than an eighth of that (all
//! clients of an IPv6 /48: less than all of it). So something is always left for the next one, however many
//! compete. A tenant or client without competitors may have everything. It has competitors while others hold
//! something, or were refused lately.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    model::{ClientPrefix, SITE_TIMES, TenantName, Tick},
    pipeline::Permit,
    store::Descriptors,
};

/// How long a tenant or client that was refused still counts as a competitor.
const LATELY: Duration = Duration::from_secs(60);
/// The fraction of what is left that one client may have.
const CLIENT_PART: usize = 8;
/// The fraction of a budget that no client may have, even without competitors, where nothing can be
/// preempted: it is left for the next one. A tenant must leave half of that.
const SPARE_PART: usize = 16;
/// Every thread takes from the budgets.
const SHARDS: usize = 16;

/// What all requests of the process share.
#[derive(Debug)]
pub struct Budgets {
    /// File descriptors of connections.
    pub descriptors: Descriptors,
    /// Connections to servers that carry one exchange at a time.
    pub(crate) connections: Arc<Budget>,
    /// Exchanges that wait for such a connection.
    pub(crate) waiting: Arc<Budget>,
    /// Octets of heads and answers that are buffered for clients.
    pub(crate) memory: Arc<Budget>,
}

/// The most exchanges that wait for a connection.
pub(crate) const MOST_WAITING: usize = 4096;
/// The most octets of heads and answers that are kept, all requests together: what slow clients may cost.
pub(crate) const MOST_MEMORY: usize = 128 * 1024 * 1024;
/// What an exchange costs besides while it occupies nothing of an upstream and waits for its client: a small
/// head, and the state that we and the library keep. All other exchanges are bounded by what they occupy.
pub(crate) const AT_REST: usize = 16 * 1024;
/// How much memory anybody may have, however little is left: one head, or one answer.
const LEAST_MEMORY: usize = 128 * 1024;
/// How many connections, or places, anybody may have.
pub(crate) const LEAST: usize = 8;

impl Budgets {
    /// Begins with nothing taken.
    pub fn new(descriptors: Descriptors) -> Self {
        let memory = Budget::sparing(LEAST_MEMORY);
        Self { descriptors, connections: Budget::new(LEAST), waiting: Budget::new(LEAST), memory }
    }

    /// Returns how many octets of heads and answers are kept.
    pub fn kept(&self) -> usize {
        self.memory.taken()
    }
}

/// The client and the tenant that take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    client: ClientPrefix,
    /// A hash of the tenant's name: two tenants with the same hash share their part.
    tenant: u64,
}

/// Why nothing can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// Everything is taken.
    All,
    /// The client has its share, or its IPv6 /48 has.
    Client,
    /// The tenant has its share.
    Tenant,
}

impl Exhausted {
    /// Returns the text for the operator.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all are taken",
            Self::Client => "the client, or its IPv6 /48, has its share, and more than half of all are taken",
            Self::Tenant => "the tenant has its share, and more than half of all are taken",
        }
    }
}

/// One budget.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What anybody may have, however little is left.
    least: usize,
    /// Whether something is always left for the next one.
    spares: bool,
    taken: AtomicUsize,
    counts: [Mutex<HashMap<u128, usize, ahash::RandomState>>; SHARDS],
    seed: ahash::RandomState,
    /// The last two that were refused.
    refused: Mutex<[Option<(Owner, Tick)>; 2]>,
    /// Notified when something was given back.
    freed: Notify,
}

/// A part of a budget; it is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BudgetGuard {
    budget: Arc<Budget>,
    owner: Owner,
    amount: usize,
}

impl Budget {
    /// Creates a budget of which anybody may have `least`.
    pub(crate) fn new(least: usize) -> Arc<Self> {
        Arc::new(Self::with(least, false))
    }

    /// Creates a budget of which something is also always left for the next one.
    fn sparing(least: usize) -> Arc<Self> {
        Arc::new(Self::with(least, true))
    }

    fn with(least: usize, spares: bool) -> Self {
        Self {
            least,
            spares,
            taken: AtomicUsize::new(0),
            counts: Default::default(),
            seed: ahash::RandomState::new(),
            refused: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Returns the owner for a client and a tenant.
    pub(crate) fn owner(&self, client: ClientPrefix, tenant: &TenantName) -> Owner {
        Owner { client, tenant: self.seed.hash_one(tenant.as_str()) }
    }

    /// Returns the owner for a request that passed.
    pub(crate) fn owner_of(&self, permit: &Permit) -> Owner {
        self.owner(permit.client().prefix(), &permit.acting_tenant().name)
    }

    /// Takes an amount, where the whole budget is `most`.
    pub(crate) fn take(
        self: &Arc<Self>,
        owner: Owner,
        amount: usize,
        most: usize,
        now: Tick,
    ) -> Result<BudgetGuard, Exhausted> {
        let more = |taken: usize| taken.checked_add(amount).filter(|more| *more <= most);
        let Ok(before) = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) else {
            return Err(self.refuse(owner, Exhausted::All, now));
        };
        let [client, site, tenant] = owner.keys().map(|key| key.map_or(0, |key| self.add(key, amount)));
        let taken = before + amount;
        let left = most - taken;
        let share = || BudgetGuard { budget: Arc::clone(self), owner, amount };
        if taken <= most / 2 {
            return Ok(share());
        }
        let others = self.others(owner, now);
        let of_client = (left / CLIENT_PART).max(self.least);
        let of_site = of_client.saturating_mul(usize::try_from(SITE_TIMES).unwrap_or(1));
        let leaves = |part: usize| !self.spares || left >= most / part;
        let is_alone = client >= taken && !others.0 && leaves(SPARE_PART);
        let refused = (!is_alone && (client > of_client || site > of_site)).then_some(Exhausted::Client);
        let is_alone = tenant >= taken && !others.1 && leaves(2 * SPARE_PART);
        let refused = refused.or((!is_alone && tenant > left.max(self.least)).then_some(Exhausted::Tenant));
        let Some(short) = refused else { return Ok(share()) };
        // No notification: nothing became free.
        self.put_back(owner, amount);
        Err(self.refuse(owner, short, now))
    }

    fn put_back(&self, owner: Owner, amount: usize) {
        owner.keys().into_iter().flatten().for_each(|key| self.give_back(key, amount));
        self.taken.fetch_sub(amount, Ordering::AcqRel);
    }

    /// Waits until something is given back. It waits from its creation on, not from its first poll.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Returns what is taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns a number that no other budget has.
    pub(crate) fn number(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn refuse(&self, owner: Owner, short: Exhausted, now: Tick) -> Exhausted {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] = &mut *refused;
        if first.is_none_or(|(known, _)| known != owner) {
            *second = *first;
        }
        *first = Some((owner, now));
        short
    }

    /// Says whether another client, and whether another tenant, was refused lately.
    fn others(&self, owner: Owner, now: Tick) -> (bool, bool) {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = || refused.iter().flatten().filter(|(_, when)| now.since(*when) < LATELY);
        (
            lately().any(|(other, _)| other.client != owner.client),
            lately().any(|(other, _)| other.tenant != owner.tenant),
        )
    }

    fn add(&self, key: u128, amount: usize) -> usize {
        self.with_shard(key, |counts| {
            let count = counts.entry(key).or_insert(0);
            *count += amount;
            *count
        })
    }

    fn give_back(&self, key: u128, amount: usize) {
        self.with_shard(key, |counts| {
            if let Entry::Occupied(mut entry) = counts.entry(key) {
                *entry.get_mut() = entry.get().saturating_sub(amount);
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        });
    }

    fn with_shard<T: Default>(
        &self,
        key: u128,
        act: impl FnOnce(&mut HashMap<u128, usize, ahash::RandomState>) -> T,
    ) -> T {
        let at = usize::try_from(self.seed.hash_one(key) % 16).unwrap_or(0);
        self.counts
            .get(at)
            .map(|shard| act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }
}

impl Owner {
    /// The numbers that the owner is counted under: client, /48, tenant.
    fn keys(&self) -> [Option<u128>; 3] {
        // The highest bit is the mark of tenants.
        let tenant = u128::from(self.tenant) | (1 << 127);
        [
            Some(self.client.0 & !(1 << 127)),
            self.client.site().map(|site| site.number() & !(1 << 127)),
            Some(tenant),
        ]
    }
}

impl BudgetGuard {
    /// Returns the amount.
    pub(crate) const fn amount(&self) -> usize {
        self.amount
    }

    /// Gives back what exceeds an amount.
    pub(crate) fn shrink(&mut self, amount: usize) {
        let more = self.amount.saturating_sub(amount);
        self.amount -= more;
        self.budget.put_back(self.owner, more);
    }
}

impl Drop for BudgetGuard {
    fn drop(&mut self) {
        self.budget.put_back(self.owner, self.amount);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(1_000_000_000_000);
    const MOST: usize = 800;

    fn owner(budget: &Arc<Budget>, client: u128, tenant: &str) -> Owner {
        // As IPv4 addresses are numbered.
        budget.owner(ClientPrefix(0xffff_0000_0000 + client), &tenant.parse().unwrap())
    }

    /// Takes until it is refused.
    fn all(budget: &Arc<Budget>, owner: Owner) -> (Vec<BudgetGuard>, Exhausted) {
        let mut held = Vec::new();
        loop {
            match budget.take(owner, 1, MOST, NOW) {
                Ok(share) => held.push(share),
                Err(short) => return (held, short),
            }
        }
    }

    #[test]
    fn who_is_alone_has_all_until_somebody_else_comes() {
        let budget = Budget::new(8);
        let (one, other) = (owner(&budget, 1, "acme"), owner(&budget, 2, "globex"));

        let (mut held, short) = all(&budget, one);
        assert_eq!((held.len(), short), (MOST, Exhausted::All));
        assert_eq!(budget.take(other, 1, MOST, NOW).unwrap_err(), Exhausted::All);

        // From here on what becomes free is the other's.
        held.truncate(700);
        assert_eq!(budget.take(one, 1, MOST, NOW).unwrap_err(), Exhausted::Client);
        let (theirs, _) = all(&budget, other);
        assert!(theirs.len() >= 11, "{}", theirs.len());
        drop(theirs);
        assert!(budget.take(one, 1, MOST, NOW.plus(LATELY)).is_ok());
        drop(held);
        assert_eq!(
            (budget.taken(), budget.counts.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>()),
            (0, 0)
        );
    }

    #[test]
    fn what_nobody_gives_back_no_client_has_all_of() {
        let budget = Budget::sparing(2);
        let (one, other) = (owner(&budget, 1, "acme"), owner(&budget, 2, "acme"));

        let (held, short) = all(&budget, one);
        assert_eq!((held.len(), short), (MOST - MOST / SPARE_PART, Exhausted::Client));
        // Another one of its tenant finds something, and one of another tenant what these leave.
        let (more, short) = all(&budget, other);
        assert_eq!((more.len(), short), (5, Exhausted::Client));
        let crowd: Vec<_> = (3..1000)
            .filter_map(|client| budget.take(owner(&budget, client, "acme"), 1, MOST, NOW).ok())
            .collect();
        assert_eq!(held.len() + more.len() + crowd.len(), MOST - MOST / (2 * SPARE_PART));
        assert!(budget.take(owner(&budget, 1000, "globex"), 1, MOST, NOW).is_ok());
    }

    #[test]
    fn a_client_beside_others_has_half_and_a_part_of_what_is_left() {
        let budget = Budget::new(8);
        let other = budget.take(owner(&budget, 2, "acme"), 1, MOST, NOW).unwrap();

        let (held, short) = all(&budget, owner(&budget, 1, "acme"));
        assert_eq!((held.len(), short), (399, Exhausted::Client));
        // Others of the same tenant go on, each with its part.
        let (more, short) = all(&budget, owner(&budget, 3, "acme"));
        assert_eq!((more.len(), short), (44, Exhausted::Client));
        drop(other);
    }

    #[test]
    fn tenants_leave_something_to_who_comes_next() {
        let budget = Budget::new(8);
        let mut held = vec![budget.take(owner(&budget, 9999, "globex"), 1, MOST, NOW).unwrap()];
        // A crowd of clients of one tenant, then of another one.
        for (tenant, most) in [("acme", 400), ("evil", 200)] {
            let before = held.len();
            for client in 0..5000 {
                held.extend(budget.take(owner(&budget, client, tenant), 1, MOST, NOW));
            }
            let got = held.len() - before;
            assert!((most - 3..=most + 3).contains(&got), "{tenant} {got}");
        }
        assert_eq!(budget.take(owner(&budget, 7000, "acme"), 1, MOST, NOW).unwrap_err(), Exhausted::Tenant);
        assert!(budget.take(owner(&budget, 7000, "globex"), 1, MOST, NOW).is_ok());
    }

    #[test]
    fn anybody_may_have_a_little_and_a_48_as_much_as_eight() {
        let budget = Budget::new(2);
        let mut held = vec![budget.take(owner(&budget, 1, "a"), 90, 100, NOW).unwrap()];
        let client = |number: u128| {
            budget.owner(ClientPrefix(0x2001_0db8_0007 << 80 | number << 64), &"b".parse().unwrap())
        };

        for number in 0..8 {
            held.extend(budget.take(client(number), 1, 100, NOW));
        }
        let got = held.len() - 1;
        assert!((4..=5).contains(&got), "{got}");
        assert_eq!(budget.take(client(9), 1, 100, NOW).unwrap_err(), Exhausted::Tenant);
    }
}
