//! Redis fails over, fills up or turns out to be something else: octroi goes where its name leads now, and says what is wrong.

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
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use harness::wait;
use harness::{Octroi, Upstream, eventually, redis::Redis};

/// What stands for a name: new connections go to where it leads now, old ones stay where they are.
struct Name {
    port: u16,
    leads_to: Arc<AtomicU16>,
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Name {
    fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(AtomicU16::new(redis.port));
        let came = Arc::<Mutex<Vec<Instant>>>::default();
        let (target, times) = (Arc::clone(&leads_to), Arc::clone(&came));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                times.lock().unwrap().push(Instant::now());
                let Ok(server) = TcpStream::connect(("127.0.0.1", target.load(Ordering::Relaxed))) else {
                    continue;
                };
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { port, leads_to, came }
    }

    fn lead_to(&self, redis: &Redis) {
        self.leads_to.store(redis.port, Ordering::Relaxed);
    }

    fn came(&self) -> Vec<Instant> {
        self.came.lock().unwrap().clone()
    }
}

fn config(upstream: &Upstream, port: u16) -> String {
    format!(
        r#"
version: 1
node: edge-1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: redis}}
redis: {{url: "redis://127.0.0.1:{port}"}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{rules: [{{path: /login, access: public, grant: true}}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn sign_in(octroi: &Octroi) -> String {
    octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .args(&["-X", "POST"])
        .get()
        .session()
}

fn asks(octroi: &Octroi, session: &str) -> u16 {
    octroi.curl("acme.test", "/x").cookie(session).get().status
}

fn redis_of(octroi: &Octroi) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(&octroi.command(&["status", "--json"]).stdout).unwrap()["redis"].clone()
}

fn in_sync(octroi: &Octroi) {
    eventually("all is well with Redis", || {
        let redis = redis_of(octroi);
        (redis["connected"] == true
            && redis["fresh"] == true
            && redis["trouble"].is_null()
            && redis["pending"] == 0)
            .then_some(())
    });
}

fn trouble(octroi: &Octroi, part: &str) -> serde_json::Value {
    eventually(part, || {
        let redis = redis_of(octroi);
        redis["trouble"].as_str().is_some_and(|trouble| trouble.contains(part)).then_some(redis)
    })
}

fn said(octroi: &Octroi, parts: &[&str]) -> usize {
    octroi.printed().iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// A primary and its replica, which has all of it.
fn pair() -> [Redis; 2] {
    let pair = [Redis::start(), Redis::start()];
    pair[1].cli(&["REPLICAOF", "127.0.0.1", &pair[0].port.to_string()]);
    eventually("the replica follows", || {
        pair[1].cli(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
    });
    pair
}

fn fail_over(pair: &[Redis; 2]) {
    pair[1].cli(&["REPLICAOF", "NO", "ONE"]);
    pair[0].cli(&["REPLICAOF", "127.0.0.1", &pair[1].port.to_string()]);
}

#[test]
fn a_primary_that_became_a_replica_is_left_for_the_one_in_its_place() {
    let (pair, upstream) = (pair(), Upstream::start());
    let name = Name::of(&pair[0]);
    let octroi = Octroi::start(&config(&upstream, name.port));
    let sessions = [sign_in(&octroi), sign_in(&octroi)];
    in_sync(&octroi);
    let before = name.came().len();

    name.lead_to(&pair[1]);
    fail_over(&pair);

    // The connection is there all the while: only what Redis says tells.
    eventually("octroi has gone on", || (name.came().len() > before).then_some(()));
    in_sync(&octroi);
    assert_eq!(sessions.each_ref().map(|session| asks(&octroi, session)), [200, 200]);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert_eq!(sessions.each_ref().map(|session| asks(&octroi, session)), [401, 401]);
    assert_ne!(pair[1].cli(&["ZCARD", "octroi:ended"]), "0");
    assert_eq!(said(&octroi, &["redis_lost", "READONLY"]), 1);
    assert_eq!(name.came().len(), before + 1, "one more connection was enough");
}

#[test]
fn a_replica_that_stays_is_asked_again_every_three_seconds_and_told_of_once() {
    let (pair, upstream) = (pair(), Upstream::start());
    let name = Name::of(&pair[0]);
    let octroi = Octroi::start(&config(&upstream, name.port));
    in_sync(&octroi);
    let before = name.came().len();

    fail_over(&pair);
    trouble(&octroi, "READONLY");
    wait::eventually_within(Duration::from_secs(60), "another connection is made again and again", || {
        (name.came().len() >= before + 4).then_some(())
    });

    let times = name.came();
    for (earlier, later) in times[before..].iter().zip(&times[before + 1..]) {
        // Each is noted when this machine comes to it: two may seem to be closer to each other.
        assert!(later.duration_since(*earlier) >= Duration::from_secs(2), "{times:?}");
    }
    assert_eq!((said(&octroi, &["redis_lost"]), said(&octroi, &["redis_connected"])), (1, 1));

    // As soon as the name leads to the right one, all is well.
    name.lead_to(&pair[1]);
    in_sync(&octroi);
}

#[test]
fn a_primary_without_enough_replicas_is_asked_again_on_another_connection() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let name = Name::of(&redis);
    let octroi = Octroi::start(&config(&upstream, name.port));
    in_sync(&octroi);
    let before = name.came().len();

    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    trouble(&octroi, "NOREPLICAS");
    eventually("another connection is made", || (name.came().len() > before).then_some(()));
    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);

    in_sync(&octroi);
}

#[test]
fn a_full_redis_is_shown_and_its_connection_stays() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let name = Name::of(&redis);
    let octroi = Octroi::start(&config(&upstream, name.port));
    in_sync(&octroi);
    let before = name.came().len();

    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let status = trouble(&octroi, "OOM");
    assert_eq!(status["connected"], true);
    let told = String::from_utf8(octroi.command(&["status"]).stdout).unwrap();
    assert!(told.contains("this Redis takes nothing in: OOM "), "{told}");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually("it is told of no more", || redis_of(&octroi)["trouble"].is_null().then_some(()));

    assert_eq!(name.came().len(), before);
    in_sync(&octroi);
}

#[test]
fn the_first_reason_why_a_connection_cannot_be_made_again_is_told_and_shown() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let octroi = Octroi::start(&config(&upstream, redis.port));
    in_sync(&octroi);

    redis.cli(&["CONFIG", "SET", "requirepass", "secret"]);
    for kind in ["normal", "pubsub"] {
        redis.cli(&["-a", "secret", "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }

    let status = trouble(&octroi, "NOAUTH");
    assert_eq!(status["connected"], false);
    assert_eq!(said(&octroi, &["redis_unreachable", "NOAUTH"]), 1);
    redis.cli(&["-a", "secret", "CONFIG", "SET", "requirepass", ""]);
    in_sync(&octroi);
}

#[test]
fn a_cluster_is_named_once() {
    let redis = Redis::with(&["--cluster-enabled", "yes"]);
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, redis.port));

    let status = trouble(&octroi, "this Redis is a Cluster, which is not supported yet");
    assert_eq!(status["connected"], true);
    let began = octroi.metric(r#"octroi_redis_commands_total{result="refused"}"#);
    eventually("more is refused", || {
        (octroi.metric(r#"octroi_redis_commands_total{result="refused"}"#) > began + 1.0).then_some(())
    });
    assert_eq!(said(&octroi, &["ERROR", "a Redis Cluster is not supported yet"]), 1);
}
