//! Sets of keys that issuers publish, as they were fetched last: read by every request, written by whoever
//! fetches.
//!
//! The last good set stays in force until it is too old, whatever comes after it. There is a place for each
//! configured source and for nothing else, so nothing here is evicted; whoever fetches does it once for all.
//! That is why there is no cache with either.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use crate::{
    model::{Tick, UnixTime},
    session::foreign::{FetchedKeys, KeySet, SourceId},
};

/// What was fetched.
#[derive(Debug, Default)]
pub struct KeySets {
    fetched: ArcSwap<FetchedKeys>,
    standings: Mutex<BTreeMap<SourceId, FetchStatus>>,
}

/// Where one source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// When its set was last had.
    pub fetched: Option<UnixTime>,
    /// The same, on the clock that nobody sets.
    pub since: Option<Tick>,
    /// How many of its keys verify.
    pub keys: usize,
    /// How many are of no use.
    pub ignored: usize,
    /// Why it could not be had the last time.
    pub error: Option<String>,
    /// When it is fetched again.
    pub next: UnixTime,
}

impl KeySets {
    /// Returns what a request goes by. Counts nobody in, so that requests on several cores do not meet here.
    pub fn load(&self) -> Guard<Arc<FetchedKeys>> {
        self.fetched.load()
    }

    /// Takes over a set that was had at `now`, and counts for `max_age`. Says whether it has other keys than
    /// the one before.
    pub fn keep(
        &self,
        source: &SourceId,
        set: KeySet,
        (now, tick): (UnixTime, Tick),
        max_age: Duration,
    ) -> bool {
        let mut standings = self.standings();
        let standing = standings.entry(source.clone()).or_default();
        standing.fetched = Some(now);
        standing.since = Some(tick);
        standing.keys = set.len();
        standing.ignored = set.ignored();
        standing.error = None;
        let set = Arc::new(set);
        let changed = self.fetched.load().set(source, tick).is_none_or(|before| *before != set);
        // Under the lock of the standings: two who fetched do not lose each other's.
        let mut fetched = FetchedKeys::clone(&self.fetched.load());
        fetched.insert(source.clone(), set, tick.plus(max_age));
        self.fetched.store(Arc::new(fetched));
        changed
    }

    /// Notes that a set could not be had. What was had before stays. Says whether that is news.
    pub fn miss(&self, source: &SourceId, error: String) -> bool {
        let mut standings = self.standings();
        let standing = standings.entry(source.clone()).or_default();
        let is_news = standing.error.as_ref() != Some(&error);
        standing.error = Some(error);
        is_news
    }

    /// Notes when a source is asked again.
    pub fn due(&self, source: &SourceId, next: UnixTime) {
        self.standings().entry(source.clone()).or_default().next = next;
    }

    /// Forgets sources that are no longer configured.
    pub fn retain(&self, keep: impl Fn(&SourceId) -> bool) {
        let mut standings = self.standings();
        standings.retain(|source, _| keep(source));
        let mut fetched = FetchedKeys::clone(&self.fetched.load());
        fetched.retain(keep);
        self.fetched.store(Arc::new(fetched));
    }

    /// Returns where a source stands.
    pub fn standing(&self, source: &SourceId) -> FetchStatus {
        self.standings().get(source).cloned().unwrap_or_default()
    }

    fn standings(&self) -> std::sync::MutexGuard<'_, BTreeMap<SourceId, FetchStatus>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
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
        let at =
            |secs: u64| (UnixTime::from_secs(1_800_000_000 + secs), Tick::from_nanos(secs * 1_000_000_000));

        assert!(sets.miss(&source, "away".into()));
        assert!(!sets.miss(&source, "away".into()));
        assert!(sets.load().set(&source, at(0).1).is_none());
        assert!(sets.keep(&source, set("a"), at(1), Duration::from_secs(60)));
        assert!(!sets.keep(&source, set("a"), at(2), Duration::from_secs(60)));
        assert!(sets.keep(&source, set("b"), at(3), Duration::from_secs(60)));
        assert!(sets.miss(&source, "away".into()));

        let standing = sets.standing(&source);
        assert_eq!(
            (standing.fetched, standing.keys, standing.error.as_deref()),
            (Some(at(3).0), 1, Some("away"))
        );
        assert!(sets.load().set(&source, at(62).1).is_some());
        assert!(sets.load().set(&source, at(63).1).is_none());
        sets.retain(|_| false);
        assert_eq!(
            (sets.standing(&source), sets.load().set(&source, at(4).1)),
            (FetchStatus::default(), None)
        );
    }
}
