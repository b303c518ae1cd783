//! The alerts of deploy/prometheus/alerts.yaml can fire: every series that they ask for is there before its first event, and each has its
//! cases in tests/alerts.yaml, which promtool runs in `make suites`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]

mod harness;

use std::{fs, path::Path, process::Command};

use harness::{Octroi, Upstream, redis::Redis};

/// A rule that octroi ships.
struct Rule {
    name: String,
    expr: String,
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn rules() -> Vec<Rule> {
    let file = read("deploy/prometheus/alerts.yaml");
    let rules: Vec<Rule> = file
        .split("- alert: ")
        .skip(1)
        .map(|text| {
            let (name, rest) = text.split_once('\n').unwrap();
            let expr = rest.split_once("expr: ").unwrap().1;
            let end =
                ["\n        for:", "\n        annotations:"].iter().filter_map(|key| expr.find(key)).min();
            Rule { name: name.trim().to_owned(), expr: expr[..end.unwrap_or(expr.len())].to_owned() }
        })
        .collect();
    assert!(rules.len() > 20, "{}", rules.len());
    rules
}

/// Returns the series that an expression asks for: name, and what its labels must be.
fn selectors(expr: &str) -> Vec<(&str, Vec<&str>)> {
    let starts = expr.match_indices("octroi_").map(|(at, _)| at);
    let of = starts.map(|at| {
        let rest = &expr[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let labels = rest[end..].strip_prefix('{').map_or("", |labels| labels.split('}').next().unwrap());
        (&rest[..end], labels.split(',').map(str::trim).filter(|label| !label.is_empty()).collect())
    });
    of.collect()
}

/// Says whether a line of the metrics is of a series.
fn fits(line: &str, name: &str, labels: &[&str]) -> bool {
    let Some(rest) = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' '])) else {
        return false;
    };
    labels.iter().all(|label| match (label.split_once("!="), label.split_once("=~")) {
        (Some((key, value)), _) => !rest.contains(&format!("{key}={value}")),
        (None, Some((key, values))) => {
            values.trim_matches('"').split('|').any(|value| rest.contains(&format!("{key}=\"{value}\"")))
        }
        (None, None) => rest.contains(label),
    })
}

fn config(upstream: &Upstream, redis: u16) -> String {
    format!(
        r#"
version: 1
node: "${{NODE_NAME:-edge-0}}"
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "${{ADDRESS:-127.0.0.1}}:0", public_port: "${{SHOWN:-443}}", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "${{ADDRESS:-127.0.0.1}}:0"}}
access_log: [{{to: file, path: "${{LOG:-access}}.log"}}]
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: redis}}
  formats: [octroi, jwt]
  jwt:
    issuer: https://idp.test
    keys: [{{id: idp, jwks: {{url: "http://{upstream}/keys", refresh: 2h}}}}]
    claims: {{tenant: tenant}}
redis: {{url: "redis://127.0.0.1:{redis}/0"}}
upstreams:
  app: {{servers: [{{address: "{upstream}"}}]}}
quotas:
  per_client: {{by: client, rate: 100/s}}
  of_rule: {{by: client, rate: 100/s}}
routes:
  app: {{unmatched: public, rules: [{{path: /slow/, access: public, quotas: [of_rule]}}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app, quotas: [per_client]}}
"#,
        upstream = upstream.addr
    )
}

/// These have a tenant in them, and what their rules ask for lasts (`for`), so that the first scrape of a series does not matter.
const BY_TENANT: [&str; 2] = ["octroi_requests_total", "octroi_decisions_total"];
/// This has the code of an answer in it, and its rules count where there was none.
const BY_CODE: &str = "octroi_upstream_requests_total";
/// Gauges of what is configured, which it is not here: a client CA with a list, a staple, a chain with which something is wrong.
const CONFIGURED: [&str; 3] = [
    "octroi_crl_next_update_timestamp_seconds",
    "octroi_tls_ocsp_not_after_timestamp_seconds",
    "octroi_tls_certificate_chain_faults",
];

#[test]
fn every_series_of_an_alert_is_there_before_its_first_event() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let octroi = Octroi::start(&config(&upstream, redis.port));
    let metrics = octroi.metrics();

    let mut asked = 0;
    for rule in rules() {
        for (name, labels) in selectors(&rule.expr) {
            if BY_TENANT.contains(&name) || name == BY_CODE || CONFIGURED.contains(&name) {
                continue;
            }
            asked += 1;
            let lines: Vec<&str> = metrics.lines().filter(|line| fits(line, name, &labels)).collect();
            assert!(!lines.is_empty(), "{}: no {name} {labels:?} in\n{metrics}", rule.name);
            assert!(
                !name.ends_with("_total") || lines.iter().all(|line| line.ends_with(" 0")),
                "{}: {lines:?}",
                rule.name
            );
        }
    }
    assert!(asked > 25, "{asked}");
}

#[test]
fn counters_of_known_labels_begin_at_0() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let octroi = Octroi::start(&config(&upstream, redis.port));
    let metrics = octroi.metrics();

    for series in [
        r#"octroi_admin_requests_total{code="401"}"#,
        r#"octroi_admin_requests_total{code="503"}"#,
        r#"octroi_connections_accepted_total{listener="public"}"#,
        r#"octroi_connections_refused_total{listener="public",reason="cap_listener"}"#,
        r#"octroi_connections_refused_total{listener="plain",reason="banned"}"#,
        r#"octroi_connections_cut_total{listener="public",reason="timeout_head"}"#,
        r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="tls_timeout",version="-"}"#,
        r#"octroi_exchanges_ended_total{reason="session_revoked"}"#,
        r#"octroi_session_checks_total{result="session_invalid"}"#,
        r#"octroi_upstream_errors_total{reason="upstream_connect",upstream="app"}"#,
        r#"octroi_upstream_retries_total{upstream="app"}"#,
        r#"octroi_quota_decisions_total{quota="per_client",verdict="deny"}"#,
        r#"octroi_quota_decisions_total{quota="of_rule",verdict="observe"}"#,
        r#"octroi_key_set_fetches_total{result="unreachable",set="idp"}"#,
        r#"octroi_revocation_writes_total{result="failure"}"#,
    ] {
        assert!(metrics.lines().any(|line| line == format!("{series} 0")), "{series}\n{metrics}");
    }
    assert!(metrics.contains("\noctroi_key_set_refresh_seconds{set=\"idp\"} 7200\n"), "{metrics}");
    // No handshake fails where there is none, and a tenant has series once it was asked for.
    for series in [r#"listener="plain",result="tls_timeout""#, r#"octroi_decisions_total{check="session""#] {
        assert!(!metrics.contains(series), "{series}\n{metrics}");
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let cases = read("tests/alerts.yaml");
    for Rule { name, .. } in rules() {
        let after: Vec<&str> = cases
            .split(&format!("alertname: {name}"))
            .skip(1)
            .map(|rest| {
                rest.trim_start_matches(',')
                    .trim_start()
                    .strip_prefix("exp_alerts:")
                    .unwrap_or_else(|| panic!("{name}: {rest}"))
                    .trim_start()
            })
            .collect();
        assert!(after.iter().any(|expected| expected.starts_with("[]")), "{name} always fires");
        assert!(
            after.iter().any(|expected| expected.starts_with("[{") || expected.starts_with("- exp_labels")),
            "{name} never fires"
        );
    }
}

/// How many revocations of this node ended so: success, not_shared, failure.
fn writes(octroi: &Octroi) -> [f64; 3] {
    ["success", "not_shared", "failure"]
        .map(|result| octroi.metric(&format!("octroi_revocation_writes_total{{result=\"{result}\"}}")))
}

#[test]
fn a_revocation_that_redis_does_not_have_is_kept_and_one_that_the_disk_does_not_take_is_not() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let mut octroi = Octroi::prepared(&config(&upstream, redis.port));
    // A write beyond the bound on files is an error then, rather than the end of the process.
    octroi.run_under(&["env", "--ignore-signal=XFSZ"]);
    let revoke = || octroi.code(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    assert_eq!((revoke(), writes(&octroi)), (0, [1.0, 0.0, 0.0]));

    redis.kill();
    assert_eq!((revoke(), writes(&octroi)), (1, [1.0, 1.0, 0.0]));

    let length = fs::metadata(octroi.path().join("state/revocations.journal")).unwrap().len();
    let bound = format!("--fsize={length}:");
    assert!(
        Command::new("prlimit")
            .args(["--pid", &octroi.pid().to_string(), &bound])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!((revoke(), writes(&octroi)), (1, [1.0, 1.0, 1.0]));
    assert_eq!(danger(&octroi), [1.0, 1.0]);
    // Who cannot find the user's tenant is told so, and nothing was to be kept.
    assert_eq!(octroi.code(&["session", "revoke", "--tenant", "nobody"]), 1);
    assert_eq!(writes(&octroi), [1.0, 1.0, 1.0]);

    // The danger lasts as long as the disk takes nothing, however long ago the attempt was; and it ends by itself.
    assert_eq!(danger(&octroi), [1.0, 1.0]);
    assert!(
        Command::new("prlimit")
            .args(["--pid", &octroi.pid().to_string(), "--fsize=unlimited:"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!((revoke(), writes(&octroi)), (1, [1.0, 2.0, 1.0]));
    assert_eq!(danger(&octroi), [0.0, 0.0]);
}

/// What lasts of a revocation that is not on the disk.
fn danger(octroi: &Octroi) -> [f64; 2] {
    ["octroi_revocations_unkept", "octroi_revocation_journal_failing"].map(|name| octroi.metric(name))
}

#[test]
fn nodes_with_the_same_files_have_one_revision_whatever_their_names_and_addresses() {
    let upstream = Upstream::start();
    let without_redis = config(&upstream, 0)
        .replace("  revocation: {store: redis}\n", "")
        .replace("redis: {url", "# redis: {url");
    let mut octroi = Octroi::prepared(&without_redis);
    let mut as_node = |variables: &[(&'static str, &str)]| {
        octroi.env = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        octroi.run();
        let status = octroi.status().clone();
        assert!(
            octroi.metrics().contains(&format!("octroi_policy_info{{revision={}}} 1", status["revision"]))
        );
        octroi.signal("INT");
        octroi.wait();
        (status["node"].as_str().unwrap().to_owned(), status["revision"].as_str().unwrap().to_owned())
    };

    let (name, revision) = as_node(&[]);
    assert_eq!(name, "edge-0");
    assert_eq!(
        as_node(&[("NODE_NAME", "edge-1"), ("ADDRESS", "127.0.0.2"), ("LOG", "of-edge-1")]),
        ("edge-1".to_owned(), revision.clone())
    );
    // What clients see is one rule for all.
    assert_ne!(as_node(&[("NODE_NAME", "edge-1"), ("SHOWN", "8443")]).1, revision);
}
