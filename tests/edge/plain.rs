//! Plain listeners: caps, PROXY protocol, early refusals.

use std::time::Duration;

use octroi::policy::{DenyFile, ListenerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::test_listener::{GET, TestListener, ask, plan, proxied, ranges, rest};
use crate::wait;

#[tokio::test]
async fn a_connection_carries_request_after_request() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;

    assert!(ask(&mut client, GET).await.contains("tls=None"));
    assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200"));
    drop(client);

    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
    assert_eq!((test_listener.seen.count("opened"), test_listener.seen.count("closed")), (1, 1));
}

#[tokio::test]
async fn header_and_body_leave_in_one_write() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;

    for _ in 0..20 {
        client.write_all(GET.as_bytes()).await.unwrap();
        let mut bytes = [0; 4096];
        let read = client.read(&mut bytes).await.unwrap();
        assert!(String::from_utf8_lossy(&bytes[..read]).contains("source="), "one read holds all of it");
    }
}

#[tokio::test]
async fn the_listener_takes_no_more_than_its_cap() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.listener.max_connections = 2;
    let test_listener = TestListener::open(plan).await;

    let mut first = test_listener.connect().await;
    let mut second = test_listener.connect().await;
    ask(&mut first, GET).await;
    ask(&mut second, GET).await;
    let mut third = test_listener.connect().await;

    assert_eq!(rest(&mut third).await, "");
    test_listener.seen.line("refused cap_listener 127.0.0.1").await;
    drop(first);
    test_listener.seen.line("closed").await;
    assert!(ask(&mut test_listener.connect().await, GET).await.contains("200"));
}

#[tokio::test]
async fn a_client_takes_no_more_than_its_cap() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.listener.max_connections_per_client = 1;
    let test_listener = TestListener::open(plan).await;

    let mut first = test_listener.connect().await;
    ask(&mut first, GET).await;

    assert_eq!(rest(&mut test_listener.connect().await).await, "");
    test_listener.seen.line("refused cap_client 127.0.0.1").await;
}

#[tokio::test]
async fn a_proxy_of_ours_is_in_no_cap_per_client() {
    let mut plan = plan(ListenerKind::Plaintext);
    plan.listener.max_connections_per_client = 1;
    plan.trusted_proxies = ranges(&["127.0.0.0/8"]);
    let test_listener = TestListener::open(plan).await;

    let mut first = test_listener.connect().await;
    ask(&mut first, GET).await;

    assert!(ask(&mut test_listener.connect().await, GET).await.contains("200"));
}

#[tokio::test]
async fn clients_behind_a_balancer_are_counted_by_their_own_address() {
    let mut plan = proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"]);
    plan.listener.max_connections_per_client = 1;
    let test_listener = TestListener::open(plan).await;
    let header = |host: u8| format!("PROXY TCP4 192.0.2.{host} 192.0.2.9 1234 443\r\n{GET}");

    let mut first = test_listener.connect().await;
    let mut other = test_listener.connect().await;
    assert!(ask(&mut first, &header(1)).await.contains("source=192.0.2.1:1234 peer=127.0.0.1"));
    assert!(ask(&mut other, &header(2)).await.contains("source=192.0.2.2:1234"));

    let mut again = test_listener.connect().await;
    again.write_all(header(1).as_bytes()).await.unwrap();
    assert_eq!(rest(&mut again).await, "");
    test_listener.seen.line("refused cap_client 192.0.2.1").await;
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_in_either_version() {
    let test_listener = TestListener::open(proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"])).await;

    let mut client = test_listener.connect().await;
    for piece in ["PROXY TC", "P6 2001:db8::1 2001:db8::2 5 443\r", "\n"] {
        client.write_all(piece.as_bytes()).await.unwrap();
        wait::slow_peer_async(Duration::from_millis(5)).await;
    }
    assert!(ask(&mut client, GET).await.contains("source=[2001:db8::1]:5"));

    let mut client = test_listener.connect().await;
    client
        .write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x12\x34\x01\xbb")
        .await
        .unwrap();
    assert!(ask(&mut client, GET).await.contains("source=192.0.2.1:4660"));

    let mut client = test_listener.connect().await;
    client.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
    assert!(ask(&mut client, GET).await.contains("source=127.0.0.1"));
}

#[tokio::test]
async fn without_its_header_nobody_comes_in() {
    let test_listener = TestListener::open(proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"])).await;
    let mut client = test_listener.connect().await;

    client.write_all(GET.as_bytes()).await.unwrap();

    assert_eq!(rest(&mut client).await, "");
    test_listener.seen.line("refused proxy_protocol 127.0.0.1 no PROXY header").await;
}

#[tokio::test]
async fn a_stranger_may_send_no_header() {
    let test_listener = TestListener::open(proxied(plan(ListenerKind::Plaintext), &["192.0.2.0/24"])).await;
    let mut client = test_listener.connect().await;

    client.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\n").await.unwrap();

    assert_eq!(rest(&mut client).await, "");
    test_listener.seen.line("refused proxy_untrusted 127.0.0.1").await;
}

#[tokio::test]
async fn what_the_library_refuses_is_answered_by_us_once() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;

    client.write_all(b"BAD\r\n\r\n").await.unwrap();

    assert_eq!(
        rest(&mut client).await,
        "HTTP/1.1 400 Ours\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    test_listener.seen.line("early Library(400) 7").await;
    assert_eq!(test_listener.seen.count("early"), 1);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_although_more_of_it_is_under_way() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;

    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100_000));
    client.write_all(head.as_bytes()).await.unwrap();

    assert!(rest(&mut client).await.starts_with("HTTP/1.1 431 Ours"));
    test_listener.seen.line("early HeadTooLarge").await;
}

#[tokio::test]
async fn after_shutdown_nobody_is_accepted_and_the_open_ones_go_on() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;
    ask(&mut client, GET).await;

    test_listener.down.send(true).unwrap();
    wait::eventually_async("nobody is accepted", || {
        std::net::TcpStream::connect(test_listener.addr).is_err()
    })
    .await;

    assert_eq!(test_listener.connections.open(), 1);
    assert_eq!(test_listener.connections.drained(Duration::from_millis(20)).await, 1);
    assert!(
        ask(&mut client, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.contains("200")
    );
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_says_so() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut listener = plan(ListenerKind::Plaintext).listener;
    listener.address = test_listener.addr;

    let error =
        octroi::edge::bind(&std::sync::Arc::new(listener), octroi::edge::Ipv6Mode::DualStack).unwrap_err();

    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn denied_ranges_are_dropped_by_the_address_that_the_header_names() {
    let mut plan = proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"]);
    plan.listener.deny.ranges = ranges(&["192.0.2.0/24", "2001:db8::/32"]);
    let test_listener = TestListener::open(plan).await;

    for (source, reason) in [
        ("TCP4 192.0.2.255", "192.0.2.255 in 192.0.2.0/24 of `deny`"),
        ("TCP6 2001:db8::1", "2001:db8::1 in 2001:db8::/32 of `deny`"),
    ] {
        let to = if source.starts_with("TCP4") { "192.0.2.1" } else { "::1" };
        let mut client = test_listener.connect().await;
        client.write_all(format!("PROXY {source} {to} 1 443\r\n{GET}").as_bytes()).await.unwrap();
        assert_eq!(rest(&mut client).await, "");
        test_listener.seen.line(&format!("refused denied {reason}")).await;
    }
    // Just outside, and the balancer itself.
    for header in ["PROXY TCP4 192.0.3.0 192.0.2.1 1 443\r\n", "PROXY UNKNOWN\r\n"] {
        assert!(
            ask(&mut test_listener.connect().await, &format!("{header}{GET}")).await.contains("200"),
            "{header}"
        );
    }
}

#[tokio::test]
async fn deny_comes_before_ban_and_ban_before_the_cap_of_the_client() {
    let mut denying = plan(ListenerKind::Plaintext);
    denying.listener.deny.ranges = ranges(&["127.0.0.0/8"]);
    denying.listener.max_connections_per_client = 0;
    let mut capping = plan(ListenerKind::Plaintext);
    capping.listener.max_connections_per_client = 0;
    let (denying, capping) = (TestListener::open(denying).await, TestListener::open(capping).await);

    assert_eq!(rest(&mut capping.connect().await).await, "");
    capping.seen.line("refused cap_client").await;
    for test_listener in [&denying, &capping] {
        test_listener.seen.ban("127.0.0.1");
        assert_eq!(rest(&mut test_listener.connect().await).await, "");
    }

    denying.seen.line("refused denied").await;
    capping.seen.line("refused banned 127.0.0.1").await;
    // The cap of the listener is the first of all.
    let mut full = plan(ListenerKind::Plaintext);
    full.listener.max_connections = 0;
    full.listener.deny.ranges = ranges(&["127.0.0.0/8"]);
    let full = TestListener::open(full).await;
    assert_eq!(rest(&mut full.connect().await).await, "");
    full.seen.line("refused cap_listener").await;
}

#[tokio::test]
async fn a_ban_ends_open_connections_with_their_next_bytes() {
    let test_listener = TestListener::open(plan(ListenerKind::Plaintext)).await;
    let mut client = test_listener.connect().await;
    assert!(ask(&mut client, GET).await.contains("200"));

    test_listener.seen.ban("127.0.0.1");
    client.write_all(GET.as_bytes()).await.unwrap();

    assert_eq!(rest(&mut client).await, "");
    test_listener.seen.line("cut banned").await;
    test_listener.seen.line("closed").await;
}

#[tokio::test]
async fn our_own_proxies_are_never_banned() {
    let mut behind = plan(ListenerKind::Plaintext);
    behind.trusted_proxies = ranges(&["127.0.0.0/8"]);
    let behind = TestListener::open(behind).await;
    let sending = TestListener::open(proxied(plan(ListenerKind::Plaintext), &["127.0.0.0/8"])).await;
    for test_listener in [&behind, &sending] {
        test_listener.seen.ban("127.0.0.1");
        test_listener.seen.ban("192.0.2.1");
    }

    assert!(ask(&mut behind.connect().await, GET).await.contains("200"));
    assert!(ask(&mut sending.connect().await, &format!("PROXY UNKNOWN\r\n{GET}")).await.contains("200"));
    // Whom the balancer names is another matter.
    let mut banned = sending.connect().await;
    banned.write_all(format!("PROXY TCP4 192.0.2.1 192.0.2.9 1 443\r\n{GET}").as_bytes()).await.unwrap();
    assert_eq!(rest(&mut banned).await, "");
    sending.seen.line("refused banned 192.0.2.1").await;
}

#[tokio::test]
async fn files_of_ranges_are_exchanged_without_touching_anything_else() {
    let mut plan = plan(ListenerKind::Plaintext);
    let empty = std::sync::Arc::new(ranges(&[]));
    plan.listener.deny.files = Box::new([DenyFile { path: "list.txt".into(), ranges: empty }]);
    let test_listener = TestListener::open(plan).await;
    let mut held = test_listener.connect().await;
    assert!(ask(&mut held, GET).await.contains("200"));

    let listed = std::sync::Arc::new(ranges(&["127.0.0.0/8"]));
    let rules = test_listener
        .rules
        .load()
        .with_deny_files(&|path| path.ends_with("list.txt").then(|| std::sync::Arc::clone(&listed)));
    test_listener.rules.store(std::sync::Arc::new(rules));

    assert_eq!(rest(&mut test_listener.connect().await).await, "");
    test_listener.seen.line("refused denied 127.0.0.1 in 127.0.0.0/8 of list.txt").await;
    assert!(ask(&mut held, GET).await.contains("200"));
    // A file that could not be read stays as it was.
    let kept = test_listener.rules.load().with_deny_files(&|_| None);
    assert_eq!(kept.denied_ranges(), 1);
}
