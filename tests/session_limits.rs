//! Sessions that users have: how many, which, and what becomes of an old token.

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

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use harness::wait;
use harness::{Octroi, Upstream, client::Answer, eventually};
use octroi::{
    model::{ClientPrefix, Clock, Secret, SessionId, SystemClock, UnixTime},
    session::{Claims, KeyRing, MasterKey, Purpose, Roles},
    sessions::{GrantLimits, GrantRecord, GrantRequest, RevocationStore, SessionLedger},
};

/// `LIMIT` is more of the tenant's sessions.
fn config(upstream: &Upstream, limit: &str) -> String {
    format!(
        r#"
version: 1
node: edge-1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app, sessions: {{idle: 30m{limit}}}}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn started(limit: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, limit));
    (octroi, upstream)
}

fn grant(octroi: &Octroi, tenant: &str, user: &str, with: &[&str]) -> Answer {
    let wish = percent_encoding::utf8_percent_encode(
        &format!("user=\"{user}\""),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    octroi
        .curl(&format!("{tenant}.test"), &format!("/login?h-Octroi-Session-Grant={wish}"))
        .args(&["-X", "POST"])
        .args(with)
        .get()
}

fn sign_in(octroi: &Octroi, user: &str) -> String {
    grant(octroi, "acme", user, &[]).session()
}

fn with(octroi: &Octroi, cookie: &str) -> Answer {
    octroi.curl("acme.test", "/x").cookie(cookie).get()
}

fn statuses(octroi: &Octroi, cookies: &[String]) -> Vec<u16> {
    cookies.iter().map(|cookie| with(octroi, cookie).status).collect()
}

fn list(octroi: &Octroi, user: &str) -> Vec<serde_json::Value> {
    let json = octroi.ok(&["session", "list", "--tenant", "acme", "--user", user, "--json"]);
    serde_json::from_str::<serde_json::Value>(&json).unwrap()["sessions"].as_array().unwrap().clone()
}

fn id_of(octroi: &Octroi, cookie: &str) -> String {
    let shown = octroi.ok(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]);
    serde_json::from_str::<serde_json::Value>(&shown).unwrap()["session"].as_str().unwrap().to_owned()
}

/// Makes tokens of one session, as the gateway would have.
struct Mint {
    ring: KeyRing,
    claims: Claims,
}

impl Mint {
    fn new(octroi: &Octroi, began: UnixTime) -> Self {
        let text = std::fs::read_to_string(octroi.path().join("session.key")).unwrap();
        let secret = Secret::new(STANDARD.decode(text.trim()).unwrap().try_into().unwrap());
        let end = began.plus(Duration::from_secs(12 * 3600));
        let claims = Claims {
            id: SessionId::new([7; 16]),
            tenant: "acme".parse().unwrap(),
            user: "u_1".parse().unwrap(),
            roles: Roles::default(),
            issued: began,
            auth_time: began,
            not_before: began,
            idle_end: began.plus(Duration::from_secs(1800)),
            absolute_end: end,
            generation: 0,
            epoch: 0,
            binding: None,
        };
        Self { ring: KeyRing::new(vec![MasterKey { id: 1, secret, open_only: false }]), claims }
    }

    fn cookie(&self, generation: u32) -> String {
        let claims = Claims { generation, ..self.claims.clone() };
        let nonce = [u8::try_from(generation).unwrap(); 12];
        format!(
            "__Host-octroi={}",
            self.ring.seal(&claims, Purpose::Cookie, &"acme".parse().unwrap(), nonce).unwrap()
        )
    }
}

#[test]
fn the_oldest_session_of_too_many_ends_before_the_new_one_begins() {
    let (octroi, _upstream) = started(", max_per_user: {limit: 2}");
    let sessions: Vec<String> = (0..3).map(|_| sign_in(&octroi, "u_1")).collect();
    let other = sign_in(&octroi, "u_2");

    assert_eq!(statuses(&octroi, &sessions), [401, 200, 200]);
    assert_eq!(octroi.reason(&with(&octroi, &sessions[0])), "session_revoked");
    assert_eq!(statuses(&octroi, &[other]), [200]);
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="ended_by_limit"}"#), 1.0);
    // Another tenant has no limit.
    assert!((0..4).all(|_| grant(&octroi, "globex", "u_1", &[]).status == 200));
    // A sign-in with a session takes that one's place.
    let third = grant(&octroi, "acme", "u_1", &["-H", &format!("Cookie: {}", sessions[2])]).session();
    assert_eq!(statuses(&octroi, &[sessions[1].clone(), sessions[2].clone(), third]), [200, 401, 200]);
}

#[test]
fn one_session_too_many_is_refused_where_the_rule_says_so() {
    let (octroi, _upstream) = started(", max_per_user: {limit: 2, over: refuse}");
    let sessions: Vec<String> = (0..2).map(|_| sign_in(&octroi, "u_1")).collect();

    let refused = grant(&octroi, "acme", "u_1", &["-H", "Accept-Language: fr"]);
    assert_eq!((refused.status, octroi.reason(&refused)), (403, "too_many_sessions".to_owned()));
    assert!(refused.body.contains("Vous avez trop de sessions ouvertes"), "{}", refused.body);
    assert!(refused.all("set-cookie").is_empty());
    assert!(grant(&octroi, "acme", "u_1", &[]).body.contains("You are signed in too many times"));
    assert_eq!(statuses(&octroi, &sessions), [200, 200]);

    // Whoever signs out makes room, and so does an operator.
    let left = octroi
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .args(&["-X", "POST"])
        .cookie(&sessions[0])
        .get();
    assert_eq!(left.status, 200);
    let third = sign_in(&octroi, "u_1");
    assert_eq!(grant(&octroi, "acme", "u_1", &[]).status, 403);
    octroi.ok(&["session", "revoke", "--session", &id_of(&octroi, &third)]);
    assert_eq!(grant(&octroi, "acme", "u_1", &[]).status, 200);
}

#[test]
fn sign_ins_at_once_are_never_more_than_the_limit() {
    let (octroi, _upstream) = started(", max_per_user: {limit: 3}");

    let sessions: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..4).map(|_| sign_in(&octroi, "u_1")).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    assert_eq!(statuses(&octroi, &sessions).iter().filter(|status| **status == 200).count(), 3);
    assert_eq!(list(&octroi, "u_1").len(), 3);
}

#[test]
fn a_kill_frees_nobody_of_the_limit() {
    let (mut octroi, _upstream) = started(", max_per_user: {limit: 2, over: refuse}");
    let sessions: Vec<String> = (0..2).map(|_| sign_in(&octroi, "u_1")).collect();

    octroi.signal("KILL");
    octroi.wait();
    octroi.run();

    assert_eq!(grant(&octroi, "acme", "u_1", &[]).status, 403);
    assert_eq!(statuses(&octroi, &sessions), [200, 200]);
    assert_eq!(list(&octroi, "u_1").len(), 2);
}

#[test]
fn sessions_are_listed_and_one_of_them_ended() {
    let (octroi, _upstream) = started("");
    let sessions: Vec<String> = (0..2).map(|_| sign_in(&octroi, "u_1")).collect();

    let listed = list(&octroi, "u_1");
    let ids: Vec<_> = listed.iter().map(|session| session["session"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [id_of(&octroi, &sessions[0]), id_of(&octroi, &sessions[1])]);
    assert_eq!(
        (listed[0]["client"].as_str(), listed[0]["node"].as_str()),
        (Some("127.0.0.1"), Some("edge-1"))
    );
    assert_eq!(octroi.metric("octroi_sessions_known"), 2.0);

    octroi.ok(&["session", "revoke", "--session", &ids[0]]);
    assert_eq!(list(&octroi, "u_1").len(), 1);
    assert!(list(&octroi, "u_2").is_empty());
    assert_eq!(octroi.code(&["session", "list", "--tenant", "nobody", "--user", "u_1"]), 1);
    assert_eq!(octroi.ok(&["session", "list", "--tenant", "acme", "--user", "u_2"]), "no session is known\n");
}

#[test]
fn a_token_that_was_made_and_never_came_back_logs_nobody_out() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ""));
    let now = SystemClock::new().now();
    // Old enough that an answer renews it; the journal is older.
    let mint = Mint::new(&octroi, now.minus(Duration::from_secs(1200)));
    drop(SessionLedger::open(&octroi.path().join("state"), now).unwrap());
    octroi.run();

    let renewed: Vec<_> = (0..3)
        .map(|_| with(&octroi, &mint.cookie(0)))
        .map(|answer| (answer.status, answer.all("set-cookie").len()))
        .collect();
    // Once a minute is enough.
    assert_eq!(renewed, [(200, 1), (200, 0), (200, 0)]);
    // The next one comes, and requests with the one before are under way.
    let parallel = [mint.cookie(1), mint.cookie(0), mint.cookie(1), mint.cookie(0)];
    assert_eq!(statuses(&octroi, &parallel), [200; 4]);
    let listed = list(&octroi, "u_1");
    assert_eq!((listed.len(), listed[0]["generation"].as_u64()), (1, Some(1)));
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="reused"}"#), 0.0);
}

#[test]
fn an_old_token_that_comes_back_ends_the_session() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ""));
    let now = SystemClock::new().now();
    let mint = Mint::new(&octroi, now.minus(Duration::from_secs(600)));
    // A minute ago the session's second token was presented.
    let Claims { id, tenant, user, auth_time, absolute_end, epoch, .. } = mint.claims.clone();
    let journal = Arc::new(SessionLedger::open(&octroi.path().join("state"), now).unwrap());
    let record = GrantRecord {
        id,
        tenant,
        user,
        granted: auth_time,
        ends: absolute_end,
        epoch,
        client: ClientPrefix::default(),
    };
    let request = GrantRequest { record, limits: GrantLimits::default(), replaces: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(journal.grant(request, auth_time)).unwrap();
    let second = Claims { generation: 1, ..mint.claims.clone() };
    journal.present(&second, ClientPrefix::default(), now.minus(Duration::from_secs(60)));
    journal.write_pending().unwrap();
    drop(journal);
    octroi.run();
    assert_eq!(statuses(&octroi, &[mint.cookie(1)]), [200]);

    let reused = with(&octroi, &mint.cookie(0));

    assert_eq!((reused.status, octroi.reason(&reused)), (401, "session_reuse".to_owned()));
    let ended = with(&octroi, &mint.cookie(1));
    assert_eq!((ended.status, octroi.reason(&ended)), (401, "session_revoked".to_owned()));
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="reused"}"#), 1.0);
    assert_eq!(octroi.metric(r#"octroi_session_checks_total{result="session_reuse"}"#), 1.0);
    eventually("the event is told", || {
        octroi
            .printed()
            .iter()
            .any(|line| line.contains("session_reuse") && line.starts_with("err"))
            .then_some(())
    });
    // It is ended for good.
    octroi.signal("KILL");
    octroi.wait();
    octroi.run();
    assert_eq!(statuses(&octroi, &[mint.cookie(1), mint.cookie(2)]), [401, 401]);
}

#[test]
#[ignore = "waits for clocks, 50 s"]
fn a_browser_goes_on_and_the_copy_of_its_old_cookie_ends_the_session() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, "").replace("idle: 30m", "idle: 1m"));
    let first = sign_in(&octroi, "u_1");
    // A fourth of `idle` is used: the answer renews.
    wait::elapse(Duration::from_secs(12));
    let second = eventually("a renewal", || {
        let answer = with(&octroi, &first);
        assert_eq!(answer.status, 200);
        (!answer.all("set-cookie").is_empty()).then(|| answer.session())
    });
    let began = std::time::Instant::now();
    assert_eq!(statuses(&octroi, &[second.clone(), first.clone()]), [200, 200]);
    while began.elapsed() < Duration::from_secs(33) {
        wait::elapse(Duration::from_secs(3));
        assert_eq!(with(&octroi, &second).status, 200);
    }

    let copy = with(&octroi, &first);

    assert_eq!((copy.status, octroi.reason(&copy)), (401, "session_reuse".to_owned()));
    assert_eq!(with(&octroi, &second).status, 401);
}
