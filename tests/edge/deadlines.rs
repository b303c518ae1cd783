//! Deadlines, with short times.

use std::time::Duration;

use octroi::policy::ListenerKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use crate::test_listener::{GET, TestListener, ask, plan, proxied, rest};
use crate::wait;

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_head_that_drips_is_answered_with_408() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let test_listener = TestListener::open(plan).await;
    let (mut reader, mut writer) = test_listener.connect().await.into_split();

    // A byte every few milliseconds: no single read ever waits for long.
    let drip = tokio::spawn(async move {
        while writer.write_all(b"G").await.is_ok() {
            wait::slow_peer_async(Duration::from_millis(5)).await;
        }
    });

    assert!(rest(&mut reader).await.starts_with("HTTP/1.1 408 Ours"));
    test_listener.seen.line("early HeadTimeout").await;
    drip.abort();
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed_without_a_word() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let test_listener = TestListener::open(plan).await;
    let mut client = test_listener.connect().await;

    assert_eq!(rest(&mut client).await, "");
    test_listener.seen.line("cut timeout_no_request").await;
}

#[tokio::test]
async fn a_connection_that_asks_no_more_is_closed() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.idle_timeout = SHORT;
    let test_listener = TestListener::open(plan).await;
    let mut client = test_listener.handshake("a.test").await.unwrap();
    ask(&mut client, GET).await;
    let start = Instant::now();

    let mut end = Vec::new();
    client.read_to_end(&mut end).await.expect("TLS is closed in order");

    assert!(end.is_empty() && start.elapsed() >= SHORT - Duration::from_millis(20));
    test_listener.seen.line("cut timeout_idle").await;
}

#[tokio::test]
async fn a_later_head_has_its_own_time() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.limits.header_timeout = SHORT;
    let test_listener = TestListener::open(plan).await;
    let mut client = test_listener.connect().await;
    ask(&mut client, GET).await;

    // Longer than the deadline of a head, but no head has begun.
    wait::elapse_async(SHORT * 2).await;
    assert!(ask(&mut client, GET).await.contains("200"));

    client.write_all(b"GET / HT").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 408 Ours"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.write_stall = SHORT;
    let test_listener = TestListener::open(plan).await;
    let mut client = test_listener.handshake("a.test").await.unwrap();

    client.write_all(b"GET /flood HTTP/1.1\r\n\r\n").await.unwrap();

    test_listener.seen.line("cut timeout_write").await;
    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_a_busy_one_is_not() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;

    client.write_all(b"GET /tunnel HTTP/1.1\r\n\r\n").await.unwrap();
    for _ in 0..6 {
        wait::slow_peer_async(Duration::from_millis(30)).await;
        client.write_all(b"ping").await.unwrap();
        let mut frame = [0; 4];
        client.read_exact(&mut frame).await.unwrap();
    }
    assert_eq!(test_listener.seen.count("cut"), 0);

    assert_eq!(rest(&mut client).await, "");
    test_listener.seen.line("cut timeout_tunnel").await;
}

#[tokio::test]
async fn a_proxy_header_that_does_not_come_is_waited_for_two_seconds() {
    let test_listener = TestListener::open(proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"])).await;
    let mut client = test_listener.connect().await;
    let start = Instant::now();
    client.write_all(b"PROXY TCP4 192.0.2.1 ").await.unwrap();

    assert_eq!(rest(&mut client).await, "");

    assert!(start.elapsed() >= Duration::from_millis(1900));
    test_listener.seen.line("refused proxy_protocol 127.0.0.1 the header did not come in time").await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let half = test_listener.connect().await;
    let mut whole = test_listener.handshake("a.test").await.unwrap();
    whole.write_all(b"GET / HTT").await.unwrap();
    assert_eq!(test_listener.connections.open(), 2);

    drop((half, whole));

    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
    test_listener.seen.line("refused tls_aborted").await;
}
