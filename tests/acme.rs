//! Certificates by ACME, end to end: the real program, and Pebble as the CA.

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

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use harness::wait;
use harness::{
    Curl, Octroi, Upstream,
    client::{exchange, raw},
    pebble::{PATIENCE, Pebble, is_private},
};

/// A gateway whose ports Pebble knows. `entry` are keys of the `acme` entry, `tenants` those of `tenants`.
fn config(upstream: &Upstream, pebble: &Pebble, entry: &str, tenants: &str) -> String {
    format!(
        r#"
version: 1
node: edge-1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:{}", tls: {{}}}}
  - {{name: http, address: "127.0.0.1:{}", redirect_to_https: 443}}
metrics: {{address: "127.0.0.1:0"}}
tls:
  certificates:
    - acme: {{directory: "{}", ca: "{}", retry_after: 1s{entry}}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants: {tenants}
"#,
        pebble.tls,
        pebble.http,
        pebble.directory(),
        pebble.ca().display(),
        upstream.addr
    )
}

const ACME: &str = "\n  acme: {hosts: [acme.test], upstream: app, routes: app}";
const TWO_HOSTS: &str = "\n  acme: {hosts: [acme.test, www.acme.test], upstream: app, routes: app}";

/// Waits as long as an order may take.
fn eventually<T>(what: &str, octroi: &Octroi, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    wait::eventually_within(2 * PATIENCE, what, || {
        let found = ask();
        let is_late = found.is_none() && Instant::now() > deadline;
        assert!(!is_late, "not in time: {what}\n{}", octroi.printed().join("\n"));
        found
    })
}

/// Waits until a host is served with a certificate that the root vouches for.
fn served(octroi: &Octroi, root: &Path, host: &str) {
    let ask = || Curl::new(octroi.addr("public"), host, "/x").cacert(root).get();
    eventually(&format!("{host} is served"), octroi, || (ask().status == 200).then_some(()));
}

/// Returns when the certificate of acme.test ends, as the metrics say.
fn not_after(octroi: &Octroi) -> f64 {
    let metrics = octroi.metrics();
    let ends = |line: &&str| {
        line.starts_with("octroi_tls_certificate_not_after_timestamp_seconds{")
            && line.contains("name=\"acme.test\"")
    };
    metrics.lines().find(ends).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

fn orders(octroi: &Octroi, result: &str) -> f64 {
    octroi.metric(&format!(r#"octroi_acme_orders_total{{result="{result}"}}"#))
}

fn stored(octroi: &Octroi, id: &str) -> PathBuf {
    octroi.path().join(format!("state/acme/certificates/{id}.pem"))
}

/// Waits for a line of the program's own log that holds all of this.
fn said(octroi: &Octroi, parts: &[&str]) -> String {
    eventually(&format!("a line with {parts:?}"), octroi, || {
        octroi
            .printed()
            .into_iter()
            .find(|line| line.starts_with("err: ") && parts.iter().all(|part| line.contains(part)))
    })
}

#[test]
fn a_certificate_for_several_hosts_is_had_by_tls_alpn_01_kept_and_used_again() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    pebble.start();
    let mut octroi = Octroi::prepared(&config(
        &upstream,
        &pebble,
        r#", contact: "mailto:ops@example.test", challenge: tls-alpn-01"#,
        TWO_HOSTS,
    ));
    octroi.run();
    let root = pebble.root();

    said(&octroi, &["no certificate yet", "tenants/acme", "acme.test www.acme.test"]);
    served(&octroi, &root, "acme.test");
    served(&octroi, &root, "www.acme.test");

    let line = octroi.access_line(|line| line["reason"] == "acme_challenge");
    assert_eq!(
        (&line["event"], &line["decision"], &line["listener"]),
        (&"connection".into(), &"allow".into(), &"public".into()),
        "{line}"
    );
    // Pebble looks three times at each of the two hosts.
    assert!(octroi.metric(r#"octroi_acme_challenges_total{challenge="tls-alpn-01"}"#) >= 2.0);
    assert_eq!(octroi.metric(r#"octroi_acme_challenges_total{challenge="http-01"}"#), 0.0);
    assert_eq!(orders(&octroi, "success"), 1.0);
    assert_eq!(octroi.metric("octroi_acme_certificates_missing"), 0.0);
    assert!(octroi.metric("octroi_acme_last_success_timestamp_seconds") > 1.7e9);
    let due = octroi.metric("octroi_acme_next_attempt_timestamp_seconds");
    let ends = not_after(&octroi);
    assert!(due > 1.7e9 && due < ends, "{due} {ends}");
    assert!(octroi.ok(&["status"]).contains("acme        1 wanted, 0 missing, 0 failing; next order 20"));

    let accounts = octroi.path().join("state/acme/accounts");
    let account = fs::read_dir(&accounts).unwrap().next().unwrap().unwrap().path();
    let pair = stored(&octroi, "tenants/acme");
    for path in [&account, &accounts, &pair, &octroi.path().join("state/acme"), pair.parent().unwrap()] {
        assert!(is_private(path), "{}", path.display());
    }
    let before = fs::read(&pair).unwrap();
    // The same files are there after the next start, and nothing is ordered while the CA is away.
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
    pebble.stop();
    octroi.run();
    served(&octroi, &root, "acme.test");
    assert_eq!(fs::read(&pair).unwrap(), before);
    assert_eq!(["success", "unreachable"].map(|result| orders(&octroi, result)), [0.0, 0.0]);
    assert_eq!(fs::read_dir(&accounts).unwrap().count(), 1);
}

#[test]
fn a_certificate_is_had_by_http_01_with_an_account_bound_to_another() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    pebble.more =
        format!(r#""externalAccountBindingRequired": true, "externalAccountMACKeys": {{"kid-1": "{key}"}}"#);
    pebble.start();
    let unbound =
        config(&upstream, &pebble, ", hosts: [www.acme.test, acme.test], challenge: http-01", TWO_HOSTS);
    let mut octroi = Octroi::prepared(&unbound);
    octroi.run();
    let line = said(&octroi, &["no certificate was had", "hosts/www.acme.test", "externalAccountRequired"]);
    assert!(line.contains("ERROR"), "{line}");
    assert!(orders(&octroi, "refused") >= 1.0);

    let write = |text: &str| {
        let path = octroi.path().join("eab.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write(key);
    let bound = unbound
        .replace("challenge: http-01", r#"challenge: http-01, eab: {kid: kid-1, key: "${file:eab.key}"}"#);
    octroi.reload(&bound);
    let root = pebble.root();
    served(&octroi, &root, "acme.test");
    served(&octroi, &root, "www.acme.test");

    let line = octroi.access_line(|line| line["reason"] == "acme_challenge");
    assert_eq!(
        (&line["event"], &line["decision"], &line["listener"]),
        (&"request".into(), &"allow".into(), &"http".into()),
        "{line}"
    );
    assert!(line["path"].as_str().unwrap().starts_with("/.well-known/acme-challenge/"), "{line}");
    assert!(octroi.metric(r#"octroi_acme_challenges_total{challenge="http-01"}"#) >= 2.0);
    // Nothing of it reached the app, and nothing is left to be asked for.
    assert!(upstream.take().iter().all(|got| got.target == "/x"));
    let again = exchange(
        &mut raw(octroi.addr("http")),
        format!(
            "GET {} HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n",
            line["path"].as_str().unwrap()
        )
        .as_bytes(),
    );
    assert!(again.starts_with("HTTP/1.1 308 "), "{again}");
}

#[test]
fn a_ca_that_is_down_is_asked_again_and_one_that_forgot_us_too() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    let octroi = Octroi::start(&config(&upstream, &pebble, "", ACME));

    said(
        &octroi,
        &[
            "no certificate was had",
            "tenants/acme",
            "cannot be reached",
            "Connection refused",
            "in_force=false",
        ],
    );
    let status = octroi.command(&["status"]);
    assert_eq!(status.status.code(), Some(1), "its host is not served");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("acme        1 wanted, 1 missing, 1 failing")
            && status.contains("tenants/acme (missing, next "),
        "{status}"
    );
    assert_eq!(
        ["missing", "failing"].map(|what| octroi.metric(&format!("octroi_acme_certificates_{what}"))),
        [1.0, 1.0]
    );
    assert_eq!(octroi.plain("http", "acme.test", "/x").status(), 308);
    assert_ne!(octroi.curl("acme.test", "/x").args(&["--insecure"]).get().exit, 0);
    octroi.access_line(|line| line["reason"] == "unknown_sni");
    pebble.start();
    served(&octroi, &pebble.root(), "acme.test");
    assert!(orders(&octroi, "unreachable") >= 1.0);
    assert!(octroi.ok(&["status"]).contains("acme        1 wanted, 0 missing, 0 failing"));
    assert_eq!(
        ["missing", "failing"].map(|what| octroi.metric(&format!("octroi_acme_certificates_{what}"))),
        [0.0, 0.0]
    );

    // A CA that was set up anew: the account is gone, and another one is registered for the tenant that comes.
    pebble.stop();
    pebble.start();
    let mut octroi = octroi;
    octroi.reload(&config(
        &upstream,
        &pebble,
        "",
        &format!("{ACME}\n  globex: {{hosts: [globex.test], upstream: app, routes: app}}"),
    ));
    served(&octroi, &pebble.root(), "globex.test");
    said(&octroi, &["the CA does not know the account"]);
    assert_eq!(fs::read_dir(octroi.path().join("state/acme/accounts")).unwrap().count(), 2);
}

#[test]
fn a_host_that_is_not_proven_is_told_and_the_other_way_is_tried_next() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    // Where the CA looks is not where octroi listens.
    let listens = pebble.tls;
    pebble.tls = harness::pebble::free_port();
    let looks = pebble.tls;
    pebble.start();
    pebble.tls = listens;
    let only = config(&upstream, &pebble, ", challenge: tls-alpn-01", ACME);
    let mut octroi = Octroi::start(&only);

    let said_of = [
        "no certificate was had",
        "`acme.test` proven by tls-alpn-01",
        "Failed to connect to 127.0.0.1",
        "urn:ietf:params:acme:error:",
    ];
    said(&octroi, &said_of);
    assert!(orders(&octroi, "challenge") >= 1.0);
    assert!(
        String::from_utf8_lossy(&octroi.command(&["status"]).stdout).contains("tenants/acme (missing, next ")
    );
    octroi.reload(&only.replace(", challenge: tls-alpn-01", ""));
    served(&octroi, &pebble.root(), "acme.test");
    assert!(octroi.metric(r#"octroi_acme_challenges_total{challenge="http-01"}"#) >= 1.0, "{looks}");
    assert_eq!(octroi.metric(r#"octroi_acme_challenges_total{challenge="tls-alpn-01"}"#), 0.0);
}

#[test]
fn a_certificate_is_renewed_ahead_of_its_end_and_new_connections_see_it() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    pebble.more = r#""certificateValidityPeriod": 15"#.to_owned();
    // Nothing fails here, not even by the chance of three refused nonces in a row.
    pebble.environment.retain(|(name, _)| *name != "PEBBLE_WFE_NONCEREJECT");
    pebble.environment.push(("PEBBLE_WFE_NONCEREJECT", "0"));
    pebble.start();
    let octroi = Octroi::start(&config(&upstream, &pebble, "", ACME));
    let root = pebble.root();
    served(&octroi, &root, "acme.test");
    let pair = stored(&octroi, "tenants/acme");
    let first = fs::read(&pair).unwrap();

    let mut open = harness::raw_tls(octroi.addr("public"), "acme.test", &root, &[b"http/1.1"]);
    let get = "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n";
    assert_eq!(harness::client::ask(&mut open, get).status, 200);
    eventually("another certificate", &octroi, || (fs::read(&pair).unwrap() != first).then_some(()));
    // At no moment is there none, and the connection from before goes on.
    served(&octroi, &root, "acme.test");
    assert_eq!(harness::client::ask(&mut open, get).status, 200);
    assert!(orders(&octroi, "success") >= 2.0);
    assert!(
        octroi.printed().iter().all(|line| !line.contains("no certificate was had")),
        "{:#?}",
        octroi.printed()
    );
}

#[test]
fn an_account_that_was_cut_short_is_put_aside_and_another_one_registered() {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    pebble.start();
    let mut octroi = Octroi::start(&config(&upstream, &pebble, "", ACME));
    served(&octroi, &pebble.root(), "acme.test");
    let accounts = octroi.path().join("state/acme/accounts");
    let account = fs::read_dir(&accounts).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&account).unwrap();
    octroi.signal("TERM");
    octroi.wait();

    fs::write(&account, &whole[..whole.len() / 2]).unwrap();
    octroi.configure(&config(
        &upstream,
        &pebble,
        "",
        &format!("{ACME}\n  globex: {{hosts: [globex.test], upstream: app, routes: app}}"),
    ));
    octroi.run();

    served(&octroi, &pebble.root(), "globex.test");
    said(&octroi, &["the account cannot be read; it is put aside"]);
    served(&octroi, &pebble.root(), "acme.test");
    assert!(fs::read(&account).unwrap().len() > whole.len() / 2);
    assert_eq!(fs::read(account.with_extension("json.gone")).unwrap(), &whole[..whole.len() / 2]);
}
