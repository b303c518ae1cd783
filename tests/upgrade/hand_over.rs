//! What goes over, and how connections fare.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::wait;
use crate::{
    clients::ClientFleet,
    config,
    harness::{
        Octroi, Upstream,
        client::{ask, raw, raw_tls, tls_config},
        eventually,
        program::{BINARY, lives},
        upstream::Got,
    },
    sign_in, started, upgrade,
};

#[test]
fn no_request_is_lost_over_two_upgrades() {
    let (mut octroi, upstream) = started();
    let (addr, ca) = (octroi.addr("public"), octroi.path().join("certs/ca.pem"));
    let mut fleet = ClientFleet::start(addr, &ca, [2; 3]);

    fleet.answered_again(50);
    let before = fleet.connections();
    let (first, second) = upgrade(&mut octroi);
    fleet.all_come_again(&before);
    fleet.answered_again(50);
    let before = fleet.connections();
    let (again, third) = upgrade(&mut octroi);
    fleet.all_come_again(&before);
    fleet.answered_again(50);
    fleet.stop();

    // Each HTTP/2 request came to the upstream once, also those that were sent again.
    let mut targets: Vec<String> =
        upstream.take().into_iter().map(|got| got.target).filter(|target| target.contains('?')).collect();
    targets.sort();
    let came = targets.len();
    targets.dedup();
    assert_eq!((came, targets.len()), (fleet.made(), came));
    assert!(first != second && second == again && second != third);
    assert_eq!(octroi.wait(), 0);
    eventually("the second ends too", || (!lives(second)).then_some(()));
    octroi.refresh();
    assert_eq!(
        (&octroi.status()["generation"], &octroi.status()["predecessor"]),
        (&3.into(), &serde_json::Value::Null)
    );
}

#[test]
fn listeners_go_over_by_address_and_the_others_come_and_go() {
    let upstream = Upstream::start();
    // More than pingora's 32, with names as long as they may be.
    let many = |from: usize| -> String {
        (from..from + 40)
            .map(|number| format!("  - {{name: l{number:063}, address: \"127.0.0.1:0\", plaintext: true}}\n"))
            .collect()
    };
    let mut octroi = Octroi::start(&config(&upstream, &many(0)));
    let addr = |octroi: &Octroi, number: usize| octroi.addr(&format!("l{number:063}"));
    let (first, kept, public) = (addr(&octroi, 0), addr(&octroi, 39), octroi.addr("public"));
    octroi.configure(&config(&upstream, &many(1)).replace("name: plain", "name: other"));

    upgrade(&mut octroi);

    assert_eq!((addr(&octroi, 39), octroi.addr("public")), (kept, public));
    assert_eq!(octroi.plain("other", "acme.test", "/public/x").status(), 200);
    let newest = octroi.addr(&format!("l{:063}", 40));
    assert!(TcpStream::connect(newest).is_ok());
    eventually("the old one closes", || TcpStream::connect(first).is_err().then_some(()));
}

#[test]
fn a_listener_keeps_its_socket_under_another_name() {
    let upstream = Upstream::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let named = |name: &str| {
        config(&upstream, &format!("  - {{name: {name}, address: \"{addr}\", plaintext: true}}"))
    };
    let mut octroi = Octroi::start(&named("before"));
    octroi.configure(&named("behind"));
    assert_eq!(octroi.code(&["reload"]), 1, "a reload cannot do that");

    upgrade(&mut octroi);

    assert_eq!(octroi.addr("behind"), addr);
    assert_eq!(octroi.plain("behind", "acme.test", "/public/x").status(), 200);
}

#[test]
fn quit_hands_over_to_the_successor_that_waits() {
    let (mut octroi, _upstream) = started();
    let old = octroi.pid();
    let mut command = Command::new(BINARY);
    command.args(["run", "--upgrade", "--config"]).arg(octroi.config()).stdin(Stdio::null());
    let mut successor = octroi.spawn(command);
    let waits = |octroi: &mut Octroi| {
        octroi.refresh();
        (octroi.status()["successor"] == successor.id()).then_some(())
    };
    eventually("it waits", || waits(&mut octroi));
    assert!(octroi.ok(&["status"]).contains(&format!("waiting     successor, process {}", successor.id())));
    assert_eq!(octroi.status()["pid"], old, "nothing happens by itself");

    octroi.signal("QUIT");

    assert_eq!(octroi.wait(), 0);
    octroi.refresh();
    assert_eq!(
        (&octroi.status()["pid"], &octroi.status()["generation"]),
        (&successor.id().into(), &2.into())
    );
    assert_eq!(octroi.curl("acme.test", "/public/x").status(), 200);
    assert_eq!(octroi.metric("octroi_generation"), 2.0);
    crate::harness::program::signal(successor.id(), "TERM");
    assert_eq!(successor.wait().unwrap().code(), Some(0));
    assert!(
        !octroi.path().join("state/upgrade.sock").exists()
            && !octroi.path().join("state/control.sock").exists()
    );
}

#[test]
fn what_is_open_drains_and_status_and_metrics_say_so() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, "").replace("drain: 5s", "drain: 10s"));
    let cookie = sign_in(&octroi);
    let ca = octroi.path().join("certs/ca.pem");
    let mut resting = raw_tls(octroi.addr("public"), "acme.test", &ca, &[b"http/1.1"]);
    let get = "GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n";
    assert_ne!(ask(&mut resting, get).field("connection"), Some("close"));
    let mut tunnel = raw(octroi.addr("plain"));
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let opened = ask(&mut tunnel, &head).status;
    let slow = {
        let curl = octroi.curl("acme.test", "/public/x?sleep=1500");
        std::thread::spawn(move || curl.status())
    };
    eventually("the app has it", || upstream.peek().iter().any(is_slow).then_some(()));

    let start = Instant::now();
    let (old, new) = upgrade(&mut octroi);

    assert_eq!(opened, 101);
    let draining = eventually("the successor knows", || {
        octroi.refresh();
        let predecessor = octroi.status()["predecessor"].clone();
        (predecessor["connections"] == 2).then_some(predecessor)
    });
    assert_eq!(draining["pid"], old);
    assert_eq!(octroi.metric("octroi_predecessor_connections"), 2.0);
    let told = octroi.ok(&["status"]);
    assert!(told.contains(&format!("draining    predecessor, process {old}, 2 connections")), "{told}");
    // A connection at rest asks once more, whenever it likes.
    assert_eq!(ask(&mut resting, get).field("connection"), Some("close"));
    assert_eq!(slow.join().unwrap(), 200);
    tunnel.write_all(b"still").unwrap();
    assert_eq!(tunnel.read(&mut [0; 16]).unwrap(), 5);
    // A tunnel lives as long as `drain` says.
    assert_eq!(octroi.wait(), 0);
    assert!(
        start.elapsed() > Duration::from_secs(9) && start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    eventually("the successor sees its end", || {
        octroi.refresh();
        octroi.status()["predecessor"].is_null().then_some(())
    });
    assert_eq!(octroi.status()["pid"], new);
}

#[test]
fn term_ends_http2_connections_at_rest_at_once() {
    let (mut octroi, upstream) = started();
    let (addr, ca) = (octroi.addr("public"), octroi.path().join("certs/ca.pem"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let took = runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls_config(&ca, &[b"h2"]));
        let tls = connector.connect("acme.test".try_into().unwrap(), tcp).await.unwrap();
        let (sender, connection) = h2::client::handshake(tls).await.unwrap();
        let connection = tokio::spawn(connection);
        let request =
            |path: &str| http::Request::builder().uri(format!("https://acme.test{path}")).body(()).unwrap();
        let mut sender = sender.ready().await.unwrap();
        assert_eq!(sender.send_request(request("/public/x"), true).unwrap().0.await.unwrap().status(), 200);
        let slow = sender.send_request(request("/public/x?sleep=700"), true).unwrap().0;
        wait::eventually_async("the slow request is at the app", || upstream.peek().iter().any(is_slow))
            .await;

        octroi.signal("TERM");
        let start = Instant::now();

        assert_eq!(slow.await.unwrap().status(), 200);
        // How the client finds that the server has closed is its own affair.
        let _ = connection.await.unwrap();
        start.elapsed()
    });

    assert_eq!(octroi.wait(), 0);
    assert!(took < Duration::from_millis(4500), "before the drain is over: {took:?}");
}

fn is_slow(got: &Got) -> bool {
    got.target.contains("sleep=")
}
