//! The last fetched key sets of issuers: every request reads them, the fetching task writes them.
//!
//! The last good set stays in force until it is too old, even if later fetches fail. There is one place per
//! configured source and no other, so nothing is evicted; and one task fetches for all requests. That is why
//! there is no cache, which would bring eviction and a stampede.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use crate::{
    model::{Tick, UnixTime},
    session::foreign::{FetchedKeys, KeySet, SourceId},
};

/// The key sets of all sources.
#[derive(Debug, Default)]
pub struct KeySets {
    fetched: ArcSwap<FetchedKeys>,
    statuses: Mutex<BTreeMap<SourceId, FetchStatus>>,
}

/// How the fetches of one source went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// When its set was last fetched.
    pub fetched: Option<UnixTime>,
    /// The same, on the monotonic clock.
    pub since: Option<Tick>,
    /// How many of its keys verify.
    pub keys: usize,
    /// How many were ignored.
    pub ignored: usize,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: UnixTime,
}

impl KeySets {
    /// Returns the sets in force. It counts no reference, so requests on several cores do not contend here.
    pub fn load(&self) -> Guard<Arc<FetchedKeys>> {
        self.fetched.load()
    }

    /// Puts a set into force that was fetched now; it is good for `max_age`. Returns whether its keys differ
    /// from those of the set before.
    pub fn keep(&self, source: &SourceId, set: KeySet, now: UnixTime, tick: Tick, max_age: Duration) -> bool {
        let mut statuses = self.statuses();
        let status = statuses.entry(source.clone()).or_default();
        status.fetched = Some(now);
        status.since = Some(tick);
        status.keys = set.len();
        status.ignored = set.ignored();
        status.error = None;
        let set = Arc::new(set);
        let changed = self.fetched.load().set(source, tick).is_none_or(|before| *before != set);
        // Under the lock of the statuses, so that two fetches at once do not lose each other's set.
        let mut fetched = FetchedKeys::clone(&self.fetched.load());
        fetched.insert(source.clone(), set, tick.plus(max_age));
        self.fetched.store(Arc::new(fetched));
        changed
    }

    /// Notes that a fetch failed; the set before it stays. Returns whether the last fetch did not fail in the
    /// same way.
    pub fn miss(&self, source: &SourceId, error: String) -> bool {
        let mut statuses = self.statuses();
        let status = statuses.entry(source.clone()).or_default();
        let is_new = status.error.as_ref() != Some(&error);
        status.error = Some(error);
        is_new
    }

    /// Notes when a source is fetched again.
    pub fn due(&self, source: &SourceId, next: UnixTime) {
        self.statuses().entry(source.clone()).or_default().next = next;
    }

    /// Forgets sources that are no longer configured.
    pub fn retain(&self, keep: impl Fn(&SourceId) -> bool) {
        let mut statuses = self.statuses();
        statuses.retain(|source, _| keep(source));
        let mut fetched = FetchedKeys::clone(&self.fetched.load());
        fetched.retain(keep);
        self.fetched.store(Arc::new(fetched));
    }

    /// Returns how the fetches of a source went.
    pub fn status(&self, source: &SourceId) -> FetchStatus {
        self.statuses().get(source).cloned().unwrap_or_default()
    }

    fn statuses(&self) -> MutexGuard<'_, BTreeMap<SourceId, FetchStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::foreign::Algorithm;

    fn set(kid: &str) -> KeySet {
        let key = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        KeySet::parse(format!(r#"{{"keys":[{{"kid":"{kid}",{key}}}]}}"#).as_bytes(), &[Algorithm::EdDsa])
            .unwrap()
    }

    #[test]
    fn the_last_good_set_stays_until_it_is_too_old() {
        let sets = KeySets::default();
        let source = SourceId::new("https://a.test/", None, &[Algorithm::EdDsa]);
        let time = |secs: u64| UnixTime::from_secs(1_800_000_000 + secs);
        let tick = |secs: u64| Tick::from_nanos(secs * 1_000_000_000);
        let keep = |kid: &str, secs: u64| {
            sets.keep(&source, set(kid), time(secs), tick(secs), Duration::from_secs(60))
        };

        assert!(sets.miss(&source, "away".into()));
        assert!(!sets.miss(&source, "away".into()));
        assert!(sets.load().set(&source, tick(0)).is_none());
        assert!(keep("a", 1));
        assert!(!keep("a", 2));
        assert!(keep("b", 3));
        assert!(sets.miss(&source, "away".into()));

        let status = sets.status(&source);
        assert_eq!((status.fetched, status.keys, status.error.as_deref()), (Some(time(3)), 1, Some("away")));
        assert!(sets.load().set(&source, tick(62)).is_some());
        assert!(sets.load().set(&source, tick(63)).is_none());
        sets.retain(|_| false);
        assert_eq!((sets.status(&source), sets.load().set(&source, tick(4))), (FetchStatus::default(), None));
    }
}
