//! The doors, end to end: PROXY protocol, forwarding headers, caps, deadlines, limits, certificates, reload.

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
    reason = "a test is read, not linked"
)]

mod harness;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Curl, Octroi, Upstream,
    client::{self, Answer, ask, exchange, raw, tls_over},
    eventually, raw_tls,
};

const LISTENERS: &str = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}
  - {name: lb, address: "127.0.0.1:0", tls: {}, proxy_protocol: {trusted: [127.0.0.0/8]}}
  - {name: lb_plain, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [127.0.0.0/8]}}
  - {name: lb_others, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [192.0.2.0/24]}}
  - {name: plain, address: "127.0.0.1:0", plaintext: true}
  - {name: behind, address: "127.0.0.1:0", plaintext: true, trusted_proxies: [127.0.0.0/8, 203.0.113.0/24]}
  - {name: few, address: "127.0.0.1:0", plaintext: true, max_connections: 2}
  - {name: few_behind, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [127.0.0.0/8]}, max_connections_per_client: 1}
  - {name: few_proxies, address: "127.0.0.1:0", plaintext: true, trusted_proxies: [127.0.0.0/8], max_connections_per_client: 1}
  - {name: few_each, address: "127.0.0.1:0", plaintext: true, max_connections_per_client: 2}
  - {name: slow_start, address: "127.0.0.1:0", tls: {}, max_handshakes_per_second: 1}
  - {name: port, address: "127.0.0.1:0", plaintext: true, public_port: 8443}
  - {name: http, address: "127.0.0.1:0", redirect_to_https: 8443}
"#;

fn config(upstream: &Upstream, listeners: &str, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners: {listeners}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  ranged: {{hosts: [ranged.test], upstream: app, routes: app, ip_access: {{allow: [192.0.2.0/24, "2001:db8::/32"]}}}}
  open: {{hosts: [open.test], upstream: app, routes: app, allow_no_sni: true}}
{more}
"#,
        upstream.addr
    )
}

fn started(more: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, LISTENERS, more));
    (octroi, upstream)
}

fn ca(octroi: &Octroi) -> PathBuf {
    octroi.path().join("certs/ca.pem")
}

fn get(host: &str, fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

/// A version 2 header for a TCP connection from an address.
fn proxy_v2(source: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match source {
        SocketAddr::V4(source) => {
            header.extend_from_slice(&[0x11, 0, 12]);
            header.extend_from_slice(&source.ip().octets());
            header.extend_from_slice(&[127, 0, 0, 1]);
        }
        SocketAddr::V6(source) => {
            header.extend_from_slice(&[0x21, 0, 36]);
            header.extend_from_slice(&source.ip().octets());
            header.extend_from_slice(&[0; 16]);
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&[0x20, 0xfb]);
    header
}

/// Asks over a plain listener with something said before the request.
fn after(addr: SocketAddr, preface: &[u8], host: &str) -> Answer {
    let mut stream = raw(addr);
    stream.write_all(preface).unwrap();
    client::parse(&exchange(&mut stream, get(host, "Connection: close\r\n").as_bytes()), 0)
}

#[test]
fn a_proxy_header_names_the_client_for_ranges_logs_and_upstream() {
    let (octroi, upstream) = started("");
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";

    for (preface, client) in [
        (v1.to_vec(), "192.0.2.7"),
        (proxy_v2("192.0.2.8:4711".parse().unwrap()), "192.0.2.8"),
        (proxy_v2("[2001:db8::9]:4711".parse().unwrap()), "2001:db8::9"),
        (proxy_v2("[::ffff:192.0.2.10]:4711".parse().unwrap()), "192.0.2.10"),
    ] {
        let answer = after(octroi.addr("lb_plain"), &preface, "ranged.test");

        assert_eq!(answer.status, 200, "{client} {answer:?}");
        assert_eq!(upstream.only().field("x-forwarded-for"), Some(client));
        let line = octroi.access_line(|line| line["client.ip"] == client);
        assert_eq!(
            (&line["peer.ip"], &line["listener"]),
            (&"127.0.0.1".into(), &"lb_plain".into()),
            "{line}"
        );
    }
    let refused =
        after(octroi.addr("lb_plain"), b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n", "ranged.test");
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (403, "ip_not_allowed"));
    // The health check of the proxy itself: LOCAL and UNKNOWN are the peer's own.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(after(octroi.addr("lb_plain"), local, "acme.test").status, 200);
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(after(octroi.addr("lb_plain"), b"PROXY UNKNOWN\r\n", "acme.test").status, 200);

    // The same in front of TLS, over curl (version 1) and with raw bytes of version 2.
    let over_tls =
        Curl::new(octroi.addr("lb"), "acme.test", "/x").cacert(&ca(&octroi)).args(&["--haproxy-protocol"]);
    assert_eq!(over_tls.status(), 200);
    let mut stream = raw(octroi.addr("lb"));
    stream.write_all(&proxy_v2("192.0.2.8:1".parse().unwrap())).unwrap();
    let mut stream = tls_over(stream, "ranged.test", &ca(&octroi), &[b"http/1.1"]);
    assert_eq!(ask(&mut stream, &get("ranged.test", "")).status, 200);
}

#[test]
fn who_must_send_a_proxy_header_and_does_not_is_closed() {
    let (octroi, upstream) = started("");
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";
    let closed = |listener: &str, bytes: &[u8]| {
        assert_eq!(exchange(&mut raw(octroi.addr(listener)), bytes), "", "{listener}")
    };
    let reason = |listener: &str, reason: &str| {
        octroi.access_line(|line| {
            line["event"] == "connection" && line["listener"] == listener && line["reason"] == reason
        })
    };

    closed("lb_others", &[v1, get("acme.test", "").as_bytes()].concat());
    reason("lb_others", "proxy_untrusted");
    closed("lb_plain", get("acme.test", "").as_bytes());
    reason("lb_plain", "proxy_protocol");
    closed("lb_plain", b"PROXY TCP4 nonsense\r\n");
    assert_ne!(octroi.curl("acme.test", "/x").args(&["--haproxy-protocol"]).get().exit, 0);
    reason("public", "proxy_protocol");
    assert!(
        octroi.metric(r#"octroi_connections_refused_total{listener="lb_plain",reason="proxy_protocol"}"#)
            >= 2.0
    );
    assert!(upstream.take().is_empty());
}

#[test]
fn forwarding_headers_count_from_trusted_proxies_only() {
    let (octroi, upstream) = started("");
    let seen = |listener: &str, host: &str, fields: &str| {
        upstream.take();
        let answer = client::parse(
            &exchange(
                &mut raw(octroi.addr(listener)),
                get(host, &format!("{fields}Connection: close\r\n")).as_bytes(),
            ),
            0,
        );
        let client = upstream.take().pop().map(|got| got.field("x-forwarded-for").unwrap().to_owned());
        (answer.status, client.unwrap_or_else(|| octroi.reason(&answer)))
    };
    let is = |status: u16, text: &str| (status, text.to_owned());

    assert_eq!(seen("plain", "ranged.test", "X-Forwarded-For: 192.0.2.7\r\n"), is(403, "ip_not_allowed"));
    assert_eq!(seen("behind", "ranged.test", "X-Forwarded-For: 192.0.2.7\r\n"), is(200, "192.0.2.7"));
    // Right to left: what stands left of the first stranger is the stranger's word.
    assert_eq!(
        seen("behind", "ranged.test", "X-Forwarded-For: 192.0.2.7, 198.51.100.1, 203.0.113.9\r\n"),
        is(403, "ip_not_allowed")
    );
    assert_eq!(
        seen("behind", "acme.test", "X-Forwarded-For: 192.0.2.7, 198.51.100.1, 203.0.113.9\r\n"),
        is(200, "198.51.100.1")
    );
    assert_eq!(seen("behind", "acme.test", "X-Forwarded-For: nonsense\r\n"), is(400, "xff_malformed"));
    assert_eq!(seen("behind", "acme.test", "Forwarded: for=192.0.2.9\r\n"), is(200, "127.0.0.1"));
}

#[test]
fn the_server_s_proxies_count_where_a_listener_has_none_of_its_own() {
    let upstream = Upstream::start();
    let listeners = r#"
  - {name: plain, address: "127.0.0.1:0", plaintext: true}
  - {name: bare, address: "127.0.0.1:0", plaintext: true, trusted_proxies: []}"#;
    let text = config(&upstream, listeners, "")
        .replace("drain: 2s", "drain: 2s, trusted_proxies: [127.0.0.0/8], client_ip_header: forwarded");
    let octroi = Octroi::start(&text);
    let ask = |listener: &str| {
        octroi
            .plain(listener, "ranged.test", "/x")
            .header("Forwarded: for=\"[2001:db8::5]:99\";proto=https")
            .get()
    };

    assert_eq!(ask("plain").status, 200);
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("2001:db8::5"));
    assert_eq!(ask("bare").status, 403);
}

#[test]
fn connections_are_capped_per_listener_and_per_client() {
    let (octroi, _upstream) = started("");
    let open = |listener: &str| {
        let mut stream = raw(octroi.addr(listener));
        let alive = exchange_once(&mut stream);
        (stream, alive)
    };

    for (listener, reason) in [("few", "cap_listener"), ("few_each", "cap_client")] {
        let held = [open(listener), open(listener)];
        assert!(held.iter().all(|(_, alive)| *alive), "{listener}");
        assert!(!open(listener).1, "{listener}");
        octroi.access_line(|line| line["listener"] == listener && line["reason"] == reason);
        assert_eq!(octroi.metric(&format!(r#"octroi_connections{{listener="{listener}"}}"#)), 2.0);
        drop(held);
        eventually("room again", || open(listener).1.then_some(()));
    }
    // Behind a PROXY header the client is the one that it names, an IPv6 /64 as one; trusted proxies are no client.
    let from = |source: &str| {
        let mut stream = raw(octroi.addr("few_behind"));
        stream.write_all(&proxy_v2(source.parse().unwrap())).unwrap();
        let alive = exchange_once(&mut stream);
        (stream, alive)
    };
    let held = [
        "[2001:db8::1]:1",
        "[2001:db8::ffff:2]:1",
        "[2001:db8:0:1::1]:1",
        "192.0.2.1:1",
        "192.0.2.1:2",
        "192.0.2.2:1",
    ]
    .map(from);
    assert_eq!(held.map(|(_, alive)| alive), [true, false, true, true, false, true]);
    let held = ["few_proxies"; 3].map(open);
    assert!(held.iter().all(|(_, alive)| *alive));
    let tries: Vec<i32> = (0..4)
        .map(|_| Curl::new(octroi.addr("slow_start"), "acme.test", "/").cacert(&ca(&octroi)).get().exit)
        .collect();
    assert!(tries.contains(&0) && tries.iter().any(|exit| *exit != 0), "{tries:?}");
    octroi.access_line(|line| line["reason"] == "handshake_rate");
}

/// Sends one request and says whether anything came back.
fn exchange_once(stream: &mut std::net::TcpStream) -> bool {
    let mut buffer = [0; 4096];
    stream.write_all(get("acme.test", "").as_bytes()).is_ok()
        && stream.read(&mut buffer).is_ok_and(|read| read > 0)
}

#[test]
fn a_plain_listener_serves_where_it_is_meant_and_ports_are_the_listener_s() {
    let (octroi, upstream) = started("");

    let answer = octroi.plain("plain", "acme.test", "/x").get();
    assert_eq!((answer.status, answer.field("strict-transport-security")), (200, None));
    assert_eq!(upstream.only().field("x-forwarded-proto"), Some("http"));
    let ask = |listener: &str, port: u16| {
        octroi.plain(listener, "acme.test", "/x").header(&format!("Host: acme.test:{port}")).status()
    };
    assert_eq!(
        (ask("port", 8443), ask("port", 443), ask("port", 9999), ask("plain", 8443)),
        (200, 200, 421, 421)
    );
    upstream.take();
    assert_eq!(octroi.plain("port", "acme.test", "/x").header("Host: acme.test:8443").status(), 200);
    assert_eq!(upstream.only().field("x-forwarded-port"), Some("8443"));
    // Who names no port has asked for the one of the scheme.
    assert_eq!(octroi.plain("port", "acme.test", "/x").header("Host: acme.test").status(), 200);
    assert_eq!(upstream.only().field("x-forwarded-port"), Some("80"));
    let redirect = octroi.plain("http", "acme.test", "/a?b=c").get();
    assert_eq!((redirect.status, redirect.field("location")), (308, Some("https://acme.test:8443/a?b=c")));
    assert!(upstream.take().is_empty());
    // Plain HTTP on a TLS port is told so.
    let told = client::parse(&exchange(&mut raw(octroi.addr("public")), get("acme.test", "").as_bytes()), 0);
    assert_eq!(told.status, 400);
    octroi.access_line(|line| line["reason"] == "plain_http");
}

#[test]
fn deadlines_end_handshakes_heads_and_rests() {
    let (octroi, _upstream) =
        started("limits: {handshake_timeout: 300ms, header_timeout: 400ms, idle_timeout: 600ms}");
    let waits = |stream: &mut dyn Read, from: Instant| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        (from.elapsed(), String::from_utf8_lossy(&rest).into_owned())
    };
    let second = Duration::from_millis(1500);

    let start = Instant::now();
    let (took, _) = waits(&mut raw(octroi.addr("public")), start);
    assert!(took >= Duration::from_millis(250) && took < second, "handshake: {took:?}");
    octroi.access_line(|line| line["reason"] == "tls_timeout");

    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(b"GET /x HTTP/1.1\r\nHost:").unwrap();
    let (took, said) = waits(&mut stream, Instant::now());
    assert!(took < second && said.starts_with("HTTP/1.1 408 "), "head: {took:?} {said}");
    octroi.access_line(|line| line["reason"] == "timeout_head");

    let mut stream = raw(octroi.addr("plain"));
    assert_eq!(ask(&mut stream, &get("acme.test", "")).status, 200);
    let (took, said) = waits(&mut stream, Instant::now());
    assert!(took >= Duration::from_millis(500) && took < second && said.is_empty(), "idle: {took:?} {said}");
    assert_eq!(octroi.metric(r#"octroi_connections_cut_total{listener="plain",reason="timeout_idle"}"#), 1.0);
}

#[test]
fn who_takes_nothing_of_the_answer_is_cut() {
    let (octroi, _upstream) = started("limits: {write_stall: 500ms}");
    let mut stream = raw(octroi.addr("plain"));
    stream.write_all(b"GET /big?bytes=50000000 HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();

    eventually("the stalled connection is cut", || {
        (octroi.metric(r#"octroi_connections_cut_total{listener="plain",reason="timeout_write"}"#) == 1.0)
            .then_some(())
    });
    let line = octroi.access_line(|line| line["path"] == "/big");
    assert_eq!(line["reason"], "timeout_write", "{line}");
}

#[test]
fn heads_are_bounded_to_the_byte() {
    let limits = "limits: {header_bytes: 2KiB, header_count: 10, field_bytes: 512B, path_bytes: 100B, uri_bytes: 200B}";
    let (octroi, upstream) = started(limits);
    let send = |target: &str, fields: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n{fields}\r\n");
        let answer = client::parse(&exchange(&mut raw(octroi.addr("plain")), text.as_bytes()), 0);
        let reason = octroi.reason(&answer);
        (answer.status, reason)
    };
    let path = |bytes: usize| format!("/{}", "p".repeat(bytes - 1));
    let field = |bytes: usize| format!("X-Long: {}\r\n", "v".repeat(bytes - "X-Long: ".len()));
    let count = |fields: usize| (0..fields).map(|number| format!("X-{number}: v\r\n")).collect::<String>();
    let fine = (200, "-".to_owned());

    assert_eq!(send(&path(100), ""), fine);
    assert_eq!(send(&path(101), ""), (414, "uri_too_long".to_owned()));
    assert_eq!(send(&format!("/?{}", "q".repeat(198)), ""), fine);
    assert_eq!(send(&format!("/?{}", "q".repeat(199)), ""), (414, "uri_too_long".to_owned()));
    assert_eq!(send("/", &field(512)), fine);
    assert_eq!(send("/", &field(513)), (431, "field_too_large".to_owned()));
    assert_eq!(send("/", &count(8)), fine);
    assert_eq!(send("/", &count(9)), (431, "too_many_fields".to_owned()));
    assert_eq!(send("/", &field(500).repeat(5)), (431, "head_too_large".to_owned()));
    assert_eq!(upstream.take().len(), 4);

    // HTTP/2 is bounded by the same numbers.
    let h2 = |path: &str, fields: &[String]| {
        let mut curl = octroi.curl("acme.test", path).args(&["--http2"]);
        for field in fields {
            curl = curl.header(field.trim_end());
        }
        let answer = curl.get();
        (answer.version.clone(), answer.status)
    };
    assert_eq!(h2(&path(101), &[]), ("HTTP/2".to_owned(), 414));
    assert_eq!(h2("/", &[field(515)]), ("HTTP/2".to_owned(), 431)); // without the `: ` of HTTP/1
    assert_eq!(
        h2("/", &[count(20).lines().map(ToOwned::to_owned).collect::<Vec<_>>()].concat()),
        ("HTTP/2".to_owned(), 431)
    );
}

#[test]
fn a_tls_version_below_the_least_is_refused() {
    let (octroi, _upstream) = started("");
    let old = |octroi: &Octroi| octroi.curl("acme.test", "/x").args(&["--tls-max", "1.2"]).get();
    assert_eq!(old(&octroi).status, 200);
    octroi.access_line(|line| line["tls.version"] == "TLSv1.2");
    assert_ne!(
        octroi.curl("acme.test", "/x").args(&["--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"]).get().exit,
        0
    );

    let upstream = Upstream::start();
    let text = config(&upstream, LISTENERS, "")
        .replace("tls: {certificates", "tls: {min_version: \"1.3\", certificates");
    let octroi = Octroi::start(&text);

    assert_ne!(old(&octroi).exit, 0);
    octroi.access_line(|line| line["reason"] == "tls_incompatible" || line["reason"] == "tls_aborted");
    assert_eq!(octroi.curl("acme.test", "/x").args(&["--tlsv1.3"]).status(), 200);
}

#[test]
fn names_that_are_unknown_or_absent_follow_the_rules() {
    let (mut octroi, upstream) = started("");
    let nameless = |octroi: &Octroi, host: &str| {
        octroi.curl("127.0.0.1", "/x").args(&["-k"]).header(&format!("Host: {host}")).get()
    };

    assert_eq!(nameless(&octroi, "open.test").status, 200);
    let refused = nameless(&octroi, "acme.test");
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (421, "sni_missing"));
    assert_ne!(octroi.curl("nobody.test", "/x").args(&["-k"]).get().exit, 0);
    octroi.access_line(|line| line["reason"] == "unknown_sni");

    octroi.reload(
        &config(&upstream, LISTENERS, "")
            .replace("tls: {certificates", "tls: {unknown_sni: default, certificates"),
    );
    let refused = octroi.curl("nobody.test", "/x").args(&["-k"]).get();
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (421, "host_unknown"));
    // A known host under an unknown name is refused all the same.
    assert_eq!(octroi.curl("nobody.test", "/x").args(&["-k"]).header("Host: acme.test").status(), 421);
}

#[test]
fn a_handshake_without_a_name_ends_where_no_tenant_takes_it() {
    let (mut octroi, upstream) = started("");
    let text = config(&upstream, LISTENERS, "").replace(", allow_no_sni: true", "");
    octroi.reload(&text.replace("tls: {certificates", "tls: {ja4: true, certificates"));

    assert_ne!(octroi.curl("127.0.0.1", "/x").args(&["-k"]).header("Host: acme.test").get().exit, 0);
    octroi.access_line(|line| line["event"] == "connection" && line["reason"] == "no_sni");
    let failed =
        r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="no_sni",version="-"}"#;
    assert_eq!(octroi.metric(failed), 1.0);

    assert_eq!(octroi.curl("acme.test", "/x").args(&["--http2"]).status(), 200);
    let line = octroi.access_line(|line| line["event"] == "request");
    let (fingerprint, alpn) = (line["tls.ja4"].as_str().unwrap(), line["tls.alpn"].as_str().unwrap());
    assert!(
        fingerprint.starts_with("t13d") && fingerprint.len() == 36 && &fingerprint[8..10] == "h2",
        "{fingerprint}"
    );
    let agreed = format!(
        r#"octroi_tls_handshakes_total{{alpn="{alpn}",group="{}",listener="public",result="full",version="TLSv1.3"}}"#,
        line["tls.group"].as_str().unwrap()
    );
    assert_eq!((alpn, octroi.metric(&agreed)), ("h2", 1.0));
}

/// Makes a certificate for a host, signed by itself.
fn certificate(octroi: &Octroi, file: &str, host: &str) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    std::fs::write(octroi.path().join(format!("{file}.pem")), made.cert.pem()).unwrap();
    let key = octroi.path().join(format!("{file}.key"));
    let _ = std::fs::remove_file(&key);
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn certificates_come_from_files_and_change_with_a_reload() {
    let upstream = Upstream::start();
    let one = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}"#;
    let files = "tls: {certificates: [{cert: a.pem, key: a.key}, {cert: b.pem, key: b.key}, {cert: c.pem, key: c.key}]}";
    let text = config(&upstream, one, "").replace("tls: {certificates: [{dev: true, dir: certs}]}", files);
    let mut octroi = Octroi::prepared(&text);
    for (file, host) in [("a", "acme.test"), ("b", "ranged.test"), ("c", "open.test")] {
        certificate(&octroi, file, host);
    }
    octroi.run();
    let with = |octroi: &Octroi, file: &str, host: &str| {
        Curl::new(octroi.addr("public"), host, "/x")
            .cacert(&octroi.path().join(format!("{file}.pem")))
            .get()
            .exit
    };

    assert_eq!(
        (with(&octroi, "a", "acme.test"), with(&octroi, "b", "ranged.test"), with(&octroi, "c", "open.test")),
        (0, 0, 0)
    );
    assert_ne!(with(&octroi, "b", "acme.test"), 0);
    let mut held = raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("a.pem"), &[b"http/1.1"]);
    assert_eq!(ask(&mut held, &get("acme.test", "")).status, 200);

    // Another pair under the same name is in force at once; the connection stays.
    certificate(&octroi, "a", "acme.test");
    octroi.ok(&["reload"]);
    assert_eq!(with(&octroi, "a", "acme.test"), 0);
    assert_eq!(ask(&mut held, &get("acme.test", "")).status, 200);

    // A key that does not fit is refused, and the old pair stays.
    std::fs::copy(octroi.path().join("b.key"), octroi.path().join("a.key")).unwrap();
    let refused = octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a.key"), "{refused:?}");
    assert_eq!(with(&octroi, "a", "acme.test"), 0);
    assert_eq!(octroi.code(&["check"]), 1);
}

#[test]
fn a_reload_adds_takes_out_and_changes_listeners_while_connections_stay() {
    let upstream = Upstream::start();
    let first = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}
  - {name: going, address: "127.0.0.1:0", plaintext: true}
  - {name: staying, address: "127.0.0.1:0", plaintext: true}"#;
    let second = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}
  - {name: staying, address: "127.0.0.1:0", plaintext: true, public_port: 8443, trusted_proxies: [127.0.0.0/8]}
  - {name: coming, address: "127.0.0.1:0", plaintext: true}"#;
    let mut octroi = Octroi::start(&config(&upstream, first, ""));
    let (going, staying) = (octroi.addr("going"), octroi.addr("staying"));
    let mut held = raw(going);
    assert_eq!(ask(&mut held, &get("acme.test", "")).status, 200);

    octroi.reload(&config(&upstream, second, ""));

    assert_eq!(octroi.addr("staying"), staying);
    assert_eq!(octroi.plain("coming", "acme.test", "/x").status(), 200);
    assert_eq!(
        octroi.plain("staying", "ranged.test", "/x").header("X-Forwarded-For: 192.0.2.7").status(),
        200
    );
    assert_ne!(Curl::plain(going, "acme.test", "/x").get().exit, 0);
    let _ = ask(&mut held, &get("acme.test", "Connection: close\r\n"));

    // What cannot be bound changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let third = format!(
        "{second}\n  - {{name: taken, address: \"{}\", plaintext: true}}",
        taken.local_addr().unwrap()
    );
    octroi.configure(&config(&upstream, &third, ""));
    let refused = octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains(&taken.local_addr().unwrap().to_string()),
        "{refused:?}"
    );
    assert_eq!(octroi.plain("coming", "acme.test", "/x").status(), 200);
}

#[test]
fn limits_that_change_with_a_reload_hold_for_new_connections_of_both_versions() {
    let one = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}}
  - {name: plain, address: "127.0.0.1:0", plaintext: true}"#;
    let upstream = Upstream::start();
    let narrow = config(
        &upstream,
        one,
        "limits: {header_bytes: 1KiB, field_bytes: 1KiB, path_bytes: 512B, uri_bytes: 512B}",
    );
    let mut octroi = Octroi::start(&narrow);
    let long = format!("X-Long: {}", "v".repeat(900));
    let longer = format!("X-Longer: {}", "v".repeat(900));
    let ask = |octroi: &Octroi, version: &str| {
        let answer = octroi.curl("acme.test", "/x").args(&[version]).header(&long).header(&longer).get();
        (answer.status, octroi.reason(&answer))
    };

    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(&octroi, version), (431, "head_too_large".to_owned()), "{version}");
    }
    let mut held = raw(octroi.addr("plain"));
    assert_eq!(client::ask(&mut held, &get("acme.test", "")).status, 200);
    octroi.reload(&config(
        &upstream,
        one,
        "limits: {header_bytes: 20KiB, field_bytes: 1KiB, idle_timeout: 5s}",
    ));
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(&octroi, version).0, 200, "{version}");
    }
    assert_eq!(client::ask(&mut held, &get("acme.test", "")).status, 200);
    octroi.reload(&narrow);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(&octroi, version).0, 431, "{version}");
    }

    // Connections of every generation of the limits end with the drain.
    octroi.signal("TERM");
    let start = Instant::now();
    assert_eq!(octroi.wait(), 0);
    assert!(start.elapsed() < Duration::from_millis(1800), "{:?}", start.elapsed());
}

#[test]
fn an_http2_connection_rests_no_longer_than_the_limit() {
    let (octroi, _upstream) = started("limits: {idle_timeout: 1s}");
    let rest = async {
        let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
        let config = client::tls_config(&ca(&octroi), &[b"h2"]);
        let tls = tokio_rustls::TlsConnector::from(config)
            .connect("acme.test".try_into().unwrap(), tcp)
            .await
            .unwrap();
        let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = || http::Request::builder().uri("https://acme.test/x").body(()).unwrap();
        assert_eq!(sender.send_request(request(), true).unwrap().0.await.unwrap().status(), 200);
        wait::elapse_async(Duration::from_millis(500)).await;
        assert_eq!(sender.send_request(request(), true).unwrap().0.await.unwrap().status(), 200);
        let start = Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(4), connection).await.expect("the connection ends");
        start.elapsed()
    };

    let took = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rest);

    assert!(took > Duration::from_millis(800) && took < Duration::from_millis(2500), "{took:?}");
}
