//! How things are counted.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    AppCookie, FetchResult, HeaderDrop, OrderResult, QuotaVerdict, RevocationWrite, SessionEvent,
    series::{TenantSeries, UpstreamSeries},
    table::{Metrics, TENANTS, UPSTREAMS},
};
use crate::{
    model::{
        Cut, Decision, KeySetStatus, ListenerName, Mode, QuotaName, Reason, TenantName, TlsFacts, UnixTime, UpstreamName, UpstreamStatus,
    },
    policy::{AcmeChallenge, Policy},
};

/// The label of what is not known.
const UNKNOWN: &str = "-";

impl Metrics {
    /// Returns a tenant's counters, to be kept by who counts often. `None` is a request whose tenant is not known.
    pub fn tenant(&self, tenant: Option<&TenantName>) -> Arc<TenantSeries> {
        self.tenants.find(label(tenant), |name| TenantSeries::new(name, self))
    }

    /// Counts a request that ended: its status, its decision, its time.
    pub fn request(&self, tenant: Option<&TenantName>, status: u16, decision: Decision, took: Duration) {
        let [allow, deny, redirect] = &self.durations;
        let histogram = match decision {
            Decision::Allow => allow,
            Decision::Deny(_) => deny,
            Decision::Redirect => redirect,
        };
        histogram.observe(took.as_secs_f64());
        self.with_tenant(tenant, |series| series.request(status, decision));
    }

    /// Counts what observe mode let pass.
    pub fn observed(&self, tenant: Option<&TenantName>, reason: Reason) {
        self.with_tenant(tenant, |series| series.finding(reason, Mode::Observe));
    }

    fn with_tenant(&self, tenant: Option<&TenantName>, act: impl FnOnce(&TenantSeries)) {
        self.tenants.with(label(tenant), |name| TenantSeries::new(name, self), |series| act(series));
    }

    /// Counts a session that was presented: valid, or the reason why not.
    pub fn session_check(&self, fault: Option<Reason>) {
        match fault {
            None => self.session_valid.inc(),
            Some(reason) => self.session_checks.with_label_values(&[reason.code()]).inc(),
        }
    }

    /// Counts what happened to a session.
    pub fn session(&self, event: SessionEvent) {
        self.session_events.with_label_values(&[event.as_str()]).inc();
    }

    /// Counts events of sessions that come several at once.
    pub fn sessions(&self, event: SessionEvent, count: u32) {
        self.session_events.with_label_values(&[event.as_str()]).inc_by(u64::from(count));
    }

    /// Counts a cookie that an app set.
    pub fn app_cookie(&self, fate: AppCookie) {
        self.app_cookies.with_label_values(&[fate.as_str()]).inc();
    }

    /// Counts a wall clock that was set.
    pub fn clock_stepped(&self) {
        self.clock_steps.inc();
    }

    /// Sets what the wall clock is ahead of the time that is believed, in seconds.
    pub fn clock_step(&self, seconds: f64) {
        self.clock_step.set(seconds);
    }

    /// Counts request fields that were not forwarded.
    pub fn headers_dropped(&self, reason: HeaderDrop, count: u32) {
        if count > 0 {
            self.headers_dropped.with_label_values(&[reason.as_str()]).inc_by(u64::from(count));
        }
    }

    /// Counts what a quota said.
    pub fn quota(&self, quota: &QuotaName, verdict: QuotaVerdict) {
        self.quota_decisions.with_label_values(&[quota.as_str(), verdict.as_str()]).inc();
    }

    /// Takes over how many quota entries were evicted since the start.
    pub fn quota_evictions(&self, total: u64) {
        self.quota_evictions.rise_to(total);
    }

    /// Takes over how often each session key of the ring was used since the start. Keys that are gone leave no series.
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
            // It was there.
            let _ = self.session_key_uses.remove_label_values(&[&key.to_string()]);
        }
    }

    /// Counts a revocation that was to be written down.
    pub fn revocation_write(&self, result: RevocationWrite) {
        self.revocation_writes.with_label_values(&[result.as_str()]).inc();
    }

    /// Sets how many sessions are known.
    pub fn sessions_known(&self, count: usize) {
        self.sessions_known.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many revocations are in force.
    pub fn revocations(&self, count: usize) {
        self.revocations.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Returns an upstream's metrics, to be kept by who counts often.
    pub fn upstream(&self, upstream: &UpstreamName) -> Arc<UpstreamSeries> {
        self.upstreams.find(upstream.as_str(), |name| UpstreamSeries::new(name, self))
    }

    /// Uses an upstream's metrics without sharing them.
    pub fn with_upstream(&self, upstream: &UpstreamName, act: impl FnOnce(&UpstreamSeries)) {
        self.upstreams.with(upstream.as_str(), |name| UpstreamSeries::new(name, self), |series| act(series));
    }

    /// Takes over how the upstreams do. Beyond the bound of their series only those are told with which something is wrong.
    pub fn upstreams(&self, upstreams: impl Iterator<Item = UpstreamStatus>) {
        self.servers_aside.reset();
        self.bodies_unread.reset();
        self.upstreams_down.reset();
        let mut told = 0;
        for upstream in upstreams {
            if told >= UPSTREAMS && (upstream.is_well() || told >= 2 * UPSTREAMS) {
                continue;
            }
            told += upstream.servers.len().max(1);
            self.bodies_unread.with_label_values(&[upstream.name.as_str()]).set(i64::from(upstream.bodies_unread));
            self.upstreams_down.with_label_values(&[upstream.name.as_str()]).set(i64::from(upstream.is_down()));
            for server in &upstream.servers {
                self.servers_aside.with_label_values(&[upstream.name.as_str(), &server.address]).set(i64::from(server.aside.is_some()));
            }
        }
    }

    /// Makes the series of a listener, so that a first event is a rise from 0. The refusals, and of a TLS listener why handshakes fail, are
    /// edge's closed sets.
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
            self.handshakes.with_label_values(&[name, reason, UNKNOWN, UNKNOWN, UNKNOWN]);
        }
        for cut in Cut::ALL {
            self.connections_cut.with_label_values(&[name, cut.code()]);
        }
    }

    /// Counts a connection that was taken.
    pub fn connection_opened(&self, listener: &ListenerName) {
        self.connections.with_label_values(&[listener.as_str()]).inc();
        self.connections_accepted.with_label_values(&[listener.as_str()]).inc();
    }

    /// Counts the end of a connection that was taken.
    pub fn connection_closed(&self, listener: &ListenerName) {
        self.connections.with_label_values(&[listener.as_str()]).dec();
    }

    /// Counts a connection that was refused; the reason is one of edge's closed set.
    pub fn connection_refused(&self, listener: &ListenerName, reason: &'static str) {
        self.connections_refused.with_label_values(&[listener.as_str(), reason]).inc();
    }

    /// Counts what a deadline ended: a connection, or the reading of a request.
    pub fn connection_cut(&self, listener: &ListenerName, cut: Cut) {
        self.connections_cut.with_label_values(&[listener.as_str(), cut.code()]).inc();
    }

    /// Counts an exchange that was ended under way.
    pub fn exchange_ended(&self, reason: Reason) {
        self.exchanges_ended.with_label_values(&[reason.code()]).inc();
    }

    /// Counts a ban; the cause is `protocol` or `operator`.
    pub fn ban(&self, cause: &'static str) {
        self.bans_made.with_label_values(&[cause]).inc();
    }

    /// Sets how many bans are in force, and takes over how many offences were not counted since the start.
    pub fn bans(&self, count: usize, missed: u64) {
        self.bans.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.bans_missed.rise_to(missed);
    }

    /// Sets how many open files connections hold, of clients and to servers, and how many octets are kept for clients.
    pub fn scarce(&self, (clients, servers): (usize, usize), kept: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.descriptors.with_label_values(&["clients"]).set(count(clients));
        self.descriptors.with_label_values(&["servers"]).set(count(servers));
        self.kept.set(count(kept));
    }

    /// Sets how many ranges each listener drops.
    pub fn denied_ranges<'a>(&self, listeners: impl IntoIterator<Item = (&'a ListenerName, usize)>) {
        self.denied_ranges.reset();
        for (listener, ranges) in listeners {
            self.denied_ranges.with_label_values(&[listener.as_str()]).set(i64::try_from(ranges).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many files of ranges are refused as they are now.
    pub fn deny_files_refused(&self, count: usize) {
        self.deny_files_refused.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a handshake that succeeded.
    pub fn handshake(&self, listener: &ListenerName, tls: &TlsFacts, took: Duration) {
        let result = if tls.resumed { "resumed" } else { "full" };
        self.handshakes.with_label_values(&[listener.as_str(), result, tls.version, tls.group, tls.alpn.as_str()]).inc();
        self.handshake_durations.with_label_values(&[listener.as_str()]).observe(took.as_secs_f64());
    }

    /// Counts a handshake that failed; the reason is one of edge's closed set.
    pub fn handshake_failed(&self, listener: &ListenerName, reason: &'static str) {
        self.handshakes.with_label_values(&[listener.as_str(), reason, UNKNOWN, UNKNOWN, UNKNOWN]).inc();
    }

    /// Takes over the certificates in use, each by its name and its file: when they expire, and how much is wrong with their chains.
    pub fn certificates<'a>(&self, certificates: impl IntoIterator<Item = (&'a str, &'a str, UnixTime, usize)>) {
        self.certificates.reset();
        self.chain_faults.reset();
        for (name, file, not_after, faults) in certificates {
            let labels = [name, file];
            self.certificates.with_label_values(&labels).set(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
            if faults > 0 {
                self.chain_faults.with_label_values(&labels).set(i64::try_from(faults).unwrap_or(i64::MAX));
            }
        }
    }

    /// Sets how many certificates have ended.
    pub fn certificates_ended(&self, count: usize) {
        self.certificates_ended.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts an answer to a CA that proves a host.
    pub fn acme_challenge(&self, challenge: AcmeChallenge) {
        self.acme_challenges.with_label_values(&[challenge.as_str()]).inc();
    }

    /// Counts an order of a certificate that ended.
    pub fn acme_order(&self, result: OrderResult, now: UnixTime) {
        self.acme_orders.with_label_values(&[result.as_str()]).inc();
        if result == OrderResult::Success {
            self.acme_last_success.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many certificates by ACME are missing, and when the next order is due.
    pub fn acme(&self, missing: usize, next: Option<UnixTime>) {
        self.acme_missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
        self.acme_next_attempt.set(next.map_or(0, |next| i64::try_from(next.as_secs()).unwrap_or(i64::MAX)));
    }

    /// Counts a fetch of the keys that an issuer publishes.
    pub fn key_set_fetch(&self, set: &str, result: FetchResult) {
        self.key_set_fetches.with_label_values(&[set, result.as_str()]).inc();
    }

    /// Takes over where the keys that issuers publish stand.
    pub fn key_sets(&self, sets: &[KeySetStatus]) {
        self.key_set_times.reset();
        self.key_set_keys.reset();
        for set in sets {
            let fetched = set.fetched.map_or(0, UnixTime::as_secs);
            self.key_set_times.with_label_values(&[&set.set]).set(i64::try_from(fetched).unwrap_or(i64::MAX));
            self.key_set_keys.with_label_values(&[&set.set]).set(i64::try_from(set.keys).unwrap_or(i64::MAX));
        }
    }

    /// Takes over until when the OCSP answers of certificates hold: the beginning of 1970 for one that is named and not stapled.
    pub fn staples<'a>(&self, staples: impl IntoIterator<Item = (&'a str, UnixTime)>) {
        self.staples.reset();
        for (name, until) in staples {
            self.staples.with_label_values(&[name]).set(i64::try_from(until.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Counts certificates that changed on disk and were taken into force.
    pub fn certificates_renewed(&self, count: usize) {
        self.certificate_reloads.with_label_values(&["success"]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a file of TLS that changed on disk and cannot be used.
    pub fn certificate_refused(&self) {
        self.certificate_reloads.with_label_values(&["failure"]).inc();
    }

    /// Sets how many files of TLS on disk cannot be used.
    pub fn certificates_refused(&self, count: usize) {
        self.certificates_refused.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Takes a policy over, at the start and after each reload that was well: its revision, and the names that it still has.
    pub fn policy_in_force(&self, policy: &Policy, now: UnixTime) {
        self.policy.reset();
        self.policy.with_label_values(&[&policy.revision]).set(1);
        self.reload_successful.set(1);
        self.reload_time.set(Duration::from_millis(now.as_millis()).as_secs_f64());
        self.crls.reset();
        let mut ends: Vec<(UnixTime, &TenantName)> =
            policy.tenants.iter().filter_map(|tenant| Some((tenant.crl_until()?, &tenant.name))).collect();
        // Those that end first are those that somebody has to look after.
        ends.sort_unstable();
        for (end, tenant) in ends.into_iter().take(TENANTS) {
            self.crls.with_label_values(&[tenant.as_str()]).set(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
        }
        self.client_trust_lapsed(policy, now);
        self.tenants.retain(|name| name == UNKNOWN || policy.tenants.named(name).is_some(), TenantSeries::forget);
        self.upstreams.retain(|name| policy.upstreams.contains_key(name), UpstreamSeries::forget);
        // Beyond the bound those have series of their own that are asked first.
        if policy.upstreams.len() <= UPSTREAMS {
            policy.upstreams.keys().for_each(|name| self.with_upstream(name, |_| {}));
        }
        if policy.redis.is_some() {
            self.redis.configured();
        }
        self.key_set_refresh.reset();
        for source in policy.sessions.iter().flat_map(|sessions| sessions.foreign.key_sources()) {
            self.key_set_refresh.with_label_values(&[&*source.name]).set(source.refresh.as_secs_f64());
            for result in FetchResult::ALL {
                self.key_set_fetches.with_label_values(&[&*source.name, result.as_str()]);
            }
        }
        let mut tables = BTreeSet::new();
        let mut quotas = BTreeSet::new();
        for tenant in policy.tenants.iter() {
            quotas.extend(tenant.quotas.iter().map(|quota| &quota.name));
            // Thousands of tenants share a set of routes.
            if tables.insert(Arc::as_ptr(&tenant.routes)) {
                quotas.extend(tenant.routes.routes().flat_map(|route| &route.quotas).map(|quota| &quota.name));
            }
        }
        for name in quotas {
            for verdict in QuotaVerdict::ALL {
                self.quota_decisions.with_label_values(&[name.as_str(), verdict.as_str()]);
            }
        }
    }

    /// Sets of how many tenants a client CA or a revocation list has ended.
    pub fn client_trust_lapsed(&self, policy: &Policy, now: UnixTime) {
        let lapsed = policy.tenants.iter().filter(|tenant| tenant.lapses(now).next().is_some()).count();
        self.client_trust_lapsed.set(i64::try_from(lapsed).unwrap_or(i64::MAX));
    }

    /// Counts a reload that was well; [`Metrics::policy_in_force`] takes the policy over.
    pub fn reload_succeeded(&self) {
        self.reloads.with_label_values(&["success"]).inc();
    }

    /// Counts a reload that changed nothing because the configuration is bad.
    pub fn reload_failed(&self) {
        self.reloads.with_label_values(&["failure"]).inc();
        self.reload_successful.set(0);
    }

    /// Sets which generation this process is, and how many connections its predecessor still has.
    pub fn succession(&self, generation: u32, draining: u64) {
        self.generation.set(i64::from(generation));
        self.predecessor_connections.set(i64::try_from(draining).unwrap_or(i64::MAX));
    }

    /// Takes over how many access lines were lost since the start.
    pub fn access_log_dropped(&self, total: u64) {
        self.access_log_dropped.rise_to(total);
    }

    /// Sets whether the revocation journal was lost.
    pub fn revocations_lost(&self, is_lost: bool) {
        self.revocations_lost.set(i64::from(is_lost));
    }

    /// Sets how many revocations are in force and not on the disk.
    pub fn revocations_unkept(&self, count: u64) {
        self.revocations_unkept.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many tenants a start did not find, while nobody has confirmed that.
    pub fn tenants_missing(&self, count: usize) {
        self.tenants_missing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how many lines of octroi's own log were lost since the start.
    pub fn log_dropped(&self, total: u64) {
        self.log_dropped.rise_to(total);
    }

    /// Counts a call of the admin API.
    pub fn admin_request(&self, status: u16) {
        let code = if (100..600).contains(&status) { status.to_string() } else { "other".to_owned() };
        self.admin_requests.with_label_values(&[&code]).inc();
    }
}

fn label(tenant: Option<&TenantName>) -> &str {
    tenant.map_or(UNKNOWN, TenantName::as_str)
}
