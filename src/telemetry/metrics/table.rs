//! Every metric: name, unit, help text and labels, declared once.
//!
//! Labels come from closed sets and configured names only, so strangers cannot make series. An unknown tenant
//! is `-`; tenants beyond the first hundred that are asked for share `_other`.

use std::{collections::BTreeSet, sync::Mutex};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use super::{
    declare::{Declare, Total},
    named::Named,
    redis::RedisSeries,
    series::{TenantSeries, UpstreamSeries},
};
use crate::{
    model::{AppCookie, HeaderDrop, OrderResult, Reason, RevocationWrite, SessionEvent, Stage},
    policy::AcmeChallenge,
};

/// Why metrics cannot be set up or told.
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
    pub(super) bans: IntGauge,
    pub(super) bans_made: IntCounterVec,
    pub(super) bans_missed: Total,
    pub(super) descriptors: IntGaugeVec,
    pub(super) kept: IntGauge,
    pub(super) denied_ranges: IntGaugeVec,
    pub(super) deny_files_refused: IntGauge,
    pub(super) handshakes: IntCounterVec,
    pub(super) handshake_durations: HistogramVec,
    pub(super) certificates: IntGaugeVec,
    pub(super) certificates_ended: IntGauge,
    pub(super) chain_faults: IntGaugeVec,
    pub(super) crls: IntGaugeVec,
    pub(super) client_trust_lapsed: IntGauge,
    pub(super) acme_challenges: IntCounterVec,
    pub(super) acme_orders: IntCounterVec,
    pub(super) acme_last_success: IntGauge,
    pub(super) acme_next_attempt: IntGauge,
    pub(super) acme_missing: IntGauge,
    pub(super) acme_failing: IntGauge,
    pub(super) key_set_fetches: IntCounterVec,
    pub(super) key_set_times: IntGaugeVec,
    pub(super) key_set_keys: IntGaugeVec,
    pub(super) key_set_refresh: GaugeVec,
    pub(super) staples: IntGaugeVec,
    pub(super) certificate_reloads: IntCounterVec,
    pub(super) certificates_refused: IntGauge,
    pub(super) certificates_out: IntGauge,
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
    /// The store that nodes share.
    pub redis: RedisSeries,
    pub(super) tenants: Named<TenantSeries>,
    pub(super) upstreams: Named<UpstreamSeries>,
}

/// How many tenants have series of their own.
pub(super) const TENANTS: usize = 100;

/// The statuses that the admin API answers with.
const ADMIN_CODES: [&str; 16] = [
    "200", "400", "401", "403", "404", "405", "408", "409", "411", "413", "415", "421", "422", "431", "500",
    "503",
];

/// How many upstreams have series of their own.
pub(super) const UPSTREAMS: usize = 500;

/// From well under a pass through the gateway to a slow upstream, in seconds.
const REQUEST_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// From a resumed handshake to the default deadline, in seconds.
const HANDSHAKE_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

impl Metrics {
    /// Declares every metric, with the process's own.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let declare = Declare::new(&registry);
        let request_durations = declare.histograms(
            "octroi_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            &["decision"],
            &REQUEST_BUCKETS,
        )?;
        let session_checks = declare.counters(
            "octroi_session_checks_total",
            "Sessions that were presented, by what was found: valid, or the reason why not.",
            &["result"],
        )?;
        let build = declare.gauges("octroi_build_info", "The version that runs; always 1.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let metrics = Self {
            requests: declare.counters("octroi_requests_total", "Requests that ended.", &["code", "decision", "tenant"])?,
            durations: ["allow", "deny", "redirect"].map(|decision| request_durations.with_label_values(&[decision])),
            decisions: declare.counters(
                "octroi_decisions_total",
                "Decisions: each refusal by check and reason, what observe mode let pass, and requests that passed.",
                &["check", "verdict", "reason", "mode", "tenant"],
            )?,
            session_valid: session_checks.with_label_values(&["valid"]),
            session_checks,
            session_events: declare.counters("octroi_session_events_total", "What happened to sessions and their cookies.", &["event"])?,
            headers_dropped: declare.counters(
                "octroi_request_headers_dropped_total",
                "Request fields that were not forwarded.",
                &["reason"],
            )?,
            quota_decisions: declare.counters("octroi_quota_decisions_total", "What quotas said.", &["quota", "verdict"])?,
            quota_evictions: Total::new(
                declare.counter(
                    "octroi_quota_evictions_total",
                    "Quota entries that made room for others; each of them was forgotten early.",
                )?,
            ),
            revocations: declare.gauge("octroi_revocations", "Revocations in force.")?,
            revocation_writes: declare.counters(
                "octroi_revocation_writes_total",
                "Revocations of this node: success, not_shared (Redis does not have it yet), failure (the journal did not take it).",
                &["result"],
            )?,
            sessions_known: declare
                .gauge("octroi_sessions_known", "Sessions that this node keeps count of; some of them may rest for good.")?,
            generation: declare.gauge(
                "octroi_generation",
                "How many processes have served since one was started without a predecessor, this one counted.",
            )?,
            predecessor_connections: declare
                .gauge("octroi_predecessor_connections", "Connections that the predecessor still has, while it drains.")?,
            upstream_requests: declare.counters("octroi_upstream_requests_total", "Answers of upstreams.", &["code", "upstream"])?,
            upstream_errors: declare.counters(
                "octroi_upstream_errors_total",
                "Attempts at upstreams that brought no answer.",
                &["reason", "upstream"],
            )?,
            upstream_durations: declare.histograms(
                "octroi_upstream_duration_seconds",
                "Time from choosing a server to the head of its answer.",
                &["upstream"],
                &REQUEST_BUCKETS,
            )?,
            servers_aside: declare.gauges(
                "octroi_upstream_server_aside",
                "Whether a server takes no connections and is left aside: 1 or 0.",
                &["upstream", "server"],
            )?,
            upstreams_down: declare.gauges(
                "octroi_upstream_down",
                "Whether none of an upstream's servers takes connections: 1 or 0.",
                &["upstream"],
            )?,
            bodies_unread: declare.gauges(
                "octroi_upstream_bodies_unread",
                "Whether octets came behind the answer to a request with a body, so that an upstream does not read bodies: 1 or 0.",
                &["upstream"],
            )?,
            upstream_retries: declare.counters(
                "octroi_upstream_retries_total",
                "Requests that were sent to an upstream again.",
                &["upstream"],
            )?,
            connections: declare.gauges("octroi_connections", "Connections open now.", &["listener"])?,
            connections_accepted: declare.counters("octroi_connections_accepted_total", "Connections that were taken.", &["listener"])?,
            connections_refused: declare.counters(
                "octroi_connections_refused_total",
                "Connections that were refused before any request.",
                &["listener", "reason"],
            )?,

            connections_cut: declare.counters(
                "octroi_connections_cut_total",
                "Connections, or the reading of one, that a deadline or a ban ended.",
                &["listener", "reason"],
            )?,
            exchanges_ended: declare.counters(
                "octroi_exchanges_ended_total",
                "Exchanges under way (WebSockets, uploads, answers) that were ended because who asked may not go on.",
                &["reason"],
            )?,
            bans: declare.gauge("octroi_bans", "Bans in force.")?,
            bans_made: declare.counters("octroi_bans_total", "Bans, by what they came of.", &["cause"])?,
            bans_missed: Total::new(declare.counter(
                "octroi_ban_offences_missed_total",
                "Offences that were not counted, because the table was full of banned clients.",
            )?),
            descriptors: declare.gauges(
                "octroi_descriptors",
                "Open files that connections hold: those of clients, and those to servers of upstreams.",
                &["of"],
            )?,
            kept: declare.gauge("octroi_kept_bytes", "Heads and answers that are kept for clients which have not taken them.")?,
            denied_ranges: declare.gauges("octroi_denied_ranges", "Ranges that a listener drops.", &["listener"])?,
            deny_files_refused: declare.gauge(
                "octroi_deny_files_refused",
                "Files of ranges that are refused as they stand on the disk; what they held before stays in force.",
            )?,
            handshakes: declare.counters(
                "octroi_tls_handshakes_total",
                "TLS handshakes: full, resumed, or why they failed; of those that succeeded, what was agreed on.",
                &["listener", "result", "version", "group", "alpn"],
            )?,
            handshake_durations: declare.histograms(
                "octroi_tls_handshake_duration_seconds",
                "Time of a TLS handshake that succeeded.",
                &["listener"],
                &HANDSHAKE_BUCKETS,
            )?,
            certificates: declare.gauges(
                "octroi_tls_certificate_not_after_timestamp_seconds",
                "When a certificate expires, in seconds since 1970.",
                &["name", "file"],
            )?,
            certificates_ended: declare
                .gauge("octroi_tls_certificates_ended", "Certificates that have expired: they are served on, and clients refuse them.")?,
            chain_faults: declare.gauges(
                "octroi_tls_certificate_chain_faults",
                "What is wrong with the chain that a certificate is shown with: order, gap, foreign or expired certificates.",
                &["name", "file"],
            )?,
            crls: declare.gauges(
                "octroi_crl_next_update_timestamp_seconds",
                "When the first revocation list of a tenant's client CAs ends, in seconds since 1970.",
                &["tenant"],
            )?,
            client_trust_lapsed: declare.gauge(
                "octroi_client_trust_lapsed",
                "Tenants of whose client CAs or their revocation lists one has ended: the certificates that it concerns are refused.",
            )?,
            acme_challenges: declare.counters("octroi_acme_challenges_total", "Answers to CAs that prove our hosts.", &["challenge"])?,
            acme_orders: declare.counters(
                "octroi_acme_orders_total",
                "Orders of certificates: success, or why there is none.",
                &["result"],
            )?,
            acme_last_success: declare.gauge(
                "octroi_acme_last_success_timestamp_seconds",
                "When a certificate was last had by ACME, in seconds since 1970; 0: not since the start.",
            )?,
            acme_next_attempt: declare.gauge(
                "octroi_acme_next_attempt_timestamp_seconds",
                "When the next order by ACME is due, in seconds since 1970; 0: never.",
            )?,
            acme_missing: declare.gauge(
                "octroi_acme_certificates_missing",
                "Certificates by ACME that are wanted and not there: their hosts are not served over TLS.",
            )?,
            acme_failing: declare.gauge(
                "octroi_acme_certificates_failing",
                "Certificates by ACME whose last order failed; what is in use, if anything is, ends some day.",
            )?,
            key_set_fetches: declare.counters(
                "octroi_key_set_fetches_total",
                "Fetches of the keys that an issuer publishes: success, or why they were not had.",
                &["set", "result"],
            )?,
            key_set_times: declare.gauges(
                "octroi_key_set_fetched_timestamp_seconds",
                "When the keys that an issuer publishes were last had, in seconds since 1970; 0: never.",
                &["set"],
            )?,
            key_set_keys: declare.gauges(
                "octroi_key_set_keys",
                "Keys of an issuer that count now; 0: its tokens are refused.",
                &["set"],
            )?,
            key_set_refresh: declare.floats(
                "octroi_key_set_refresh_seconds",
                "How often the keys of an issuer are to be fetched: `refresh` of the policy in force.",
                &["set"],
            )?,
            staples: declare.gauges(
                "octroi_tls_ocsp_not_after_timestamp_seconds",
                "When the OCSP answer that is stapled ends, in seconds since 1970; 0 while none is.",
                &["name"],
            )?,
            certificate_reloads: declare.counters(
                "octroi_tls_certificate_reloads_total",
                "Certificates that changed on disk: taken into force, or refused.",
                &["result"],
            )?,
            certificates_refused: declare.gauge(
                "octroi_tls_certificates_refused",
                "Files of TLS on disk that cannot be used; what was read before them is in force.",
            )?,
            certificates_out: declare.gauge(
                "octroi_tls_certificates_out",
                "Certificates that cannot be used while nothing is in force in their place: hosts that no other one is for are not served.",
            )?,
            reloads: declare.counters("octroi_config_reload_total", "Reloads of the configuration.", &["result"])?,
            reload_successful: declare.gauge("octroi_config_last_reload_successful", "Whether the last reload was well: 1 or 0.")?,
            reload_time: declare.float(
                "octroi_config_last_reload_success_timestamp_seconds",
                "When the policy in force was loaded, in seconds since 1970.",
            )?,
            policy: declare.gauges("octroi_policy_info", "The revision of the policy in force; always 1.", &["revision"])?,
            revocations_lost: declare.gauge(
                "octroi_revocations_lost",
                "Whether the revocation journal was lost, nobody has accepted that, and sessions from before could live on: 1 or 0.",
            )?,
            revocations_unkept: declare.gauge(
                "octroi_revocations_unkept",
                "Revocations that are in force and not on the disk, because the journal cannot be written: a restart forgets them.",
            )?,
            journal_failing: declare.gauge(
                "octroi_revocation_journal_failing",
                "Whether the revocation journal or the mark beside it cannot be written: 1 or 0.",
            )?,
            logs_failing: declare.gauge(
                "octroi_logs_failing",
                "Logs that lose lines, or whose file cannot be written, rotated or opened again; octroi's own is one.",
            )?,
            tenants_missing: declare.gauge(
                "octroi_tenants_missing",
                "Tenants from before a start with a pattern of tenant files that fitted nothing, as long as nobody has confirmed it.",
            )?,
            access_log_dropped: Total::new(declare.counter("octroi_access_log_dropped_total", "Access lines that were lost.")?),
            log_dropped: Total::new(
                declare.counter("octroi_log_dropped_total", "Lines of octroi's own log that were lost: standard error took nothing.")?,
            ),
            admin_requests: declare.counters("octroi_admin_requests_total", "Calls of the admin API.", &["code"])?,
            app_cookies: declare.counters("octroi_app_cookies_total", "Cookies that apps set, by what became of them.", &["fate"])?,
            clock_steps: declare.counter("octroi_clock_steps_total", "How often the wall clock was set by more than 30 seconds.")?,
            clock_step: declare.float(
                "octroi_clock_step_seconds",
                "What the wall clock is ahead of the time that is believed, in seconds; 0 while it is believed itself.",
            )?,
            session_key_uses: declare.counters(
                "octroi_session_key_uses_total",
                "Requests whose session was opened with a key and held, by the key's number.",
                &["key"],
            )?,
            session_keys: Mutex::default(),
            redis: RedisSeries::new(&declare)?,
            tenants: Named::new(TENANTS),
            upstreams: Named::new(UPSTREAMS),
            registry: registry.clone(),
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Makes the series of closed sets, so that a first event is a rise from 0: `rate()` and `increase()` do
    /// not see a series that begins at 1. Those of configured names are made with the policy:
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
        for challenge in AcmeChallenge::ALL {
            self.acme_challenges.with_label_values(&[challenge.as_str()]);
        }
        for result in OrderResult::ALL {
            self.acme_orders.with_label_values(&[result.as_str()]);
        }
        for cause in ["protocol", "operator"] {
            self.bans_made.with_label_values(&[cause]);
        }
        for result in ["success", "failure"] {
            self.reloads.with_label_values(&[result]);
            self.certificate_reloads.with_label_values(&[result]);
        }
    }

    /// Tells every metric in Prometheus's text format. Takes as long as there are series: keep it off the
    /// request threads.
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
