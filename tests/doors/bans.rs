//! Clients that keep breaking the protocol.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::{
    config, get,
    harness::{Octroi, Upstream, client, eventually, raw_tls},
};

const LISTENERS: &str = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}
  - {name: behind, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [127.0.0.0/8]}}
  - {name: behind_tls, address: "127.0.0.1:0", tls: {}, proxy_protocol: {trusted: [127.0.0.0/8]}}
  - {name: proxied, address: "127.0.0.1:0", plaintext: true, trusted_proxies: [127.0.0.0/8]}
  - {name: plain, address: "127.0.0.1:0", plaintext: true}
"#;

fn started(bans: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, LISTENERS, bans));
    (octroi, upstream)
}

/// Sends bytes as this client, over a listener behind a balancer; returns what came back.
fn send(octroi: &Octroi, listener: &str, client: &str, bytes: &[u8]) -> String {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let to = if client.contains(':') { "::1" } else { "192.0.2.1" };
    let mut stream = client::raw(octroi.addr(listener));
    let _ = stream.write_all(format!("PROXY {family} {client} {to} 1 443\r\n").as_bytes());
    client::exchange(&mut stream, bytes)
}

fn status(octroi: &Octroi, client: &str) -> u16 {
    client::parse(&send(octroi, "behind", client, get("acme.test").as_bytes()), 0).status
}

/// A request that no two readers agree on.
const SMUGGLED: &str = "POST /x HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

#[test]
fn who_keeps_breaking_the_protocol_is_refused_for_a_while() {
    let (octroi, upstream) = started("bans: {after: 5, within: 1m, for: 2s}");

    for offence in 1..=4 {
        assert!(send(&octroi, "behind", "192.0.2.7", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"), "{offence}");
    }
    assert_eq!(status(&octroi, "192.0.2.7"), 200);
    assert!(send(&octroi, "behind", "192.0.2.7", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"));
    let banned_at = Instant::now();

    assert_eq!(status(&octroi, "192.0.2.7"), 0);
    assert_eq!(send(&octroi, "behind_tls", "192.0.2.7", b"\x16\x03\x01"), "");
    assert_eq!(status(&octroi, "192.0.2.8"), 200);
    let line = octroi.access_line(|line| line["listener"] == "behind" && line["reason"] == "banned");
    assert_eq!((&line["event"], &line["peer.ip"]), (&"connection".into(), &"192.0.2.7".into()));
    let listed = octroi.ok(&["ban", "list"]);
    assert!(listed.starts_with("192.0.2.7 ") && listed.ends_with("  protocol: framing_cl_te\n"), "{listed}");
    assert_eq!((octroi.metric("octroi_bans"), octroi.metric(r#"octroi_bans_total{cause="protocol"}"#)), (1.0, 1.0));
    assert_eq!(octroi.metric(r#"octroi_connections_refused_total{listener="behind",reason="banned"}"#), 1.0);

    eventually("the ban is over", || (status(&octroi, "192.0.2.7") == 200).then_some(()));
    assert!(banned_at.elapsed() >= Duration::from_millis(1900), "{:?}", banned_at.elapsed());
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    upstream.take();
}

#[test]
fn every_kind_of_offence_counts_and_an_ipv6_client_is_its_64() {
    let (octroi, _upstream) = started("bans: {after: 3, within: 1m, for: 1h}\nlimits: {header_timeout: 300ms, handshake_timeout: 300ms}");
    let banned = |client: &str| octroi.ok(&["ban", "list"]).contains(&format!("{client} "));

    // Refused by the HTTP library, dripped in, no TLS, a handshake that is held open.
    let kinds: [(&str, &str, &[u8]); 4] = [
        ("behind", "192.0.2.10", b"\x00\x01\x02 nonsense\r\n\r\n"),
        ("behind", "192.0.2.11", b"GET /x HTTP/1.1\r\nHost: acme."),
        ("behind_tls", "192.0.2.12", b"SSH-2.0-scanner\r\n"),
        ("behind_tls", "192.0.2.13", b"\x16\x03\x01\x02"),
    ];
    for (listener, client, bytes) in kinds {
        for _ in 0..3 {
            assert!(!banned(client), "{client}");
            send(&octroi, listener, client, bytes);
        }
        eventually(client, || banned(client).then_some(()));
    }
    for host in 1..=3 {
        assert!(!banned("2001:db8:1::/64"));
        send(&octroi, "behind", &format!("2001:db8:1::{host}"), SMUGGLED.as_bytes());
    }
    assert!(banned("2001:db8:1::/64"));
    assert_eq!((status(&octroi, "2001:db8:1::9999"), status(&octroi, "2001:db8:1:1::1")), (0, 200));
    // A PROXY header that nobody asked for.
    for _ in 0..3 {
        client::exchange(&mut client::raw(octroi.addr("public")), b"PROXY TCP4 192.0.2.99 192.0.2.1 1 443\r\n");
    }
    eventually("127.0.0.1", || banned("127.0.0.1").then_some(()));
    assert_ne!(octroi.curl("acme.test", "/x").get().exit, 0);
}

#[test]
fn an_http2_connection_that_breaks_the_protocol_counts() {
    let (octroi, _upstream) = started("bans: {after: 3, within: 1m, for: 1h}");

    for _ in 0..3 {
        let mut stream = raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"h2"]);
        // A DATA frame on stream 0 (RFC 9113, section 6.1).
        client::exchange(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    let listed = eventually("it is banned", || Some(octroi.ok(&["ban", "list"])).filter(|listed| listed.starts_with("127.0.0.1 ")));
    assert!(listed.ends_with("protocol: protocol\n"), "{listed}");
}

#[test]
fn what_honest_clients_do_by_mistake_bans_nobody() {
    let (octroi, upstream) = started("bans: {after: 2, within: 1m, for: 1h}");
    let large = format!("GET /x HTTP/1.1\r\nHost: acme.test\r\nCookie: {}\r\nConnection: close\r\n\r\n", "a=b; ".repeat(5000));

    for _ in 0..4 {
        assert_eq!(status(&octroi, "192.0.2.20"), 200);
        assert!(send(&octroi, "behind", "192.0.2.20", get("nobody.test").as_bytes()).starts_with("HTTP/1.1 421"));
        assert!(send(&octroi, "behind", "198.51.100.20", get("ranged.test").as_bytes()).starts_with("HTTP/1.1 403"));
        assert!(send(&octroi, "behind", "192.0.2.20", get("acme.test").replace("GET", "TRACE").as_bytes()).starts_with("HTTP/1.1 405"));
        assert!(send(&octroi, "behind", "192.0.2.20", large.as_bytes()).starts_with("HTTP/1.1 431"));
        assert!(send(&octroi, "behind_tls", "192.0.2.20", get("acme.test").as_bytes()).starts_with("HTTP/1.1 400"));
        assert_ne!(octroi.curl("nobody.test", "/x").args(&["-k"]).get().exit, 0);
        // A client that does not trust our certificate, and one that goes away.
        assert_ne!(crate::harness::Curl::new(octroi.addr("public"), "acme.test", "/x").get().exit, 0);
        drop(client::raw(octroi.addr("public")));
    }

    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    upstream.take();
}

#[test]
fn neither_a_proxy_of_ours_nor_whom_it_names_is_banned() {
    let (octroi, upstream) = started("bans: {after: 2, within: 1m, for: 1h}");

    for _ in 0..4 {
        let smuggled = SMUGGLED.replace("Host:", "X-Forwarded-For: 192.0.2.30\r\nHost:");
        assert!(client::exchange(&mut client::raw(octroi.addr("proxied")), smuggled.as_bytes()).starts_with("HTTP/1.1 400"));
        // A balancer that sends no header, and one that speaks for itself.
        assert_eq!(client::exchange(&mut client::raw(octroi.addr("behind")), b"GET / HTTP/1.1\r\n\r\n"), "");
        let own = [b"PROXY UNKNOWN\r\n", SMUGGLED.as_bytes()].concat();
        assert!(client::exchange(&mut client::raw(octroi.addr("behind")), &own).starts_with("HTTP/1.1 400"));
    }

    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    let refused = octroi.command(&["ban", "add", "127.0.0.1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("trusted proxy"), "{refused:?}");
    upstream.take();
}

#[test]
fn an_operator_bans_and_lifts_also_where_nobody_is_banned_by_itself() {
    let (mut octroi, upstream) = started("");
    let mut held = client::raw(octroi.addr("behind"));
    held.write_all(b"PROXY TCP4 192.0.2.40 192.0.2.1 1 443\r\n").unwrap();
    assert_eq!(client::ask(&mut held, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
    for _ in 0..30 {
        send(&octroi, "behind", "192.0.2.41", SMUGGLED.as_bytes());
    }
    assert_eq!(status(&octroi, "192.0.2.41"), 200);

    assert_eq!(octroi.ok(&["ban", "add", "192.0.2.40", "--for", "1h", "--note", "scanner"]), "banned 192.0.2.40 for 1h\n");

    assert_eq!((status(&octroi, "192.0.2.40"), status(&octroi, "192.0.2.41")), (0, 200));
    // What was open ends with its next byte, without an answer.
    assert_eq!(client::exchange(&mut held, get("acme.test").as_bytes()), "");
    assert_eq!(octroi.metric(r#"octroi_connections_cut_total{listener="behind",reason="banned"}"#), 1.0);
    let line = octroi.access_line(|line| line["event"] == "admin" && line["path"] == "/v1/bans");
    assert_eq!(line["detail"], "banned client=192.0.2.40 for=1h note=scanner");
    let listed: serde_json::Value = serde_json::from_str(&octroi.ok(&["ban", "list", "--json"])).unwrap();
    assert_eq!((&listed["bans"][0]["cause"], &listed["bans"][0]["note"]), (&"operator".into(), &"scanner".into()));

    // It survives a reload and ends with the word of an operator.
    octroi.reload(&config(&upstream, LISTENERS, ""));
    assert_eq!(status(&octroi, "192.0.2.40"), 0);
    octroi.ok(&["ban", "remove", "192.0.2.40"]);
    assert_eq!(status(&octroi, "192.0.2.40"), 200);
    assert_eq!(octroi.code(&["ban", "remove", "192.0.2.40"]), 1);
    assert_eq!(octroi.code(&["ban", "add", "192.0.2.0/24"]), 2);
    assert_eq!(octroi.code(&["ban", "add", "192.0.2.40", "--for", "31d"]), 2);
}

#[test]
fn taking_the_rules_out_lifts_what_came_of_them() {
    let (mut octroi, upstream) = started("bans: {after: 1, within: 1m, for: 1h}");
    send(&octroi, "behind", "192.0.2.50", SMUGGLED.as_bytes());
    octroi.ok(&["ban", "add", "192.0.2.51"]);
    assert_eq!((status(&octroi, "192.0.2.50"), status(&octroi, "192.0.2.51")), (0, 0));

    octroi.reload(&config(&upstream, LISTENERS, "bans: {after: 2, within: 1m, for: 1h}"));
    assert_eq!((status(&octroi, "192.0.2.50"), status(&octroi, "192.0.2.51")), (0, 0));

    octroi.reload(&config(&upstream, LISTENERS, ""));
    assert_eq!((status(&octroi, "192.0.2.50"), status(&octroi, "192.0.2.51")), (200, 0));
}
