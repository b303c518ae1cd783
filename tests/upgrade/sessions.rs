//! Sessions are one thing in both processes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned};

use crate::harness::wait;
use crate::{
    harness::{
        Octroi,
        client::{ask, raw_tls},
        eventually,
        program::signal,
    },
    sign_in, started, upgrade,
};

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(octroi: &Octroi) -> Stream {
    raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"])
}

/// A connection that the serving process has, and that can ask once more after it handed over.
pub fn resting(octroi: &Octroi) -> Stream {
    let mut stream = connect(octroi);
    assert_eq!(ask(&mut stream, "GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
    stream
}

pub fn with(stream: &mut Stream, method: &str, path: &str, cookie: &str) -> u16 {
    ask(
        stream,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nContent-Length: 0\r\n\r\n"
        ),
    )
    .status
}

pub fn tunnel(octroi: &Octroi, cookie: &str) -> Stream {
    let mut stream = connect(octroi);
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(ask(&mut stream, &head).status, 101);
    stream
}

/// Talks through a tunnel until it ends; it is judged again about once a second.
pub fn ends(tunnel: &mut Stream) {
    let start = Instant::now();
    let mut buffer = [0; 64];
    while tunnel.write_all(b"ping").is_ok() && tunnel.read(&mut buffer).is_ok_and(|read| read > 0) {
        assert!(start.elapsed() < Duration::from_secs(10), "the tunnel goes on");
        wait::slow_peer(Duration::from_millis(100));
    }
}

#[test]
fn a_revocation_in_the_successor_ends_what_the_predecessor_still_serves() {
    let (mut octroi, _upstream) = started();
    let cookie = sign_in(&octroi);
    let (mut open, mut asks) = (tunnel(&octroi, &cookie), resting(&octroi));
    upgrade(&mut octroi);

    let told = octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    // In force when the command returns.
    assert_eq!(with(&mut asks, "GET", "/x", &cookie), 401, "{told}");
    ends(&mut open);
    let line = octroi.access_line(|line| line["path"] == "/ws");
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &"session_revoked".into()), "{line}");
}

#[test]
fn a_tenant_revoked_in_the_successor_is_in_the_same_epoch_in_both() {
    let (mut octroi, _upstream) = started();
    let old = sign_in(&octroi);
    let (mut first, mut second) = (resting(&octroi), resting(&octroi));
    upgrade(&mut octroi);

    octroi.ok(&["session", "revoke", "--tenant", "acme"]);
    let new = sign_in(&octroi);

    assert_eq!(with(&mut first, "GET", "/x", &old), 401);
    assert_eq!(with(&mut second, "GET", "/x", &new), 200);
}

#[test]
fn a_sign_out_through_the_predecessor_is_in_force_everywhere_and_survives() {
    let (mut octroi, _upstream) = started();
    let cookie = sign_in(&octroi);
    let mut asks = resting(&octroi);
    let (_, new) = upgrade(&mut octroi);

    assert_eq!(with(&mut asks, "POST", "/logout?h-Octroi-Session-Revoke=self", &cookie), 200);

    assert_eq!(octroi.curl("acme.test", "/x").cookie(&cookie).status(), 401);
    // Durable when it was answered: the successor is not even given the time to end.
    assert!(signal(new, "KILL"));
    octroi.signal("KILL");
    octroi.wait();
    octroi.run();
    assert_eq!(octroi.curl("acme.test", "/x").cookie(&cookie).status(), 401);
}

#[test]
fn over_three_generations_too() {
    let (mut octroi, _upstream) = started();
    let (cookie, other) = (sign_in(&octroi), sign_in(&octroi));
    let (mut first, mut out) = (resting(&octroi), resting(&octroi));
    upgrade(&mut octroi);
    let mut second = resting(&octroi);
    upgrade(&mut octroi);

    assert_eq!(with(&mut out, "POST", "/logout?h-Octroi-Session-Revoke=self", &other), 200);
    assert_eq!(octroi.curl("acme.test", "/x").cookie(&other).status(), 401);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    assert_eq!(with(&mut first, "GET", "/x", &cookie), 401);
    assert_eq!(with(&mut second, "GET", "/x", &cookie), 401);
}

#[test]
fn without_its_successor_a_predecessor_believes_no_session() {
    let (mut octroi, _upstream) = started();
    let cookie = sign_in(&octroi);
    let (mut open, mut asks, mut out, mut public) =
        (tunnel(&octroi, &cookie), resting(&octroi), resting(&octroi), resting(&octroi));
    let (_, new) = upgrade(&mut octroi);

    assert!(signal(new, "KILL"));
    eventually("it notices", || {
        octroi.printed().iter().any(|line| line.contains("out of reach")).then_some(())
    });

    assert_eq!(with(&mut asks, "GET", "/x", &cookie), 503);
    assert_eq!(with(&mut out, "POST", "/logout?h-Octroi-Session-Revoke=self", &cookie), 503);
    assert_eq!(ask(&mut public, "GET /public/x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
    ends(&mut open);
    octroi.access_line(|line| line["path"] == "/ws" && line["reason"] == "revocation_unavailable");
}
