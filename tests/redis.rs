//! The connection to Redis: deadlines, messages, what becomes of it when Redis goes away or says too much.

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
#![cfg(feature = "gateway")]

mod harness;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use harness::redis::Redis as Server;
use harness::wait;
use octroi::{
    cluster::{NodeIdentity, Replication, SyncObserver},
    model::{ClientPrefix, Clock, Secret, SessionId, SystemClock, TenantName},
    policy::{Redis as Rules, RedisGuard, RedisPlace},
    redis::{Inbox, Link, Redis, RedisFault, RedisObserver},
    session::{Admission, HeldSession, LimitAction, UserLimit, admit},
    sessions::{GrantLimits, GrantRecord, GrantRequest, SessionLedger},
};
use redis::cmd;

#[derive(Default)]
struct Watch {
    connections: AtomicU32,
    faults: Mutex<Vec<&'static str>>,
}

impl RedisObserver for Watch {
    fn command(&self, _took: Duration, outcome: Result<(), &RedisFault>) {
        self.faults.lock().unwrap().extend(outcome.err().map(RedisFault::as_str));
    }

    fn connected(&self, is_connected: bool) {
        self.connections.fetch_add(u32::from(is_connected), Ordering::Relaxed);
    }
}

fn rules(server: &Server) -> Rules {
    Rules {
        place: RedisPlace::Tcp { host: "127.0.0.1".into(), port: server.port, guard: RedisGuard::Loopback },
        user: None,
        password: None,
        database: 0,
        timeout: Duration::from_millis(300),
        replicas: None,
    }
}

/// A client that hears the channel `news`, and what was told of it.
async fn client(rules: &Rules) -> (Redis, Inbox, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let (link, redis) = Link::new(rules, Arc::new(SystemClock::new()), Arc::<Watch>::clone(&watch)).unwrap();
    let news = redis.subscribe("news", 4);
    tokio::spawn(link.run());
    (redis, news, watch)
}

async fn connected(redis: &Redis, known: u64) -> u64 {
    let another = async {
        let mut number = redis.connection();
        while number <= known {
            number = redis.changed(number).await;
        }
        number
    };
    tokio::time::timeout(Duration::from_secs(10), another).await.expect("a connection within ten seconds")
}

async fn set_and_get(redis: &Redis) -> String {
    redis.call::<()>(cmd("SET").arg("a").arg("1")).await.unwrap();
    redis.call(cmd("GET").arg("a")).await.unwrap()
}

#[tokio::test]
async fn commands_are_answered_and_messages_are_heard_over_tcp_and_a_socket() {
    let server = Server::start();
    for place in [rules(&server).place, RedisPlace::Unix(server.socket())] {
        let (redis, mut news, _) = client(&Rules { place, database: 3, ..rules(&server) }).await;
        connected(&redis, 0).await;

        assert_eq!(set_and_get(&redis).await, "1");
        redis.call::<()>(cmd("PUBLISH").arg("news").arg("hello")).await.unwrap();

        assert_eq!(
            tokio::time::timeout(Duration::from_secs(10), news.next()).await.unwrap(),
            Some(b"hello".to_vec())
        );
    }
    assert_eq!(server.cli(&["-n", "3", "GET", "a"]), "1");
}

#[tokio::test]
async fn nobody_waits_for_a_redis_that_is_away_and_it_is_found_again() {
    let mut server = Server::start();
    let (redis, mut news, watch) = client(&rules(&server)).await;
    let first = connected(&redis, 0).await;

    server.kill();
    redis.changed(first).await;
    let began = Instant::now();
    let outcomes = [redis.call::<()>(&cmd("PING")).await, redis.call::<()>(&cmd("PING")).await];
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(RedisFault::Away))), "{outcomes:?}");
    assert!(began.elapsed() < Duration::from_millis(250), "it did not even wait for its deadline");
    server.run();

    assert_eq!(connected(&redis, first).await, 2);
    assert_eq!(set_and_get(&redis).await, "1");
    server.cli(&["PUBLISH", "news", "again"]);
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(10), news.next()).await.unwrap(),
        Some(b"again".to_vec())
    );
    assert_eq!(watch.connections.load(Ordering::Relaxed), 2);
    assert_eq!(*watch.faults.lock().unwrap(), ["away", "away"]);
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for_beyond_the_deadline_and_is_left() {
    let server = Server::start();
    let (redis, _news, watch) = client(&rules(&server)).await;
    let first = connected(&redis, 0).await;

    server.freeze();
    for _ in 0..3 {
        assert!(matches!(redis.call::<()>(&cmd("PING")).await, Err(RedisFault::Late(_))));
    }

    assert_eq!(redis.changed(first).await, 0);
    assert!(matches!(redis.call::<()>(&cmd("PING")).await, Err(RedisFault::Away)));
    server.thaw();
    connected(&redis, first).await;
    assert_eq!(set_and_get(&redis).await, "1");
    assert_eq!(*watch.faults.lock().unwrap(), ["timeout", "timeout", "timeout", "away"]);
}

#[tokio::test]
async fn what_redis_refuses_is_told_and_ends_nothing() {
    let server = Server::with(&[
        "--user",
        "octroi",
        "on",
        ">secret-0123456789",
        "~octroi:*",
        "+get",
        "--user",
        "default",
        "off",
    ]);
    let login = Rules {
        user: Some("octroi".into()),
        password: Some(Secret::new("secret-0123456789".to_owned())),
        ..rules(&server)
    };
    let watch = Arc::new(Watch::default());
    let (link, redis) = Link::new(&login, Arc::new(SystemClock::new()), Arc::<Watch>::clone(&watch)).unwrap();
    tokio::spawn(link.run());
    connected(&redis, 0).await;

    assert!(matches!(redis.call::<Option<String>>(cmd("GET").arg("octroi:a")).await, Ok(None)));
    assert!(matches!(redis.call::<()>(cmd("GET").arg("other")).await, Err(RedisFault::Refused(_))));
    assert!(matches!(
        redis.call::<()>(cmd("SET").arg("octroi:a").arg("1")).await,
        Err(RedisFault::Refused(_))
    ));
    assert_eq!((redis.connection(), watch.connections.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    let server = Server::with(&["--requirepass", "secret-0123456789"]);
    let (redis, _news, _) =
        client(&Rules { password: Some(Secret::new("wrong".to_owned())), ..rules(&server) }).await;

    wait::elapse_async(Duration::from_millis(500)).await;

    assert_eq!(redis.connection(), 0);
}

#[tokio::test]
async fn too_many_messages_are_counted_and_a_huge_one_ends_the_connection() {
    let server = Server::start();
    let (redis, mut news, _) = client(&rules(&server)).await;
    let first = connected(&redis, 0).await;

    for number in 0..10 {
        server.cli(&["PUBLISH", "news", &number.to_string()]);
    }
    set_and_get(&redis).await;
    assert_eq!(std::iter::from_fn(|| news.take()).collect::<Vec<_>>(), [b"0", b"1", b"2", b"3"]);
    assert_eq!(news.lost(), 6);

    server.cli(&["EVAL", "redis.call('PUBLISH', 'news', string.rep('a', 2000000))", "0"]);
    let second = connected(&redis, first).await;
    assert_eq!(set_and_get(&redis).await, "1");
    assert_eq!(second, 2);
}

impl SyncObserver for Watch {
    fn shared(&self, _took: Duration, _is_done: bool) {}
    fn compared(&self, _took: Duration, _is_done: bool) {}
    fn foreign_data(&self, count: u64) {
        panic!("{count} entries are strange");
    }
    fn fresh(&self, _is_fresh: bool) {}
    fn counted(&self, is_done: bool) {
        assert!(is_done);
    }
    fn counted_alone(&self) {
        panic!("Redis is there");
    }
    fn notes(&self, _told: u64, dropped: u64) {
        assert_eq!(dropped, 0);
    }
}

/// The rule stands in Rust for one node, and in a script of Redis for several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_judged_alike_in_redis_and_in_memory() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let (clock, watch) = (Arc::new(SystemClock::new()), Arc::new(Watch::default()));
    let patient = Rules { timeout: Duration::from_secs(5), ..rules(&server) };
    let (link, redis) = Link::new(&patient, clock.clone(), Arc::<Watch>::clone(&watch)).unwrap();
    let now = clock.now();
    let journal = Arc::new(SessionLedger::open(dir.path(), now).unwrap());
    let sharer = NodeIdentity {
        node: "edge 1".to_owned(),
        process: "p1".to_owned(),
        database: 0,
        stale_after: Duration::from_secs(30),
    };
    let (sharing, inboxes) = Replication::begin(redis, Arc::clone(&journal), sharer, clock, watch);
    tokio::spawn(link.run());
    tokio::spawn(Arc::clone(&sharing).run(inboxes));
    assert!(sharing.synced_within(Duration::from_secs(10)).await);

    let ends = now.plus(Duration::from_secs(3600));
    let mut held: Vec<HeldSession> = Vec::new();
    let mut bits = 7_u64;
    for step in 0_u32..60 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, ..] = bits.to_be_bytes();
        // Several of one millisecond, in no order.
        let granted = now.minus(Duration::from_millis(u64::from(a % 4)));
        let id = SessionId::new((u128::from(bits) << 64 | u128::from(step)).to_be_bytes());
        let limit = UserLimit {
            limit: (1 + b % 6).try_into().unwrap(),
            over: if c % 3 == 0 { LimitAction::Refuse } else { LimitAction::Oldest },
        };
        let replaces = held.get(usize::from(c) % 8).map(|held| held.id).filter(|_| a % 5 == 0);
        let mut others: Vec<HeldSession> =
            held.iter().filter(|held| Some(held.id) != replaces).copied().collect();
        let expected = admit(&mut others, limit);

        let limits = GrantLimits {
            limit: Some(limit),
            idle: Duration::from_secs(600),
            absolute: Duration::from_secs(3600),
            ..GrantLimits::default()
        };
        let (tenant, user): (TenantName, _) = ("acme".parse().unwrap(), "u:1".parse().unwrap());
        let client = ClientPrefix(u128::from(bits));
        let record = GrantRecord { id, tenant: tenant.clone(), user, granted, ends, epoch: 0, client };
        let admission = journal.grant(GrantRequest { record, limits, replaces }, now).await.unwrap();
        let ended: Vec<SessionId> = match &admission {
            Admission::Granted(surplus) => surplus.iter().map(|held| held.id).chain(replaces).collect(),
            Admission::Refused(_) => Vec::new(),
        };
        for id in &ended {
            journal.end_session(&tenant, *id, now, ends).await.unwrap();
        }

        assert_eq!(admission, expected, "step {step}: {limit:?} of {held:?}");
        if let Admission::Granted(_) = admission {
            held.retain(|held| !ended.contains(&held.id));
            held.push(HeldSession { granted, id, ends });
        }
        let listed = sharing
            .sessions_of(&"acme".parse().unwrap(), &"u:1".parse().unwrap(), Duration::from_secs(600))
            .await
            .unwrap();
        let mut ids: Vec<_> =
            listed.iter().map(|listed| (*listed.note.id.as_bytes(), listed.node.as_str())).collect();
        let mut expected: Vec<_> = held.iter().map(|held| (*held.id.as_bytes(), "edge1")).collect();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected);
    }
    assert!(server.cli(&["KEYS", "octroi:sessions:*"]).lines().eq(["octroi:sessions:acme:u:1"]));
}
