//! Clients that are banned for a while: those that kept violating the protocol, and those that an operator
//! banned.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    model::{Ban, BanCause, BanRequest, ClientPrefix, SITE_TIMES, Tick},
    policy::BanRules,
};

/// Bans and the offences that lead to them, in tables that never grow. They are kept in memory only, and end
/// with the process.
///
/// Offending clients are kept in sets of eight slots, each set under a lock of its own. A hash with a random
/// seed chooses the set of a client, so attackers cannot aim at one. A new client evicts the one with the
/// fewest offences, and of equals the one that was silent longest; never a client that is banned now. If all
/// eight are banned, the new client is not counted, and [`Bans::missed`] rises.
///
/// An IPv6 /48 is never banned, because many clients may share it; but its offences are counted too. Once it
/// has [`SITE_TIMES`] the number that bans a client, each further client of it is banned at its first
/// offence: otherwise the owner of a /48 would have that number 65,536 times.
///
/// Bans by an operator are kept apart, and are never evicted.
pub struct Bans {
    sets: Box<[Mutex<Set>]>,
    /// The offences by /48. None of these slots is ever banned.
    sites: Box<[Mutex<Set>]>,
    hash: ahash::RandomState,
    by_operator: Mutex<BTreeMap<ClientPrefix, ByOperator>>,
    /// When the last ban ends. After that, no client is looked up.
    last_end: AtomicU64,
    /// The same for bans by operators.
    last_end_by_operator: AtomicU64,
    missed: AtomicU64,
}

/// Why a client was not banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST_BY_OPERATOR} bans by operators already; ranges belong into `deny` of a listener")]
pub struct TooManyBans;

/// How many bans by operators there may be.
pub const MOST_BY_OPERATOR: usize = 10_000;

const WAYS: usize = 8;
/// How many parts the window has in which offences are counted. The current part and those before it cover at
/// least `within`, and at most a seventh more.
const PARTS: usize = 8;

/// How many sets of clients there are for one set of /48s: there are fewer /48s than clients.
const SITES_IN: usize = 8;

type Set = [Slot; WAYS];

/// One client.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    client: ClientPrefix,
    /// The part of time of its last offence, from 1; 0 if the slot was never used.
    part: u64,
    /// Offences by part, the newest first.
    counts: [u16; PARTS],
    /// When its ban ends, in nanoseconds; 0 if it has none.
    until: u64,
    /// Its last offence.
    last: &'static str,
}

#[derive(Clone, Debug)]
struct ByOperator {
    until: Tick,
    note: Option<String>,
}

impl Bans {
    /// Makes tables for at least this many clients, rounded up to a power of two.
    pub fn new(slots: usize) -> Self {
        let sets = slots.div_ceil(WAYS).max(1).next_power_of_two();
        let sites = (sets / SITES_IN).max(1);
        Self {
            sets: std::iter::repeat_with(Mutex::default).take(sets).collect(),
            sites: std::iter::repeat_with(Mutex::default).take(sites).collect(),
            hash: ahash::RandomState::new(),
            by_operator: Mutex::default(),
            last_end: AtomicU64::new(0),
            last_end_by_operator: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// Says whether there may be a ban at all: a cheap check before the others.
    pub fn may_be_any(&self) -> bool {
        self.last_end.load(Ordering::Acquire) > 0
    }

    /// Says whether a client is banned.
    pub fn is_banned(&self, client: ClientPrefix, now: Tick) -> bool {
        if self.last_end.load(Ordering::Acquire) <= now.as_nanos() {
            return false;
        }
        let has_ban = || {
            self.by_operator
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&client)
                .is_some_and(|ban| ban.until > now)
        };
        let by_operator = self.last_end_by_operator.load(Ordering::Acquire) > now.as_nanos() && has_ban();
        by_operator
            || self
                .with_set(client, |set| set.iter().any(|slot| slot.is(client) && slot.is_banned(now)))
                .unwrap_or(false)
    }

    /// Returns the ban of a client that ends last, with its cause.
    pub fn find(&self, client: ClientPrefix, now: Tick) -> Option<Ban> {
        let counted = self
            .with_set(client, |set| set.iter().copied().find(|slot| slot.is(client) && slot.is_banned(now)))
            .flatten();
        let counted = counted.map(|slot| Ban {
            client,
            left: Tick::from_nanos(slot.until).since(now),
            cause: BanCause::Protocol(slot.last),
        });
        let made = self
            .by_operator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&client)
            .cloned()
            .filter(|ban| ban.until > now);
        let made =
            made.map(|ban| Ban { client, left: ban.until.since(now), cause: BanCause::Operator(ban.note) });
        counted.into_iter().chain(made).max_by_key(|ban| ban.left)
    }

    /// Counts an offence. Says whether it brings a ban.
    pub fn offend(&self, client: ClientPrefix, offence: &'static str, rules: &BanRules, now: Tick) -> bool {
        let part = part(rules.within, now);
        let known =
            self.with_set(client, |set| set.iter().any(|slot| slot.is(client) && slot.is_banned(now)));
        // A banned client may go on offending on connections that are still open.
        if known.unwrap_or(false) {
            return false;
        }
        let after =
            if self.site_has_offended(client, rules, part, now) { 1 } else { u64::from(rules.after.get()) };
        let banned = self.with_set(client, |set| {
            let Some(slot) = slot_of(set, client, part, now) else {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            // Another offence banned it a moment ago.
            if slot.is_banned(now) {
                return false;
            }
            slot.last = offence;
            if slot.count(part) < after {
                return false;
            }
            *slot = Slot {
                client,
                part,
                until: now.plus(rules.lasts).as_nanos(),
                last: offence,
                ..Slot::default()
            };
            true
        });
        let banned = banned.unwrap_or(false);
        if banned {
            self.last_end.fetch_max(now.plus(rules.lasts).as_nanos(), Ordering::AcqRel);
        }
        banned
    }

    /// Counts an offence of a client's /48, if it has one. Says whether the /48 had too many before this one.
    fn site_has_offended(&self, client: ClientPrefix, rules: &BanRules, part: u64, now: Tick) -> bool {
        let Some(site) = client.site().map(|site| ClientPrefix(site.number())) else { return false };
        let most = u64::from(rules.after.get()).saturating_mul(u64::from(SITE_TIMES));
        let too_many = with_set(&self.sites, &self.hash, site, |set| {
            slot_of(set, site, part, now).is_some_and(|slot| {
                let before = slot.offences(part);
                slot.count(part);
                before >= most
            })
        });
        too_many.unwrap_or(false)
    }

    /// Bans a client at an operator's request. An earlier ban by an operator is replaced.
    pub fn add(&self, request: BanRequest, now: Tick) -> Result<(), TooManyBans> {
        let mut made = self.by_operator.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MOST_BY_OPERATOR {
            made.retain(|_, ban| ban.until > now);
        }
        if made.len() >= MOST_BY_OPERATOR && !made.contains_key(&request.client) {
            return Err(TooManyBans);
        }
        let until = now.plus(request.lasts);
        made.insert(request.client, ByOperator { until, note: request.note });
        self.last_end_by_operator.fetch_max(until.as_nanos(), Ordering::AcqRel);
        self.last_end.fetch_max(until.as_nanos(), Ordering::AcqRel);
        Ok(())
    }

    /// Lifts every ban of a client, and forgets its offences. Says whether it was banned.
    pub fn remove(&self, client: ClientPrefix, now: Tick) -> bool {
        let made = self
            .by_operator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&client)
            .is_some_and(|ban| ban.until > now);
        let counted = self.with_set(client, |set| {
            let slot = set.iter_mut().find(|slot| slot.is(client));
            slot.is_some_and(|slot| std::mem::take(slot).is_banned(now))
        });
        made || counted.unwrap_or(false)
    }

    /// Forgets offences and the bans that followed from them, because the rules are gone. Bans by operators
    /// stay.
    pub fn forget_offences(&self) {
        for set in self.sets.iter().chain(&self.sites) {
            *set.lock().unwrap_or_else(PoisonError::into_inner) = Set::default();
        }
    }

    /// Returns the bans in force; the one that ends last comes first. A client that is banned twice is listed
    /// twice.
    pub fn list(&self, now: Tick) -> Vec<Ban> {
        let mut bans = Vec::new();
        for set in &self.sets {
            let set = *set.lock().unwrap_or_else(PoisonError::into_inner);
            bans.extend(set.iter().filter(|slot| slot.is_banned(now)).map(|slot| Ban {
                client: slot.client,
                left: Tick::from_nanos(slot.until).since(now),
                cause: BanCause::Protocol(slot.last),
            }));
        }
        let made = self.by_operator.lock().unwrap_or_else(PoisonError::into_inner);
        bans.extend(made.iter().filter(|(_, ban)| ban.until > now).map(|(client, ban)| Ban {
            client: *client,
            left: ban.until.since(now),
            cause: BanCause::Operator(ban.note.clone()),
        }));
        bans.sort_by(|a, b| b.left.cmp(&a.left).then(a.client.cmp(&b.client)));
        bans
    }

    /// Returns how many bans are in force.
    pub fn len(&self, now: Tick) -> usize {
        if self.last_end.load(Ordering::Acquire) <= now.as_nanos() { 0 } else { self.list(now).len() }
    }

    /// Returns how many offences were not counted, because banned clients held every slot of the set.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn with_set<T>(&self, client: ClientPrefix, act: impl FnOnce(&mut Set) -> T) -> Option<T> {
        with_set(&self.sets, &self.hash, client, act)
    }
}

/// Calls `act` with the set that a hash with a random seed chooses. The number of sets is a power of two.
fn with_set<T>(
    sets: &[Mutex<Set>],
    hash: &ahash::RandomState,
    key: ClientPrefix,
    act: impl FnOnce(&mut Set) -> T,
) -> Option<T> {
    let mask = u64::try_from(sets.len()).ok()?.wrapping_sub(1);
    let set = sets.get(usize::try_from(hash.hash_one(key) & mask).ok()?)?;
    Some(act(&mut set.lock().unwrap_or_else(PoisonError::into_inner)))
}

impl Slot {
    fn is(&self, client: ClientPrefix) -> bool {
        self.part > 0 && self.client == client
    }

    fn is_banned(&self, now: Tick) -> bool {
        self.until > now.as_nanos()
    }

    /// Returns the offences that still count.
    fn offences(&self, part: u64) -> u64 {
        let age = part.checked_sub(self.part);
        // A reload changed `within`, so parts are numbered otherwise, or all offences are too old.
        let Some(age) = age.and_then(|age| usize::try_from(age).ok()).filter(|age| *age < PARTS) else {
            return 0;
        };
        self.counts.iter().take(PARTS - age).map(|count| u64::from(*count)).sum()
    }

    /// Counts one more offence, and returns how many count now.
    fn count(&mut self, part: u64) -> u64 {
        // The newest part stands first.
        match part.checked_sub(self.part).and_then(|age| usize::try_from(age).ok()).filter(|age| *age < PARTS)
        {
            Some(age) => {
                self.counts.rotate_right(age);
                self.counts.iter_mut().take(age).for_each(|count| *count = 0);
            }
            None => self.counts = [0; PARTS],
        }
        self.part = part;
        if let Some(newest) = self.counts.first_mut() {
            *newest = newest.saturating_add(1);
        }
        self.offences(part)
    }
}

/// Returns the slot of a client. A client without one evicts another, unless all of those are banned.
fn slot_of(set: &mut Set, client: ClientPrefix, part: u64, now: Tick) -> Option<&mut Slot> {
    let known = set.iter().position(|slot| slot.is(client));
    let index = known.or_else(|| {
        let free = set.iter().enumerate().filter(|(_, slot)| !slot.is_banned(now));
        free.min_by_key(|(_, slot)| (slot.offences(part), slot.part)).map(|(index, _)| index)
    })?;
    let slot = set.get_mut(index)?;
    if known.is_none() {
        *slot = Slot { client, part, ..Slot::default() };
    }
    Some(slot)
}

/// Returns the number of the part of time that a tick lies in, from 1.
fn part(within: Duration, now: Tick) -> u64 {
    let parts = u128::try_from(PARTS - 1).unwrap_or(1);
    let length = u64::try_from(within.as_nanos().div_ceil(parts)).unwrap_or(u64::MAX).max(1);
    now.as_nanos() / length + 1
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rules(after: u16) -> BanRules {
        BanRules { after: NonZeroU16::new(after).unwrap(), within: MINUTE, lasts: 10 * MINUTE }
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn offend(bans: &Bans, client: u128, after: u16, seconds: u64) -> bool {
        bans.offend(ClientPrefix(client), "framing_te", &rules(after), at(seconds))
    }

    #[test]
    fn the_last_offence_within_the_window_bans_and_not_the_one_before() {
        let bans = Bans::new(64);

        for second in 0..19 {
            assert!(!offend(&bans, 1, 20, 100 + 3 * second));
        }
        assert!(!bans.is_banned(ClientPrefix(1), at(155)));
        assert!(offend(&bans, 1, 20, 159));

        assert!(bans.is_banned(ClientPrefix(1), at(160)));
        assert!(bans.is_banned(ClientPrefix(1), at(758)));
        assert!(!bans.is_banned(ClientPrefix(1), at(759)));
        assert!(!bans.is_banned(ClientPrefix(2), at(160)));
    }

    #[test]
    fn every_window_counts_wherever_it_begins() {
        // Twenty within sixty seconds, whatever the clock says when the first one comes.
        for start in 0..60 {
            let bans = Bans::new(64);
            let banned: Vec<bool> =
                (0..20).map(|number| offend(&bans, 1, 20, 1000 + start + number * 3)).collect();
            assert_eq!(banned.iter().position(|banned| *banned), Some(19), "{start}");
        }
        // Spread over seventy-two seconds, nobody is banned.
        for start in 0..60 {
            let bans = Bans::new(64);
            assert!((0..40).all(|number| !offend(&bans, 1, 20, 1000 + start + number * 4)), "{start}");
        }
    }

    #[test]
    fn offences_are_forgotten_with_a_ban_and_with_time() {
        let bans = Bans::new(64);

        assert!(!offend(&bans, 1, 2, 10));
        assert!(!offend(&bans, 1, 2, 100));
        assert!(offend(&bans, 1, 2, 101));
        // While it is banned nothing more is counted, nor is the ban prolonged.
        assert!(!offend(&bans, 1, 2, 102) && !offend(&bans, 1, 2, 103));
        assert!(!offend(&bans, 1, 2, 702));
        assert!(offend(&bans, 1, 2, 703));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_bans_before_counts() {
        let bans = Bans::new(WAYS);

        for client in 0..8 {
            assert!(offend(&bans, client, 1, 10));
        }
        assert!(!offend(&bans, 99, 1, 11));
        assert_eq!(bans.missed(), 1);
        assert_eq!(bans.list(at(11)).len(), 8);
        assert!((0..8).all(|client| bans.is_banned(ClientPrefix(client), at(11))));

        // Of mere counts, the smallest makes room.
        let bans = Bans::new(WAYS);
        for client in 0..8 {
            for _ in 0..=client {
                assert!(!offend(&bans, client, 9, 10));
            }
        }
        assert!(!offend(&bans, 99, 9, 11));
        assert!(offend(&bans, 7, 9, 12), "the one with eight offences is still known");
        assert_eq!(bans.missed(), 0);
    }

    /// The number of a /64 of a /48.
    fn of_site(site: u128, number: u128) -> u128 {
        (0x2001_0db8_0000 + site) << 80 | number << 64
    }

    #[test]
    fn a_48_with_eight_times_the_offences_has_its_further_64s_banned_at_their_first() {
        let bans = Bans::new(4096);

        // Each of 160 clients offends once, twenty would ban one of them.
        assert!((0..160).all(|number| !offend(&bans, of_site(1, number), 20, 100)));
        assert!(offend(&bans, of_site(1, 160), 20, 101), "the 161st");
        assert!(offend(&bans, of_site(1, 7), 20, 101), "and one that is known");
        // Neither the others of the /48, which have not offended since, nor another /48.
        assert!(
            !bans.is_banned(ClientPrefix(of_site(1, 8)), at(102))
                && !bans.is_banned(ClientPrefix(of_site(1, 999)), at(102))
        );
        assert!(!offend(&bans, of_site(2, 0), 20, 102));
        assert_eq!(bans.list(at(102)).len(), 2);
        // The offences grow old.
        assert!(!offend(&bans, of_site(1, 9), 20, 300));
    }

    #[test]
    fn what_banned_clients_do_counts_for_no_48_and_ipv4_has_none() {
        let bans = Bans::new(4096);
        assert!((0..1000).filter(|_| offend(&bans, of_site(1, 1), 2, 100)).count() == 1);
        assert!(!offend(&bans, of_site(1, 2), 2, 101));

        let ipv4 = |number: u128| 0xffff_c000_0000 + number;
        assert!((0..200).all(|number| !offend(&bans, ipv4(number), 20, 100)));
    }

    #[test]
    fn a_million_clients_fit() {
        let bans = Bans::new(1024);

        for client in 0..1_000_000 {
            offend(&bans, client, 2, 10);
        }

        assert_eq!(bans.sets.len() * WAYS, 1024);
        assert_eq!(bans.len(at(10)), 0);
        // Whoever insists is still banned.
        assert!(!offend(&bans, 5_000_000, 2, 11) && offend(&bans, 5_000_000, 2, 11));
    }

    #[test]
    fn an_operator_bans_lists_and_lifts() {
        let bans = Bans::new(64);
        let wish = |client, note: Option<&str>| BanRequest {
            client: ClientPrefix(client),
            named: "192.0.2.1".parse().unwrap(),
            lasts: MINUTE,
            note: note.map(str::to_owned),
        };
        assert!(!bans.may_be_any());

        bans.add(wish(1, Some("noise")), at(10)).unwrap();
        assert!(offend(&bans, 2, 1, 10));

        assert!(
            bans.may_be_any()
                && bans.is_banned(ClientPrefix(1), at(69))
                && !bans.is_banned(ClientPrefix(1), at(70))
        );
        assert_eq!(
            bans.list(at(20)),
            [
                Ban {
                    client: ClientPrefix(2),
                    left: Duration::from_secs(590),
                    cause: BanCause::Protocol("framing_te")
                },
                Ban {
                    client: ClientPrefix(1),
                    left: Duration::from_secs(50),
                    cause: BanCause::Operator(Some("noise".to_owned()))
                },
            ]
        );
        assert!(
            bans.remove(ClientPrefix(1), at(20))
                && bans.remove(ClientPrefix(2), at(20))
                && !bans.remove(ClientPrefix(2), at(20))
        );
        assert_eq!((bans.len(at(20)), bans.len(at(2000))), (0, 0));

        assert!(offend(&bans, 2, 1, 30));
        bans.add(wish(1, None), at(30)).unwrap();
        bans.forget_offences();
        assert_eq!(bans.list(at(31)).iter().map(|ban| ban.client).collect::<Vec<_>>(), [ClientPrefix(1)]);
    }

    #[test]
    fn bans_by_operators_are_bounded_and_make_room_when_they_end() {
        let bans = Bans::new(8);
        let wish = |client: usize| BanRequest {
            client: ClientPrefix(u128::try_from(client).unwrap()),
            named: "192.0.2.1".parse().unwrap(),
            lasts: MINUTE,
            note: None,
        };

        for client in 0..MOST_BY_OPERATOR {
            bans.add(wish(client), at(10)).unwrap();
        }

        assert_eq!(bans.add(wish(MOST_BY_OPERATOR), at(69)), Err(TooManyBans));
        assert_eq!(bans.add(wish(7), at(69)), Ok(()));
        assert_eq!(bans.add(wish(MOST_BY_OPERATOR), at(70)), Ok(()));
    }
}
