//! Other messages than gRPC's, and clients of HTTP/1.1.

use super::{
    config,
    harness::{
        Octroi,
        client::exchange,
        eventually,
        http2_client::{Http2Client, block_on},
        http2_server::Http2Server,
        raw_tls,
    },
};
use crate::harness::wait;

fn started() -> (Octroi, Http2Server) {
    let server = Http2Server::start();
    (Octroi::start(&config(&[server.addr], "", "")), server)
}

#[test]
fn clients_of_every_version_get_the_same() {
    let (octroi, server) = started();
    for version in [&["--http1.0", "--no-alpn"][..], &["--http1.1"], &["--http2"]] {
        let ask =
            |path: &str, args: &[&str]| octroi.curl("acme.test", path).args(&[version, args].concat()).get();

        let got = ask("/x", &[]);
        assert_eq!(
            (got.status, &*got.body, got.field("content-length"), got.field("server")),
            (200, "ok 0", Some("4"), None),
            "{version:?}"
        );
        // A body in HTTP/1.0 is refused before.
        if version.len() == 1 {
            assert_eq!(ask("/x", &["--data-binary", "abc"]).body, "ok 3", "{version:?}");
        }
        let head = ask("/x", &["-I"]);
        assert_eq!(
            (head.status, &*head.body, head.field("content-length")),
            (200, "", Some("4")),
            "{version:?}"
        );
        let none = ask("/none", &[]);
        assert_eq!((none.status, none.exit, none.field("content-length")), (204, 0, None), "{version:?}");
        // Without a length, and with trailers that HTTP/1.1 clients are not handed.
        let flood = ask("/flood?300000", &[]);
        assert_eq!((flood.status, flood.exit, flood.body.len()), (200, 0, 300_000), "{version:?}");
    }
    assert!(
        server
            .take()
            .iter()
            .all(|call| !call.fields.contains_key("te") && !call.fields.contains_key("connection"))
    );
}

#[test]
fn what_a_client_says_of_its_connection_does_not_leave() {
    let (octroi, server) = started();
    let fields =
        ["Connection: keep-alive, X-Own", "X-Own: 1", "Keep-Alive: timeout=5", "Cookie: a=b", "TE: trailers"];
    let mut args = vec!["--http1.1"];
    fields.iter().for_each(|field| args.extend(["-H", field]));

    assert_eq!(octroi.curl("acme.test", "/x").args(&args).status(), 200);

    let call = server.take().remove(0);
    for gone in ["connection", "x-own", "keep-alive", "te", "host"] {
        assert!(!call.fields.contains_key(gone), "{gone}");
    }
    assert_eq!(
        (call.fields["octroi-tenant"].to_str().unwrap(), call.fields["cookie"].to_str().unwrap()),
        ("acme", "a=b")
    );
}

#[test]
fn an_answer_that_is_broken_off_is_not_taken_for_whole() {
    let (octroi, _server) = started();

    let http1 = octroi.curl("acme.test", "/torn").args(&["--http1.1"]).get();
    assert_ne!(http1.exit, 0, "{http1:?}");
    let http2 =
        block_on(async { Http2Client::connect(&octroi, "acme.test").await.unary("/torn", &[], b"").await });
    assert_eq!((&http2.body[..], http2.reset.is_some()), (&b"half"[..], true));
    let early = octroi.curl("acme.test", "/torn/early").get();
    assert_eq!((early.status, octroi.reason(&early).as_str()), (502, "upstream_protocol"));
}

#[test]
fn an_answer_has_the_length_that_it_announces() {
    let (octroi, _server) = started();

    let http1 = octroi.curl("acme.test", "/liar").args(&["--http1.1"]).get();
    let http2 = octroi.curl("acme.test", "/liar").args(&["--http2"]).get();

    assert!(http1.exit != 0 && http2.exit != 0, "{http1:?} {http2:?}");
    octroi.access_line(|line| line["path"] == "/liar" && line["reason"] == "upstream_protocol");
}

#[test]
fn interim_answers_pass_and_are_bounded() {
    let (octroi, _server) = started();
    let ask = |count: usize, version: &str| {
        octroi.curl("acme.test", &format!("/interim?{count}")).args(&[version]).get()
    };

    let mut stream =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
    let one =
        exchange(&mut stream, b"GET /interim?2 HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n");
    assert_eq!(one.matches("HTTP/1.1 103 ").count(), 2, "{one}");
    assert!(one.contains("late") && !one.contains("a=b"), "{one}");
    assert_eq!(
        (ask(17, "--http2").status, ask(300, "--http2").status, ask(2000, "--http2").status),
        (200, 200, 502)
    );
}

#[test]
fn an_answer_that_comes_early_is_not_lost() {
    let (octroi, _server) = started();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; 900_000]).unwrap();
    let body = format!("@{}", file.display());

    for version in ["--http1.1", "--http2"] {
        let got = octroi.curl("acme.test", "/early").args(&[version, "--data-binary", &body]).get();
        assert_eq!((got.status, &*got.body), (413, "too much"), "{version}");
    }
}

#[test]
fn the_server_says_no_more_than_the_client_takes() {
    let (octroi, server) = started();

    block_on(async {
        let mut client = Http2Client::connect_with(&octroi, "acme.test", 10_000).await;
        let mut answering = client.ask("GET", "/flood?10000000", &[], true).await.head().await;
        let mut before = usize::MAX;
        while before != server.seen.came.load(std::sync::atomic::Ordering::SeqCst) {
            before = server.seen.came.load(std::sync::atomic::Ordering::SeqCst);
            wait::slow_peer_async(std::time::Duration::from_millis(300)).await;
        }
        assert!(before < 600_000, "{before} octets are on their way, and nothing was taken");
        let got = async {
            let mut bytes = 0;
            while let Some(Ok(piece)) = answering.piece().await {
                bytes += piece.len();
            }
            bytes
        };
        assert_eq!(got.await, 10_000_000);
    });
}

#[test]
fn a_client_that_takes_nothing_keeps_nothing_from_another() {
    let (octroi, server) = started();

    block_on(async {
        let mut stuck = Vec::new();
        for _ in 0..3 {
            let mut client = Http2Client::connect_with(&octroi, "acme.test", 0).await;
            for _ in 0..20 {
                stuck.push(client.ask("GET", "/flood?10000000", &[], true).await.head().await);
            }
        }
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let got = client.ask("GET", "/flood?1000000", &[], true).await.end().await;
        assert_eq!((got.body.len(), got.reset), (1_000_000, None));
    });

    assert_eq!(server.connections(), 1);
    eventually("all have ended", || {
        (octroi.metric(r#"octroi_connections{listener="public"}"#) == 0.0).then_some(())
    });
}
