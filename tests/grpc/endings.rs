//! Calls end with the session that made them, and with a silence that is too long.

use std::time::Duration;

use super::{
    config,
    harness::{
        Octroi, eventually,
        http2_client::{Answering, Got, Http2Client, block_on},
        http2_server::Http2Server,
    },
    sign_in,
};
use crate::harness::wait;

const HOLD: &str = "/echo.Echo/Hold";

/// A call that has begun to be answered.
async fn held(octroi: &Octroi, host: &str, path: &str, cookie: &str) -> Answering {
    let mut client = Http2Client::connect(octroi, host).await;
    let mut call = client.call(path, &[("cookie", cookie)]).await;
    call.say(b"m", false);
    call.head().await
}

async fn resets(server: &Http2Server, path: &str) -> u32 {
    let reset = || server.resets().into_iter().find(|(of, _)| of == path);
    wait::eventually_async("a reset", || reset().is_some()).await;
    reset().unwrap().1
}

fn ending(got: &Got) -> (Option<&str>, Option<&str>, Option<u32>) {
    (got.trailer("grpc-status"), got.trailer("grpc-message"), got.reset)
}

#[test]
fn a_silent_call_ends_on_both_sides_with_its_session_and_no_other_does() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let (leaves, stays) = (sign_in(&octroi, "acme.test", "u_1"), sign_in(&octroi, "acme.test", "u_2"));

    block_on(async {
        let silent = held(&octroi, "acme.test", HOLD, &leaves).await;
        let mut other = held(&octroi, "acme.test", "/echo.Echo/Bidi", &stays).await;
        assert_eq!(other.piece().await.unwrap().unwrap(), "m");

        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

        assert_eq!(ending(&silent.end().await), (Some("16"), Some("the session has ended"), None));
        assert_eq!(resets(&server, HOLD).await, 8);
        other.out.send_data("n".into(), false).unwrap();
        assert_eq!(other.piece().await.unwrap().unwrap(), "n");
    });

    let line = octroi.access_line(|line| line["path"] == HOLD);
    assert_eq!(
        (&line["status"], &line["decision"], &line["reason"]),
        (&200.into(), &"deny".into(), &"session_revoked".into())
    );
    assert_eq!(
        octroi.metric(r#"octroi_exchanges_ended_total{reason="session_revoked"}"#),
        1.0,
        "{}",
        octroi.metrics()
    );
}

#[test]
fn a_call_that_was_not_answered_yet_is_refused_as_any_request() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    let status = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.call("/echo.Echo/Deaf", &[("cookie", &cookie)]).await;
        call.say(b"m", true);
        wait::eventually_async("the call is at the server", || {
            server.take().iter().any(|call| call.target == "/echo.Echo/Deaf")
        })
        .await;
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
        let status = call.end().await.status.as_u16();
        assert_eq!(resets(&server, "/echo.Echo/Deaf").await, 8);
        status
    });

    assert_eq!(status, 401);
}

#[test]
fn calls_end_with_their_tenant_too() {
    let server = Http2Server::start();
    let mut octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    let got = block_on(async {
        let silent = held(&octroi, "acme.test", HOLD, &cookie).await;
        octroi.reload(&config(&[server.addr], "", ", suspended: true"));
        silent.end().await
    });

    assert_eq!(ending(&got), (Some("7"), Some("access has ended"), None));
}

#[test]
fn what_is_no_call_is_reset_with_its_session() {
    let server = Http2Server::start();
    let on_a_rule = config(&[server.addr], "", "")
        .replace("- {path: /echo.Echo/}", "- {path: /echo.Echo/}\n      - {path: /flood}");
    let octroi = Octroi::start(&on_a_rule);
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    let got = block_on(async {
        let mut client = Http2Client::connect_with(&octroi, "acme.test", 1000).await;
        let answering = client.ask("GET", "/flood?10000000", &[("cookie", &cookie)], true).await.head().await;
        wait::slow_peer_async(Duration::from_millis(200)).await;
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
        octroi.access_line(|line| {
            line["path"].as_str().unwrap().starts_with("/flood") && line["reason"] == "session_revoked"
        });
        answering.end().await
    });

    assert!(got.reset.is_some() && got.trailers.is_none(), "{:?}", got.reset);
}

#[test]
fn the_silence_of_a_call_is_bounded_by_websocket_idle_and_by_nothing_shorter() {
    let server = Http2Server::start();
    let timeouts = ", timeouts: {first_byte: 400ms, between_bytes: 400ms}";
    let octroi = Octroi::start(&config(
        &[server.addr],
        timeouts,
        ", request_limits: {websocket_idle: 2s, body_min_rate: 1MiB/s}",
    ));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    block_on(async {
        // Just inside: each pause is longer than `between_bytes`, and shorter than `websocket_idle`.
        for path in ["/echo.Echo/Bidi", "/echo.Echo/Lazy"] {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            let mut call = client.call(path, &[("cookie", &cookie)]).await;
            wait::slow_peer_async(Duration::from_millis(1200)).await;
            call.say(b"a", false);
            let mut answering = call.head().await;
            assert_eq!(answering.piece().await.unwrap().unwrap(), "a");
            wait::slow_peer_async(Duration::from_millis(1200)).await;
            answering.out.send_data("b".into(), true).unwrap();
            let got = answering.end().await;
            assert_eq!((&got.body[..], got.trailer("grpc-status")), (&b"b"[..], Some("0")), "{path}");
        }
        // Just outside.
        let silent = held(&octroi, "acme.test", HOLD, &cookie).await;
        assert_eq!(ending(&silent.end().await), (Some("14"), Some("silent for too long"), None));
        assert_eq!(resets(&server, HOLD).await, 8);
    });
    let line = octroi.access_line(|line| line["path"] == HOLD);
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"stream_idle".into()));

    // Where nothing was answered yet there is a status for it. A request that is whole has the server's time.
    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.call("/echo.Echo/Deaf", &[("cookie", &cookie)]).await;
        call.say(b"m", false);
        assert_eq!(call.end().await.status.as_u16(), 504);
        let got = client.unary("/echo.Echo/Deaf", &[("cookie", &cookie)], b"m").await;
        assert_eq!(got.status.as_u16(), 504);
    });
    let reasons: Vec<_> = eventually("both lines", || {
        let lines: Vec<_> =
            octroi.access_lines().into_iter().filter(|line| line["path"] == "/echo.Echo/Deaf").collect();
        (lines.len() == 2).then_some(lines)
    });
    assert_eq!(
        reasons.iter().map(|line| line["reason"].as_str().unwrap()).collect::<Vec<_>>(),
        ["stream_idle", "upstream_timeout"]
    );
}

#[test]
fn a_call_covers_no_slow_body_beside_it() {
    let server = Http2Server::start();
    let octroi = Octroi::start(&config(&[server.addr], "", ""));
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    let (status, got) = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.call("/echo.Echo/Bidi", &[("cookie", &cookie)]).await;
        call.say(b"m", false);
        let mut call = call.head().await;
        let mut slow = client.ask("POST", "/x", &[], false).await;
        slow.say(b"x", false);
        let status = slow.end().await.status.as_u16();
        call.out.send_data("n".into(), true).unwrap();
        (status, call.end().await)
    });

    assert_eq!((status, &got.body[..], got.trailer("grpc-status")), (408, &b"mn"[..], Some("0")));
    octroi.access_line(|line| line["path"] == "/x" && line["reason"] == "timeout_body");
}
