//! The sessions that users have on several nodes: how many, which, and what becomes of an old token, whatever happens to Redis or to a node.

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

use std::{fs, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use harness::wait;
use harness::{
    Octroi, Upstream,
    client::{Answer, ask, raw_tls},
    eventually,
    redis::Redis,
};
use octroi::{
    model::{Clock, Secret, SessionId, SystemClock, UnixTime},
    session::{Claims, KeyRing, MasterKey, Purpose, Roles},
};

/// A node's configuration. `limit` is more of acme's sessions, `rules` more of `revocation`.
fn config(upstream: &Upstream, redis: &Redis, node: &str, limit: &str, rules: &str) -> String {
    format!(
        r#"
version: 1
node: {node}
server: {{state_dir: STATE, drain: 5s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: redis{rules}}}
redis: {{url: "{}", replicas: 2, timeout: 1s}}
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
        redis.url(),
        upstream.addr
    )
}

/// Two nodes with the same session key, not yet started.
fn prepared(upstream: &Upstream, redis: &Redis, limit: &str, rules: &str) -> [Octroi; 2] {
    let nodes =
        ["edge-1", "edge-2"].map(|node| Octroi::prepared(&config(upstream, redis, node, limit, rules)));
    fs::copy(nodes[0].path().join("session.key"), nodes[1].path().join("session.key")).unwrap();
    nodes
}

fn started(upstream: &Upstream, redis: &Redis, limit: &str, rules: &str) -> [Octroi; 2] {
    let mut nodes = prepared(upstream, redis, limit, rules);
    nodes.iter_mut().for_each(Octroi::run);
    nodes
}

fn grant(node: &Octroi, tenant: &str, user: &str) -> Answer {
    let wish = percent_encoding::utf8_percent_encode(
        &format!("user=\"{user}\""),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    node.curl(&format!("{tenant}.test"), &format!("/login?h-Octroi-Session-Grant={wish}"))
        .args(&["-X", "POST"])
        .get()
}

fn sign_in(node: &Octroi, user: &str) -> String {
    grant(node, "acme", user).session()
}

fn with(node: &Octroi, cookie: &str) -> Answer {
    node.curl("acme.test", "/x").cookie(cookie).get()
}

fn status(node: &Octroi, cookie: &str) -> u16 {
    with(node, cookie).status
}

fn sign_out(node: &Octroi, cookie: &str) {
    let answer = node
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .args(&["-X", "POST"])
        .cookie(cookie)
        .get();
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn listed(node: &Octroi, user: &str) -> serde_json::Value {
    serde_json::from_str(&node.ok(&["session", "list", "--tenant", "acme", "--user", user, "--json"]))
        .unwrap()
}

fn list(node: &Octroi, user: &str) -> Vec<serde_json::Value> {
    listed(node, user)["sessions"].as_array().unwrap().clone()
}

/// Waits until a node lists so many sessions.
fn lists(node: &Octroi, user: &str, count: usize) {
    eventually("the list is as long", || (list(node, user).len() == count).then_some(()));
}

fn is_connected(node: &Octroi) -> bool {
    serde_json::from_slice::<serde_json::Value>(&node.command(&["status", "--json"]).stdout).unwrap()["redis"]
        ["connected"]
        == true
}

fn refused(node: &Octroi, answer: &Answer) -> (u16, String) {
    assert!(answer.all("set-cookie").is_empty(), "{answer:?}");
    (answer.status, node.reason(answer))
}

const KEY: &str = "octroi:sessions:acme:u_1";

#[test]
fn sign_ins_at_once_on_two_nodes_are_never_more_than_the_limit() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let nodes = started(&upstream, &redis, ", max_per_user: {limit: 3}", "");

    let sessions: Vec<String> = std::thread::scope(|scope| {
        let sign_ins = |node| move || (0..4).map(|_| sign_in(node, "u_1")).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(sign_ins(&nodes[thread % 2]))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    for node in &nodes {
        eventually("what was ended on one is ended on the other", || {
            (sessions.iter().filter(|session| status(node, session) == 200).count() == 3).then_some(())
        });
        assert_eq!(list(node, "u_1").len(), 3);
    }
    let ended: f64 =
        nodes.iter().map(|node| node.metric(r#"octroi_session_events_total{event="ended_by_limit"}"#)).sum();
    assert!(ended >= 13.0, "{ended}");
    let counted: f64 =
        nodes.iter().map(|node| node.metric(r#"octroi_session_counts_total{result="success"}"#)).sum();
    assert_eq!(counted, 16.0);
    // Another tenant has no limit, and nobody waits for Redis there.
    assert!((0..4).all(|_| grant(&nodes[0], "globex", "u_1").status == 200));
}

#[test]
fn the_oldest_is_ended_wherever_it_was_granted() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2}", "");
    let (first, second) = (sign_in(&a, "u_1"), sign_in(&b, "u_1"));

    let third = sign_in(&b, "u_1");

    // B never saw the first.
    assert_eq!([&first, &second, &third].map(|session| status(&b, session)), [401, 200, 200]);
    eventually("A has heard of it", || (status(&a, &first) == 401).then_some(()));
    assert_eq!([&second, &third].map(|session| status(&a, session)), [200, 200]);
}

#[test]
fn one_session_too_many_is_refused_on_every_node_until_one_signs_out() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2, over: refuse}", "");
    let sessions = [sign_in(&a, "u_1"), sign_in(&b, "u_1")];

    for node in [&a, &b] {
        assert_eq!(refused(node, &grant(node, "acme", "u_1")), (403, "too_many_sessions".to_owned()));
    }
    assert_eq!(status(&a, &sessions[0]), 200);

    sign_out(&a, &sessions[0]);
    let third = eventually("B has heard of it", || {
        Some(grant(&b, "acme", "u_1")).filter(|answer| answer.status == 200)
    })
    .session();
    assert_eq!(grant(&a, "acme", "u_1").status, 403);
    // A sign-in with a session takes its place.
    let instead = a
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .args(&["-X", "POST"])
        .cookie(&third)
        .get();
    assert_eq!(instead.status, 200);
    assert_eq!(
        [&third, &sessions[1], &instead.session()].map(|session| status(&a, session)),
        [401, 200, 200]
    );
    assert_eq!(grant(&a, "acme", "u_1").status, 403);
}

#[test]
fn without_redis_a_limited_sign_in_is_refused_and_others_are_not() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2}", "");
    let session = sign_in(&a, "u_1");

    redis.kill();
    let refusal = refused(&a, &grant(&a, "acme", "u_1"));
    eventually("the loss is noticed", || (!is_connected(&a)).then_some(()));
    let away = refused(&a, &grant(&a, "acme", "u_1"));

    assert_eq!(
        [refusal, away],
        [(503, "sessions_uncounted".to_owned()), (503, "sessions_uncounted".to_owned())]
    );
    assert_eq!((status(&a, &session), grant(&a, "globex", "u_1").status), (200, 200));
    assert!(a.metric(r#"octroi_session_counts_total{result="failure"}"#) >= 2.0);
    assert_eq!(a.metric(r#"octroi_session_counts_total{result="alone"}"#), 0.0);
    let told = listed(&a, "u_1");
    assert_eq!((&told["all_nodes"], &told["silence"]), (&false.into(), &"Redis is away".into()));
    let said = String::from_utf8(a.command(&["session", "list", "--tenant", "acme", "--user", "u_1"]).stderr)
        .unwrap();
    assert!(
        said.starts_with("note: this list is of this node only (Redis is away); other nodes may know more\n"),
        "{said}"
    );

    redis.run();
    // A is back, and puts what it knows where it can be counted.
    let second = eventually("Redis is found again", || {
        Some(grant(&a, "acme", "u_1")).filter(|answer| answer.status == 200)
    })
    .session();
    lists(&b, "u_1", 2);
    let third =
        eventually("B is back", || Some(grant(&b, "acme", "u_1")).filter(|answer| answer.status == 200))
            .session();
    assert_eq!([&session, &second, &third].map(|session| status(&b, session)), [401, 200, 200]);
}

#[test]
fn without_redis_each_node_counts_its_own_where_the_rule_allows_it_and_they_are_put_together_later() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2}", ", on_stale: allow");
    let before = sign_in(&b, "u_1");
    redis.kill();
    for node in [&a, &b] {
        eventually("the loss is noticed", || (!is_connected(node)).then_some(()));
    }

    let alone: Vec<String> = (0..2).map(|_| sign_in(&a, "u_1")).collect();
    // The limit holds on the node itself; the session that is one too many there is ended on it for good.
    let too_many = grant(&a, "acme", "u_1");
    assert_eq!(refused(&a, &too_many), (503, "revocation_unavailable".to_owned()));
    assert_eq!(a.metric(r#"octroi_session_counts_total{result="alone"}"#), 3.0);
    assert!(a.printed().iter().any(|line| line.contains(r#"event="sessions_counted_alone""#)));
    assert_eq!([&alone[0], &alone[1]].map(|session| status(&a, session)), [401, 200]);

    redis.run();

    // The one that never left does not count.
    lists(&b, "u_1", 2);
    lists(&a, "u_1", 2);
    let last =
        eventually("B is back", || Some(grant(&b, "acme", "u_1")).filter(|answer| answer.status == 200))
            .session();
    for node in [&a, &b] {
        eventually("two are left", || {
            ([&before, &alone[0], &alone[1], &last].map(|session| status(node, session))
                == [401, 401, 200, 200])
            .then_some(())
        });
        assert_eq!(list(node, "u_1").len(), 2);
    }
}

#[test]
fn an_emptied_redis_is_told_again_what_there_is() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2, over: refuse}", "");
    let sessions = [sign_in(&a, "u_1"), sign_in(&b, "u_1")];

    redis.cli(&["FLUSHALL"]);

    eventually("the nodes put it back", || (redis.cli(&["HLEN", KEY]) == "2").then_some(()));
    for node in [&a, &b] {
        assert_eq!(grant(node, "acme", "u_1").status, 403);
        assert_eq!(list(node, "u_1").len(), 2);
        assert_eq!(sessions.each_ref().map(|session| status(node, session)), [200; 2]);
    }
    // A node knows its own whatever Redis says.
    redis.cli(&["DEL", KEY]);
    assert_eq!(status(&a, &sessions[1]), 200);
    assert_eq!(grant(&a, "acme", "u_1").status, 403);
}

#[test]
fn a_kill_of_a_node_frees_nobody_of_the_limit() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2, over: refuse}", "");
    let sessions: Vec<String> = (0..2).map(|_| sign_in(&a, "u_1")).collect();

    a.signal("KILL");
    a.wait();

    assert_eq!(grant(&b, "acme", "u_1").status, 403);
    assert_eq!(sessions.iter().map(|session| status(&b, session)).collect::<Vec<_>>(), [200; 2]);
    let nodes: Vec<_> =
        list(&b, "u_1").iter().map(|session| session["node"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nodes.len(), 2);
    a.run();
    assert_eq!(grant(&a, "acme", "u_1").status, 403);
}

#[test]
fn either_node_lists_all_and_says_which_saw_each_last() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, "", "");
    let (first, second) = (sign_in(&a, "u_1"), sign_in(&b, "u_1"));

    for node in [&a, &b] {
        lists(node, "u_1", 2);
        let told = listed(node, "u_1");
        let nodes: Vec<_> =
            told["sessions"].as_array().unwrap().iter().map(|session| session["node"].clone()).collect();
        assert_eq!(
            (nodes, &told["all_nodes"], &told["silence"]),
            (vec!["edge-1".into(), "edge-2".into()], &true.into(), &().into())
        );
    }
    wait::elapse(Duration::from_millis(1_100));
    assert_eq!(status(&b, &first), 200);
    for node in [&a, &b] {
        eventually("B saw it last", || (list(node, "u_1")[0]["node"] == "edge-2").then_some(()));
    }

    // What is ended is listed nowhere, and leaves Redis.
    sign_out(&a, &second);
    lists(&a, "u_1", 1);
    lists(&b, "u_1", 1);
    eventually("it is taken out", || (redis.cli(&["HLEN", KEY]) == "1").then_some(()));
    let life: u64 = redis.cli(&["PTTL", KEY]).parse().unwrap();
    assert!((43_000_000..43_300_000).contains(&life), "{life}");
}

#[test]
fn what_no_node_wrote_is_left_out_and_counted() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2, over: refuse}", "");
    let session = sign_in(&a, "u_1");
    let (id, value) = {
        let all = redis.cli(&["HGETALL", KEY]);
        let (id, value) = all.split_once('\n').unwrap();
        (id.to_owned(), value.to_owned())
    };
    let other = "ab".repeat(16);
    for (field, junk) in [
        ("junk", value.as_str()),
        (&other.to_uppercase(), &value),
        (&"cd".repeat(16), "1 2 3"),
        (&"ef".repeat(16), ""),
    ] {
        redis.cli(&["HSET", KEY, field, junk]);
    }
    // The scripts can read this one, a node cannot.
    redis.cli(&["HSET", KEY, &other, &value.replacen(" 0 ", " 99999999999 ", 1)]);

    assert_eq!(list(&b, "u_1").len(), 1);
    let second = sign_in(&b, "u_1");
    assert_eq!([status(&b, &session), status(&b, &second)], [200; 2]);
    assert!(b.metric("octroi_redis_strange_total") >= 5.0);
    assert_eq!(redis.cli(&["HLEN", KEY]), "2");
    assert!(redis.cli(&["HEXISTS", KEY, &id]) == "1");

    // As many as nobody has: thrown away, and put back by who knows.
    let many = "for i = 1, 1001 do redis.call('HSET', KEYS[1], string.format('%032x', i), ARGV[1]) end";
    redis.cli(&["EVAL", many, "1", KEY, &value]);
    assert_eq!(grant(&b, "acme", "u_1").status, 403);
    assert_eq!(list(&a, "u_1").len(), 2);

    // A key of another type: nobody can count, until it is gone.
    redis.cli(&["SET", KEY, "junk"]);
    assert_eq!(refused(&a, &grant(&a, "acme", "u_1")), (503, "sessions_uncounted".to_owned()));
    assert_eq!(grant(&a, "acme", "u_2").status, 200);
    redis.cli(&["DEL", KEY]);
    assert_eq!(grant(&b, "acme", "u_1").status, 403, "B knows both");
}

#[test]
fn a_node_that_does_not_know_what_others_ended_does_not_count() {
    let (mut redis, upstream) = (Redis::prepared(&[]), Upstream::start());
    let [mut a, _] = prepared(&upstream, &redis, ", max_per_user: {limit: 2}", "");
    a.run();

    assert_eq!(refused(&a, &grant(&a, "acme", "u_1")), (503, "sessions_uncounted".to_owned()));

    redis.run();
    eventually("it knows", || (grant(&a, "acme", "u_1").status == 200).then_some(()));
}

/// Makes tokens of one session, as the gateway would have.
struct Mint {
    ring: KeyRing,
    claims: Claims,
}

impl Mint {
    fn new(node: &Octroi) -> Self {
        let text = fs::read_to_string(node.path().join("session.key")).unwrap();
        let secret = Secret::new(STANDARD.decode(text.trim()).unwrap().try_into().unwrap());
        let began = SystemClock::new().now();
        let claims = Claims {
            id: SessionId::new([7; 16]),
            tenant: "acme".parse().unwrap(),
            user: "u_1".parse().unwrap(),
            roles: Roles::default(),
            issued: began,
            auth_time: began,
            not_before: began,
            idle_end: began.plus(Duration::from_secs(1800)),
            absolute_end: began.plus(Duration::from_secs(12 * 3600)),
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

    /// What Redis holds of the session, word by word.
    fn held(&self, redis: &Redis) -> Vec<String> {
        redis.cli(&["HGET", KEY, &self.claims.id.to_hex()]).split(' ').map(str::to_owned).collect()
    }

    /// Has Redis say that the newest token came so much earlier.
    fn make_older(&self, redis: &Redis, by: Duration) {
        let mut words = self.held(redis);
        words[5] = UnixTime::from_millis(words[5].parse().unwrap()).minus(by).as_millis().to_string();
        redis.cli(&["HSET", KEY, &self.claims.id.to_hex(), &words.join(" ")]);
    }
}

#[test]
fn an_old_token_is_noticed_where_the_newer_one_was_never_seen() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, "", "");
    let mint = Mint::new(&a);
    assert_eq!([0, 1].map(|generation| status(&a, &mint.cookie(generation))), [200; 2]);
    eventually("Redis knows the newer one", || {
        (mint.held(&redis).get(4).is_some_and(|generation| generation == "1")).then_some(())
    });
    mint.make_older(&redis, Duration::from_secs(40));

    // B takes the first: it has not heard of any other. Then it has.
    assert_eq!(status(&b, &mint.cookie(0)), 200);
    eventually("B has heard of the newer one", || (list(&b, "u_1")[0]["generation"] == 1).then_some(()));
    let copy = eventually("the copy is refused", || {
        Some(with(&b, &mint.cookie(0))).filter(|answer| answer.status != 200)
    });

    assert_eq!((copy.status, b.reason(&copy)), (401, "session_reuse".to_owned()));
    for node in [&a, &b] {
        eventually("the session is ended for both", || (status(node, &mint.cookie(1)) == 401).then_some(()));
    }
    assert_eq!(b.metric(r#"octroi_session_events_total{event="reused"}"#), 1.0);
}

#[test]
fn a_request_under_way_to_another_node_is_no_theft() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [a, b] = started(&upstream, &redis, "", "");
    let mint = Mint::new(&a);
    assert_eq!(status(&b, &mint.cookie(0)), 200);
    eventually("Redis knows it", || (mint.held(&redis).len() == 9).then_some(()));

    assert_eq!([0, 1].map(|generation| status(&a, &mint.cookie(generation))), [200; 2]);

    // B is told at once, and lets the older one pass for now.
    eventually("B is told", || {
        let known = redis.cli(&["HGET", KEY, &mint.claims.id.to_hex()]);
        (known.split(' ').nth(4) == Some("1")).then_some(())
    });
    for _ in 0..5 {
        assert_eq!([0, 1].map(|generation| status(&b, &mint.cookie(generation))), [200; 2]);
    }
    assert_eq!(b.metric(r#"octroi_session_events_total{event="reused"}"#), 0.0);
    assert_eq!(b.metric("octroi_redis_strange_total"), 0.0);
}

#[test]
fn a_limit_holds_through_an_upgrade_and_in_the_process_that_drains() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &redis, ", max_per_user: {limit: 2, over: refuse}", "");
    let mut resting: Vec<_> = (0..3)
        .map(|_| raw_tls(a.addr("public"), "acme.test", &a.path().join("certs/ca.pem"), &[b"http/1.1"]))
        .collect();
    for stream in &mut resting {
        assert_eq!(ask(stream, "GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
    }
    let login = "POST /login?h-Octroi-Session-Grant=user%3D%22u_1%22 HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 0\r\n";
    let first = sign_in(&b, "u_1");

    a.ok(&["upgrade"]);
    a.succeed();

    // The process that drains asks the one that took over, which counts what B granted.
    let second = ask(&mut resting[0], &format!("{login}\r\n")).session();
    let third = ask(&mut resting[1], &format!("{login}\r\n"));
    assert_eq!(third.status, 403, "{third:?}");
    let line = a.access_line(|line| line["path"] == "/login" && line["status"] == 403);
    assert_eq!(line["reason"], "too_many_sessions");
    for node in [&a, &b] {
        assert_eq!(refused(node, &grant(node, "acme", "u_1")), (403, "too_many_sessions".to_owned()));
        assert_eq!([status(node, &first), status(node, &second)], [200; 2]);
    }
    // A session that is presented there is replaced there.
    let instead = ask(&mut resting[2], &format!("{login}Cookie: {second}\r\n\r\n"));
    assert_eq!(instead.status, 200, "{instead:?}");
    eventually("it took the place", || {
        ([&first, &second, &instead.session()].map(|session| status(&b, session)) == [200, 401, 200])
            .then_some(())
    });
}

#[test]
fn an_upgrade_while_redis_is_away_believes_sessions_for_as_long_as_its_predecessor_would_have() {
    let (mut redis, upstream) = (Redis::start(), Upstream::start());
    let [mut a, b] = started(&upstream, &redis, "", ", stale_after: 15s");
    let sessions = ["u_1", "u_2"].map(|user| sign_in(&a, user));
    sign_out(&b, &sessions[1]);
    eventually("A has heard of it", || (status(&a, &sessions[1]) == 401).then_some(()));
    redis.kill();
    eventually("the loss is noticed", || (!is_connected(&a)).then_some(()));

    a.ok(&["upgrade"]);
    a.succeed();

    assert_eq!(sessions.each_ref().map(|session| status(&a, session)), [200, 401]);
    eventually("it holds no longer", || (status(&a, &sessions[0]) == 503).then_some(()));
    assert_eq!(status(&a, &sessions[1]), 401);
    redis.run();
    eventually("it is fresh", || (status(&a, &sessions[0]) == 200).then_some(()));
}
