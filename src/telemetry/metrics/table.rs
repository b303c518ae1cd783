//! Every metric that has no file of its own: name, unit, help text and labels, declared once.
//!
//! Label values come from closed sets and configured names only, so clients cannot create series. An unknown
//! tenant is `-`; tenants beyond the first hundred in use share `_other`.

use std::{collections::BTreeSet, sync::Mutex};

use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::{
    acme::AcmeSeries,
    declare::{Declare, Total},
    deny::DenySeries,
    key_set::KeySetSeries,
    named::Named,
    redis::RedisSeries,
    series::{TenantSeries, UpstreamSeries},
    tls::TlsSeries,
};
use crate::model::{AppCookie, HeaderDrop, Reason, RevocationWrite, SessionEvent, Stage};

/// Why metrics cannot be declared or encoded.
#[derive(Debug, thiserror::Error)]
#[error("the metrics are inconsistent")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of this process.
#[derive(Debug)]
pub struct Metrics {
    pub(super) registry: Registry,
    pub(super) requests: IntCounterVec,
    pub(super) durations: [Histogram; 3],
    pub(super) decisions: IntCounterVec,
    pub(super) session_checks: IntCounterVec,
    pub(super) session_valid: IntCounter,
    pub(super) session_events: IntCounterVec,
    pub(super) headers_dropped: IntCounterVec,
    pub(super) quota_decisions: IntCounterVec,
    pub(super) quota_evictions: Total,
    pub(super) revocations: IntGauge,
    pub(super) revocation_writes: IntCounterVec,
    pub(super) sessions_known: IntGauge,
    pub(super) generation: IntGauge,
    pub(super) predecessor_connections: IntGauge,
    pub(super) upstream_requests: IntCounterVec,
    pub(super) upstream_errors: IntCounterVec,
    pub(super) upstream_durations: HistogramVec,
    pub(super) upstream_retries: IntCounterVec,
    pub(super) servers_aside: IntGaugeVec,
    pub(super) bodies_unread: IntGaugeVec,
    pub(super) upstreams_down: IntGaugeVec,
    pub(super) connections: IntGaugeVec,
    pub(super) connections_accepted: IntCounterVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) connections_cut: IntCounterVec,
    pub(super) exchanges_ended: IntCounterVec,
    pub(super) descriptors: IntGaugeVec,
    pub(super) kept: IntGauge,
    pub(super) reloads: IntCounterVec,
    pub(super) reload_successful: IntGauge,
    pub(super) reload_time: Gauge,
    pub(super) policy: IntGaugeVec,
    pub(super) revocations_lost: IntGauge,
    pub(super) revocations_unkept: IntGauge,
    pub(super) journal_failing: IntGauge,
    pub(super) logs_failing: IntGauge,
    pub(super) tenants_missing: IntGauge,
    pub(super) access_log_dropped: Total,
    pub(super) log_dropped: Total,
    pub(super) admin_requests: IntCounterVec,
    pub(super) app_cookies: IntCounterVec,
    pub(super) clock_steps: IntCounter,
    pub(super) clock_step: Gauge,
    pub(super) session_key_uses: IntCounterVec,
    /// The keys that have a series.
    pub(super) session_keys: Mutex<BTreeSet<u16>>,
    pub(super) deny: DenySeries,
    pub(super) tls: TlsSeries,
    pub(super) acme: AcmeSeries,
    pub(super) key_sets: KeySetSeries,
    /// The Redis that nodes share.
    pub redis: RedisSeries,
    pub(super) tenants: Named<TenantSeries>,
    pub(super) upstreams: Named<UpstreamSeries>,
}

/// How many tenants have their own series.
pub(super) const TENANTS: usize = 100;

/// The statuses that the admin API answers with.
const ADMIN_CODES: [&str; 16] = [
    "200", "400", "401", "403", "404", "405", "408", "409", "411", "413", "415", "421", "422", "431", "500",
    "503",
];

/// How many upstreams have their own series.
pub(super) const UPSTREAMS: usize = 500;

/// From a fast pass through the gateway to a slow upstream, in seconds.
const REQUEST_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Metrics {
    /// Declares every metric, including the standard `process_` ones.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let declare = Declare::new(&registry);
        let request_durations = declare.histograms(
            "octroi_request_duration_seconds",
            "Seconds from the head of a request to the end of its response.",
            &["decision"],
            &REQUEST_BUCKETS,
        )?;
        let session_checks = declare.counters(
            "octroi_session_checks_total",
            "Requests that presented a session, by result: `valid`, or the reason code of the \
                 refusal.",
            &["result"],
        )?;
        let build = declare.gauges(
            "octroi_build_info",
            "Version of the running binary, in a label; the value is always 1.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let metrics = Self {
            requests: declare.counters(
                "octroi_requests_total",
                "Requests that ended, by status code, decision and tenant.",
                &["code", "decision", "tenant"],
            )?,
            durations: ["allow", "deny", "redirect"]
                .map(|decision| request_durations.with_label_values(&[decision])),
            decisions: declare.counters(
                "octroi_decisions_total",
                "Decisions about requests: one per request that passed, one per refusal, and one \
                 per finding that observe mode let pass.",
                &["check", "verdict", "reason", "mode", "tenant"],
            )?,
            session_valid: session_checks.with_label_values(&["valid"]),
            session_checks,
            session_events: declare.counters(
                "octroi_session_events_total",
                "Session and session cookie events, such as grants, renewals and revocations.",
                &["event"],
            )?,
            headers_dropped: declare.counters(
                "octroi_request_headers_dropped_total",
                "Request header fields that were removed before forwarding, by reason.",
                &["reason"],
            )?,
            quota_decisions: declare.counters(
                "octroi_quota_decisions_total",
                "Charges against quotas, by quota and verdict; `deny` and `observe` mean that the \
                 quota was exhausted.",
                &["quota", "verdict"],
            )?,
            quota_evictions: Total::new(declare.counter(
                "octroi_quota_evictions_total",
                "Quota entries that were evicted because the table was full; an evicted key \
                 starts again with a full quota.",
            )?),
            revocations: declare.gauge("octroi_revocations", "Revocations in force on this node.")?,
            revocation_writes: declare.counters(
                "octroi_revocation_writes_total",
                "Revocations made on this node, by result: `success`, `not_shared` (not in Redis \
                 yet), `failure` (not in the journal, so a restart loses it).",
                &["result"],
            )?,
            sessions_known: declare.gauge(
                "octroi_sessions_known",
                "Sessions that this node tracks; some of them may never be used again.",
            )?,
            generation: declare.gauge(
                "octroi_generation",
                "Number of this process in its chain of upgrades; 1 after a start without a \
                 predecessor.",
            )?,
            predecessor_connections: declare.gauge(
                "octroi_predecessor_connections",
                "Open connections of the previous process while it drains after an upgrade.",
            )?,
            upstream_requests: declare.counters(
                "octroi_upstream_requests_total",
                "Responses received from upstreams, by status code.",
                &["code", "upstream"],
            )?,
            upstream_errors: declare.counters(
                "octroi_upstream_errors_total",
                "Attempts to reach an upstream that failed without a usable response, by reason.",
                &["reason", "upstream"],
            )?,
            upstream_durations: declare.histograms(
                "octroi_upstream_duration_seconds",
                "Seconds from choosing a server to the head of its response.",
                &["upstream"],
                &REQUEST_BUCKETS,
            )?,
            servers_aside: declare.gauges(
                "octroi_upstream_server_aside",
                "Whether a server refuses connections and is skipped: 1 if so, else 0.",
                &["upstream", "server"],
            )?,
            upstreams_down: declare.gauges(
                "octroi_upstream_down",
                "Whether every server of an upstream refuses connections: 1 if so, else 0.",
                &["upstream"],
            )?,
            bodies_unread: declare.gauges(
                "octroi_upstream_bodies_unread",
                "Whether an upstream sent bytes after the response to a request with a body, \
                 which means that it does not read bodies: 1 if so, else 0.",
                &["upstream"],
            )?,
            upstream_retries: declare.counters(
                "octroi_upstream_retries_total",
                "Requests that were retried on an upstream.",
                &["upstream"],
            )?,
            connections: declare.gauges(
                "octroi_connections",
                "Client connections that are open now.",
                &["listener"],
            )?,
            connections_accepted: declare.counters(
                "octroi_connections_accepted_total",
                "Client connections that were accepted.",
                &["listener"],
            )?,
            connections_refused: declare.counters(
                "octroi_connections_refused_total",
                "Client connections that were refused before their first request, by reason.",
                &["listener", "reason"],
            )?,

            connections_cut: declare.counters(
                "octroi_connections_cut_total",
                "Connections or request bodies that a deadline or a ban cut, by reason.",
                &["listener", "reason"],
            )?,
            exchanges_ended: declare.counters(
                "octroi_exchanges_ended_total",
                "Exchanges in progress (WebSockets, uploads, responses) that were ended because \
                 their session, client or rule no longer allows them, by reason.",
                &["reason"],
            )?,
            descriptors: declare.gauges(
                "octroi_descriptors",
                "File descriptors held by connections, by side: to clients or to upstream servers.",
                &["of"],
            )?,
            kept: declare.gauge(
                "octroi_kept_bytes",
                "Bytes of request heads and responses buffered in memory for clients.",
            )?,
            reloads: declare.counters(
                "octroi_config_reload_total",
                "Configuration reloads, by result: `success` or `failure` (the policy stays as it \
                 was).",
                &["result"],
            )?,
            reload_successful: declare.gauge(
                "octroi_config_last_reload_successful",
                "Whether the last configuration reload succeeded: 1 if so, else 0.",
            )?,
            reload_time: declare.float(
                "octroi_config_last_reload_success_timestamp_seconds",
                "Unix time at which the policy in force was loaded, in seconds.",
            )?,
            policy: declare.gauges(
                "octroi_policy_info",
                "Revision of the policy in force, in a label; the value is always 1.",
                &["revision"],
            )?,
            revocations_lost: declare.gauge(
                "octroi_revocations_lost",
                "Whether the revocation journal was lost and no operator has accepted the loss, \
                 so that revoked sessions could be valid again: 1 if so, else 0.",
            )?,
            revocations_unkept: declare.gauge(
                "octroi_revocations_unkept",
                "Revocations in force that are not on disk because the journal cannot be written; \
                 a restart loses them.",
            )?,
            journal_failing: declare.gauge(
                "octroi_revocation_journal_failing",
                "Whether writing the revocation journal or its marker file fails: 1 if so, else 0.",
            )?,
            logs_failing: declare.gauge(
                "octroi_logs_failing",
                "Logs that drop lines, or whose file cannot be written, rotated or reopened; the \
                 process log counts as one.",
            )?,
            tenants_missing: declare.gauge(
                "octroi_tenants_missing",
                "Tenants known before the start whose file pattern matched nothing, until an \
                 operator confirms their removal.",
            )?,
            access_log_dropped: Total::new(declare.counter(
                "octroi_access_log_dropped_total",
                "Access log lines that were dropped because the queue was full or a sink failed.",
            )?),
            log_dropped: Total::new(declare.counter(
                "octroi_log_dropped_total",
                "Process log lines that were dropped because standard error did not accept them.",
            )?),
            admin_requests: declare.counters(
                "octroi_admin_requests_total",
                "Admin API calls that were answered, by status code.",
                &["code"],
            )?,
            app_cookies: declare.counters(
                "octroi_app_cookies_total",
                "Cookies in `Set-Cookie` fields of apps, by what was done with them.",
                &["fate"],
            )?,
            clock_steps: declare
                .counter("octroi_clock_steps_total", "Steps of the wall clock by more than 30 seconds.")?,
            clock_step: declare.float(
                "octroi_clock_step_seconds",
                "Seconds by which the wall clock is ahead of the trusted time; 0 while the wall \
                 clock itself is trusted.",
            )?,
            session_key_uses: declare.counters(
                "octroi_session_key_uses_total",
                "Requests with a valid session, by the number of the session key that opened it.",
                &["key"],
            )?,
            session_keys: Mutex::default(),
            deny: DenySeries::new(&declare)?,
            tls: TlsSeries::new(&declare)?,
            acme: AcmeSeries::new(&declare)?,
            key_sets: KeySetSeries::new(&declare)?,
            redis: RedisSeries::new(&declare)?,
            tenants: Named::new(TENANTS),
            upstreams: Named::new(UPSTREAMS),
            registry: registry.clone(),
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Creates the series of closed sets at 0, because `rate()` and `increase()` miss the first event of a
    /// series that begins at 1. Series of configured names are created with the policy:
    /// [`Metrics::policy_in_force`] and [`Metrics::listener`].
    fn begin_at_zero(&self) {
        for code in ADMIN_CODES {
            self.admin_requests.with_label_values(&[code]);
        }
        for result in RevocationWrite::ALL {
            self.revocation_writes.with_label_values(&[result.as_str()]);
        }
        for reason in Reason::ALL {
            if matches!(reason.stage(), Stage::Session | Stage::Revocation)
                && *reason != Reason::SessionMissing
            {
                self.session_checks.with_label_values(&[reason.code()]);
            }
            if matches!(
                reason.stage(),
                Stage::Tenant | Stage::IpAccess | Stage::Session | Stage::Member | Stage::Revocation
            ) {
                self.exchanges_ended.with_label_values(&[reason.code()]);
            }
        }
        for event in SessionEvent::ALL {
            self.session_events.with_label_values(&[event.as_str()]);
        }
        for fate in AppCookie::ALL {
            self.app_cookies.with_label_values(&[fate.as_str()]);
        }
        for reason in HeaderDrop::ALL {
            self.headers_dropped.with_label_values(&[reason.as_str()]);
        }
        for result in ["success", "failure"] {
            self.reloads.with_label_values(&[result]);
        }
    }

    /// Writes every metric in Prometheus' text format. The time grows with the number of series: keep it off
    /// the request threads.
    pub fn encode(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Alpn, Decision, QuotaVerdict, Reason, TenantName, TlsFacts, UnixTime};

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn touched() -> Metrics {
        let metrics = Metrics::new().unwrap();
        let (acme, public, app) = (tenant("acme"), "public".parse().unwrap(), "app".parse().unwrap());
        metrics.request(Some(&acme), 200, Decision::Allow, Duration::from_millis(3));
        metrics.request(None, 421, Decision::Deny(Reason::HostUnknown), Duration::from_micros(30));
        metrics.request(Some(&acme), 308, Decision::Redirect, Duration::from_micros(30));
        metrics.observed(Some(&acme), Reason::IpDenied);
        metrics.session_check(None);
        metrics.session_check(Some(Reason::SessionIdle));
        metrics.session(SessionEvent::Granted);
        metrics.sessions(SessionEvent::CookieLookalike, 2);
        metrics.headers_dropped(HeaderDrop::Underscore, 3);
        metrics.quota(&"per_client".parse().unwrap(), QuotaVerdict::Deny);
        metrics.quota_evictions(7);
        metrics.quota_evictions(5);
        metrics.session_keys([(1, 9), (2, 0)].into_iter());
        metrics.session_keys([(2, 5), (3, 0)].into_iter());
        metrics.revocations(4);
        metrics.sessions_known(5);
        metrics.with_upstream(&app, |series| {
            series.answer(200, Duration::from_millis(2));
            series.error(Reason::UpstreamConnect);
            series.retry();
        });
        metrics.connection_opened(&public);
        metrics.connection_opened(&public);
        metrics.connection_closed(&public);
        metrics.connection_refused(&public, "cap_client");
        metrics.handshake(
            &public,
            &TlsFacts {
                sni: None,
                version: "TLSv1.3",
                cipher: "",
                group: "X25519",
                alpn: Alpn::Http2,
                resumed: false,
                ja4: None,
            },
            Duration::from_millis(2),
        );
        metrics.handshake_failed(&public, "timeout");
        metrics.certificates([("acme.test", "acme.pem", UnixTime::from_secs(1_900_000_000), 1)]);
        metrics.certificates_ended(0);
        metrics.reload_succeeded();
        metrics.reload_failed();
        metrics.access_log_dropped(2);
        metrics.log_dropped(3);
        metrics.admin_request(403);
        metrics
    }

    #[test]
    fn every_event_is_counted_under_its_labels() {
        let text = touched().encode().unwrap();

        for line in [
            r#"octroi_requests_total{code="200",decision="allow",tenant="acme"} 1"#,
            r#"octroi_requests_total{code="421",decision="deny",tenant="-"} 1"#,
            r#"octroi_requests_total{code="308",decision="redirect",tenant="acme"} 1"#,
            r#"octroi_request_duration_seconds_count{decision="allow"} 1"#,
            r#"octroi_decisions_total{check="-",mode="enforce",reason="-",tenant="acme",verdict="allow"} 1"#,
            r#"octroi_decisions_total{check="tenant",mode="enforce",reason="host_unknown",tenant="-",verdict="deny"} 1"#,
            r#"octroi_decisions_total{check="ip_access",mode="observe",reason="ip_denied",tenant="acme",verdict="deny"} 1"#,
            r#"octroi_session_checks_total{result="session_idle"} 1"#,
            r#"octroi_session_events_total{event="granted"} 1"#,
            r#"octroi_session_events_total{event="cookie_lookalike"} 2"#,
            r#"octroi_session_events_total{event="revoked"} 0"#,
            r#"octroi_request_headers_dropped_total{reason="header_underscore"} 3"#,
            r#"octroi_quota_decisions_total{quota="per_client",verdict="deny"} 1"#,
            "octroi_quota_evictions_total 7",
            r#"octroi_session_key_uses_total{key="2"} 5"#,
            r#"octroi_session_key_uses_total{key="3"} 0"#,
            "octroi_revocations 4",
            "octroi_sessions_known 5",
            r#"octroi_upstream_requests_total{code="200",upstream="app"} 1"#,
            r#"octroi_upstream_errors_total{reason="upstream_connect",upstream="app"} 1"#,
            r#"octroi_upstream_duration_seconds_count{upstream="app"} 1"#,
            r#"octroi_upstream_retries_total{upstream="app"} 1"#,
            r#"octroi_connections{listener="public"} 1"#,
            r#"octroi_connections_accepted_total{listener="public"} 2"#,
            r#"octroi_connections_refused_total{listener="public",reason="cap_client"} 1"#,
            r#"octroi_tls_handshakes_total{alpn="h2",group="X25519",listener="public",result="full",version="TLSv1.3"} 1"#,
            r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="timeout",version="-"} 1"#,
            r#"octroi_tls_handshake_duration_seconds_count{listener="public"} 1"#,
            r#"octroi_tls_certificate_not_after_timestamp_seconds{file="acme.pem",name="acme.test"} 1900000000"#,
            r#"octroi_tls_certificate_chain_faults{file="acme.pem",name="acme.test"} 1"#,
            r#"octroi_config_reload_total{result="failure"} 1"#,
            "octroi_config_last_reload_successful 0",
            "octroi_access_log_dropped_total 2",
            "octroi_log_dropped_total 3",
            r#"octroi_admin_requests_total{code="403"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("octroi_build_info{version="));
        assert!(!text.contains(r#"{key="1"}"#), "a key that is gone");
    }

    #[test]
    fn names_follow_the_convention() {
        let metrics = touched();

        for family in metrics.registry.gather() {
            let (name, kind) = (family.name(), family.get_field_type());
            assert!(name.starts_with("octroi_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == prometheus::proto::MetricType::COUNTER, name.ends_with("_total"), "{name}");
            assert!(family.help().ends_with('.') || name.starts_with("process_"), "{name}");
        }
    }

    #[test]
    fn tenants_beyond_the_bound_share_a_label() {
        let metrics = Metrics::new().unwrap();

        for number in 0..TENANTS * 3 {
            metrics.request(Some(&tenant(&format!("t{number}"))), 200, Decision::Allow, Duration::ZERO);
        }

        let text = metrics.encode().unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("octroi_requests_total{")).count(),
            TENANTS + 1
        );
        assert!(text.contains(r#"octroi_requests_total{code="200",decision="allow",tenant="_other"} 200"#));
    }

    #[test]
    fn what_is_no_longer_configured_leaves_no_series() {
        let metrics = touched();

        metrics.tenants.retain(|name| name != "acme", TenantSeries::forget);
        metrics.upstreams.retain(|_| false, UpstreamSeries::forget);

        let text = metrics.encode().unwrap();
        assert!(!text.contains("acme\"") && !text.contains(r#"upstream="app""#), "{text}");
        assert!(text.contains(r#"tenant="-""#));
    }
}
