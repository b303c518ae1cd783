//! Metric handles by configured name, limited in number.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Handles by name. Names beyond the limit share the handle of `_other`.
#[derive(Debug)]
pub(super) struct Named<V> {
    known: papaya::HashMap<Box<str>, Arc<V>, ahash::RandomState>,
    limit: usize,
    other: OnceLock<Arc<V>>,
    adding: Mutex<()>,
}

/// The label value of all names beyond the limit.
pub(super) const OTHER: &str = "_other";

impl<V> Named<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { known: papaya::HashMap::default(), limit, other: OnceLock::new(), adding: Mutex::new(()) }
    }

    /// Calls a function with the handle of a name; `make` creates it for a new name.
    pub(super) fn with<T>(&self, name: &str, make: impl Fn(&str) -> V, act: impl FnOnce(&Arc<V>) -> T) -> T {
        let known = self.known.pin();
        if let Some(found) = known.get(name) {
            return act(found);
        }
        if known.len() < self.limit {
            let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() < self.limit {
                return act(known.get_or_insert_with(name.into(), || Arc::new(make(name))));
            }
        }
        act(self.other.get_or_init(|| Arc::new(make(OTHER))))
    }

    /// Removes names that are no longer configured; `forget` deletes their series. Other names may take
    /// their place.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool, forget: impl Fn(&V)) {
        let known = self.known.pin();
        let gone: Vec<_> =
            known.iter().filter(|(name, _)| !keep(name)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(series) = known.remove(&name) {
                forget(series);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_one_handle() {
        let named = Named::new(2);
        let name = |asked: &str| named.with(asked, str::to_owned, |found| found.as_str().to_owned());

        assert_eq!([name("a"), name("b"), name("c"), name("a")], ["a", "b", OTHER, "a"]);

        named.retain(|name| name != "a", |_| {});
        assert_eq!([name("c"), name("a")], ["c", OTHER]);
    }
}
