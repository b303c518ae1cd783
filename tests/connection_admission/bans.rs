//! Clients that keep breaking the protocol.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::harness::wait;
use crate::{
    config, get,
    harness::{Octroi, Upstream, client, eventually, frames, raw_tls},
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
const SMUGGLED: &str =
    "POST /x HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

#[test]
fn who_keeps_breaking_the_protocol_is_refused_for_a_while() {
    let (octroi, upstream) = started("bans: {after: 5, within: 1m, for: 2s}");

    for offence in 1..=4 {
        assert!(
            send(&octroi, "behind", "192.0.2.7", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"),
            "{offence}"
        );
    }
    assert_eq!(status(&octroi, "192.0.2.7"), 200);
    assert!(send(&octroi, "behind", "192.0.2.7", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"));
    let banned_at = Instant::now();

    assert_eq!(status(&octroi, "192.0.2.7"), 0);
    assert_eq!(send(&octroi, "behind_tls", "192.0.2.7", b"\x16\x03\x01"), "");
    assert_eq!(status(&octroi, "192.0.2.8"), 200);
    let line = octroi.access_line(|line| line["listener"] == "behind" && line["reason"] == "banned");
    assert_eq!((&line["event"], &line["peer.ip"]), (&"connection".into(), &"192.0.2.7".into()));
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("until 20") && detail.ends_with("Z: broke the protocol, last by framing_cl_te"),
        "{detail}"
    );
    let listed = octroi.ok(&["ban", "list"]);
    assert!(listed.starts_with("192.0.2.7 ") && listed.ends_with("  protocol: framing_cl_te\n"), "{listed}");
    assert_eq!(
        (octroi.metric("octroi_bans"), octroi.metric(r#"octroi_bans_total{cause="protocol"}"#)),
        (1.0, 1.0)
    );
    assert_eq!(octroi.metric(r#"octroi_connections_refused_total{listener="behind",reason="banned"}"#), 1.0);

    eventually("the ban is over", || (status(&octroi, "192.0.2.7") == 200).then_some(()));
    assert!(banned_at.elapsed() >= Duration::from_millis(1900), "{:?}", banned_at.elapsed());
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    upstream.take();
}

#[test]
fn every_kind_of_offence_counts_and_an_ipv6_client_is_its_64() {
    let (octroi, _upstream) = started(
        "bans: {after: 3, within: 1m, for: 1h}\nlimits: {header_timeout: 300ms, handshake_timeout: 300ms}",
    );
    let banned = |client: &str| octroi.ok(&["ban", "list"]).contains(&format!("{client} "));

    // Refused by the HTTP library, by the lint of the head, and as a request.
    let kinds: [(&str, &[u8]); 7] = [
        ("192.0.2.10", b"GET /x HTTP/1.1\r\nHost: acme.test\r\nno colon\r\n\r\n"),
        ("192.0.2.11", b"GET /x HTTP/1.1\nHost: acme.test\n\n"),
        ("192.0.2.12", b"GET /x HTTP/1.1\r\nHost: acme.test\r\nA: b\0c\r\n\r\n"),
        ("192.0.2.13", b"POST /x HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (
            "192.0.2.14",
            b"POST /x HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        ),
        ("192.0.2.15", b"GET https://other.test/x HTTP/1.1\r\nHost: acme.test\r\n\r\n"),
        ("192.0.2.16", b"GET /x HTTP/1.1\r\nHost: acme.test\r\nConnection: cookie\r\n\r\n"),
    ];
    for (client, bytes) in kinds {
        for _ in 0..3 {
            assert!(!banned(client), "{client}");
            send(&octroi, "behind", client, bytes);
        }
        eventually(client, || banned(client).then_some(()));
    }
    // Dripped in; one that only stops is a line that died.
    for _ in 0..3 {
        assert!(!banned("192.0.2.17"));
        let mut stream = client::raw(octroi.addr("behind"));
        stream.write_all(b"PROXY TCP4 192.0.2.17 192.0.2.1 1 443\r\n").unwrap();
        for piece in b"GET /x HT".chunks(1) {
            stream.write_all(piece).unwrap();
            wait::slow_peer(Duration::from_millis(10));
        }
        assert!(client::exchange(&mut stream, b"T").starts_with("HTTP/1.1 408"));
    }
    eventually("the dripper", || banned("192.0.2.17").then_some(()));
    for host in 1..=3 {
        assert!(!banned("2001:db8:1::/64"));
        send(&octroi, "behind", &format!("2001:db8:1::{host}"), SMUGGLED.as_bytes());
    }
    assert!(banned("2001:db8:1::/64"));
    assert_eq!((status(&octroi, "2001:db8:1::9999"), status(&octroi, "2001:db8:1:1::1")), (0, 200));
}

/// An Allocate request of TURN (RFC 8656), as a browser sends it over TCP to any port that a page names.
const STUN: &[u8] = b"\x00\x03\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x19\x00\x04\x11\x00\x00\x00";

#[test]
fn nothing_that_a_page_can_have_a_browser_send_counts() {
    let (octroi, upstream) = started(
        "bans: {after: 1, within: 1m, for: 1h}\nlimits: {header_timeout: 300ms, handshake_timeout: 300ms, http2: {resets: 30}}",
    );
    let ca = octroi.path().join("certs/ca.pem");
    let nobody = |what: &str| assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n", "{what}");

    // `turn:` and `https:` to every port, `turns:`, `http:` to a TLS port, other protocols, a line that dies.
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";
    let get = get("acme.test");
    let cut = get.as_bytes()[..20].to_vec();
    let pieces: [&[u8]; 8] = [
        STUN,
        hello,
        b"\x16\x03",
        get.as_bytes(),
        &cut,
        b"PROXY TCP4 192.0.2.9 192.0.2.1 1 443\r\n",
        b"RTSP rtsp://h/ RTSP/1.0\r\n\r\n",
        b"EHLO a\r\n",
    ];
    for bytes in pieces {
        for listener in ["public", "plain"] {
            client::exchange(&mut client::raw(octroi.addr(listener)), bytes);
        }
        for alpn in [&b"http/1.1"[..], b"h2"] {
            // What is no HTTP/2 where that was agreed on no browser sends.
            if alpn == b"http/1.1" {
                client::exchange(&mut raw_tls(octroi.addr("public"), "acme.test", &ca, &[alpn]), bytes);
            }
        }
        nobody(&String::from_utf8_lossy(bytes));
    }
    // What `fetch` may say: any value without NUL, CR and LF.
    for field in ["X-Text: a\u{1}b\u{7f}", "HTTP2-Settings: x", "Accept: \u{b}"] {
        let request = get.replace("\r\n\r\n", &format!("\r\n{field}\r\nConnection: close\r\n\r\n"));
        client::exchange(&mut client::raw(octroi.addr("plain")), request.as_bytes());
        nobody(field);
    }
    for line in [
        "GET /a|b",
        "GET /\u{e9}",
        "GET /a b",
        "OPTIONS *",
        "patch /x",
        "GET ftp://acme.test/x",
        "CONNECT acme.test:443",
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n");
        client::exchange(&mut client::raw(octroi.addr("plain")), request.as_bytes());
        nobody(line);
    }
    // A correct client of HTTP/1.1, and two requests before the first answer.
    let coded = "POST /x HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert!(
        client::exchange(&mut client::raw(octroi.addr("plain")), coded.as_bytes())
            .starts_with("HTTP/1.1 400")
    );
    nobody("a transfer coding");
    client::exchange(&mut client::raw(octroi.addr("plain")), format!("{get}\r\n{get}").as_bytes());
    client::exchange(&mut client::raw(octroi.addr("plain")), format!("{}{get}", "\r\n".repeat(5)).as_bytes());
    nobody("empty lines");
    upstream.take();
}

#[test]
fn requests_that_are_cancelled_do_not_count_and_their_connection_still_ends() {
    let (octroi, upstream) = started("bans: {after: 1, within: 1m, for: 1h}\nlimits: {http2: {resets: 30}}");

    let mut stream =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"h2"]);
    let mut frames = frames::preface(&[]);
    for stream in (1..200).step_by(2) {
        frames.extend(frames::request(stream, "GET", "acme.test", "/x", frames::END_STREAM));
        frames.extend(frames::frame(frames::RESET, 0, stream, &[0, 0, 0, 8]));
    }
    frames::send(&mut stream, &frames);
    let (came, ended) =
        frames::until(&mut stream, Duration::from_secs(2), |frame| frame.kind == frames::GOAWAY);

    assert!(ended || came.iter().any(|frame| frame.kind == frames::GOAWAY && frame.code() == 11), "{came:?}");
    octroi.access_line(|line| line["reason"] == "h2_abuse");
    // A value with a control character that a page may set is refused, and its connection goes on.
    let mut stream =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"h2"]);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "acme.test"),
        (":path", "/x"),
        ("x-text", "a\u{1}b"),
    ];
    let head =
        frames::frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &frames::block(&fields));
    frames::send(&mut stream, &[frames::preface(&[]), head].concat());
    let (came, _) = frames::until(&mut stream, Duration::from_secs(2), |frame| {
        matches!(frame.kind, frames::GOAWAY | frames::HEADERS)
    });
    assert!(came.iter().any(|frame| frame.kind == frames::HEADERS), "{came:?}");
    octroi.access_line(|line| line["reason"] == "head_octet" && line["event"] == "request");
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    upstream.take();
}

#[test]
fn an_http2_connection_that_breaks_the_protocol_counts() {
    let (octroi, _upstream) = started("bans: {after: 3, within: 1m, for: 1h}");

    for _ in 0..3 {
        let mut stream =
            raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"h2"]);
        // A DATA frame on stream 0 (RFC 9113, section 6.1).
        client::exchange(
            &mut stream,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        );
    }

    let listed = eventually("it is banned", || {
        Some(octroi.ok(&["ban", "list"])).filter(|listed| listed.starts_with("127.0.0.1 "))
    });
    assert!(listed.ends_with("protocol: protocol\n"), "{listed}");
}

#[test]
fn what_honest_clients_do_by_mistake_bans_nobody() {
    let (octroi, upstream) = started("bans: {after: 2, within: 1m, for: 1h}");
    let large = format!(
        "GET /x HTTP/1.1\r\nHost: acme.test\r\nCookie: {}\r\nConnection: close\r\n\r\n",
        "a=b; ".repeat(5000)
    );

    for _ in 0..4 {
        assert_eq!(status(&octroi, "192.0.2.20"), 200);
        assert!(
            send(&octroi, "behind", "192.0.2.20", get("nobody.test").as_bytes()).starts_with("HTTP/1.1 421")
        );
        assert!(
            send(&octroi, "behind", "198.51.100.20", get("ranged.test").as_bytes())
                .starts_with("HTTP/1.1 403")
        );
        assert!(
            send(&octroi, "behind", "192.0.2.20", get("acme.test").replace("GET", "TRACE").as_bytes())
                .starts_with("HTTP/1.1 405")
        );
        assert!(send(&octroi, "behind", "192.0.2.20", large.as_bytes()).starts_with("HTTP/1.1 431"));
        assert!(
            send(&octroi, "behind_tls", "192.0.2.20", get("acme.test").as_bytes())
                .starts_with("HTTP/1.1 400")
        );
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
        assert!(
            client::exchange(&mut client::raw(octroi.addr("proxied")), smuggled.as_bytes())
                .starts_with("HTTP/1.1 400")
        );
        // A balancer that sends no header, and one that speaks for itself.
        assert_eq!(client::exchange(&mut client::raw(octroi.addr("behind")), b"GET / HTTP/1.1\r\n\r\n"), "");
        let own = [b"PROXY UNKNOWN\r\n", SMUGGLED.as_bytes()].concat();
        assert!(client::exchange(&mut client::raw(octroi.addr("behind")), &own).starts_with("HTTP/1.1 400"));
    }

    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    upstream.take();
}

/// People trust a whole network for one balancer: others in it come through that like everybody.
#[test]
fn whom_a_header_names_is_a_client_in_whatever_network() {
    let upstream = Upstream::start();
    let listeners = LISTENERS.replace(
        "name: behind, address: \"127.0.0.1:0\",",
        "name: behind, max_connections_per_client: 2, address: \"127.0.0.1:0\",",
    ) + "  - {name: both, address: \"127.0.0.1:0\", plaintext: true, proxy_protocol: {trusted: [127.0.0.1/32]}, trusted_proxies: [127.0.0.9/32]}\n";
    let octroi = Octroi::start(&config(&upstream, &listeners, "bans: {after: 2, within: 1m, for: 1h}"));
    let held = |header: &str| {
        let mut stream = client::raw(octroi.addr("behind"));
        stream.write_all(header.as_bytes()).unwrap();
        let status = client::ask(&mut stream, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status;
        (stream, status)
    };

    // The cap holds for whom it names, and not for a balancer that speaks for itself.
    let named = "PROXY TCP4 127.0.0.9 192.0.2.1 1 443\r\n";
    let open = [held(named), held(named)];
    assert!(open.iter().all(|(_, status)| *status == 200));
    assert_eq!(send(&octroi, "behind", "127.0.0.9", get("acme.test").as_bytes()), "");
    octroi.access_line(|line| line["reason"] == "cap_client" && line["peer.ip"] == "127.0.0.9");
    let own: Vec<_> = (0..4).map(|_| held("PROXY UNKNOWN\r\n")).collect();
    assert!(own.iter().all(|(_, status)| *status == 200));
    drop((open, own));

    // Who is named and trusted to name others is a proxy, offends or not.
    for _ in 0..3 {
        assert!(send(&octroi, "both", "127.0.0.9", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"));
    }
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    for _ in 0..2 {
        assert!(send(&octroi, "both", "127.0.0.10", SMUGGLED.as_bytes()).starts_with("HTTP/1.1 400"));
    }
    eventually("it is banned", || octroi.ok(&["ban", "list"]).starts_with("127.0.0.10 ").then_some(()));
    assert_eq!(status(&octroi, "127.0.0.10"), 0);
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

    assert_eq!(
        octroi.ok(&["ban", "add", "192.0.2.40", "--for", "1h", "--note", "scanner"]),
        "banned 192.0.2.40 for 1h\n"
    );

    assert_eq!((status(&octroi, "192.0.2.40"), status(&octroi, "192.0.2.41")), (0, 200));
    let line = octroi.access_line(|line| line["reason"] == "banned" && line["peer.ip"] == "192.0.2.40");
    assert!(line["detail"].as_str().unwrap().ends_with("Z: by an operator: scanner"), "{line}");
    // What was open ends with its next byte, without an answer.
    assert_eq!(client::exchange(&mut held, get("acme.test").as_bytes()), "");
    assert_eq!(octroi.metric(r#"octroi_connections_cut_total{listener="behind",reason="banned"}"#), 1.0);
    let line = octroi.access_line(|line| line["event"] == "admin" && line["path"] == "/v1/bans");
    assert_eq!(line["detail"], "banned client=192.0.2.40 for=1h note=scanner");
    let listed: serde_json::Value = serde_json::from_str(&octroi.ok(&["ban", "list", "--json"])).unwrap();
    assert_eq!(
        (&listed["bans"][0]["cause"], &listed["bans"][0]["note"]),
        (&"operator".into(), &"scanner".into())
    );

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
