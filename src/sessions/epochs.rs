//! The epochs of every tenant: readers never wait for them.

use std::collections::HashSet;

use papaya::{HashMap, ResizeMode};

use super::{epoch::Epoch, record::Record};
use crate::model::{TenantName, UnixTime};

/// The epochs of every tenant. Readers look at any time; writers take turns, for which the
/// [`RevocationIndex`](super::revocation_index::RevocationIndex) is responsible.
pub(super) struct Epochs(HashMap<TenantName, Epoch, ahash::RandomState>);

/// Makes a map for marks that readers look at while a writer changes them.
///
/// Writers wait while a map grows; they take turns anyway. Growing bit by bit leaves two tables for every
/// reader to search until enough was written: 100 ns instead of 25 for a session that was not ended.
pub(super) fn map<K, V>() -> HashMap<K, V, ahash::RandomState> {
    HashMap::builder().hasher(ahash::RandomState::new()).resize_mode(ResizeMode::Blocking).build()
}

impl Default for Epochs {
    fn default() -> Self {
        Self(map())
    }
}

impl Epochs {
    /// Returns a tenant's epoch at a time.
    pub(super) fn at(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.0.pin().get(tenant).map_or(0, |epoch| epoch.at(now))
    }

    /// Returns the epoch of a session that carries none, by when its user signed in.
    pub(super) fn of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.0.pin().get(tenant).map_or(0, |epoch| epoch.of(auth_time, now))
    }

    /// Returns how many tenants are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of an epoch that begins at a time.
    pub(super) fn next(&self, tenant: &TenantName, at: UnixTime) -> u32 {
        self.0.pin().get(tenant).map_or(1, |kept| kept.next(at))
    }

    /// Returns whether an epoch that begins at a time would change nothing.
    pub(super) fn includes(&self, tenant: &TenantName, at: UnixTime, epoch: u32) -> bool {
        self.0.pin().get(tenant).is_some_and(|kept| {
            let mut raised = kept.clone();
            raised.raise(at, epoch);
            raised == *kept
        })
    }

    /// Changes the epochs of a tenant.
    pub(super) fn change(&self, tenant: TenantName, change: impl FnOnce(&mut Epoch)) {
        let tenants = self.0.pin();
        let mut epoch = tenants.get(&tenant).cloned().unwrap_or_default();
        change(&mut epoch);
        tenants.insert(tenant, epoch);
    }

    /// Returns what must be written so that exactly the tenants in `names` are present: one that went away is
    /// raised, to at least `floor`, one that is there is noted.
    pub(super) fn settle_presence<'a>(
        &self,
        names: impl Iterator<Item = &'a TenantName>,
        now: UnixTime,
        floor: impl Fn(UnixTime) -> u32,
    ) -> Vec<Record> {
        let names: HashSet<&TenantName, ahash::RandomState> = names.collect();
        let tenants = self.0.pin();
        let as_it_stands = |tenant: &TenantName, mut epoch: Epoch| {
            epoch.settle(now);
            Record::Tenant {
                tenant: tenant.clone(),
                epoch: epoch.base,
                present: epoch.present,
                since: epoch.since,
                raises: epoch.raises,
            }
        };
        let gone = tenants.iter().filter(|(tenant, epoch)| epoch.present && !names.contains(tenant)).map(
            |(tenant, epoch)| {
                let mut epoch = epoch.clone();
                epoch.settle(now);
                epoch.begin(now, epoch.next(now).max(floor(now)));
                as_it_stands(tenant, Epoch { present: false, ..epoch })
            },
        );
        let come = names.iter().filter_map(|tenant| match tenants.get(*tenant) {
            Some(epoch) if epoch.present => None,
            Some(epoch) => Some(as_it_stands(tenant, Epoch { present: true, ..epoch.clone() })),
            None => Some(as_it_stands(tenant, Epoch { present: true, ..Epoch::default() })),
        });
        gone.chain(come).collect()
    }

    /// Returns the tenants that are there.
    pub(super) fn present(&self) -> Vec<TenantName> {
        self.0.pin().iter().filter(|(_, epoch)| epoch.present).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Returns the tenants as they stand, as records.
    pub(super) fn records(&self) -> Vec<Record> {
        let tenants = self.0.pin();
        let record = |(tenant, epoch): (&TenantName, &Epoch)| Record::Tenant {
            tenant: tenant.clone(),
            epoch: epoch.base,
            present: epoch.present,
            since: epoch.since,
            raises: epoch.raises.clone(),
        };
        tenants.iter().map(record).collect()
    }

    /// Has epochs that have begun be in force whatever the time is.
    pub(super) fn settle_dates(&self, now: UnixTime) {
        let tenants = self.0.pin();
        for (tenant, epoch) in &tenants {
            if epoch.raises.first().is_some_and(|(at, _)| *at <= now) {
                let mut epoch = epoch.clone();
                epoch.settle(now);
                tenants.insert(tenant.clone(), epoch);
            }
        }
    }
}

/// Returns what others must know of a tenant: the epoch in force, and those that begin later.
pub(super) fn raises(
    tenant: &TenantName,
    since: UnixTime,
    epoch: u32,
    raises: &[(UnixTime, u32)],
) -> Vec<Record> {
    let in_force = Some((since, epoch)).filter(|(_, epoch)| *epoch > 0);
    let raise =
        |(at, epoch): (UnixTime, u32)| Record::Raise { tenant: tenant.clone(), at, epoch: Some(epoch) };
    in_force.into_iter().chain(raises.iter().copied()).map(raise).collect()
}
