//! The servers of every upstream, under one revision of the rules.

use std::collections::BTreeMap;

use super::pool::Pool;
use crate::{
    model::{Clock, Tick, UpstreamName, UpstreamStatus},
    policy::Policy,
};

/// A pool for each upstream.
#[derive(Debug)]
pub(crate) struct Pools(BTreeMap<UpstreamName, Pool>);

impl Pools {
    /// Makes the pools of a policy. What the same servers were seen to do `before` is not forgotten.
    pub(crate) fn new(policy: &Policy, before: Option<(&Policy, &Self)>) -> Self {
        let known = |name| {
            before.and_then(|(policy, pools)| Some((&**policy.upstreams.get(name)?, pools.get(name)?)))
        };
        let pools = policy.upstreams.iter();
        Self(pools.map(|(name, upstream)| (name.clone(), Pool::new(upstream, known(name)))).collect())
    }

    /// Returns the pool of an upstream.
    pub(crate) fn get(&self, name: &UpstreamName) -> Option<&Pool> {
        self.0.get(name)
    }

    /// Closes connections that have rested for too long.
    pub(crate) fn sweep(&self, now: Tick) {
        self.0.values().for_each(|pool| pool.sweep(now));
    }

    /// Returns how the servers of every upstream do, as far as requests have found out.
    pub(crate) fn status<'a>(&'a self, clock: &dyn Clock) -> impl Iterator<Item = UpstreamStatus> + use<'a> {
        let (now, tick) = (clock.now(), clock.tick());
        self.0.values().map(move |pool| pool.status(now, tick))
    }

    /// Closes a connection that rests, so that another may be opened. Returns whether there was one.
    pub(super) fn close_one_at_rest(&self) -> bool {
        self.0.values().any(Pool::close_one_at_rest)
    }
}
