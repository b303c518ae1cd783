//! What an event becomes: its access line and its metrics, one fixture for each kind in `tests/events/`.
//!
//! `BLESS=1` writes the fixtures anew. Names of fields and metrics are operators' contract: what changes there breaks
//! their tools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use octroi::{
    model::{
        AppCookie, Ban, BanCause, ClientIp, ConnectionChange, ConnectionChanged, CutReason, Decision, Deny,
        EdgeRefusal, Event, EventKind, FetchResult, HeaderDrop, Http2Error, HttpVersion, ListenerName,
        ManualClock, NodeChanged, OperatorActed, OrderResult, PolicyChanged, QuotaName, QuotaOutcomes,
        QuotaVerdict, Reason, RequestCounts, RequestEnded, RequestId, RevocationWrite, RouteId, RuleLocation,
        SessionChanged, SessionEvent, Stage, Step, TenantName, TlsFacts, UpstreamAttempted, UpstreamName,
        UpstreamOutcome, UserId,
    },
    policy::{AccessLog as LogRule, LogFormat, LogTarget},
    replay::Request,
    telemetry::{AccessLog, Metrics, Recorder},
};
use serde_json::{Value, json};
use support::*;

/// A recorder whose lines and metrics are read back.
struct Bench {
    dir: tempfile::TempDir,
    metrics: Arc<Metrics>,
    recorder: Recorder,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let to = LogTarget::File { path: dir.path().join("access.log"), rotate: None };
        let log = Arc::new(AccessLog::open(&[LogRule { to, format: LogFormat::Json }], "edge-1").unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let clock = Arc::new(ManualClock::new(NOW));
        let recorder = Recorder::new("r1", log, Arc::clone(&metrics), clock);
        Self { dir, metrics, recorder }
    }

    /// Returns the series with their values, without those that time makes.
    fn series(&self) -> BTreeMap<String, String> {
        let text = self.metrics.encode().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("octroi_") && !line.contains("_bucket{"));
        lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// Records events, and returns their lines and the series that they changed.
    fn record(self, kinds: &[EventKind<'_>]) -> Value {
        let before = self.series();
        for what in kinds {
            self.recorder.record(&Event { time: NOW, revision: "r1", what: *what });
        }
        self.recorder.write_last_refusals();
        let after = self.series();
        assert!(self.recorder.log().close(Duration::from_secs(20)));
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let changed: Vec<String> = after
            .iter()
            .filter(|(name, value)| before.get(*name).map_or("0", String::as_str) != value.as_str())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        json!({ "lines": lines, "metrics": changed })
    }
}

#[derive(Debug)]
struct Quotas(Vec<(QuotaName, QuotaVerdict)>);

impl QuotaOutcomes for Quotas {
    fn for_each(&self, see: &mut dyn FnMut(&QuotaName, QuotaVerdict)) {
        self.0.iter().for_each(|(name, verdict)| see(name, *verdict));
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events")
}

/// Compares what events become with the fixture of that name.
fn check(name: &str, kinds: &[EventKind<'_>], seen: &mut BTreeSet<String>) {
    let path = folder().join(format!("{name}.json"));
    let found = serde_json::to_string_pretty(&Bench::new().record(kinds)).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{name}; BLESS=1 writes it anew");
    assert!(seen.insert(format!("{name}.json")));
}

#[test]
fn every_kind_of_event_has_its_line_and_its_metrics() {
    let mut seen = BTreeSet::new();
    requests(&mut seen);
    connections(&mut seen);
    operators(&mut seen);
    for change in SessionEvent::ALL {
        let (tenant, user): (TenantName, UserId) = ("acme".parse().unwrap(), "alice".parse().unwrap());
        let changed = SessionChanged { tenant: Some(&tenant), user: Some(&user), change };
        check(&format!("session_{}", change.as_str()), &[EventKind::Session(&changed)], &mut seen);
    }
    check("policy_loaded", &[EventKind::Policy(PolicyChanged::Loaded)], &mut seen);
    check("policy_refused", &[EventKind::Policy(PolicyChanged::Refused)], &mut seen);
    node(&mut seen);

    let files = fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> =
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, seen, "fixtures without an event, and events without a fixture");
}

fn requests(seen: &mut BTreeSet<String>) {
    let (id, described) = (RequestId::new(1, 2), get("https://acme.test/a?secret=1"));
    let (tenant, member): (TenantName, TenantName) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    let (user, route): (UserId, RouteId) = ("alice".parse().unwrap(), RouteId::new("/a"));
    let upstream: UpstreamName = "app".parse().unwrap();
    let quotas = Quotas(vec![
        ("per_client".parse().unwrap(), QuotaVerdict::Allow),
        ("per_user".parse().unwrap(), QuotaVerdict::Observe),
    ]);
    let mut counts = RequestCounts::default();
    (counts.cookie_lookalikes, counts.cookies_cleared) = (2, 1);
    counts.drop_headers(HeaderDrop::Spoofed, 3);
    counts.set_cookie(AppCookie::Kept);
    let observed = Step {
        stage: Stage::IpAccess,
        deny: Some(Deny::new(Reason::IpDenied, "192.0.2.7 is in 192.0.2.0/24")),
        observed: true,
        note: None,
    };
    let none = Deny::new(Reason::Internal, "");
    let served = RequestEnded {
        began: true,
        method: Some(b"GET"),
        target: Some(&described.target),
        version: Some(HttpVersion::Http11),
        host: Some(b"acme.test"),
        user_agent: Some(b"test/1"),
        referer: Some(b"https://acme.test/b?c=d"),
        tenant: Some(&tenant),
        member: Some(&member),
        route: Some(&route),
        session: Some("0123456789abcdef"),
        user: Some(&user),
        session_held: true,
        decision: Decision::Allow,
        deny: None,
        steps: &[observed],
        quotas: &quotas,
        status: Some(200),
        bytes_in: 3,
        bytes_out: Some(5),
        duration: Duration::from_millis(7),
        upstream: Some(UpstreamOutcome {
            name: &upstream,
            attempt: Some(UpstreamAttempted {
                server: "127.0.0.1:9000",
                status: Some(200),
                duration: Some(Duration::from_millis(4)),
                tries: 2,
            }),
        }),
        counts,
        ..RequestEnded::early(&id, &described.facts, &none)
    };
    check("request_served", &[EventKind::Request(&served)], seen);

    let file = Path::new("conf/octroi.yaml");
    let deny = Deny::new(Reason::IpDenied, "192.0.2.7 is in 192.0.2.0/24");
    let denied = RequestEnded {
        decision: Decision::Deny(deny.reason),
        deny: Some(&deny),
        rule: Some(RuleLocation { file: Some(file), line: 41 }),
        steps: &[],
        status: Some(403),
        reset: Some((5, Http2Error::Protocol)),
        session_held: false,
        upstream: None,
        counts: RequestCounts::default(),
        ..served
    };
    check("request_denied", &[EventKind::Request(&denied)], seen);

    let fault = Deny::new(Reason::SessionIdle, "the session was idle for too long");
    let without = RequestEnded { session_fault: Some(&fault), session_held: false, steps: &[], ..served };
    check("request_without_its_session", &[EventKind::Request(&without)], seen);

    let unreachable = Deny::new(Reason::UpstreamConnect, "no server takes connections");
    let failed = RequestEnded {
        decision: Decision::Deny(unreachable.reason),
        deny: Some(&unreachable),
        status: Some(502),
        upstream: Some(UpstreamOutcome { name: &upstream, attempt: None }),
        ..denied
    };
    check("request_without_an_upstream", &[EventKind::Request(&failed)], seen);

    let ended = Deny::new(Reason::SessionRevoked, "the session was ended");
    let ended = RequestEnded {
        decision: Decision::Deny(ended.reason),
        deny: Some(&ended),
        ended_under_way: true,
        ..served
    };
    check("request_ended_under_way", &[EventKind::Request(&ended)], seen);

    let challenge = RequestEnded { deny: None, is_challenge: true, decision: Decision::Allow, ..denied };
    let challenge = RequestEnded { reset: None, rule: None, status: Some(200), ..challenge };
    check("request_acme_challenge", &[EventKind::Request(&challenge)], seen);

    let large = Deny::new(Reason::HeadTooLarge, "the head has no end within the limit");
    let early = RequestEnded {
        method: Some(b"GET"),
        target: Some(b"/x"),
        status: Some(431),
        duration: Duration::from_millis(9),
        ..RequestEnded::early(&id, &described.facts, &large)
    };
    check("request_refused_early", &[EventKind::Request(&early)], seen);

    let abuse = Deny::new(Reason::H2Abuse, "more than 100 `resets`");
    let abuse = RequestEnded {
        ends_connection: true,
        version: Some(HttpVersion::Http2),
        ..RequestEnded::early(&id, &described.facts, &abuse)
    };
    check("request_that_ends_its_connection", &[EventKind::Request(&abuse)], seen);
}

fn connections(seen: &mut BTreeSet<String>) {
    let listener: ListenerName = "public".parse().unwrap();
    let peer: SocketAddr = "192.0.2.7:50000".parse().unwrap();
    let mut one = |name: &str, changes: &[ConnectionChange<'_>]| {
        let changes: Vec<ConnectionChanged<'_>> =
            changes.iter().map(|change| ConnectionChanged { listener: &listener, change: *change }).collect();
        let kinds: Vec<EventKind<'_>> = changes.iter().map(EventKind::Connection).collect();
        check(&format!("connection_{name}"), &kinds, seen);
    };
    one("opened", &[ConnectionChange::Opened]);
    one("closed", &[ConnectionChange::Opened, ConnectionChange::Closed]);
    let denied =
        ConnectionChange::Refused { peer, refusal: EdgeRefusal::Denied, detail: "deny.txt:3", ban: None };
    // The second is like the first: it is counted in a line of its own.
    one("refused", &[denied, denied]);
    let aborted = ConnectionChange::Refused { peer, refusal: EdgeRefusal::TlsAborted, detail: "", ban: None };
    one("refused_in_its_handshake", &[aborted]);
    let ban = Ban {
        client: ClientIp::from(peer.ip()).prefix(),
        left: Duration::from_secs(60),
        cause: BanCause::Operator(Some("scans".to_owned())),
    };
    let banned =
        ConnectionChange::Refused { peer, refusal: EdgeRefusal::Banned, detail: "", ban: Some(&ban) };
    one("banned", &[banned]);
    let facts = get("https://acme.test/").facts;
    let tls: &TlsFacts = facts.tls().unwrap();
    one("secured", &[ConnectionChange::Secured { tls, took: Duration::from_millis(2) }]);
    let host = "acme.test".parse().unwrap();
    one("host_proven", &[ConnectionChange::HostProven { peer, host: &host }]);
    one("cut", &[ConnectionChange::Cut(CutReason::Idle)]);
}

fn operators(seen: &mut BTreeSet<String>) {
    let call = OperatorActed {
        peer: Some("192.0.2.7:50000".parse().unwrap()),
        principal: Some("alice"),
        method: Some("POST"),
        path: Some("/v1/reload"),
        status: 200,
        reason: None,
        duration: Duration::from_millis(3),
        detail: None,
    };
    check("operator_acted", &[EventKind::Operator(&call)], seen);
    let refused = OperatorActed {
        peer: None,
        principal: Some("local:1"),
        status: 403,
        reason: Some("forbidden"),
        detail: Some("the role does not allow it"),
        ..call
    };
    check("operator_refused", &[EventKind::Operator(&refused)], seen);
}

fn node(seen: &mut BTreeSet<String>) {
    let client = ClientIp::from("192.0.2.7".parse::<std::net::IpAddr>().unwrap()).prefix();
    let (protocol, operator) = (BanCause::Protocol("protocol"), BanCause::Operator(None));
    let mut one = |name: &str, node: NodeChanged<'_>| {
        check(&format!("node_{name}"), &[EventKind::Node(node)], seen);
    };
    one("banned_for_the_protocol", NodeChanged::Banned { client, cause: &protocol });
    one("banned_by_an_operator", NodeChanged::Banned { client, cause: &operator });
    for result in RevocationWrite::ALL {
        one(&format!("revocation_{}", result.as_str()), NodeChanged::RevocationWritten(result));
    }
    one("clock_stepped", NodeChanged::ClockStepped);
    one("certificates_renewed", NodeChanged::CertificatesRenewed { count: 2 });
    one("certificate_refused", NodeChanged::CertificateRefused);
    one("certificate_had", NodeChanged::CertificateOrdered(OrderResult::Success));
    one("certificate_not_had", NodeChanged::CertificateOrdered(OrderResult::RateLimited));
    one("key_set_fetched", NodeChanged::KeySetFetched { set: "idp", result: FetchResult::Success });
    one("key_set_not_fetched", NodeChanged::KeySetFetched { set: "idp", result: FetchResult::Unreachable });
}

/// What was recorded of a request is enough to judge it again, but for its credentials, which nobody records.
#[test]
fn a_recorded_request_is_judged_again_as_it_was() {
    let policy = policy(vec![tenant("acme", &["acme.test"])]);
    for version in [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2] {
        let mut asked = get("https://acme.test/a/b?c=d");
        asked.version = version;
        let host = http::HeaderValue::from_static("acme.test");
        asked.authority = (version == HttpVersion::Http2).then(|| "acme.test".to_owned());
        match version {
            HttpVersion::Http2 => drop(asked.headers.remove("host")),
            HttpVersion::Http10 | HttpVersion::Http11 => drop(asked.headers.insert("host", host)),
        }
        asked.headers.insert("user-agent", http::HeaderValue::from_static("test/1"));
        asked.headers.insert("referer", http::HeaderValue::from_static("https://acme.test/"));
        asked.write_head();
        let (id, none) = (RequestId::new(1, 2), Deny::new(Reason::Internal, ""));
        let ended = RequestEnded {
            method: Some(asked.method.as_bytes()),
            target: Some(&asked.target),
            version: Some(version),
            host: Some(b"acme.test"),
            user_agent: Some(b"test/1"),
            referer: Some(b"https://acme.test/"),
            ..RequestEnded::early(&id, &asked.facts, &none)
        };

        let again: Request = (&ended).into();

        assert_eq!(again.facts, asked.facts);
        assert_eq!((again.version, &again.method, &again.target), (version, &asked.method, &asked.target));
        assert_eq!(
            (&again.authority, &again.headers, &again.head),
            (&asked.authority, &asked.headers, &asked.head)
        );
        let verdict = |request: &Request| judged(request, &policy).verdict.map(|_| ());
        assert_eq!(verdict(&again), verdict(&asked), "{version:?}");
    }
}
