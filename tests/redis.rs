//! The connection to Redis: deadlines, messages, what becomes of it when Redis goes away or says too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]
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
use octroi::{
    model::{Secret, SystemClock},
    policy::{Redis as Rules, RedisGuard, RedisPlace},
    state::redis::{Inbox, Link, Redis, RedisFault, RedisWitness},
};
use redis::cmd;

#[derive(Default)]
struct Watch {
    connections: AtomicU32,
    faults: Mutex<Vec<&'static str>>,
}

impl RedisWitness for Watch {
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

        assert_eq!(tokio::time::timeout(Duration::from_secs(10), news.next()).await.unwrap(), Some(b"hello".to_vec()));
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
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), news.next()).await.unwrap(), Some(b"again".to_vec()));
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
    let server = Server::with(&["--user", "octroi", "on", ">secret-0123456789", "~octroi:*", "+get", "--user", "default", "off"]);
    let login = Rules { user: Some("octroi".into()), password: Some(Secret::new("secret-0123456789".to_owned())), ..rules(&server) };
    let watch = Arc::new(Watch::default());
    let (link, redis) = Link::new(&login, Arc::new(SystemClock::new()), Arc::<Watch>::clone(&watch)).unwrap();
    tokio::spawn(link.run());
    connected(&redis, 0).await;

    assert!(matches!(redis.call::<Option<String>>(cmd("GET").arg("octroi:a")).await, Ok(None)));
    assert!(matches!(redis.call::<()>(cmd("GET").arg("other")).await, Err(RedisFault::Refused(_))));
    assert!(matches!(redis.call::<()>(cmd("SET").arg("octroi:a").arg("1")).await, Err(RedisFault::Refused(_))));
    assert_eq!((redis.connection(), watch.connections.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    let server = Server::with(&["--requirepass", "secret-0123456789"]);
    let (redis, _news, _) = client(&Rules { password: Some(Secret::new("wrong".to_owned())), ..rules(&server) }).await;

    tokio::time::sleep(Duration::from_millis(500)).await;

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
