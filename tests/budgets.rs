//! What all share is nobody's alone: descriptors, connections and places of an upstream, memory.

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
    clippy::as_conversions,
    reason = "a test is read, not linked"
)]

mod harness;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, Upstream,
    http2_client::{Call, Http2Client, block_on, block_on_for},
    http2_server::Http2Server,
};

/// Two tenants at one upstream, and clients that a proxy of ours names.
fn config(server: SocketAddr, upstream: &str, limits: &str, tenants: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}, trusted_proxies: [127.0.0.0/8]}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
limits: {{{limits}}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{server}"}}]{upstream}}}
routes: {{app: {{unmatched: public}}}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  other: {{hosts: [other.test], upstream: app, routes: app}}
{tenants}
"#
    )
}

/// Asks so many things at once over each of so many connections, in the name of a client.
async fn crowd(
    octroi: &Octroi,
    (host, window): (&str, u32),
    client: &str,
    connections: usize,
    each: usize,
    ask: (&str, &str),
) -> (Vec<Http2Client>, Vec<Call>) {
    let (mut clients, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let mut http2 = Http2Client::connect_with(octroi, host, window).await;
        for _ in 0..each {
            let ends = ask.0 == "GET";
            calls.push(
                http2
                    .ask(
                        ask.0,
                        ask.1,
                        &[("x-forwarded-for", client), ("content-type", "application/grpc")],
                        ends,
                    )
                    .await,
            );
        }
        clients.push(http2);
    }
    (clients, calls)
}

async fn get(octroi: &Octroi, host: &str, client: &str, path: &str) -> (u16, Duration) {
    let began = Instant::now();
    let mut http2 = Http2Client::connect(octroi, host).await;
    let got = http2.ask("GET", path, &[("x-forwarded-for", client)], true).await.end().await;
    (got.status.as_u16(), began.elapsed())
}

/// Waits until something is so, while the clients go on.
async fn until(what: &str, is: impl Fn() -> bool) {
    wait::eventually_async_within(Duration::from_secs(45), what, is).await;
}

fn connections(octroi: &Octroi) -> f64 {
    octroi.metric(r#"octroi_descriptors{of="servers"}"#)
}

#[test]
fn who_pins_connections_to_servers_keeps_nobody_out() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(upstream.addr, "", "", ""));
    octroi.run_under(&["prlimit", "--nofile=512:512"]);

    block_on(async {
        // Answers that are too long to be kept, for clients that take one octet.
        let ask = ("GET", "/big?bytes=3000000");
        let _held = crowd(&octroi, ("acme.test", 1), "203.0.113.1", 8, 60, ask).await;
        until("all that may be are taken", || connections(&octroi) >= 340.0).await;

        // From the same address and from another, of the same tenant and of another.
        for (host, client) in
            [("other.test", "203.0.113.2"), ("acme.test", "203.0.113.2"), ("acme.test", "203.0.113.1")]
        {
            let (status, took) = get(&octroi, host, client, "/x").await;
            assert_eq!(status, 200, "{host} {client}");
            assert!(took < Duration::from_secs(6), "{host} {client} {took:?}");
        }
    });

    octroi.access_line(|line| line["reason"] == "upstream_yielded");
    let clients = octroi.metric(r#"octroi_descriptors{of="clients"}"#);
    assert!(clients <= 20.0, "{clients}");
}

#[test]
fn silent_calls_do_not_hold_what_others_wait_for() {
    let server = Http2Server::start_with(4, None);
    let octroi = Octroi::start(&config(server.addr, ", protocol: http2", "", ""));

    block_on(async {
        // Four times sixty-four places, and calls whose messages never come.
        let _held = crowd(&octroi, ("acme.test", 65_535), "203.0.113.1", 3, 85, ("POST", "/deaf")).await;
        until("they are taken", || server.connections() == 64).await;

        for (host, client) in [("other.test", "203.0.113.2"), ("acme.test", "203.0.113.1")] {
            let (status, took) = get(&octroi, host, client, "/x").await;
            assert_eq!(status, 200, "{host} {client}");
            assert!(took < Duration::from_secs(5), "{host} {client} {took:?}");
        }
    });
}

#[test]
fn a_client_beside_others_has_its_share_and_alone_it_has_all() {
    let server = Http2Server::start_with(4, None);
    let octroi = Octroi::start(&config(server.addr, ", protocol: http2, timeouts: {connect: 4s}", "", ""));

    block_on(async {
        // It is the server that thinks here: nobody rests.
        let (one, _one) = crowd(&octroi, ("acme.test", 65_535), "203.0.113.1", 3, 85, ("GET", "/deaf")).await;
        until("alone it has all", || {
            server.connections() == 64 && server.seen.calls.lock().unwrap().len() == 255
        })
        .await;
        drop((one, _one));
        until("all were cancelled", || server.resets().len() == 255).await;

        let _other = crowd(&octroi, ("acme.test", 65_535), "203.0.113.2", 1, 1, ("GET", "/deaf")).await;
        let (_clients, calls) =
            crowd(&octroi, ("acme.test", 65_535), "203.0.113.1", 3, 70, ("GET", "/deaf")).await;
        let mut refused = 0;
        // Those that have their place wait for the server; the others wait as long as connecting may take.
        until("the last was refused", || {
            octroi.metric(r#"octroi_upstream_errors_total{reason="upstream_share",upstream="app"}"#) >= 75.0
        })
        .await;
        for call in calls {
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), call.head()).await
                && answer.status == 503
            {
                assert_eq!(answer.head["retry-after"], "5");
                refused += 1;
            }
        }
        assert!((75..=85).contains(&refused), "{refused}");
        assert_eq!(get(&octroi, "acme.test", "203.0.113.3", "/x").await.0, 200);
    });

    octroi.access_line(|line| line["reason"] == "upstream_share" && line["client.ip"] == "203.0.113.1");
    assert!(octroi.metric(r#"octroi_upstream_errors_total{reason="upstream_share",upstream="app"}"#) >= 75.0);
}

#[test]
fn tenants_that_are_kept_apart_starve_nobody() {
    let server = Http2Server::start();
    let tenants: Vec<String> =
        (0..66).map(|n| format!("  t{n}: {{hosts: [t{n}.test], upstream: app, routes: app}}\n")).collect();
    let octroi =
        Octroi::start(&config(server.addr, ", protocol: http2, isolate: true", "", &tenants.concat()));

    block_on(async {
        let mut held = Vec::new();
        for number in 0..65 {
            held.push(
                crowd(&octroi, (&format!("t{number}.test"), 65_535), "203.0.113.1", 1, 1, ("GET", "/deaf"))
                    .await,
            );
        }
        until("each has its own", || server.connections() == 65).await;
        let (status, took) = get(&octroi, "t65.test", "203.0.113.2", "/x").await;
        assert_eq!(status, 200);
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}

/// Waits until the head of each answer has come, and keeps the rest of it waiting.
async fn heads(calls: Vec<Call>) -> Vec<harness::http2_client::Answering> {
    let mut answering = Vec::new();
    for call in calls {
        answering.push(call.head().await);
    }
    answering
}

#[test]
fn what_an_upstream_has_finished_saying_occupies_it_no_longer() {
    // Four times sixty-four places over HTTP/2, and answers that are short.
    let server = Http2Server::start_with(4, None);
    let octroi = Octroi::start(&config(server.addr, ", protocol: http2, timeouts: {connect: 1s}", "", ""));

    block_on(async {
        let mut held = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..4 {
            let (http2, calls) =
                crowd(&octroi, ("acme.test", 1), "203.0.113.1", 1, 90, ("GET", "/flood?40000")).await;
            clients.push(http2);
            held.extend(heads(calls).await);
        }
        assert!(held.iter().all(|answer| answer.status == 200));
        assert!(server.connections() <= 25, "{}", server.connections());
        assert_eq!(get(&octroi, "other.test", "203.0.113.2", "/x").await.0, 200);
        // What was kept arrives whole.
        let got = held.pop().unwrap().end().await;
        assert_eq!((got.body.len(), got.reset), (40_000, None));
        let kept = octroi.metric("octroi_kept_bytes");
        assert!((359.0 * 23_000.0..=359.0 * 65_536.0).contains(&kept), "{kept}");
    });
    until_now("what was kept is given back", || octroi.metric("octroi_kept_bytes") == 0.0);
}

#[test]
fn what_a_server_of_http1_has_finished_saying_occupies_it_no_longer() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(upstream.addr, ", timeouts: {connect: 1s}", "", ""));
    octroi.run_under(&["prlimit", "--nofile=512:512"]);

    block_on(async {
        let mut held = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..5 {
            let (http2, calls) =
                crowd(&octroi, ("acme.test", 1), "203.0.113.1", 1, 80, ("GET", "/big?bytes=40000")).await;
            clients.push(http2);
            held.extend(heads(calls).await);
        }
        assert!(held.iter().all(|answer| answer.status == 200));
        until("its connections rest", || octroi.metric("octroi_kept_bytes") > 0.0).await;
        assert_eq!(get(&octroi, "other.test", "203.0.113.2", "/x").await.0, 200);
        let got = held.pop().unwrap().end().await;
        assert_eq!((got.body.len(), got.reset), (40_000, None));
        // An answer that is too long to be kept goes on as it is taken.
        let mut http2 = Http2Client::connect_with(&octroi, "acme.test", 10_000).await;
        let got = http2.ask("GET", "/big?bytes=3000000", &[], true).await.end().await;
        assert_eq!((got.body.len(), got.reset), (3_000_000, None));
    });

    let seen = upstream.take();
    let most = seen.iter().map(|got| got.connection).max().unwrap();
    assert!(most < 120 && seen.len() == 402, "{most} {}", seen.len());
}

/// Waits until something is so.
fn until_now(what: &str, is: impl Fn() -> bool) {
    harness::eventually(what, || is().then_some(()));
}

#[test]
fn refused_requests_keep_their_answer_only() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(
        upstream.addr,
        "",
        "header_bytes: 64KiB, field_bytes: 32KiB, http2: {streams: 100}",
        "",
    ));
    // What is free goes back at once: what is judged here is what is kept, and not how many heads were under way at the same time.
    octroi.run_under(&["env", "MIMALLOC_PURGE_DELAY=0"]);

    block_on(async {
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        let large = "x".repeat(3900);
        // What a first request leaves with the program and its allocator is none of theirs.
        assert_eq!(get(&octroi, "acme.test", "198.51.100.1", "/..%2f").await.0, 400);
        let before = octroi.resident();
        for _ in 0..10 {
            let mut http2 = Http2Client::connect_with(&octroi, "acme.test", 1).await;
            let mut calls = Vec::new();
            for number in 0..100 {
                // The same field seven times, out of the table of the compression: an octet each.
                let fields = [("x-large", large.as_str()); 7];
                calls.push(http2.ask("GET", &format!("/..%2f{number}"), &fields, true).await);
            }
            held.extend(heads(calls).await);
            clients.push(http2);
        }
        assert!(held.iter().all(|answer| answer.status == 400));
        let after = octroi.resident();
        // A thousand requests with 27 KB of head each: 27 MB, if they were kept.
        assert!(
            after - before < 10 * 1024,
            "{before} KiB before, {after} KiB with a thousand refused requests"
        );
        // The line of each is written, whether or not its answer is taken.
        until("all lines", || {
            octroi.access_lines().iter().filter(|line| line["status"] == 400).count() == 1001
        })
        .await;
        let got = held.pop().unwrap().end().await;
        assert!(got.body.starts_with(b"400 "), "{got:?}");
    });
}

#[test]
fn a_large_head_counts_as_long_as_its_exchange() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(upstream.addr, "", "header_bytes: 64KiB, field_bytes: 32KiB", ""));
    let kept = || octroi.metric("octroi_kept_bytes");

    for (length, counts) in [(1200, false), (1900, true), (3900, true)] {
        block_on(async {
            let mut http2 = Http2Client::connect(&octroi, "acme.test").await;
            let large = "x".repeat(length);
            let mut calls = Vec::new();
            for _ in 0..10 {
                calls.push(http2.ask("GET", "/x?sleep=1500", &[("x-large", large.as_str()); 3], true).await);
            }
            // All of them are with the app: twice a head each.
            let came = std::cell::Cell::new(0);
            until("they have come", || {
                came.set(came.get() + upstream.take().len());
                came.get() == 10
            })
            .await;
            assert_eq!(kept() > 100_000.0, counts, "{length}: {}", kept());
            for call in calls {
                assert_eq!(call.end().await.status, 200);
            }
        });
        until_now("it is given back", || kept() == 0.0);
    }
}

#[test]
fn who_fills_the_memory_for_heads_is_refused_and_others_find_some() {
    const MIB: f64 = 1024.0 * 1024.0;
    let server = Http2Server::start();
    let limits = "header_bytes: 128KiB, field_bytes: 32KiB";
    let octroi = Octroi::start(&config(
        server.addr,
        ", protocol: http2",
        limits,
        "request_limits: {body_min_rate: 0B/s}",
    ));
    let large = "x".repeat(3900);
    // An octet each, out of the table of the compression: a head of 114 KiB, which is there twice.
    let fields: Vec<(&str, &str)> =
        [("x-forwarded-for", "203.0.113.1")].into_iter().chain([("x-large", large.as_str()); 30]).collect();
    let kept = || octroi.metric("octroi_kept_bytes");
    let refused = || octroi.metric(r#"octroi_upstream_errors_total{reason="memory_short",upstream="app"}"#);

    // Some sixty million octets of heads.
    block_on_for(Duration::from_secs(120), async {
        let (mut clients, mut calls) = (Vec::new(), Vec::new());
        let mut of_one = 0.0;
        for _ in 0..6 {
            let mut http2 = Http2Client::connect(&octroi, "acme.test").await;
            for _ in 0..100 {
                // Whether there is a body is not known, so nobody is asked.
                calls.push(http2.ask("GET", "/x", &fields, false).await);
                if calls.len() == 1 {
                    until("it counts", || kept() > 0.0).await;
                    of_one = kept();
                }
            }
            clients.push(http2);
        }
        assert!((240_000.0..270_000.0).contains(&of_one), "{of_one}");
        until("each waits, or is refused", || kept() + of_one * refused() == of_one * 600.0).await;

        // All of it but a sixteenth.
        assert!(kept() <= 120.0 * MIB && kept() + of_one > 120.0 * MIB, "{}", kept());
        let mut got = 0_i32;
        for call in &mut calls {
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(1), &mut call.answer).await {
                assert_eq!(answer.unwrap().status(), 503);
                got += 1;
            }
        }
        assert_eq!((f64::from(got), got > 0), (refused(), true));
        let line = octroi.access_line(|line| line["reason"] == "memory_short");
        assert_eq!((&line["status"], &line["client.ip"]), (&503.into(), &"203.0.113.1".into()));
        assert!(
            line["detail"].as_str().unwrap().contains("the client, or its IPv6 /48, has its share"),
            "{line}"
        );

        // Beside it, others are served with the same head: of its tenant, and of another one. And its own small heads are.
        for (host, client, length) in [
            ("acme.test", "203.0.113.2", 15),
            ("other.test", "203.0.113.3", 15),
            ("acme.test", "203.0.113.1", 0),
        ] {
            let mut http2 = Http2Client::connect(&octroi, host).await;
            let fields: Vec<(&str, &str)> = [("x-forwarded-for", client)]
                .into_iter()
                .chain(vec![("x-large", large.as_str()); length])
                .collect();
            assert_eq!(
                http2.ask("GET", "/x", &fields, true).await.end().await.status,
                200,
                "{host} {client}"
            );
        }
        // What it gives back it may have again.
        drop((clients, calls));
        until("all is given back", || kept() == 0.0).await;
        let mut http2 = Http2Client::connect(&octroi, "acme.test").await;
        assert_eq!(http2.ask("GET", "/x", &fields, true).await.end().await.status, 200);
    });
}

#[test]
fn what_waits_for_its_client_and_occupies_nothing_of_an_upstream_counts() {
    const AT_REST: f64 = 16.0 * 1024.0;
    let server = Http2Server::start();
    let upstream = Upstream::start();
    for (protocol, addr) in [("http2", server.addr), ("http1", upstream.addr)] {
        let octroi = Octroi::start(&config(addr, &format!(", protocol: {protocol}"), "", ""));
        let kept = || octroi.metric("octroi_kept_bytes");
        let counted = |times: f64| kept() >= times * AT_REST && kept() < times * (AT_REST + 1024.0);
        block_on(async {
            // Answers of a few octets, of which nothing is taken.
            let (clients, calls) =
                crowd(&octroi, ("acme.test", 0), "203.0.113.1", 1, 50, ("GET", "/x")).await;
            let held = heads(calls).await;
            until("answers count", || counted(50.0)).await;
            drop((clients, held));
            until("it is given back", || kept() == 0.0).await;

            // Bodies of which nobody knows as yet whether there are any. With the end of each it is asked, and answered.
            let mut http2 = Http2Client::connect(&octroi, "acme.test").await;
            let mut calls = Vec::new();
            for _ in 0..50 {
                calls.push(http2.ask("GET", "/x", &[], false).await);
            }
            until("bodies count", || counted(50.0)).await;
            for mut call in calls {
                call.say(b"", true);
                assert_eq!(call.end().await.status, 200);
            }
            until("it is given back", || kept() == 0.0).await;

            // Who takes what there is costs nothing.
            let (_clients, calls) =
                crowd(&octroi, ("acme.test", 65_535), "203.0.113.1", 1, 50, ("GET", "/x?sleep=100")).await;
            for call in calls {
                assert_eq!(call.end().await.status, 200);
            }
            assert_eq!(kept(), 0.0);
        });
    }
}

#[test]
fn what_a_client_still_sends_behind_its_answer_counts() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(server.addr, ", protocol: http2", "", ""));
    block_on(async {
        let mut http2 = Http2Client::connect(&octroi, "acme.test").await;
        let mut calls = Vec::new();
        for _ in 0..20 {
            calls.push(http2.ask("POST", "/early", &[], false).await);
        }
        let held = heads(calls).await;
        assert!(held.iter().all(|answer| answer.status == 413));
        until("they count", || octroi.metric("octroi_kept_bytes") == 20.0 * 16.0 * 1024.0).await;
        drop((http2, held));
        until("it is given back", || octroi.metric("octroi_kept_bytes") == 0.0).await;
    });
}
