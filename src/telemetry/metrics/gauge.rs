//! Gauges, and counters whose totals are kept elsewhere. Nothing here is an event.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    record::UNKNOWN,
    series::{TenantSeries, UpstreamSeries},
    table::{Metrics, TENANTS, UPSTREAMS},
};
use crate::{
    model::{
        CutReason, FetchResult, KeySetStatus, ListenerName, QuotaVerdict, TenantName, UnixTime,
        UpstreamStatus,
    },
    policy::Policy,
};

impl Metrics {
    /// Sets by how many seconds the wall clock is ahead of the trusted time.
    pub fn clock_step(&self, seconds: f64) {
        self.clock_step.set(seconds);
    }

    /// Updates the total of quota entries evicted since the start.
    pub fn quota_evictions(&self, total: u64) {
        self.quota_evictions.rise_to(total);
    }

    /// Updates the total uses of each session key since the start. The series of removed keys are deleted.
    pub fn session_keys(&self, uses: impl Iterator<Item = (u16, u64)>) {
        let mut known = self.session_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *known);
        for (key, total) in uses {
            let counter = self.session_key_uses.with_label_values(&[&key.to_string()]);
            counter.inc_by(total.saturating_sub(counter.get()));
            gone.remove(&key);
            known.insert(key);
        }
        for key in gone {
            // A missing series is fine: the key was never used.
            let _ = self.session_key_uses.remove_label_values(&[&key.to_string()]);
        }
    }

    /// Sets how many sessions this node tracks.
    pub fn sessions_known(&self, count: usize) {
        self.sessions_known.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many revocations are in force.
    pub fn revocations(&self, count: usize) {
        self.revocations.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the state of every upstream. Beyond the limit of series, only upstreams that are not healthy get
    /// one.
    pub fn upstreams(&self, upstreams: impl Iterator<Item = UpstreamStatus>) {
        self.servers_aside.reset();
        self.bodies_unread.reset();
        self.upstreams_down.reset();
        let mut told = 0;
        for upstream in upstreams {
            if told >= UPSTREAMS && (upstream.is_healthy() || told >= 2 * UPSTREAMS) {
                continue;
            }
            told += upstream.servers.len().max(1);
            self.bodies_unread
                .with_label_values(&[upstream.name.as_str()])
                .set(i64::from(upstream.bodies_unread));
            self.upstreams_down
                .with_label_values(&[upstream.name.as_str()])
                .set(i64::from(upstream.is_down()));
            for server in &upstream.servers {
                self.servers_aside
                    .with_label_values(&[upstream.name.as_str(), &server.address])
                    .set(i64::from(server.aside.is_some()));
            }
        }
    }

    /// Creates the series of a listener at 0, so that `rate()` sees the first event. The reasons of refusals
    /// and of failed handshakes are closed sets of `edge`.
    pub fn listener(
        &self,
        listener: &ListenerName,
        refusals: impl Iterator<Item = &'static str>,
        handshakes: impl Iterator<Item = &'static str>,
    ) {
        let name = listener.as_str();
        self.connections.with_label_values(&[name]);
        self.connections_accepted.with_label_values(&[name]);
        for reason in refusals {
            self.connections_refused.with_label_values(&[name, reason]);
        }
        for reason in handshakes {
            self.tls.handshakes.with_label_values(&[name, reason, UNKNOWN, UNKNOWN, UNKNOWN]);
        }
        for cut in CutReason::ALL {
            self.connections_cut.with_label_values(&[name, cut.code()]);
        }
    }

    /// Sets how many bans are in force, and updates the total of violations that were not counted.
    pub fn bans(&self, count: usize, missed: u64) {
        self.deny.bans.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.deny.offences_missed.rise_to(missed);
    }

    /// Sets how many file descriptors connections hold, to clients and to servers, and how many bytes are
    /// buffered for clients.
    pub fn budgets(&self, taken: (usize, usize), kept: usize) {
        let (clients, servers) = taken;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.descriptors.with_label_values(&["clients"]).set(count(clients));
        self.descriptors.with_label_values(&["servers"]).set(count(servers));
        self.kept.set(count(kept));
    }

    /// Sets how many address ranges each listener denies.
    pub fn denied_ranges<'a>(&self, listeners: impl IntoIterator<Item = (&'a ListenerName, usize)>) {
        self.deny.ranges.reset();
        for (listener, ranges) in listeners {
            self.deny
                .ranges
                .with_label_values(&[listener.as_str()])
                .set(i64::try_from(ranges).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many deny files are invalid.
    pub fn deny_files_refused(&self, count: usize) {
        self.deny.files_refused.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets, for each certificate in use, when it expires and how many faults its chain has.
    pub fn certificates<'a>(
        &self,
        certificates: impl IntoIterator<Item = (&'a str, &'a str, UnixTime, usize)>,
    ) {
        self.tls.certificates.reset();
        self.tls.chain_faults.reset();
        for (name, file, not_after, faults) in certificates {
            let labels = [name, file];
            self.tls
                .certificates
                .with_label_values(&labels)
                .set(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
            if faults > 0 {
                self.tls
                    .chain_faults
                    .with_label_values(&labels)
                    .set(i64::try_from(faults).unwrap_or(i64::MAX));
            }
        }
    }

    /// Sets how many certificates in use have expired.
    pub fn certificates_ended(&self, count: usize) {
        self.tls.certificates_ended.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many ACME certificates are missing, how many have a failed last order, and when the next
    /// order is due.
    pub fn acme(&self, missing: usize, failing: usize, next: Option<UnixTime>) {
        self.acme.failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
        self.acme.missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
        self.acme.next_attempt.set(next.map_or(0, |next| i64::try_from(next.as_secs()).unwrap_or(i64::MAX)));
    }

    /// Sets when each key set was fetched, and how many keys it has.
    pub fn key_sets(&self, sets: &[KeySetStatus]) {
        self.key_sets.times.reset();
        self.key_sets.keys.reset();
        for set in sets {
            let fetched = set.fetched.map_or(0, UnixTime::as_secs);
            self.key_sets
                .times
                .with_label_values(&[&set.set])
                .set(i64::try_from(fetched).unwrap_or(i64::MAX));
            self.key_sets
                .keys
                .with_label_values(&[&set.set])
                .set(i64::try_from(set.keys).unwrap_or(i64::MAX));
        }
    }

    /// Sets when each stapled OCSP response expires: 0 for one that is configured and not stapled.
    pub fn staples<'a>(&self, staples: impl IntoIterator<Item = (&'a str, UnixTime)>) {
        self.tls.staples.reset();
        for (name, until) in staples {
            self.tls
                .staples
                .with_label_values(&[name])
                .set(i64::try_from(until.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many TLS files are invalid.
    pub fn certificates_refused(&self, count: usize) {
        self.tls.certificates_refused.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many certificates cannot be loaded and have no earlier version in force.
    pub fn certificates_out(&self, count: usize) {
        self.tls.certificates_out.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the revision in force, at the start and after each successful reload, and deletes the series of
    /// names that are no longer configured.
    pub fn policy_in_force(&self, policy: &Policy, now: UnixTime) {
        self.policy.reset();
        self.policy.with_label_values(&[&policy.revision]).set(1);
        self.reload_successful.set(1);
        self.reload_time.set(Duration::from_millis(now.as_millis()).as_secs_f64());
        self.tls.crls.reset();
        let mut ends: Vec<(UnixTime, &TenantName)> =
            policy.tenants.iter().filter_map(|tenant| Some((tenant.crl_until()?, &tenant.name))).collect();
        // The first to expire come first, because the number of series is limited.
        ends.sort_unstable();
        for (end, tenant) in ends.into_iter().take(TENANTS) {
            self.tls
                .crls
                .with_label_values(&[tenant.as_str()])
                .set(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
        }
        self.client_trust_lapsed(policy, now);
        self.tenants
            .retain(|name| name == UNKNOWN || policy.tenants.named(name).is_some(), TenantSeries::forget);
        self.upstreams.retain(|name| policy.upstreams.contains_key(name), UpstreamSeries::forget);
        // Beyond the limit, the upstreams that are used first get their own series.
        if policy.upstreams.len() <= UPSTREAMS {
            policy.upstreams.keys().for_each(|name| self.with_upstream(name, |_| {}));
        }
        if policy.redis.is_some() {
            self.redis.configured();
        }
        self.key_sets.refresh.reset();
        for source in policy.sessions.iter().flat_map(|sessions| sessions.foreign.key_sources()) {
            self.key_sets.refresh.with_label_values(&[&*source.name]).set(source.refresh.as_secs_f64());
            for result in FetchResult::ALL {
                self.key_sets.fetches.with_label_values(&[&*source.name, result.as_str()]);
            }
        }
        let mut tables = BTreeSet::new();
        let mut quotas = BTreeSet::new();
        for tenant in policy.tenants.iter() {
            quotas.extend(tenant.quotas.iter().map(|quota| &quota.name));
            // Thousands of tenants may share one set of routes: look at each set once.
            if tables.insert(Arc::as_ptr(&tenant.routes)) {
                quotas
                    .extend(tenant.routes.routes().flat_map(|route| &route.quotas).map(|quota| &quota.name));
            }
        }
        for name in quotas {
            for verdict in QuotaVerdict::ALL {
                self.quota_decisions.with_label_values(&[name.as_str(), verdict.as_str()]);
            }
        }
    }

    /// Sets how many tenants have an expired client CA or CRL.
    pub fn client_trust_lapsed(&self, policy: &Policy, now: UnixTime) {
        let lapsed =
            policy.tenants.iter().filter(|tenant| tenant.expired_trust(now).next().is_some()).count();
        self.tls.client_trust_lapsed.set(i64::try_from(lapsed).unwrap_or(i64::MAX));
    }

    /// Sets the number of this process in its chain of upgrades, and how many connections its predecessor
    /// still has.
    pub fn process_generation(&self, generation: u32, draining: u64) {
        self.generation.set(i64::from(generation));
        self.predecessor_connections.set(i64::try_from(draining).unwrap_or(i64::MAX));
    }

    /// Updates the total of access lines dropped since the start.
    pub fn access_log_dropped(&self, total: u64) {
        self.access_log_dropped.rise_to(total);
    }

    /// Sets whether the revocation journal was lost.
    pub fn revocations_lost(&self, is_lost: bool) {
        self.revocations_lost.set(i64::from(is_lost));
    }

    /// Sets how many revocations in force are not on disk.
    pub fn revocations_unkept(&self, count: u64) {
        self.revocations_unkept.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets whether writing the revocation journal or its marker file fails.
    pub fn journal_failing(&self, is_failing: bool) {
        self.journal_failing.set(i64::from(is_failing));
    }

    /// Sets how many logs drop lines, or cannot be rotated or reopened.
    pub fn logs_failing(&self, count: usize) {
        self.logs_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many tenants were missing at the start, until an operator confirms it.
    pub fn tenants_missing(&self, count: usize) {
        self.tenants_missing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Updates the total of process log lines dropped since the start.
    pub fn log_dropped(&self, total: u64) {
        self.log_dropped.rise_to(total);
    }
}
