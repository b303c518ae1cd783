//! Which sessions users have: what was granted, and which token of each was presented last.
//!
//! Readers never wait: a request looks its session up, compares numbers, and goes on. Writers hold the
//! journal's turn.

use std::{
    collections::HashMap as Index,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use papaya::{HashMap, ResizeMode};

use super::{
    grant_record::{GrantLimits, GrantRecord},
    record::Record,
};
use crate::{
    model::{SessionId, TenantName, UnixTime, UserId},
    session::{Newest, TokenOrder},
};

/// How many sessions are known at once; about 300 MiB. Behind that a session begins unknown, or, where its
/// user's are limited, not at all.
pub const MOST_KNOWN: usize = 1_000_000;

/// How many of one tenant, so that one app cannot take the room of all.
pub const MOST_OF_TENANT: usize = 250_000;

/// How many of one user; of more, the oldest are forgotten, and go on. More than a limit can be.
pub(crate) const MOST_OF_USER: usize = 128;

/// The sessions that are known.
pub(crate) struct Registry {
    sessions: HashMap<SessionId, Arc<SessionEntry>, ahash::RandomState>,
    owners: Mutex<Owners>,
    /// When this process began, in milliseconds since 1970: a session may have been in use up to then.
    began: AtomicU64,
}

/// One of them.
pub(crate) struct SessionEntry {
    pub(crate) note: GrantRecord,
    /// The newest generation that was presented in the upper half, since when in seconds since 1970 in the
    /// lower: one number, so that no reader sees a new generation with an old time.
    newest: AtomicU64,
    /// When it was last seen, in milliseconds since 1970.
    seen: AtomicU64,
    /// When other nodes were last to be told that it was seen, in milliseconds since 1970.
    told: AtomicU64,
}

/// What came of a token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presentation {
    pub(crate) turn: TokenOrder,
    /// Whether other nodes are to be told that the session was seen.
    pub(crate) is_news: bool,
}

#[derive(Default)]
struct Owners {
    users: Index<(TenantName, UserId), Vec<SessionId>, ahash::RandomState>,
    tenants: Index<TenantName, usize, ahash::RandomState>,
}

impl Default for Registry {
    fn default() -> Self {
        let sessions =
            HashMap::builder().hasher(ahash::RandomState::new()).resize_mode(ResizeMode::Blocking).build();
        Self { sessions, owners: Mutex::default(), began: AtomicU64::new(0) }
    }
}

impl SessionEntry {
    fn new(note: GrantRecord) -> Self {
        let granted = note.granted;
        let newest = pack(Newest { generation: 0, since: granted });
        let granted = granted.as_millis();
        Self { note, newest: newest.into(), seen: granted.into(), told: granted.into() }
    }

    pub(crate) fn newest(&self) -> Newest {
        let packed = self.newest.load(Ordering::Relaxed);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Newest { generation: half(packed >> 32), since: UnixTime::from_secs(u64::from(half(packed))) }
    }

    /// When it was last seen here.
    pub(crate) fn seen(&self) -> UnixTime {
        UnixTime::from_millis(self.seen.load(Ordering::Relaxed))
    }

    /// Says whether other nodes are to be told.
    fn see(&self, now: UnixTime) -> bool {
        // Not for each of many requests at once: the line would travel from core to core.
        if now.since(self.seen()) < SEEN_EVERY {
            return false;
        }
        self.seen.fetch_max(now.as_millis(), Ordering::Relaxed);
        let told = UnixTime::from_millis(self.told.load(Ordering::Relaxed));
        now.since(told) >= TOLD_EVERY
            && self.told.fetch_max(now.as_millis(), Ordering::Relaxed) == told.as_millis()
    }

    fn advance(&self, newest: Newest) {
        self.newest.fetch_max(pack(newest), Ordering::Relaxed);
    }

    /// Takes in what another node knows: of one generation the earlier time counts. Says whether the
    /// generation is news here.
    #[cfg_attr(
        not(feature = "gateway"),
        allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
    )]
    fn learn(&self, newest: Newest) -> bool {
        let mut kept = self.newest();
        loop {
            let (is_newer, is_same) =
                (newest.generation > kept.generation, newest.generation == kept.generation);
            if !(is_newer || is_same && pack(newest) < pack(kept)) {
                return false;
            }
            match self.newest.compare_exchange(pack(kept), pack(newest), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return is_newer,
                Err(_) => kept = self.newest(),
            }
        }
    }

    fn record(&self) -> Record {
        let Newest { generation, since } = self.newest();
        Record::Presented { id: self.note.id, generation, since, seen: self.seen() }
    }
}

/// Rounded up: the grace of an older token is never shorter than it should be.
fn pack(newest: Newest) -> u64 {
    let secs = u32::try_from(newest.since.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    u64::from(newest.generation) << 32 | u64::from(secs)
}

/// How exactly it is known when a session was last seen.
const SEEN_EVERY: Duration = Duration::from_secs(1);

/// How often other nodes are told that a session was seen.
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(60);

impl Registry {
    /// Notes when this process began.
    pub(crate) fn begin(&self, now: UnixTime) {
        self.began.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Says whether one more session of a tenant fits.
    pub(crate) fn has_room(&self, tenant: &TenantName) -> bool {
        self.len() < MOST_KNOWN
            && self.owners().tenants.get(tenant).is_none_or(|count| *count < MOST_OF_TENANT)
    }

    /// Takes a session in; one that is known stays as it is. Of too many of one user the oldest is forgotten.
    pub(crate) fn note(&self, note: GrantRecord) {
        let sessions = self.sessions.pin();
        if sessions.contains_key(&note.id) || !self.has_room(&note.tenant) {
            return;
        }
        let mut owners = self.owners();
        let of_user = owners.users.entry((note.tenant.clone(), note.user.clone())).or_default();
        of_user.push(note.id);
        let surplus = if of_user.len() > MOST_OF_USER {
            let granted = |id: &SessionId| sessions.get(id).map_or(note.granted, |known| known.note.granted);
            of_user.iter().min_by_key(|id| granted(id)).copied()
        } else {
            None
        };
        *owners.tenants.entry(note.tenant.clone()).or_default() += 1;
        sessions.insert(note.id, Arc::new(SessionEntry::new(note)));
        drop(owners);
        if let Some(id) = surplus {
            self.forget(&id);
        }
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, id: &SessionId) {
        let sessions = self.sessions.pin();
        let Some(known) = sessions.remove(id) else { return };
        let mut owners = self.owners();
        let whose = (known.note.tenant.clone(), known.note.user.clone());
        if let Some(of_user) = owners.users.get_mut(&whose) {
            of_user.retain(|other| other != id);
            if of_user.is_empty() {
                owners.users.remove(&whose);
            }
        }
        if let Some(count) = owners.tenants.get_mut(&whose.0) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                owners.tenants.remove(&whose.0);
            }
        }
    }

    /// Says what a token is beside the newest one; nothing of a session that is not known.
    pub(crate) fn judge(&self, id: &SessionId, generation: u32, now: UnixTime) -> Option<TokenOrder> {
        self.sessions.pin().get(id).map(|known| known.newest().present(generation, now))
    }

    /// The same, and notes that the session was seen.
    pub(crate) fn see(&self, id: &SessionId, generation: u32, now: UnixTime) -> Option<Presentation> {
        let sessions = self.sessions.pin();
        let known = sessions.get(id)?;
        let turn = known.newest().present(generation, now);
        Some(Presentation { turn, is_news: turn != TokenOrder::Reused && known.see(now) })
    }

    /// Takes in which token of a session another node saw, where the session is known. Says whether it is
    /// newer than all that came here.
    #[cfg_attr(
        not(feature = "gateway"),
        allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
    )]
    pub(crate) fn learn(&self, id: &SessionId, newest: Newest) -> bool {
        self.sessions.pin().get(id).is_some_and(|known| known.learn(newest))
    }

    #[cfg_attr(
        not(feature = "gateway"),
        allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
    )]
    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<SessionEntry>> {
        self.sessions.pin().get(id).cloned()
    }

    /// Returns all of them. Needs no turn.
    #[cfg_attr(
        not(feature = "gateway"),
        allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
    )]
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.sessions.pin().keys().copied().collect()
    }

    /// Merges in that a token was presented.
    pub(crate) fn presented(&self, id: &SessionId, newest: Newest, seen: UnixTime) {
        if let Some(known) = self.sessions.pin().get(id) {
            known.advance(newest);
            known.seen.fetch_max(seen.as_millis(), Ordering::Relaxed);
        }
    }

    /// Returns the sessions of a user that neither reached their absolute end nor rested for longer than
    /// `idle`.
    ///
    /// A session that was there when this process began counts as in use up to then: what was seen shortly
    /// before is not written down.
    pub(crate) fn of_user(
        &self,
        tenant: &TenantName,
        user: &UserId,
        idle: Duration,
        now: UnixTime,
    ) -> Vec<Arc<SessionEntry>> {
        let ids = self.owners().users.get(&(tenant.clone(), user.clone())).cloned().unwrap_or_default();
        let began = UnixTime::from_millis(self.began.load(Ordering::Relaxed));
        let sessions = self.sessions.pin();
        let rests = |known: &SessionEntry| known.seen().max(began).plus(idle).plus(SEEN_EVERY) <= now;
        ids.iter()
            .filter_map(|id| sessions.get(id))
            .filter(|known| known.note.ends > now && !rests(known))
            .cloned()
            .collect()
    }

    /// Returns sessions of which `is_over` says so. Needs no turn.
    pub(crate) fn over(&self, is_over: impl Fn(&GrantRecord) -> bool) -> Vec<SessionId> {
        self.sessions.pin().iter().filter(|(_, known)| is_over(&known.note)).map(|(id, _)| *id).collect()
    }

    /// Hands all of it on, as records.
    pub(crate) fn each_record<E>(&self, mut each: impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        for (_, known) in &self.sessions.pin() {
            each(Record::Granted(Box::new((known.note.clone(), GrantLimits::default()))))?;
            each(known.record())?;
        }
        Ok(())
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClientPrefix;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn note(number: u128, tenant: &str, user: &str, granted: u64) -> GrantRecord {
        GrantRecord {
            id: SessionId::new(number.to_be_bytes()),
            tenant: tenant.parse().unwrap(),
            user: user.parse().unwrap(),
            granted: at(granted),
            ends: at(10_000),
            epoch: 0,
            client: ClientPrefix::default(),
        }
    }

    fn of(registry: &Registry, user: &str, now: u64) -> usize {
        registry
            .of_user(&"acme".parse().unwrap(), &user.parse().unwrap(), Duration::from_secs(100), at(now))
            .len()
    }

    #[test]
    fn sessions_count_until_they_end_or_rest() {
        let registry = Registry::default();
        registry.note(note(1, "acme", "u_1", 1_000));
        registry.note(note(2, "acme", "u_1", 1_000));
        registry.note(note(3, "acme", "u_2", 1_000));
        registry.note(note(4, "globex", "u_1", 1_000));
        assert_eq!(
            (of(&registry, "u_1", 1_000), of(&registry, "u_1", 1_100), of(&registry, "u_1", 1_101)),
            (2, 2, 0)
        );

        registry.see(&SessionId::new(1_u128.to_be_bytes()), 0, at(1_090));
        assert_eq!((of(&registry, "u_1", 1_190), of(&registry, "u_1", 1_191)), (1, 0));

        // After a restart nobody knows what was seen last: they count.
        registry.begin(at(9_000));
        assert_eq!((of(&registry, "u_1", 9_100), of(&registry, "u_1", 10_000)), (2, 0));
    }

    #[test]
    fn others_are_told_of_a_session_once_a_minute() {
        let registry = Registry::default();
        registry.note(note(1, "acme", "u_1", 1_000));
        let id = SessionId::new(1_u128.to_be_bytes());

        let news = [1_001, 1_059, 1_060, 1_060, 1_119, 1_120]
            .map(|now| registry.see(&id, 0, at(now)).unwrap().is_news);

        assert_eq!(news, [false, false, true, false, false, true]);
    }

    #[test]
    fn what_another_node_saw_counts_from_when_it_came_there() {
        let registry = Registry::default();
        registry.note(note(1, "acme", "u_1", 1_000));
        let id = SessionId::new(1_u128.to_be_bytes());
        let learn = |generation, since| registry.learn(&id, Newest { generation, since: at(since) });

        assert_eq!(
            [learn(3, 2_000), learn(2, 1_500), learn(3, 2_010), learn(3, 1_990)],
            [true, false, false, false]
        );
        assert_eq!(
            [2_020, 2_021].map(|now| registry.judge(&id, 2, at(now))),
            [Some(TokenOrder::Late), Some(TokenOrder::Reused)]
        );
        assert!(
            !registry.learn(&SessionId::new([9; 16]), Newest { generation: 1, since: at(1) }),
            "it is not known here"
        );
    }

    #[test]
    fn of_one_user_the_oldest_are_forgotten() {
        let registry = Registry::default();
        for number in 0..200 {
            registry.note(note(number, "acme", "u_1", 1_000 + u64::try_from(number).unwrap()));
        }

        assert_eq!(registry.len(), MOST_OF_USER);
        assert_eq!(registry.judge(&SessionId::new(71_u128.to_be_bytes()), 0, at(1)), None);
        assert_eq!(registry.judge(&SessionId::new(72_u128.to_be_bytes()), 0, at(1)), Some(TokenOrder::Same));
    }

    #[test]
    fn one_tenant_does_not_take_all_of_the_room() {
        let registry = Registry::default();
        for number in 0..MOST_OF_TENANT + 10 {
            registry.note(note(u128::try_from(number).unwrap(), "acme", &format!("u_{number}"), 1_000));
        }

        assert_eq!(registry.len(), MOST_OF_TENANT);
        assert!(
            !registry.has_room(&"acme".parse().unwrap()) && registry.has_room(&"globex".parse().unwrap())
        );
        registry.forget(&SessionId::new(5_u128.to_be_bytes()));
        assert!(registry.has_room(&"acme".parse().unwrap()));
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let registry = Registry::default();
        registry.note(note(1, "acme", "u_1", 1_000));
        registry.note(note(1, "acme", "u_1", 1_000));

        registry.forget(&SessionId::new(1_u128.to_be_bytes()));
        registry.forget(&SessionId::new(1_u128.to_be_bytes()));

        let owners = registry.owners();
        assert_eq!((registry.len(), owners.users.len(), owners.tenants.len()), (0, 0, 0));
    }

    #[test]
    fn a_generation_only_rises() {
        let (registry, id) = (Registry::default(), SessionId::new(1_u128.to_be_bytes()));
        registry.note(note(1, "acme", "u_1", 1_000));
        registry.presented(&id, Newest { generation: 2, since: at(2_000) }, at(2_000));
        registry.presented(&id, Newest { generation: 1, since: at(3_000) }, at(1_500));

        let known = registry.sessions.pin().get(&id).cloned().unwrap();
        assert_eq!((known.newest(), known.seen()), (Newest { generation: 2, since: at(2_000) }, at(2_000)));
        assert_eq!(
            [2_030, 2_031].map(|now| registry.judge(&id, 1, at(now))),
            [Some(TokenOrder::Late), Some(TokenOrder::Reused)]
        );
    }
}
