//! The connections to servers that speak HTTP/2: shared, bounded, replaced; and what is said again to another server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    config,
    harness::{
        Octroi, Upstream, eventually,
        frames::{GOAWAY, SETTINGS, frame},
        http2_client::{Http2Client, block_on},
        http2_server::Http2Server,
    },
    sign_in,
};
use crate::harness::wait;

fn reason(octroi: &Octroi, path: &str) -> (u16, String) {
    let got = octroi.curl("acme.test", path).get();
    (got.status, octroi.reason(&got))
}

#[test]
fn a_path_is_forwarded_as_it_was_judged() {
    let server = Http2Server::start_with(10, None);
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let paths = ["/items[0]|a^b?c[]=d|e^f", "/%7Eme/100%25", "/100%2541"];

    for path in paths {
        for version in ["--http1.1", "--http2"] {
            assert_eq!(octroi.curl("acme.test", path).args(&["--globoff", version]).status(), 200, "{path}");
        }
    }

    let targets: Vec<String> = server.take().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, paths.map(|path| [path, path]).concat());
}

/// Makes so many calls at once that stay open; returns how many were answered.
fn hold(octroi: &Octroi, host: &str, cookie: &str, calls: usize) -> usize {
    block_on(async {
        let mut client = Http2Client::connect(octroi, host).await;
        let mut open = Vec::new();
        for _ in 0..calls {
            let mut call = client.call("/echo.Echo/Hold", &[("cookie", cookie)]).await;
            call.say(b"m", false);
            open.push(call.head().await);
        }
        open.iter().filter(|call| call.status == 200).count()
    })
}

#[test]
fn calls_share_a_connection_and_another_is_opened_where_its_streams_run_out() {
    let server = Http2Server::start_with(10, None);
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    assert_eq!(hold(&octroi, "acme.test", &cookie, 10), 10);
    assert_eq!(server.connections(), 1);
    eventually("all were cancelled", || (server.resets().len() == 10).then_some(()));
    assert_eq!(hold(&octroi, "acme.test", &cookie, 25), 25);

    assert_eq!(server.connections(), 3);
    let calls = server.take();
    let of = |connection: usize| {
        calls.iter().filter(|call| call.connection == connection && call.target.ends_with("Hold")).count()
    };
    assert_eq!((of(0), of(1), of(2)), (20, 10, 5));
}

#[test]
fn many_calls_at_once_open_no_more_connections_than_they_need() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");
    eventually("its connection is the first", || (server.connections() == 1).then_some(()));

    // A connection carries a hundred of ours at the most, whatever the server would take.
    block_on(async {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            for _ in 0..75 {
                open.push(client.call("/echo.Echo/Hold", &[("cookie", &cookie)]).await);
            }
        }
        let mut held = Vec::new();
        for call in open {
            held.push(call.head().await);
        }
        assert!(held.iter().all(|call| call.status == 200));
    });

    assert_eq!(server.connections(), 2);
}

#[test]
fn a_server_that_takes_no_streams_is_busy() {
    let server = Http2Server::start_with(1, None);
    let octroi = Octroi::start(&config(&[server.addr], ", timeouts: {connect: 300ms}", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    // As many connections as there may be, each with its one call; the next one waits in vain.
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut open = Vec::new();
        for _ in 0..64 {
            let mut call = client.call("/echo.Echo/Hold", &[("cookie", &cookie)]).await;
            call.say(b"m", false);
            open.push(call.head().await);
        }
        assert!(open.iter().all(|call| call.status == 200));
        assert_eq!(server.connections(), 64);
        let late = client.ask("GET", "/x", &[], true).await.end().await;
        assert_eq!(late.status, 503);
        // A place that is given up is taken.
        open.pop();
        wait::eventually_async("the call is reset at the server", || !server.resets().is_empty()).await;
        assert_eq!(client.ask("GET", "/x", &[], true).await.end().await.status, 200);
    });

    octroi.access_line(|line| line["path"] == "/x" && line["reason"] == "upstream_busy");
    assert_eq!(server.connections(), 64);
}

/// A server that takes connections and says nothing.
fn mute() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    (addr, count)
}

#[test]
fn who_waits_for_a_connection_that_is_never_had_goes_on_to_the_next_server() {
    let server = Http2Server::start();
    let (mute, asked) = mute();
    let octroi = Octroi::start(&config(&[mute, server.addr], ", timeouts: {connect: 700ms}", ""));

    let ask_at_once = |octroi: &Octroi, count: usize| {
        block_on(async {
            let mut client = Http2Client::connect(octroi, "acme.test").await;
            let mut calls = Vec::new();
            for _ in 0..count {
                calls.push(client.ask("POST", "/x", &[], false).await);
            }
            let mut got = Vec::new();
            for mut call in calls {
                call.say(b"body", true);
                got.push(call.end().await.status.as_u16());
            }
            got
        })
    };

    // More than the burst of retries that were sent twice: nothing was sent.
    for _ in 0..3 {
        assert_eq!(ask_at_once(&octroi, 90), [200; 90]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "and it is left aside then");
    assert_eq!(
        octroi.metric(&format!(r#"octroi_upstream_server_aside{{server="{mute}",upstream="app"}}"#)),
        1.0
    );
    assert!(octroi.access_lines().iter().all(|line| line["reason"] != "upstream_busy"));

    // Where there is no other, all hear the true cause, and in time.
    let octroi = Octroi::start(&config(&[mute], ", timeouts: {connect: 300ms}", ""));
    let began = std::time::Instant::now();
    assert_eq!(ask_at_once(&octroi, 20), [504; 20]);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    octroi.access_line(|line| line["reason"] == "upstream_timeout");
    assert!(octroi.access_lines().iter().all(|line| line["reason"] != "upstream_busy"));
}

#[test]
fn where_one_server_is_busy_another_is_asked() {
    let (narrow, wide) = (Http2Server::start_with(1, None), Http2Server::start());
    let octroi = Octroi::start(&config(&[narrow.addr, wide.addr], ", timeouts: {connect: 300ms}", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    block_on(async {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            for _ in 0..65 {
                let mut call = client.call("/echo.Echo/Hold", &[("cookie", &cookie)]).await;
                call.say(b"m", false);
                open.push(call.head().await);
            }
        }
        assert!(open.iter().all(|call| call.status == 200));
        assert_eq!(narrow.connections(), 64);
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        for _ in 0..4 {
            let mut call = client.ask("POST", "/x", &[], false).await;
            call.say(b"body", true);
            assert_eq!(call.end().await.status, 200);
        }
    });

    assert_eq!(wide.take().iter().filter(|call| call.target == "/x").count(), 4);
}

#[test]
fn a_server_that_never_takes_one_is_given_up_in_time() {
    let server = Http2Server::start_with(0, None);
    let octroi = Octroi::start(&config(&[server.addr], ", timeouts: {connect: 300ms}", ""));

    assert_eq!(reason(&octroi, "/x"), (504, "upstream_timeout".to_owned()));
}

#[test]
fn tenants_share_connections_unless_they_are_kept_apart() {
    for (isolate, connections) in [("", 1), (", isolate: true", 2)] {
        let server = Http2Server::start();
        let octroi = Octroi::start(&config(&[server.addr], isolate, ""));

        for host in ["acme.test", "other.test", "acme.test", "other.test"] {
            assert_eq!(octroi.curl(host, "/x").status(), 200);
        }

        assert_eq!(server.connections(), connections, "{isolate}");
        let calls = server.take();
        assert_eq!(calls[0].connection, calls[2].connection);
    }
}

#[test]
fn a_refused_stream_is_asked_again_whatever_the_method() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");
    server.take();

    let ask = |refused: usize| {
        server.seen.refuse.store(refused, Ordering::SeqCst);
        let got = block_on(async {
            Http2Client::connect(&octroi, "acme.test")
                .await
                .unary("/echo.Echo/Unary", &[("cookie", &cookie)], b"hello")
                .await
        });
        (got.status.as_u16(), got.trailer("grpc-status").map(str::to_owned), got.body, server.take().len())
    };

    assert_eq!(ask(1), (200, Some("0".to_owned()), "hello".into(), 2));
    let (status, trailer, _, asked) = ask(2);
    assert_eq!((status, trailer, asked), (502, None, 2));
    octroi.access_line(|line| line["reason"] == "upstream_protocol" && line["upstream.tries"] == 2);
}

#[test]
fn after_goaway_what_is_open_goes_on_and_what_comes_goes_elsewhere() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.call("/echo.Echo/Bidi", &[("cookie", &cookie)]).await;
        call.say(b"a", false);
        let mut call = call.head().await;
        assert_eq!(call.piece().await.unwrap().unwrap(), "a");
        assert_eq!(client.ask("GET", "/goaway", &[], true).await.end().await.status, 200);

        assert_eq!(client.ask("GET", "/x", &[], true).await.end().await.status, 200);
        assert_eq!(server.connections(), 2);
        call.out.send_data("b".into(), true).unwrap();
        let got = call.end().await;
        assert_eq!((&got.body[..], got.trailer("grpc-status")), (&b"b"[..], Some("0")));
    });
}

/// A server that answers the first request of each connection with GOAWAY: up to the stream `last`, it has done something.
fn goes_away(last: u32) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let count = Arc::clone(&count);
            std::thread::spawn(move || -> std::io::Result<()> {
                stream.read_exact(&mut [0; 24])?;
                stream.write_all(&[frame(SETTINGS, 0, 0, b""), frame(SETTINGS, 1, 0, b"")].concat())?;
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head)?;
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()])?;
                    if head[3] == 1 {
                        count.fetch_add(1, Ordering::SeqCst);
                        stream.write_all(&frame(
                            GOAWAY,
                            0,
                            0,
                            &[&last.to_be_bytes()[..], &[0; 4]].concat(),
                        ))?;
                        wait::slow_peer(Duration::from_millis(100));
                        return Ok(());
                    }
                }
            });
        }
    });
    (addr, asked)
}

#[test]
fn what_goaway_says_was_not_touched_is_asked_elsewhere_and_nothing_else_is() {
    let server = Http2Server::start();
    // What was above the last stream was not processed; what was not above it may have been.
    for (last, status) in [(0, 200), (1, 502)] {
        let (away, asked) = goes_away(last);
        let octroi = Octroi::start(&config(&[away, server.addr], "", ""));
        server.take();
        let post = |path: &str| octroi.curl("acme.test", path).args(&["--data-binary", "once"]).get();

        let got = post("/first");

        assert_eq!((got.status, asked.load(Ordering::SeqCst)), (status, 1));
        assert_eq!(server.take().len(), usize::from(status == 200));
        if status == 200 {
            assert_eq!(got.body, "ok 4", "its body was said again");
        } else {
            assert_eq!(octroi.reason(&got), "upstream_closed");
        }
    }
}

#[test]
fn a_server_that_has_died_is_told_apart() {
    let mut server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    assert_eq!(octroi.curl("acme.test", "/x").status(), 200);

    server.stop();

    assert_eq!(reason(&octroi, "/x"), (502, "upstream_connect".to_owned()));
}

#[test]
fn a_server_of_http1_is_a_bad_gateway() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&[upstream.addr], "", ""));

    let (status, reason) = reason(&octroi, "/x");

    assert_eq!(status, 502, "{reason}");
    assert!(["upstream_protocol", "upstream_closed"].contains(&reason.as_str()), "{reason}");
}

#[test]
fn over_tls_the_server_has_to_choose_http2() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("upstream-ca.pem");
    let over_tls = format!(", tls: {{sni: app.internal, ca: \"{}\"}}", ca.display());
    for (alpn, status) in
        [(&[&b"h2"[..]][..], 200), (&[b"h2", b"http/1.1"], 200), (&[b"http/1.1"], 502), (&[], 502)]
    {
        let mut tls = crate::harness::upstream::tls_server(folder.path());
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let server = Http2Server::start_with(100, Some(Arc::new(tls)));
        let octroi = Octroi::start(&config(&[server.addr], &over_tls, ""));

        let got = octroi.curl("acme.test", "/x").get();

        assert_eq!((got.status, octroi.reason(&got) == "upstream_tls"), (status, status == 502), "{alpn:?}");
        let authority = format!("acme.test:{}", octroi.addr("public").port());
        assert!(server.take().iter().all(|call| call.scheme == "https" && call.authority == authority));
    }
}
