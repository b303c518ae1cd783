//! One function per counted fact. Only `count` calls them, once for each event.

use std::time::Duration;

use super::{
    series::{TenantSeries, UpstreamSeries},
    table::Metrics,
};
use crate::{
    model::{
        AppCookie, CutReason, Decision, FetchResult, HeaderDrop, ListenerName, Mode, OrderResult, QuotaName,
        QuotaVerdict, Reason, RevocationWrite, SessionEvent, TenantName, TlsFacts, UnixTime, UpstreamName,
    },
    policy::AcmeChallenge,
};

/// The label value for what is unknown.
pub(super) const UNKNOWN: &str = "-";

impl Metrics {
    /// Counts a request that ended: status, decision and duration.
    pub(super) fn request(
        &self,
        tenant: Option<&TenantName>,
        status: u16,
        decision: Decision,
        took: Duration,
    ) {
        let [allow, deny, redirect] = &self.durations;
        let histogram = match decision {
            Decision::Allow => allow,
            Decision::Deny(_) => deny,
            Decision::Redirect => redirect,
        };
        histogram.observe(took.as_secs_f64());
        self.with_tenant(tenant, |series| series.request(status, decision));
    }

    /// Counts a finding that observe mode let pass.
    pub(super) fn observed(&self, tenant: Option<&TenantName>, reason: Reason) {
        self.with_tenant(tenant, |series| series.finding(reason, Mode::Observe));
    }

    fn with_tenant(&self, tenant: Option<&TenantName>, act: impl FnOnce(&TenantSeries)) {
        self.tenants.with(label(tenant), |name| self.tenant_series(name), |series| act(series));
    }

    fn tenant_series(&self, name: &str) -> TenantSeries {
        TenantSeries::new(name, &self.requests, &self.decisions)
    }

    /// Counts a presented session: valid, or the reason of its refusal.
    pub(super) fn session_check(&self, fault: Option<Reason>) {
        match fault {
            None => self.session_valid.inc(),
            Some(reason) => self.session_checks.with_label_values(&[reason.code()]).inc(),
        }
    }

    /// Counts what happened to a session.
    pub(super) fn session(&self, event: SessionEvent) {
        self.session_events.with_label_values(&[event.as_str()]).inc();
    }

    /// Counts several session events of one kind.
    pub(super) fn sessions(&self, event: SessionEvent, count: u32) {
        if count > 0 {
            self.session_events.with_label_values(&[event.as_str()]).inc_by(u64::from(count));
        }
    }

    /// Counts cookies that an app set.
    pub(super) fn app_cookies(&self, fate: AppCookie, count: u32) {
        self.app_cookies.with_label_values(&[fate.as_str()]).inc_by(u64::from(count));
    }

    /// Counts a step of the wall clock.
    pub(super) fn clock_stepped(&self) {
        self.clock_steps.inc();
    }

    /// Counts request fields that were not forwarded.
    pub(super) fn headers_dropped(&self, reason: HeaderDrop, count: u32) {
        if count > 0 {
            self.headers_dropped.with_label_values(&[reason.as_str()]).inc_by(u64::from(count));
        }
    }

    /// Counts a charge against a quota.
    pub(super) fn quota(&self, quota: &QuotaName, verdict: QuotaVerdict) {
        self.quota_decisions.with_label_values(&[quota.as_str(), verdict.as_str()]).inc();
    }

    /// Counts an attempt to record a revocation.
    pub(super) fn revocation_write(&self, result: RevocationWrite) {
        self.revocation_writes.with_label_values(&[result.as_str()]).inc();
    }

    /// Calls a function with the metrics of an upstream, without cloning their handle.
    pub(super) fn with_upstream(&self, upstream: &UpstreamName, act: impl FnOnce(&UpstreamSeries)) {
        self.upstreams.with(upstream.as_str(), |name| self.upstream_series(name), |series| act(series));
    }

    fn upstream_series(&self, name: &str) -> UpstreamSeries {
        UpstreamSeries::new(
            name,
            &self.upstream_requests,
            &self.upstream_errors,
            &self.upstream_durations,
            &self.upstream_retries,
        )
    }

    /// Counts an accepted connection.
    pub(super) fn connection_opened(&self, listener: &ListenerName) {
        self.connections.with_label_values(&[listener.as_str()]).inc();
        self.connections_accepted.with_label_values(&[listener.as_str()]).inc();
    }

    /// Counts the end of an accepted connection.
    pub(super) fn connection_closed(&self, listener: &ListenerName) {
        self.connections.with_label_values(&[listener.as_str()]).dec();
    }

    /// Counts a refused connection. The reasons are a closed set of `edge`.
    pub(super) fn connection_refused(&self, listener: &ListenerName, reason: &'static str) {
        self.connections_refused.with_label_values(&[listener.as_str(), reason]).inc();
    }

    /// Counts what a deadline cut: a connection or the reading of a request.
    pub(super) fn connection_cut(&self, listener: &ListenerName, cut: CutReason) {
        self.connections_cut.with_label_values(&[listener.as_str(), cut.code()]).inc();
    }

    /// Counts an exchange that was ended while in progress.
    pub(super) fn exchange_ended(&self, reason: Reason) {
        self.exchanges_ended.with_label_values(&[reason.code()]).inc();
    }

    /// Counts a ban; the cause is `protocol` or `operator`.
    pub(super) fn ban(&self, cause: &'static str) {
        self.deny.bans_imposed.with_label_values(&[cause]).inc();
    }

    /// Counts a successful TLS handshake.
    pub(super) fn handshake(&self, listener: &ListenerName, tls: &TlsFacts, took: Duration) {
        let result = if tls.resumed { "resumed" } else { "full" };
        self.tls
            .handshakes
            .with_label_values(&[listener.as_str(), result, tls.version, tls.group, tls.alpn.as_str()])
            .inc();
        self.tls.handshake_durations.with_label_values(&[listener.as_str()]).observe(took.as_secs_f64());
    }

    /// Counts a failed TLS handshake. The reasons are a closed set of `edge`.
    pub(super) fn handshake_failed(&self, listener: &ListenerName, reason: &'static str) {
        self.tls.handshakes.with_label_values(&[listener.as_str(), reason, UNKNOWN, UNKNOWN, UNKNOWN]).inc();
    }

    /// Counts an answered ACME challenge.
    pub(super) fn acme_challenge(&self, challenge: AcmeChallenge) {
        self.acme.challenges.with_label_values(&[challenge.as_str()]).inc();
    }

    /// Counts an ACME order that ended.
    pub(super) fn acme_order(&self, result: OrderResult, now: UnixTime) {
        self.acme.orders.with_label_values(&[result.as_str()]).inc();
        if result == OrderResult::Success {
            self.acme.last_success.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Counts a fetch of an issuer's key set.
    pub(super) fn key_set_fetch(&self, set: &str, result: FetchResult) {
        self.key_sets.fetches.with_label_values(&[set, result.as_str()]).inc();
    }

    /// Counts certificates that changed on disk and were loaded.
    pub(super) fn certificates_renewed(&self, count: usize) {
        self.tls
            .certificate_reloads
            .with_label_values(&["success"])
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a TLS file that changed on disk and is invalid.
    pub(super) fn certificate_refused(&self) {
        self.tls.certificate_reloads.with_label_values(&["failure"]).inc();
    }

    /// Counts a successful reload; [`Metrics::policy_in_force`] sets the gauges.
    pub(super) fn reload_succeeded(&self) {
        self.reloads.with_label_values(&["success"]).inc();
    }

    /// Counts a reload that changed nothing because the configuration is invalid.
    pub(super) fn reload_failed(&self) {
        self.reloads.with_label_values(&["failure"]).inc();
        self.reload_successful.set(0);
    }

    /// Counts an admin API call.
    pub(super) fn admin_request(&self, status: u16) {
        let code = if (100..600).contains(&status) { status.to_string() } else { "other".to_owned() };
        self.admin_requests.with_label_values(&[&code]).inc();
    }
}

fn label(tenant: Option<&TenantName>) -> &str {
    tenant.map_or(UNKNOWN, TenantName::as_str)
}
