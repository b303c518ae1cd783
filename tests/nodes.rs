//! Several nodes on one Redis: what one ends is ended on every other, whatever happens to Redis or to a node.

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
    process::Command,
    time::{Duration, Instant},
};

use harness::wait;
use harness::{Octroi, Upstream, client::Answer, eventually, redis::Redis};

/// A node's configuration. `redis` is what stands behind `redis:`, `rules` more of `revocation`.
fn config(upstream: &Upstream, node: &str, redis: &str, rules: &str) -> String {
    format!(
        r#"
version: 1
node: {node}
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: redis{rules}}}
redis: {{{redis}}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn at(redis: &Redis) -> String {
    format!(r#"url: "{}", replicas: 2"#, redis.url())
}

/// Two nodes, not yet started, with the same session key.
fn prepared(upstream: &Upstream, redis: &str, rules: &str) -> [Octroi; 2] {
    let nodes = ["edge-1", "edge-2"].map(|node| Octroi::prepared(&config(upstream, node, redis, rules)));
    fs::copy(nodes[0].path().join("session.key"), nodes[1].path().join("session.key")).unwrap();
    nodes
}

fn started(upstream: &Upstream, redis: &str, rules: &str) -> [Octroi; 2] {
    let mut nodes = prepared(upstream, redis, rules);
    nodes.iter_mut().for_each(Octroi::run);
    nodes
}

fn sign_in(node: &Octroi, tenant: &str, user: &str) -> String {
    let grant = percent_encoding::utf8_percent_encode(
        &format!("user=\"{user}\""),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let url = format!("/login?h-Octroi-Session-Grant={grant}");
    node.curl(&format!("{tenant}.test"), &url).args(&["-X", "POST"]).get().session()
}

fn ask(node: &Octroi, tenant: &str, cookie: &str) -> Answer {
    node.curl(&format!("{tenant}.test"), "/x").cookie(cookie).get()
}

fn status(node: &Octroi, cookie: &str) -> u16 {
    ask(node, "acme", cookie).status
}

/// Waits until a node refuses a session as ended; returns how long that took.
fn refused(node: &Octroi, tenant: &str, cookie: &str) -> Duration {
    let began = Instant::now();
    eventually("the session is refused", || {
        let answer = ask(node, tenant, cookie);
        (answer.status == 401).then(|| assert_eq!(node.reason(&answer), "session_revoked"))
    });
    began.elapsed()
}

fn id_of(node: &Octroi, cookie: &str) -> String {
    let token = cookie.split_once('=').unwrap().1;
    let shown = node.ok(&["session", "inspect", token, "--json"]);
    serde_json::from_str::<serde_json::Value>(&shown).unwrap()["session"].as_str().unwrap().to_owned()
}

fn redis_of(node: &Octroi) -> serde_json::Value {
    // Where it is stale the command says so by its exit.
    serde_json::from_slice::<serde_json::Value>(&node.command(&["status", "--json"]).stdout).unwrap()["redis"]
        .clone()
}

fn revoke(node: &Octroi, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&node.ok(&[&["session", "revoke", "--json"], words].concat())).unwrap()
}

#[test]
fn what_one_node_ends_is_ended_on_the_other_at_once() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &at(&redis), "");
    let sessions = ["u_1", "u_1", "u_2", "u_3", "u_4"].map(|user| sign_in(&a, "acme", user));
    assert!(sessions.iter().all(|session| status(&b, session) == 200));

    // By session, by user, by tenant.
    let printed = a.ok(&["session", "revoke", "--session", &id_of(&a, &sessions[0])]);
    assert_eq!(status(&b, &sessions[0]), 401, "it was in force there when the command returned");
    assert!(printed.starts_with("revoked on 2 nodes in "), "{printed}");
    assert_eq!((status(&b, &sessions[1]), status(&a, &sessions[0])), (200, 401));
    let by_user = revoke(&b, &["--tenant", "acme", "--user", "u_1"]);
    assert_eq!((status(&a, &sessions[1]), status(&a, &sessions[2])), (401, 200));

    // The app, by the field of its answer.
    let began = Instant::now();
    let out = a
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .cookie(&sessions[2])
        .args(&["-X", "POST"])
        .get();
    assert_eq!(out.status, 200, "{out:?}");
    let by_app = began.elapsed();
    refused(&b, "acme", &sessions[2]);

    let elsewhere = sign_in(&b, "globex", "u_9");
    let by_tenant = revoke(&b, &["--tenant", "acme"]);
    let later = sign_in(&a, "acme", "u_3");
    assert_eq!([&sessions[3], &sessions[4], &later].map(|session| status(&a, session)), [401, 401, 200]);
    assert_eq!([&sessions[3], &sessions[4], &later].map(|session| status(&b, session)), [401, 401, 200]);
    assert_eq!(ask(&a, "globex", &elsewhere).status, 200);

    assert_eq!([&by_user["nodes"], &by_tenant["nodes"]], [2, 2]);
    eprintln!(
        "{}; user {} ms, tenant {} ms; the app's sign-out took {by_app:?}",
        printed.trim(),
        by_user["took_ms"],
        by_tenant["took_ms"]
    );
    assert_eq!(redis_of(&b)["pending"], 0);
}

#[test]
fn while_redis_is_away_a_sign_out_is_503_and_ended_here_and_it_reaches_the_other_node_with_redis() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &at(&redis), "");
    let [out, by_hand, tenant] =
        ["u_1", "u_2", "u_3"].map(|user| sign_in(&a, if user == "u_3" { "globex" } else { "acme" }, user));
    let log_out = || {
        a.curl("acme.test", "/logout?h-Octroi-Session-Revoke=self").cookie(&out).args(&["-X", "POST"]).get()
    };

    redis.kill();
    eventually("the loss is noticed", || (redis_of(&a)["connected"] == false).then_some(()));
    let answer = log_out();
    assert_eq!((answer.status, a.reason(&answer)), (503, "revocation_unavailable".to_owned()));
    let refused_by_hand = a.command(&["session", "revoke", "--session", &id_of(&a, &by_hand)]);
    assert_eq!(refused_by_hand.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused_by_hand.stderr).into_owned();
    assert!(said.contains("Redis is away") && said.contains("ended on this node for good"), "{said}");
    assert_eq!(a.command(&["session", "revoke", "--tenant", "globex"]).status.code(), Some(1));
    assert_eq!(
        [status(&a, &out), status(&a, &by_hand), ask(&a, "globex", &tenant).status],
        [401; 3],
        "it is ended here"
    );
    assert_eq!(
        [status(&b, &out), status(&b, &by_hand), ask(&b, "globex", &tenant).status],
        [200; 3],
        "b cannot know"
    );
    assert_eq!(redis_of(&a)["pending"], 3);

    redis.run();

    refused(&b, "acme", &out);
    refused(&b, "acme", &by_hand);
    refused(&b, "globex", &tenant);
    eventually("nothing is pending", || (redis_of(&a)["pending"] == 0).then_some(()));
    assert_eq!(status(&b, &sign_in(&b, "globex", "u_3")), 401, "another tenant's session is none here");
    assert_eq!(ask(&a, "globex", &sign_in(&b, "globex", "u_3")).status, 200);
}

#[test]
fn an_emptied_redis_revives_nobody_and_gets_everything_back() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &at(&redis), "");
    let sessions = ["u_1", "u_2"].map(|user| sign_in(&a, "acme", user));
    let globex = sign_in(&a, "globex", "u_1");
    revoke(&a, &["--session", &id_of(&a, &sessions[0])]);
    revoke(&a, &["--tenant", "acme", "--user", "u_2"]);
    revoke(&a, &["--tenant", "globex"]);
    let held = redis.cli(&["ZCARD", "octroi:ended"]);
    assert_eq!(held, "3");

    redis.cli(&["FLUSHALL"]);

    eventually("the nodes put it back", || (redis.cli(&["ZCARD", "octroi:ended"]) == held).then_some(()));
    // One that knows nothing learns all of it before it serves.
    a.signal("TERM");
    a.wait();
    fs::remove_dir_all(a.path().join("state")).unwrap();
    fs::create_dir(a.path().join("state")).unwrap();
    a.run();
    for node in [&a, &b] {
        assert_eq!(sessions.each_ref().map(|session| status(node, session)), [401; 2]);
        assert_eq!(ask(node, "globex", &globex).status, 401);
        assert_eq!(ask(node, "globex", &sign_in(&b, "globex", "u_1")).status, 200);
    }
}

#[test]
fn silence_closes_session_routes_or_not_as_the_rule_says_and_public_ones_never() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let nodes = prepared(&upstream, &at(&redis), ", stale_after: 5s");
    nodes[1].configure(&config(&upstream, "edge-2", &at(&redis), ", stale_after: 5s, on_stale: allow"));
    let [mut denies, mut allows] = nodes;
    denies.run();
    allows.run();
    let session = sign_in(&denies, "acme", "u_1");
    let explain = |node: &Octroi| {
        let told = node.command(&["explain", "https://acme.test/x", "--cookie", &session]);
        (told.status.code(), String::from_utf8(told.stdout).unwrap())
    };
    assert_eq!(explain(&denies).0, Some(0), "{}", explain(&denies).1);
    let ended = sign_in(&denies, "acme", "u_2");
    revoke(&denies, &["--session", &id_of(&denies, &ended)]);

    redis.kill();

    eventually("it is stale", || (status(&denies, &session) == 503).then_some(()));
    let answer = ask(&denies, "acme", &session);
    assert_eq!(
        (denies.reason(&answer).as_str(), answer.field("retry-after")),
        ("revocation_stale", Some("5"))
    );
    assert!(answer.all("set-cookie").is_empty(), "the cookie stays: {answer:?}");
    assert_eq!(status(&denies, &ended), 401, "what is known is known");
    let public = denies.curl("acme.test", "/public/x").cookie(&session).get();
    assert_eq!((public.status, public.all("set-cookie").len()), (200, 0));
    let logout = denies
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .cookie(&session)
        .args(&["-X", "POST"])
        .get();
    assert_eq!((logout.status, denies.reason(&logout)), (503, "revocation_stale".to_owned()));
    eventually("the other is stale too", || {
        (allows.metric(r#"octroi_degraded{dep="revocation"}"#) > 0.0).then_some(())
    });
    assert_eq!([status(&allows, &session), status(&allows, &ended)], [200, 401]);
    let said = || allows.printed().iter().any(|line| line.contains(r#"event="revocation_stale""#));
    eventually("it says so", || said().then_some(()));
    let (code, text) = explain(&denies);
    assert!(
        code == Some(1) && text.contains("[revocation_stale]") && text.contains("Retry-After: 5"),
        "{text}"
    );
    assert_eq!(explain(&allows).0, Some(0), "its rule lets it pass");
    for node in [&denies, &allows] {
        let told = node.command(&["status"]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(1), "{text}");
        assert!(text.contains("redis       away") && text.contains("(stale)"), "{text}");
    }

    redis.run();

    eventually("it is fresh", || (status(&denies, &session) == 200).then_some(()));
    eventually("it is well", || denies.command(&["status"]).status.success().then_some(()));
    eventually("the gauge falls", || {
        (allows.metric(r#"octroi_degraded{dep="revocation"}"#) == 0.0).then_some(())
    });
}

#[test]
fn a_node_that_was_never_told_what_others_ended_believes_no_session() {
    let (redis, upstream) = (Redis::prepared(&[]), Upstream::start());
    let [mut a, _] = prepared(&upstream, &at(&redis), "");
    a.run();

    let session = sign_in(&a, "acme", "u_1");
    let answer = ask(&a, "acme", &session);

    assert_eq!((answer.status, a.reason(&answer)), (503, "revocation_stale".to_owned()));
    assert_eq!(a.curl("acme.test", "/public/x").get().status, 200);
    let mut redis = redis;
    redis.run();
    eventually("it is fresh", || (status(&a, &session) == 200).then_some(()));
}

#[test]
fn what_was_revoked_stays_so_when_the_node_dies_right_behind_it() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, mut b] = started(&upstream, &at(&redis), "");
    for round in 0..3 {
        let session = sign_in(&a, "acme", &format!("u_{round}"));
        assert_eq!(status(&b, &session), 200);
        revoke(&a, &["--session", &id_of(&a, &session)]);
        // One of them, and Redis with all that it had.
        let node = if round == 1 { &mut b } else { &mut a };
        node.signal("KILL");
        node.wait();
        if round == 2 {
            redis.kill();
            redis.run();
        }
        node.run();
        assert_eq!([status(&a, &session), status(&b, &session)], [401; 2], "round {round}");
    }
}

#[test]
fn both_may_end_the_same_things_at_the_same_time() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &at(&redis), "");
    for _ in 0..5 {
        let sessions: Vec<String> = [&a, &b]
            .into_iter()
            .flat_map(|node| ["u_1", "u_2"].map(|user| sign_in(node, "acme", user)))
            .collect();
        assert!(sessions.iter().all(|session| status(&a, session) == 200 && status(&b, session) == 200));

        std::thread::scope(|scope| {
            for node in [&a, &b] {
                scope.spawn(|| revoke(node, &["--tenant", "acme"]));
                scope.spawn(|| revoke(node, &["--tenant", "acme", "--user", "u_1"]));
            }
        });

        for session in &sessions {
            assert_eq!([status(&a, session), status(&b, session)], [401; 2]);
        }
    }
    let epochs = redis.cli(&["HGET", "octroi:epochs", "acme"]);
    let later = [&a, &b].map(|node| sign_in(node, "acme", "u_3"));
    assert!(
        later.iter().all(|session| status(&a, session) == 200 && status(&b, session) == 200),
        "epoch {epochs}"
    );
}

#[test]
fn a_session_that_the_other_node_made_behind_a_revocation_lives() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &at(&redis), "");
    let before = sign_in(&b, "acme", "u_1");
    redis.kill();
    eventually("the loss is noticed", || (redis_of(&a)["connected"] == false).then_some(()));
    // Each ends the tenant without the other: both number the same epoch.
    assert_eq!(
        [&a, &b].map(|node| node.command(&["session", "revoke", "--tenant", "acme"]).status.code()),
        [Some(1); 2]
    );

    redis.run();
    for node in [&a, &b] {
        eventually("nothing is pending", || (redis_of(node)["pending"] == 0).then_some(()));
    }

    for node in [&a, &b] {
        let later = sign_in(node, "acme", "u_1");
        eventually("both agree", || (status(&a, &later) == 200 && status(&b, &later) == 200).then_some(()));
        assert_eq!(status(node, &before), 401);
    }
}

#[test]
fn junk_in_redis_is_counted_and_left_out() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let junk = ["", "junk", "\x01", "\x01too short", "\x0babcdefgh", "\x03\x04acmeabcdefgh"];
    for (score, member) in junk.iter().enumerate() {
        redis.cli(&["ZADD", "octroi:ended", &format!("9{score}00000000000000"), member]);
    }
    redis.cli(&["HSET", "octroi:epochs", "acme", "junk", "globex", "-1"]);
    redis.cli(&["HSET", "octroi:nodes", "edge-9", "junk", "edge-8", ""]);
    redis.cli(&["HSET", "octroi:state", "seq", "41"]);
    let [a, b] = started(&upstream, &at(&redis), "");
    assert!(a.metric("octroi_redis_strange_total") >= 6.0);

    for message in
        ["", "junk", "1:a:b:", "99999999999999999999:a:b:c", "7:a:b:junk", "18446744073709551615:a:-:"]
    {
        redis.cli(&["PUBLISH", "octroi:0:news", message]);
        redis.cli(&["PUBLISH", "octroi:0:heard:x", message]);
    }

    let session = sign_in(&a, "acme", "u_1");
    assert_eq!(status(&b, &session), 200);
    revoke(&a, &["--tenant", "acme"]);
    assert_eq!([status(&a, &session), status(&b, &session)], [401; 2]);
    assert_eq!(status(&b, &sign_in(&a, "acme", "u_1")), 200);
    assert_eq!(redis_of(&a)["fresh"], true);

    // A key of another type stops the store, which is said, and no session is believed for long.
    redis.cli(&["DEL", "octroi:ended"]);
    redis.cli(&["SET", "octroi:ended", "junk"]);
    let failed = a.command(&["session", "revoke", "--tenant", "acme"]);
    assert_eq!(failed.status.code(), Some(1), "{}", String::from_utf8_lossy(&failed.stderr));
    redis.cli(&["DEL", "octroi:ended"]);
    eventually("it is put back", || (redis.cli(&["ZCARD", "octroi:ended"]) != "0").then_some(()));
}

#[test]
fn a_user_with_few_rights_and_a_password_in_a_file_is_enough_over_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let port = harness::pebble::free_port().to_string();
    let redis = Redis::with(
        &[
            &[
                "--tls-port",
                &port,
                "--tls-cert-file",
                &path("redis.pem"),
                "--tls-key-file",
                &path("redis.key"),
            ][..],
            &["--tls-ca-cert-file", &path("ca.pem"), "--tls-auth-clients", "no"],
            &["--user", "default", "off", "--user", "octroi", "on", ">secret-0123456789"],
            // What docs/guides/several-nodes.md says.
            &ACL.split(' ').collect::<Vec<_>>(),
        ]
        .concat(),
    );
    let upstream = Upstream::start();
    let url = format!(
        r#"url: "rediss://octroi:${{file:redis.password}}@127.0.0.1:{port}/3", ca: "{}""#,
        path("ca.pem")
    );
    let mut nodes = prepared(&upstream, &url, "");
    for node in &mut nodes {
        fs::write(node.path().join("redis.password"), "secret-0123456789\n").unwrap();
        Command::new("chmod")
            .args(["600", node.path().join("redis.password").to_str().unwrap()])
            .status()
            .unwrap();
        node.run();
    }
    let [a, b] = nodes;
    let guide =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides/several-nodes.md")).unwrap();
    assert!(guide.contains(ACL), "the guide says so");

    let session = sign_in(&a, "acme", "u_1");
    assert_eq!(status(&b, &session), 200);
    assert_eq!(revoke(&a, &["--tenant", "acme"])["nodes"], 2);
    assert_eq!(status(&b, &session), 401);
    assert!(!a.printed().iter().chain(&b.printed()).any(|line| line.contains("secret-0123")));
    assert_eq!(status(&b, &sign_in(&b, "acme", "u_2")), 200);
    eventually("other nodes are told of it", || {
        (b.metric(r#"octroi_session_notes_total{result="told"}"#) > 0.0).then_some(())
    });
    assert_eq!(b.metric(r#"octroi_session_notes_total{result="dropped"}"#), 0.0);
    let listed: serde_json::Value =
        serde_json::from_str(&a.ok(&["session", "list", "--tenant", "acme", "--user", "u_2", "--json"]))
            .unwrap();
    assert_eq!((&listed["all_nodes"], &listed["sessions"][0]["node"]), (&true.into(), &"edge-2".into()));
    let denied = redis.try_cli(&[
        "--user",
        "octroi",
        "--pass",
        "secret-0123456789",
        "--no-auth-warning",
        "ACL",
        "LOG",
    ]);
    assert!(String::from_utf8_lossy(&denied.stdout).contains("NOPERM"));
}

/// The rights that octroi needs.
const ACL: &str = "~octroi:* &octroi:* -@all +evalsha +script|load +select +subscribe +publish +zscan +zadd +zscore +zcount +zcard +zremrangebyrank +hget +hset +hsetnx +hmget +hgetall +hlen +hdel +hincrby +pttl +pexpireat +del +time";

/// Makes a CA, and a certificate for 127.0.0.1.
fn certificate(dir: &std::path::Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("redis.pem"), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(dir.join("redis.key"), key.serialize_pem()).unwrap();
}

#[test]
fn a_node_that_is_gone_is_missed_and_one_that_hangs_is_named() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [a, mut b] = started(&upstream, &at(&redis), "");
    sign_in(&a, "acme", "u_1");
    let user = |user: &str| a.ok(&["session", "revoke", "--tenant", "acme", "--user", user]);
    let told = [user("u_l"), user("u_1")];
    assert!(told[0].ends_with(" ms; no session of this user is known: is the name right?\n"), "{told:?}");
    assert!(told[1].ends_with(" ms; it ends 1 known session\n"), "{told:?}");
    let told =
        eventually("both are seen", || Some(a.command(&["status"])).filter(|told| told.status.success()));
    assert!(
        String::from_utf8_lossy(&told.stdout).contains("\nnodes       2 of 2 alive: edge-1, edge-2\n"),
        "{told:?}"
    );
    assert_eq!(a.metric("octroi_nodes_missing"), 0.0);

    b.signal("STOP");
    let hung = a.command(&["session", "revoke", "--tenant", "acme"]);
    b.signal("CONT");
    let printed = String::from_utf8_lossy(&hung.stdout).into_owned();
    assert_eq!(hung.status.code(), Some(1));
    assert!(
        printed.starts_with("revoked on 1 of 2 nodes in ")
            && printed.ends_with("; no answer in time from edge-2\n"),
        "{printed}"
    );

    b.signal("TERM");
    b.wait();
    let alone = a.command(&["session", "revoke", "--tenant", "acme"]);
    let printed = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert_eq!(alone.status.code(), Some(1));
    assert!(printed.starts_with("revoked on 1 of 2 nodes in ") && printed.ends_with(" ms\n"), "{printed}");
    let told = eventually("it is missed", || {
        Some(a.command(&["status"])).filter(|told| told.status.code() == Some(1))
    });
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        text.contains("\nnodes       1 of 2 alive: edge-1\n            edge-2 is gone, last seen at 20"),
        "{text}"
    );
    assert_eq!(a.metric("octroi_nodes_missing"), 1.0);

    // Without Redis nobody knows, and says so; who was missed is missed on.
    redis.kill();
    let text = eventually("it is not known", || {
        let text = String::from_utf8_lossy(&a.command(&["status"]).stdout).into_owned();
        text.contains("\nnodes       unknown since 20").then_some(text)
    });
    assert!(text.contains(": Redis cannot be asked; then 1 of 2 alive: edge-1\n"), "{text}");
    assert!(!redis_of(&a)["nodes_unknown_since"].is_null());
    assert_eq!(a.metric("octroi_nodes_missing"), 1.0);
}

#[test]
fn a_redis_that_takes_connections_and_answers_nothing_is_named_with_its_address() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    redis.freeze();
    let [mut a, _] = prepared(&upstream, &at(&redis), "");
    a.run();

    let why = format!("127.0.0.1:{} does not answer within 3 s", redis.port);
    let text = eventually("it is said", || {
        let text = String::from_utf8_lossy(&a.command(&["status"]).stdout).into_owned();
        text.contains(&why).then_some(text)
    });
    assert!(!text.contains("deadline has elapsed"), "{text}");
    eventually("so does the log", || {
        a.printed()
            .iter()
            .any(|line| line.contains("event=\"redis_unreachable\"") && line.contains(&why))
            .then_some(())
    });
    redis.thaw();
}

#[test]
fn a_node_that_never_reached_redis_says_so_from_the_start_on() {
    let (mut redis, upstream) = (Redis::prepared(&[]), Upstream::start());
    let [mut a, _] = prepared(&upstream, &at(&redis), "");
    a.run();
    let degraded = |node: &Octroi| node.metric(r#"octroi_degraded{dep="revocation"}"#);
    let told = a.command(&["status"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.status.code() == Some(1)
            && text.contains("\nnodes       unknown since 20")
            && text.contains(": Redis cannot be asked\n"),
        "{text}"
    );
    assert_eq!((degraded(&a), a.metric("octroi_redis_connected")), (1.0, 0.0));

    redis.run();
    eventually("it knows", || {
        (degraded(&a) == 0.0 && redis_of(&a)["nodes_unknown_since"].is_null()).then_some(())
    });
}

#[test]
fn two_nodes_of_one_name_are_told_as_long_as_there_are_two() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, mut b] = ["edge-1", "edge-1"]
        .map(|node| Octroi::prepared(&config(&upstream, node, &at(&redis).replace(", replicas: 2", ""), "")));
    a.run();
    let namesake =
        |node: &Octroi| (node.command(&["status"]).status.code(), node.metric("octroi_redis_namesake"));
    eventually("it is alone", || (namesake(&a) == (Some(0), 0.0)).then_some(()));
    b.run();

    // Ten rounds of a second: a process that hands over has its predecessor's name for one.
    let deadline = Instant::now() + Duration::from_secs(40);
    while namesake(&a) != (Some(1), 1.0) {
        assert!(Instant::now() < deadline, "the other is never seen");
    }
    b.signal("TERM");
    b.wait();
    eventually("it is alone again", || (namesake(&a) == (Some(0), 0.0)).then_some(()));
}

#[test]
fn an_upgrade_is_one_node() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &at(&redis), "");
    let sessions = ["u_1", "u_2", "u_3"].map(|user| sign_in(&b, "acme", user));
    revoke(&b, &["--session", &id_of(&b, &sessions[0])]);

    let held = sign_in(&a, "acme", "u_4");
    let stream = a.curl("acme.test", "/held").cookie(&held).args(&["-N", "--http1.1"]);
    let stream = std::thread::spawn(move || stream.get());
    eventually("the app streams", || upstream.take().iter().any(|got| got.target == "/held").then_some(()));

    a.ok(&["upgrade"]);
    a.succeed();

    // What drains there follows what is ended here.
    revoke(&b, &["--tenant", "acme", "--user", "u_4"]);
    assert_ne!(stream.join().unwrap().exit, 0);
    assert_eq!(a.access_line(|line| line["path"] == "/held")["reason"], "session_revoked");
    assert_eq!(revoke(&a, &["--session", &id_of(&b, &sessions[1])])["nodes"], 2);
    assert_eq!(revoke(&b, &["--session", &id_of(&b, &sessions[2])])["nodes"], 2);
    for node in [&a, &b] {
        assert_eq!(sessions.each_ref().map(|session| status(node, session)), [401; 3]);
    }
}

/// As many as a large company signs out on one evening, from both nodes at once, and Redis gone in the middle of it.
#[test]
#[ignore = "10,000 revocations; a minute without optimisation"]
fn ten_thousand_revocations_reach_the_other_node_though_redis_goes_away_meanwhile() {
    const EACH: u32 = 5_000;
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &at(&redis), "");
    let calls = |node: &Octroi, offset: u32| {
        let socket = node.path().join("state/control.sock");
        for number in (offset..offset + EACH).step_by(500) {
            // One curl for many calls: they go over one connection each.
            let mut command = std::process::Command::new("curl");
            command.args(["-sS", "--unix-socket", socket.to_str().unwrap(), "-o", "/dev/null"]);
            for user in number..number + 500 {
                let body = format!(r#"{{"tenant":"acme","user":"u_{user}"}}"#);
                if user > number {
                    command.args([
                        "--next",
                        "-sS",
                        "--unix-socket",
                        socket.to_str().unwrap(),
                        "-o",
                        "/dev/null",
                    ]);
                }
                command.args([
                    "-X",
                    "POST",
                    "-H",
                    "Content-Type: application/json",
                    "-d",
                    &body,
                    "http://localhost/v1/sessions/revoke",
                ]);
            }
            assert!(command.status().unwrap().success());
        }
    };
    let sample = [0, 1, 2_499, 4_999, 5_000, 9_999].map(|user| sign_in(&a, "acme", &format!("u_{user}")));
    let spared = sign_in(&a, "acme", "u_10000");

    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| calls(&a, 0));
        scope.spawn(|| calls(&b, EACH));
        wait::elapse(Duration::from_secs(3));
        redis.kill();
        wait::elapse(Duration::from_secs(2));
        redis.run();
    });
    eprintln!("10,000 revocations by two nodes, Redis away for 2 s: {:?}", began.elapsed());

    eventually("everything is shared", || {
        let done =
            |node: &Octroi| redis_of(node)["pending"] == 0 && node.metric("octroi_revocations") >= 10_000.0;
        (done(&a) && done(&b)).then_some(())
    });
    let memory = redis.cli(&["MEMORY", "USAGE", "octroi:ended", "SAMPLES", "0"]);
    eprintln!("{} entries, {memory} bytes in Redis", redis.cli(&["ZCARD", "octroi:ended"]));
    a.signal("KILL");
    a.wait();
    a.run();
    for node in [&a, &b] {
        assert!(sample.iter().all(|session| status(node, session) == 401));
        assert_eq!(status(node, &spared), 200);
    }
}

#[test]
fn an_answer_that_streams_on_one_node_ends_with_a_revocation_on_the_other() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &at(&redis), "");
    let session = sign_in(&a, "acme", "u_1");
    let streaming = std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let answer = b.curl("acme.test", "/held").cookie(&session).args(&["-N", "--http1.1"]).get();
            (answer, Instant::now())
        });
        // It has begun once the app was asked.
        eventually("the app streams", || {
            upstream.take().iter().any(|got| got.target.starts_with("/held")).then_some(())
        });
        revoke(&a, &["--tenant", "acme", "--user", "u_1"]);
        let revoked = Instant::now();
        let (answer, ended) = stream.join().unwrap();
        eprintln!("ended {:?} behind the command", ended.saturating_duration_since(revoked));
        answer
    });
    assert_eq!(streaming.status, 200);
    assert_ne!(streaming.exit, 0, "curl says that it was cut: {streaming:?}");
    assert_eq!(b.access_line(|line| line["path"] == "/held")["reason"], "session_revoked");
}

#[test]
fn silence_ends_what_is_under_way_in_a_session_and_not_on_a_public_route() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, _] = prepared(&upstream, &at(&redis), ", stale_after: 5s");
    let own_page = "routes: {use: app, rules: [{path: /held, access: public}]}}";
    let rules = config(&upstream, "edge-1", &at(&redis), ", stale_after: 5s");
    a.configure(&rules.replace(
        "globex: {hosts: [globex.test], upstream: app, routes: app}",
        &format!("globex: {{hosts: [globex.test], upstream: app, {own_page}"),
    ));
    a.run();
    let streams =
        ["acme", "globex"].map(|tenant| {
            // The app streams for twenty seconds.
            let stream = a
                .curl(&format!("{tenant}.test"), "/held")
                .cookie(&sign_in(&a, tenant, "u_1"))
                .args(&["-N", "--http1.1", "-m", "15"]);
            std::thread::spawn(move || stream.get())
        });
    let mut begun = 0;
    eventually("the app streams twice", || {
        begun += upstream.take().iter().filter(|got| got.target == "/held").count();
        (begun == 2).then_some(())
    });

    redis.kill();

    let [in_session, public] = streams.map(|stream| stream.join().unwrap());
    assert_eq!((in_session.status, public.status), (200, 200));
    let line = a.access_line(|line| line["path"] == "/held" && line["tenant"] == "acme");
    assert_eq!(line["reason"], "revocation_stale", "{line}");
    assert_eq!(public.exit, 28, "curl left, not octroi: {public:?}");
}
