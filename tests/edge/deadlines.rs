//! Deadlines, with short times.

use std::time::{Duration, Instant};

use octroi::policy::ListenerKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{GET, House, ask, plan, rest};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_head_that_drips_is_answered_with_408() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let house = House::open(plan).await;
    let (mut reader, mut writer) = house.connect().await.into_split();

    // A byte every few milliseconds: no single read ever waits for long.
    let drip = tokio::spawn(async move {
        while writer.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });

    assert!(rest(&mut reader).await.starts_with("HTTP/1.1 408 Ours"));
    house.seen.line("early HeadTimeout").await;
    drip.abort();
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed_without_a_word() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let house = House::open(plan).await;
    let mut client = house.connect().await;

    assert_eq!(rest(&mut client).await, "");
    house.seen.line("cut timeout_no_request").await;
}

#[tokio::test]
async fn a_connection_that_asks_no_more_is_closed() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.idle_timeout = SHORT;
    let house = House::open(plan).await;
    let mut client = house.handshake("a.test").await.unwrap();
    ask(&mut client, GET).await;
    let start = Instant::now();

    let mut end = Vec::new();
    client.read_to_end(&mut end).await.expect("TLS is closed in order");

    assert!(end.is_empty() && start.elapsed() >= SHORT - Duration::from_millis(20));
    house.seen.line("cut timeout_idle").await;
}

#[tokio::test]
async fn a_later_head_has_its_own_time() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let house = House::open(plan).await;
    let mut client = house.connect().await;
    ask(&mut client, GET).await;

    // Longer than the deadline of a head, but no head has begun.
    tokio::time::sleep(SHORT * 2).await;
    assert!(ask(&mut client, GET).await.contains("200"));

    client.write_all(b"GET / HT").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408 Ours"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.write_stall = SHORT;
    let house = House::open(plan).await;
    let mut client = house.handshake("a.test").await.unwrap();

    client.write_all(b"GET /flood HTTP/1.1\r\n\r\n").await.unwrap();

    house.seen.line("cut timeout_write").await;
    assert_eq!(house.connections.drained(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_a_busy_one_is_not() {
    let house = House::open(plan(ListenerKind::Plaintext)).await;
    let mut client = house.connect().await;

    client.write_all(b"GET /tunnel HTTP/1.1\r\n\r\n").await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        client.write_all(b"ping").await.unwrap();
        let mut frame = [0; 4];
        client.read_exact(&mut frame).await.unwrap();
    }
    assert_eq!(house.seen.count("cut"), 0);

    assert_eq!(rest(&mut client).await, "");
    house.seen.line("cut timeout_tunnel").await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_connection_costs_no_time_in_tests() {
    // With the clock paused the runtime jumps to the next timer: sixty seconds of idling pass at once.
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.idle_timeout = Duration::from_secs(60);
    let house = House::open(plan).await;
    let mut client = house.connect().await;
    ask(&mut client, GET).await;

    let mut end = Vec::new();
    client.read_to_end(&mut end).await.unwrap();

    house.seen.line("cut timeout_idle").await;
}
