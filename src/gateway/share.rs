//! Shares of what is scarce: connections to servers, places on them, memory. Nobody takes all of it from the others.
//!
//! While at most half of a budget is taken, whoever comes takes of it. Beyond that, a tenant may take more only as long as it has less than
//! what is left, and a client as long as it has less than an eighth of that (all clients of an IPv6 /48: than all of it). So there is always
//! something left for who comes next, however many take part; and who is alone may have all, for nobody misses it. Whether somebody is
//! alone is judged by who holds something, and by who was refused lately.

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
    state::Descriptors,
};

/// How long who was refused still counts as somebody who wants something.
const LATELY: Duration = Duration::from_secs(60);
/// The part of what is left that one client may have.
const CLIENT_PART: usize = 8;
/// Takers come from every thread.
const SHARDS: usize = 16;

/// What all requests of the process share.
#[derive(Debug)]
pub struct Scarce {
    /// Of connections.
    pub descriptors: Descriptors,
    /// Connections to servers that carry one exchange at a time.
    pub(super) connections: Arc<Shares>,
    /// Exchanges that wait for one.
    pub(super) waiting: Arc<Shares>,
    /// Octets of heads and of answers that we keep for clients.
    pub(super) memory: Arc<Shares>,
}

/// The most exchanges that wait for a connection.
pub(super) const MOST_WAITING: usize = 4096;
/// The most octets of heads and answers that are kept, all requests together: what slow clients may cost.
pub(super) const MOST_MEMORY: usize = 128 * 1024 * 1024;
/// As much of it anybody may have, however little is left: one head, or one answer.
const LEAST_MEMORY: usize = 128 * 1024;
/// And as many connections, or places.
pub(super) const LEAST: usize = 8;

impl Scarce {
    /// Begins with nothing taken.
    pub fn new(descriptors: Descriptors) -> Self {
        let memory = Shares::new(LEAST_MEMORY);
        Self { descriptors, connections: Shares::new(LEAST), waiting: Shares::new(LEAST), memory }
    }

    /// Returns how many octets of heads and answers are kept.
    pub fn kept(&self) -> usize {
        self.memory.taken()
    }
}

/// Who takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    client: ClientPrefix,
    /// A hash of the tenant's name: two that share one share their part.
    tenant: u64,
}

/// Why there is nothing for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// All is taken.
    All,
    /// The client has its share, or its IPv6 /48 has.
    Client,
    /// The tenant has its share.
    Tenant,
}

impl Short {
    /// Says it to the operator.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all are taken",
            Self::Client => "the client, or its IPv6 /48, has its share, and more than half of all are taken",
            Self::Tenant => "the tenant has its share, and more than half of all are taken",
        }
    }
}

/// One budget.
#[derive(Debug)]
pub(super) struct Shares {
    /// What anybody may have, however little is left.
    least: usize,
    taken: AtomicUsize,
    counts: [Mutex<HashMap<u128, usize, ahash::RandomState>>; SHARDS],
    seed: ahash::RandomState,
    /// The last two who were refused.
    refused: Mutex<[Option<(Owner, Tick)>; 2]>,
    /// Told when something was given back.
    freed: Notify,
}

/// A part of a budget; it is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    owner: Owner,
    amount: usize,
}

impl Shares {
    /// Begins one of which anybody may have `least`.
    pub(super) fn new(least: usize) -> Arc<Self> {
        Arc::new(Self {
            least,
            taken: AtomicUsize::new(0),
            counts: Default::default(),
            seed: ahash::RandomState::new(),
            refused: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Names who takes.
    pub(super) fn owner(&self, client: ClientPrefix, tenant: &TenantName) -> Owner {
        Owner { client, tenant: self.seed.hash_one(tenant.as_str()) }
    }

    /// Names who takes for a request that passed.
    pub(super) fn owner_of(&self, permit: &Permit) -> Owner {
        self.owner(permit.client().prefix(), &permit.acting_tenant().name)
    }

    /// Takes so much, of `most` that there is.
    pub(super) fn take(self: &Arc<Self>, owner: Owner, amount: usize, most: usize, now: Tick) -> Result<Share, Short> {
        let more = |taken: usize| taken.checked_add(amount).filter(|more| *more <= most);
        let Ok(before) = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) else {
            return Err(self.refuse(owner, Short::All, now));
        };
        let [client, site, tenant] = owner.keys().map(|key| key.map_or(0, |key| self.add(key, amount)));
        let taken = before + amount;
        let left = most - taken;
        let share = || Share { shares: Arc::clone(self), owner, amount };
        if taken <= most / 2 {
            return Ok(share());
        }
        let others = self.others(owner, now);
        let of_client = (left / CLIENT_PART).max(self.least);
        let of_site = of_client.saturating_mul(usize::try_from(SITE_TIMES).unwrap_or(1));
        let is_alone = client >= taken && !others.0;
        let refused = (!is_alone && (client > of_client || site > of_site)).then_some(Short::Client);
        let is_alone = tenant >= taken && !others.1;
        let refused = refused.or((!is_alone && tenant > left.max(self.least)).then_some(Short::Tenant));
        let Some(short) = refused else { return Ok(share()) };
        // Nobody is told: nothing became free.
        self.put_back(owner, amount);
        Err(self.refuse(owner, short, now))
    }

    fn put_back(&self, owner: Owner, amount: usize) {
        owner.keys().into_iter().flatten().for_each(|key| self.give_back(key, amount));
        self.taken.fetch_sub(amount, Ordering::AcqRel);
    }

    /// Waits until something is given back. Begins to wait when it is made, not only when it is polled.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Returns what is taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns what tells this budget from every other one that there is now.
    pub(super) fn number(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn refuse(&self, owner: Owner, short: Short, now: Tick) -> Short {
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
        (lately().any(|(other, _)| other.client != owner.client), lately().any(|(other, _)| other.tenant != owner.tenant))
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

    fn with_shard<T: Default>(&self, key: u128, act: impl FnOnce(&mut HashMap<u128, usize, ahash::RandomState>) -> T) -> T {
        let at = usize::try_from(self.seed.hash_one(key) % 16).unwrap_or(0);
        self.counts.get(at).map(|shard| act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))).unwrap_or_default()
    }
}

impl Owner {
    /// The numbers that it is counted under: client, /48, tenant.
    fn keys(&self) -> [Option<u128>; 3] {
        // The highest bit is the mark of tenants.
        let tenant = u128::from(self.tenant) | (1 << 127);
        [Some(self.client.0 & !(1 << 127)), self.client.site().map(|site| site.number() & !(1 << 127)), Some(tenant)]
    }
}

impl Share {
    /// Gives back what is more than so much.
    pub(super) fn shrink(&mut self, amount: usize) {
        let more = self.amount.saturating_sub(amount);
        self.amount -= more;
        self.shares.put_back(self.owner, more);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.put_back(self.owner, self.amount);
        self.shares.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(1_000_000_000_000);
    const MOST: usize = 800;

    fn owner(shares: &Arc<Shares>, client: u128, tenant: &str) -> Owner {
        // As IPv4 addresses are numbered.
        shares.owner(ClientPrefix(0xffff_0000_0000 + client), &tenant.parse().unwrap())
    }

    /// Takes until it is refused.
    fn all(shares: &Arc<Shares>, owner: Owner) -> (Vec<Share>, Short) {
        let mut held = Vec::new();
        loop {
            match shares.take(owner, 1, MOST, NOW) {
                Ok(share) => held.push(share),
                Err(short) => return (held, short),
            }
        }
    }

    #[test]
    fn who_is_alone_has_all_until_somebody_else_comes() {
        let shares = Shares::new(8);
        let (one, other) = (owner(&shares, 1, "acme"), owner(&shares, 2, "globex"));

        let (mut held, short) = all(&shares, one);
        assert_eq!((held.len(), short), (MOST, Short::All));
        assert_eq!(shares.take(other, 1, MOST, NOW).unwrap_err(), Short::All);

        // From here on what becomes free is the other's.
        held.truncate(700);
        assert_eq!(shares.take(one, 1, MOST, NOW).unwrap_err(), Short::Client);
        let (theirs, _) = all(&shares, other);
        assert!(theirs.len() >= 11, "{}", theirs.len());
        drop(theirs);
        assert!(shares.take(one, 1, MOST, NOW.plus(LATELY)).is_ok());
        drop(held);
        assert_eq!((shares.taken(), shares.counts.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>()), (0, 0));
    }

    #[test]
    fn a_client_beside_others_has_half_and_a_part_of_what_is_left() {
        let shares = Shares::new(8);
        let other = shares.take(owner(&shares, 2, "acme"), 1, MOST, NOW).unwrap();

        let (held, short) = all(&shares, owner(&shares, 1, "acme"));
        assert_eq!((held.len(), short), (399, Short::Client));
        // Others of the same tenant go on, each with its part.
        let (more, short) = all(&shares, owner(&shares, 3, "acme"));
        assert_eq!((more.len(), short), (44, Short::Client));
        drop(other);
    }

    #[test]
    fn tenants_leave_something_to_who_comes_next() {
        let shares = Shares::new(8);
        let mut held = vec![shares.take(owner(&shares, 9999, "globex"), 1, MOST, NOW).unwrap()];
        // A crowd of clients of one tenant, then of another one.
        for (tenant, most) in [("acme", 400), ("evil", 200)] {
            let before = held.len();
            for client in 0..5000 {
                held.extend(shares.take(owner(&shares, client, tenant), 1, MOST, NOW));
            }
            let got = held.len() - before;
            assert!((most - 3..=most + 3).contains(&got), "{tenant} {got}");
        }
        assert_eq!(shares.take(owner(&shares, 7000, "acme"), 1, MOST, NOW).unwrap_err(), Short::Tenant);
        assert!(shares.take(owner(&shares, 7000, "globex"), 1, MOST, NOW).is_ok());
    }

    #[test]
    fn anybody_may_have_a_little_and_a_48_as_much_as_eight() {
        let shares = Shares::new(2);
        let mut held = vec![shares.take(owner(&shares, 1, "a"), 90, 100, NOW).unwrap()];
        let client = |number: u128| shares.owner(ClientPrefix(0x2001_0db8_0007 << 80 | number << 64), &"b".parse().unwrap());

        for number in 0..8 {
            held.extend(shares.take(client(number), 1, 100, NOW));
        }
        let got = held.len() - 1;
        assert!((4..=5).contains(&got), "{got}");
        assert_eq!(shares.take(client(9), 1, 100, NOW).unwrap_err(), Short::Tenant);
    }
}
