//! PROXY headers of those who really send them: HAProxy in front of our listeners, and curl.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use crate::{
    config,
    harness::{Curl, Octroi, Upstream, client, eventually},
};

const LISTENERS: &str = r#"
  - {name: tls, address: "127.0.0.1:0", tls: {}, proxy_protocol: {trusted: [127.0.0.1]}, deny: [127.0.0.66]}
  - {name: plain, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [127.0.0.0/8]}, deny: [127.0.0.66]}
"#;

/// A running HAProxy; ended by its process id.
struct Haproxy {
    child: Child,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
}

/// What HAProxy puts before each connection, and where it leads.
const ROADS: [(&str, &str); 5] = [
    ("tls", "send-proxy"),
    ("tls", "send-proxy-v2"),
    // With TLVs: a checksum and an identifier.
    ("tls", "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
    ("plain", "send-proxy"),
    ("plain", "send-proxy-v2"),
];

impl Haproxy {
    fn start(octroi: &Octroi) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Free a moment ago; HAProxy cannot be asked which ones the system chose.
        let held: Vec<TcpListener> = ROADS.iter().map(|_| TcpListener::bind("0.0.0.0:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let mut text = String::from(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n",
        );
        for (number, ((listener, how), port)) in ROADS.iter().zip(&ports).enumerate() {
            let addr = octroi.addr(listener);
            text.push_str(&format!(
                "listen road{number}\n  bind 0.0.0.0:{port}\n  unique-id-format %{{+X}}o%ci:%cp_%Ts_%rt:%pid\n  server octroi {addr} {how}\n"
            ));
        }
        // A client without an internet address.
        let unix = dir.path().join("road.sock");
        let addr = octroi.addr("plain");
        text.push_str(&format!(
            "listen unix\n  bind unix@{}\n  server octroi {addr} send-proxy-v2\n",
            unix.display()
        ));
        let config = dir.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        drop(held);
        let child = Command::new("haproxy")
            .args(["-q", "-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy runs");
        let haproxy = Self { child, dir, ports };
        for port in &haproxy.ports {
            eventually("HAProxy listens", || TcpStream::connect(("127.0.0.1", *port)).ok());
        }
        haproxy
    }

    /// Where the road with this number begins.
    fn addr(&self, road: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[road]))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let tenants = "  near: {hosts: [near.test], upstream: app, routes: app, ip_access: {allow: [127.0.0.7]}}";
    let octroi = Octroi::start(&config(&upstream, LISTENERS, tenants));
    (octroi, upstream)
}

/// Asks from an address of this machine; HTTP/2 where the listener speaks TLS and `version` says so.
fn ask(
    octroi: &Octroi,
    addr: SocketAddr,
    is_tls: bool,
    host: &str,
    from: &str,
    args: &[&str],
) -> client::Answer {
    let curl = if is_tls {
        Curl::new(addr, host, "/x").cacert(&octroi.path().join("certs/ca.pem"))
    } else {
        Curl::plain(addr, host, "/x")
    };
    // HAProxy has a port of its own, which is not the listener's.
    curl.header(&format!("Host: {host}")).args(&["--interface", from]).args(args).get()
}

/// Judges what came of asking: the right client for ranges, log and upstream.
fn judge(
    octroi: &Octroi,
    upstream: &Upstream,
    what: &str,
    version: &str,
    ask: impl Fn(&str, &str) -> client::Answer,
) {
    upstream.take();
    let answer = ask("near.test", "127.0.0.7");
    assert_eq!((answer.status, answer.version.as_str()), (200, version), "{what}: {answer:?}");
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("127.0.0.7"), "{what}");
    let refused = ask("near.test", "127.0.0.8");
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (403, "ip_not_allowed"), "{what}");
    let id = refused.field("octroi-request-id").unwrap().to_owned();
    let line = octroi.access_line(|line| line["request.id"] == id.as_str());
    assert_eq!(line["client.ip"], "127.0.0.8", "{what}");
    // Dropped before the handshake, by the address that the header names.
    assert_ne!(ask("near.test", "127.0.0.66").exit, 0, "{what}");
    assert!(upstream.take().is_empty(), "{what}");
}

#[test]
fn haproxy_names_the_client_in_both_versions_on_every_listener() {
    let (octroi, upstream) = started();
    let haproxy = Haproxy::start(&octroi);

    for (road, (listener, how)) in ROADS.iter().enumerate() {
        let versions: &[(&str, &str)] = if *listener == "tls" {
            &[("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")]
        } else {
            &[("--http1.1", "HTTP/1.1")]
        };
        for (flag, version) in versions {
            judge(&octroi, &upstream, &format!("{listener} {how} {version}"), version, |host, from| {
                ask(&octroi, haproxy.addr(road), *listener == "tls", host, from, &[flag])
            });
        }
    }
    let line = octroi.access_line(|line| line["listener"] == "tls" && line["client.ip"] == "127.0.0.7");
    assert_eq!(line["peer.ip"], "127.0.0.1");
    let denied = octroi.access_line(|line| line["listener"] == "tls" && line["reason"] == "denied");
    assert_eq!(denied["peer.ip"], "127.0.0.66");
    // Who comes over a Unix socket has no address: HAProxy is the client.
    let socket = haproxy.dir.path().join("road.sock");
    let unix = Curl::plain(octroi.addr("plain"), "acme.test", "/x")
        .args(&["--unix-socket", socket.to_str().unwrap()]);
    assert_eq!(unix.status(), 200);
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn curl_names_itself_over_tls_and_plain_and_over_http2() {
    let (octroi, upstream) = started();

    for (is_tls, flag, version) in
        [(true, "--http1.1", "HTTP/1.1"), (true, "--http2", "HTTP/2"), (false, "--http1.1", "HTTP/1.1")]
    {
        // The peer is curl's own address, so only the plain listener trusts all of them.
        let listener = if is_tls { "tls" } else { "plain" };
        let addr = octroi.addr(listener);
        if is_tls {
            let answer = ask(&octroi, addr, true, "acme.test", "127.0.0.1", &[flag, "--haproxy-protocol"]);
            assert_eq!((answer.status, answer.version.as_str()), (200, version));
            assert_eq!(upstream.only().field("x-forwarded-for"), Some("127.0.0.1"));
            // Another peer may not send one.
            assert_ne!(
                ask(&octroi, addr, true, "acme.test", "127.0.0.2", &[flag, "--haproxy-protocol"]).exit,
                0
            );
            octroi.access_line(|line| line["reason"] == "proxy_untrusted" && line["peer.ip"] == "127.0.0.2");
        } else {
            judge(&octroi, &upstream, "curl", version, |host, from| {
                ask(&octroi, addr, false, host, from, &[flag, "--haproxy-protocol"])
            });
        }
        // Without its header nobody comes in.
        assert_ne!(ask(&octroi, addr, is_tls, "acme.test", "127.0.0.1", &[flag]).exit, 0);
    }
}

#[test]
fn half_a_header_and_a_wrong_length_are_counted_and_closed() {
    let (octroi, upstream) = started();
    let v2 = |command: u8, family: u8, length: u16, block: &[u8]| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(block);
        bytes
    };
    const INET: &[u8] = &[127, 0, 0, 7, 127, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
    let request = "GET /x HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n";
    let malformed: [Vec<u8>; 8] = [
        // Half of one, and silence: two seconds are its deadline.
        b"PROXY TCP4 127.0.0.7 127.".to_vec(),
        v2(0x21, 0x11, 12, &INET[..7]),
        // Too short for the family; longer than the bound; so long that the request is taken for a part of it.
        v2(0x21, 0x11, 11, INET),
        v2(0x21, 0x21, 12, INET),
        v2(0x21, 0x11, 521, INET),
        v2(0x21, 0x11, 500, INET),
        v2(0x22, 0x11, 12, INET),
        v2(0x21, 0x12, 12, INET),
    ];
    let count = malformed.len();

    for (number, header) in malformed.into_iter().enumerate() {
        let whole = number >= 2;
        let bytes = if whole { [header.as_slice(), request.as_bytes()].concat() } else { header };
        let mut stream = client::raw(octroi.addr("plain"));
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        assert_eq!(client::exchange(&mut stream, &bytes), "", "{number}");
    }

    assert!(upstream.take().is_empty());
    let counted =
        octroi.metric(r#"octroi_connections_refused_total{listener="plain",reason="proxy_protocol"}"#);
    assert_eq!(counted, f64::from(u32::try_from(count).unwrap()));
    assert_eq!(octroi.metric(r#"octroi_connections{listener="plain"}"#), 0.0);
    // With the right length it passes, TLVs and all.
    let tlv = [INET, &[0x04, 0, 2, 0, 0]].concat();
    let bytes = [v2(0x21, 0x11, 17, &tlv).as_slice(), request.as_bytes()].concat();
    assert!(client::exchange(&mut client::raw(octroi.addr("plain")), &bytes).starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.only().field("x-forwarded-for"), Some("127.0.0.7"));
}
