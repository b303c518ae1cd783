//! What deadlines end, and what is written down when the program stops.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    time::Duration,
};

use crate::{
    endings::masked,
    harness::{
        Octroi, Upstream,
        client::{ask, raw, raw_tls},
        eventually,
        frames::{END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, block, frame, preface, request, send},
    },
    json::Json,
};

const HOST: &str = "acme.test";

/// Every deadline is over soon: only what reaches one is asked here.
fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
node: golden-1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}, {{name: plain, address: "127.0.0.1:0", plaintext: true}}]
limits: {{handshake_timeout: 2s, header_timeout: 1s, idle_timeout: 1s, write_stall: 1s, write_min_rate: 1KiB/s}}
request_limits: {{websocket_idle: 300ms}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
routes: {{app: {{unmatched: public, rules: [{{path: /ws, access: public, websocket: true}}]}}}}
tenants: {{acme: {{hosts: [acme.test], upstream: app, routes: app}}}}
"#,
        upstream.addr
    )
}

/// What happens by name, what makes it happen, and how many access lines come of it.
type Case = (&'static str, fn(&Octroi), usize);

const CASES: &[Case] = &[
    ("a handshake that does not begin", |octroi| ended(&mut raw(octroi.addr("public"))), 1),
    (
        "a head that is not whole",
        |octroi| {
            let mut stream = tls(octroi, b"http/1.1");
            stream.write_all(b"GET /head HTTP/1.1\r\nHost: acme.test\r\n").unwrap();
            ended(&mut stream);
        },
        1,
    ),
    (
        "HTTP/2: a head that is not whole",
        |octroi| {
            let mut stream = tls(octroi, b"h2");
            let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/head")];
            assert!(send(
                &mut stream,
                &[preface(&[]), frame(HEADERS, END_STREAM, 1, &block(&fields))].concat()
            ));
            ended(&mut stream);
        },
        1,
    ),
    (
        "an answer that nobody takes",
        |octroi| {
            let mut stream = raw(octroi.addr("plain"));
            stream.write_all(b"GET /big?bytes=100000000 HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
            // Until then the client takes nothing.
            octroi.access_line(|line| line["path"] == "/big");
        },
        1,
    ),
    (
        "HTTP/2: an answer that nobody takes",
        |octroi| {
            let mut stream = tls(octroi, b"h2");
            // Room for all of it, and nobody who reads.
            let window = frame(WINDOW_UPDATE, 0, 0, &[0x0f, 0xff, 0, 0]);
            let head = request(1, "GET", HOST, "/big?bytes=100000000", END_STREAM | END_HEADERS);
            assert!(send(&mut stream, &[preface(&[(4, 0x0fff_0000)]), window, head].concat()));
            octroi.access_line(|line| line["path"] == "/big" && line["http.version"] == "HTTP/2");
        },
        1,
    ),
    (
        "a WebSocket in which nobody says a word",
        |octroi| {
            let mut stream = raw(octroi.addr("plain"));
            let head = "GET /ws HTTP/1.1\r\nHost: acme.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            assert_eq!(ask(&mut stream, head).status, 101);
            ended(&mut stream);
        },
        1,
    ),
    (
        "a connection that rests",
        |octroi| {
            let mut stream = raw(octroi.addr("plain"));
            assert_eq!(ask(&mut stream, "GET /rests HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
            ended(&mut stream);
        },
        1,
    ),
    ("a connection without a request", |octroi| ended(&mut raw(octroi.addr("plain"))), 0),
    (
        "a connection without a request, over HTTP/2",
        |octroi| {
            let mut stream = tls(octroi, b"h2");
            assert!(send(&mut stream, &preface(&[])));
            ended(&mut stream);
        },
        0,
    ),
];

fn tls(
    octroi: &Octroi,
    protocol: &[u8],
) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    let mut stream = raw_tls(octroi.addr("public"), HOST, &octroi.path().join("certs/ca.pem"), &[protocol]);
    stream.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.flush().unwrap();
    stream
}

/// Reads until the other side ends the connection.
fn ended(stream: &mut impl Read) {
    let mut space = [0; 4096];
    while stream.read(&mut space).is_ok_and(|read| read > 0) {}
}

/// Waits for each deadline, and tells what is written down and counted.
pub fn table() -> String {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream));
    let mut out = "# What deadlines end: the access lines, and what is counted.\n".to_owned();
    for (name, run, count) in CASES {
        let before = lines(&octroi).len();
        run(&octroi);
        let new = eventually(name, || Some(lines(&octroi)).filter(|lines| lines.len() >= before + count))
            .split_off(before);
        assert_eq!(new.len(), *count, "{name}: {new:?}");
        tell(&mut out, name, new);
    }
    // Which of the two rules for slow readers ends an answer over HTTP/2 is for the machine to say.
    let cuts = || -> Vec<String> {
        let text = octroi.metrics().replace("timeout_write_rate", "timeout_write");
        let counted =
            |line: &&str| line.starts_with("octroi_connections_cut_total{") && !line.ends_with(" 0");
        text.lines().filter(counted).map(str::to_owned).collect()
    };
    let cuts = eventually("each is counted", || Some(cuts()).filter(|cuts| cuts.len() >= 6));
    out.push_str("\n## Counted\n");
    cuts.iter().for_each(|line| writeln!(out, "{line}").unwrap());

    // Refusals of the same kind are summed up, and what was summed is written down at the latest when the program stops.
    for _ in 0..3 {
        let mut stream = raw(octroi.addr("public"));
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        ended(&mut stream);
    }
    let refused = || {
        octroi.metric(r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="plain_http",version="-"}"#)
    };
    eventually("all are counted", || (refused() >= 3.0).then_some(()));
    let before = lines(&octroi).len();
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
    // The pipe may be read a moment later.
    let sums = eventually("the sum", || {
        let lines: Vec<Json> = lines(&octroi).split_off(before);
        lines.iter().any(|line| line.get("count").is_some()).then_some(lines)
    });
    tell(&mut out, "refusals that were summed up, at the stop", sums);
    out
}

fn tell(out: &mut String, name: &str, lines: Vec<Json>) {
    writeln!(out, "\n## {name}").unwrap();
    for (name, value) in lines.into_iter().flat_map(masked) {
        writeln!(out, "{name}: {value}").unwrap();
    }
}

fn lines(octroi: &Octroi) -> Vec<Json> {
    let printed = octroi.printed();
    let lines = printed.iter().filter_map(|line| line.strip_prefix("out: ")).map(Json::read);
    lines.filter(|line| line.get("event").unwrap().text() != "admin").collect()
}
