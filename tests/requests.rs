//! What a request may be, end to end: limits at three levels, methods, paths, origins, headers, cookies, observe mode, quotas.

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
    time::{Duration, Instant},
};

use harness::wait;
use harness::{
    Octroi, Upstream,
    client::{self, Answer, ask, exchange, raw},
};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
  - {{name: behind, address: "127.0.0.1:0", plaintext: true, trusted_proxies: [127.0.0.0/8]}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
request_limits: {{body_bytes: 3000B, body_min_rate: 1KiB/s, websocket_idle: 300ms}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
quotas:
  each: {{by: client, rate: 1/h, burst: 2}}
  path: {{by: route, rate: 1/h, burst: 2}}
  all: {{by: tenant, rate: 1/h, burst: 3}}
  user: {{by: user, rate: 1/h, burst: 2}}
  session: {{by: session, rate: 1/h, burst: 2}}
  trial: {{by: client, rate: 1/h, burst: 1, mode: observe}}
  tries: {{by: client, rate: 1/h, burst: 2, count: failures}}
routes:
  app:
    unmatched: public
    rules:
      - {{path: /login, access: public, grant: true}}
      - {{path: /tried, access: public, grant: true, quotas: [tries]}}
      - {{path: /in/, access: session}}
      - {{path: /large/, access: public, request_limits: {{body_bytes: 5000B}}}}
      - {{path: /ws, access: public, websocket: true}}
      - {{path: /ws/long, access: public, websocket: true, request_limits: {{body_bytes: 5000B}}}}
      - {{path: /only/, access: public, methods: [GET, PROPFIND]}}
      - {{path: /slash/, access: public, allow_encoded_slash: true}}
      - {{path: /params/, access: public, allow_path_parameters: true}}
      - {{path: /merge/, access: public, merge_slashes: true}}
      - {{path: /twice/, access: public, allow_double_encoding: true}}
      - {{path: /checked/, access: public, origin_check: true}}
      - {{path: /unchecked/, access: public}}
      - {{path: /checked_ws, access: public, websocket: true, origin_check: true}}
      - {{path: /fresh/, access: session, max_auth_age: 1s}}
      - {{path: /staff/, roles: [staff, boss]}}
      - {{path: /path_a/, access: public, quotas: [path]}}
      - {{path: /path_b/, access: public, quotas: [path]}}
      - {{path: /by_user/, access: session, quotas: [user]}}
      - {{path: /by_session/, access: session, quotas: [session]}}
      - {{path: /tries/, access: public, quotas: [tries]}}
  members: {{}}
  open: {{unmatched: public}}
  spelled: {{unmatched: public, rules: [{{path: /, access: public, allow_encoded_slash: true, allow_double_encoding: true}}, {{path: /ops/, roles: [ops]}}, {{path: /admin}}]}}
  kept: {{unmatched: session, rules: [{{path: /pub/, access: public, allow_path_parameters: true}}, {{path: /login, access: public, allow_path_parameters: true}}, {{path: /pub/secret}}]}}
  paged: {{unmatched: deny, rules: [{{path: /}}, {{path: /_next/, access: public}}, {{path: /free/, access: public}}, {{path: /free, access: public}}, {{path: /x.data, access: public}}]}}
  cased: {{unmatched: public, case_sensitive: true, rules: [{{path: /ops/, roles: [ops]}}]}}
  shut: {{unmatched: deny, rules: [{{path: /public/, access: public}}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  small: {{hosts: [small.test], upstream: app, routes: app, request_limits: {{body_bytes: 2000B, websocket_idle: 900ms}}}}
  secret: {{hosts: [secret.test], upstream: app, routes: members}}
  bare: {{hosts: [bare.test], upstream: app}}
  spelled: {{hosts: [spelled.test], upstream: app, routes: spelled}}
  kept: {{hosts: [kept.test], upstream: app, routes: kept}}
  paged: {{hosts: [paged.test], upstream: app, routes: paged}}
  cased: {{hosts: [cased.test], upstream: app, routes: cased}}
  shut: {{hosts: [shut.test], upstream: app, routes: shut}}
  extended: {{hosts: [extended.test], upstream: app, routes: {{use: shut, rules: [{{path: /public/more/, access: public, methods: [POST]}}, {{path: /public/, access: session}}]}}}}
  over: {{hosts: [over.test], upstream: app, routes: {{use: shut, unmatched: public}}}}
  own: {{hosts: [own.test], upstream: app, routes: open, headers: {{response: {{content-security-policy: "default-src 'self'", x-frame-options: "", x-own: "yes", strict-transport-security: "max-age=1", referrer-policy: ""}}}}, cookies: {{allow: [lang]}}}}
  none: {{hosts: [none.test], upstream: app, routes: open, cookies: {{allow: []}}}}
  each: {{hosts: [each.test], upstream: app, routes: open, quotas: [each]}}
  each_too: {{hosts: [each-too.test], upstream: app, routes: open, quotas: [each]}}
  all: {{hosts: [all.test], upstream: app, routes: open, quotas: [all]}}
  trial: {{hosts: [trial.test], upstream: app, routes: open, quotas: [trial]}}
  watching: {{hosts: [watching.test], upstream: app, routes: app, mode: observe, quotas: [each], ip_access: {{deny: [127.0.0.0/8]}}}}
"#,
        upstream.addr
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream));
    (octroi, upstream)
}

fn sign_in(octroi: &Octroi, host: &str, user: &str, roles: &str) -> String {
    let grant = format!("user=\"{user}\", roles=({roles})");
    let grant = percent_encoding::utf8_percent_encode(&grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    octroi.curl(host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get().session()
}

#[test]
fn bodies_are_bounded_by_server_tenant_and_route() {
    let (octroi, upstream) = started();
    let send = |host: &str, path: &str, bytes: usize, chunked: bool| {
        let body = "x".repeat(bytes);
        let chunks: &[&str] = if chunked { &["-H", "Transfer-Encoding: chunked"] } else { &[] };
        octroi.plain("plain", host, path).args(&["--data-binary", &body]).args(chunks).status()
    };

    for (host, path, limit) in
        [("acme.test", "/x", 3000), ("small.test", "/x", 2000), ("small.test", "/large/x", 5000)]
    {
        for chunked in [false, true] {
            assert_eq!(send(host, path, limit, chunked), 200, "{host}{path} {chunked}");
            assert_eq!(send(host, path, limit + 1, chunked), 413, "{host}{path} {chunked}");
        }
    }
    assert!(upstream.take().iter().all(|got| got.body.len() <= 5000));
    let over_h2 = |bytes: usize| block_on(post_h2(&octroi, "small.test", bytes, Duration::ZERO)).0;
    assert_eq!((over_h2(2000), over_h2(2001), over_h2(200_000)), (200, 413, 413));
}

/// Opens a WebSocket and returns how long it may be silent.
fn silence(octroi: &Octroi, host: &str, path: &str) -> Duration {
    let mut stream = raw(octroi.addr("plain"));
    let answer = ask(&mut stream, &handshake(host, path, ""));
    assert_eq!(answer.status, 101, "{answer:?}");
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    start.elapsed()
}

fn handshake(host: &str, path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

#[test]
fn a_route_without_a_bound_of_its_own_has_its_tenant_s() {
    let (octroi, _upstream) = started();
    let is = |took: Duration, millis: u64| {
        took > Duration::from_millis(millis - 50) && took < Duration::from_millis(millis + 450)
    };

    let took = silence(&octroi, "acme.test", "/ws");
    assert!(is(took, 300), "{took:?}");
    let took = silence(&octroi, "small.test", "/ws");
    assert!(is(took, 900), "{took:?}");
    // The route has its own body_bytes; the rest is the tenant's.
    let took = silence(&octroi, "small.test", "/ws/long");
    assert!(is(took, 900), "{took:?}");
}

#[test]
fn a_body_that_trickles_is_cut_after_its_grace() {
    let (octroi, _upstream) = started();
    let trickle = |http2: bool| {
        if http2 {
            return block_on(post_h2(&octroi, "acme.test", 1000, Duration::from_millis(700)));
        }
        let mut stream = raw(octroi.addr("plain"));
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(b"POST /x HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 2000\r\n\r\nx").unwrap();
        let answer = client::parse(&exchange(&mut stream, b"x"), 0);
        (answer.status, octroi.reason(&answer))
    };

    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let tries = [scope.spawn(|| trickle(false)), scope.spawn(|| trickle(true))];
        tries.into_iter().map(|tried| tried.join().unwrap()).collect()
    });

    assert_eq!(answers, [(408, "timeout_body".to_owned()), (408, "timeout_body".to_owned())]);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends a body of unknown length over HTTP/2, with a pause after each byte or with none; returns the status and the reason.
async fn post_h2(octroi: &Octroi, host: &str, bytes: usize, pause: Duration) -> (u16, String) {
    let tcp = tokio::net::TcpStream::connect(octroi.addr("public")).await.unwrap();
    let config = client::tls_config(&octroi.path().join("certs/ca.pem"), &[b"h2"]);
    let tls = tokio_rustls::TlsConnector::from(config)
        .connect(host.to_owned().try_into().unwrap(), tcp)
        .await
        .unwrap();
    let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().method("POST").uri(format!("https://{host}/x")).body(()).unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    let feed = tokio::spawn(async move {
        if pause.is_zero() {
            return drop(body.send_data(bytes::Bytes::from(vec![b'x'; bytes]), true));
        }
        for _ in 0..bytes {
            if body.send_data(bytes::Bytes::from_static(b"x"), false).is_err() {
                return;
            }
            wait::slow_peer_async(pause).await;
        }
    });
    let answer = answer.await.unwrap();
    feed.abort();
    let id = answer.headers()["octroi-request-id"].to_str().unwrap();
    let line = octroi.access_line(|line| line["request.id"] == id);
    (answer.status().as_u16(), line["reason"].as_str().unwrap_or("-").to_owned())
}

#[test]
fn what_no_rule_matches_follows_the_set() {
    let (octroi, upstream) = started();
    let get = |host: &str, path: &str| octroi.plain("plain", host, path).status();

    assert_eq!((get("acme.test", "/x"), get("secret.test", "/x"), get("bare.test", "/x")), (200, 401, 401));
    assert_eq!((get("shut.test", "/x"), get("shut.test", "/public/x")), (404, 200));
    assert_eq!(get("over.test", "/x"), 200);
    assert_eq!((get("extended.test", "/public/x"), get("extended.test", "/x")), (401, 404));
    assert_eq!(octroi.plain("plain", "extended.test", "/public/more/x").args(&["-X", "POST"]).status(), 200);
    assert_eq!(upstream.take().len(), 4);
}

#[test]
fn methods_are_those_of_the_rule_and_the_answer_names_them() {
    let (octroi, upstream) = started();
    let with =
        |method: &str, path: &str| octroi.plain("plain", "acme.test", path).args(&["-X", method]).get();

    assert_eq!((with("GET", "/only/x").status, with("PROPFIND", "/only/x").status), (200, 200));
    let refused = with("POST", "/only/x");
    assert_eq!(
        (refused.status, refused.field("allow"), octroi.reason(&refused).as_str()),
        (405, Some("GET, PROPFIND"), "method_not_allowed")
    );
    assert_eq!(with("DELETE", "/x").status, 200);
    assert_eq!(with("PROPFIND", "/x").status, 405);
    assert_eq!(upstream.take().len(), 3);
}

#[test]
fn paths_have_what_their_rule_allows_and_no_more() {
    let (octroi, upstream) = started();
    let get = |path: &str| {
        let answer = octroi.plain("plain", "acme.test", path).get();
        let forwarded = upstream.take().pop().map(|got| got.target);
        (answer.status, forwarded.unwrap_or_else(|| octroi.reason(&answer)))
    };
    let passes = |path: &str, as_what: &str| assert_eq!(get(path), (200, as_what.to_owned()), "{path}");
    let fails = |path: &str, reason: &str| assert_eq!(get(path), (400, reason.to_owned()), "{path}");

    passes("/slash/a%2Fb", "/slash/a%2Fb");
    fails("/x/a%2Fb", "path_encoded_slash");
    passes("/params/a;v=1", "/params/a;v=1");
    fails("/x/a;v=1", "path_param");
    passes("/merge//a///b", "/merge/a/b");
    fails("/x//a", "path_empty_segment");
    fails("/slash/%2e%2e/x", "path_dot_segment");
    fails("/slash/..%2fx", "path_dot_segment");
    fails("/slash/.%2fx", "path_dot_segment");
    fails("/params/.;x/a", "path_dot_segment");
    fails("/merge/.//a%2Fb", "path_encoded_slash");
    passes("/merge/.//a/./", "/merge/a/");
    fails("/x/.//a", "path_empty_segment");
    passes("/x?a=//b;c%2Fd", "/x?a=//b;c%2Fd");
    passes("/twice/a%252Fb%2525", "/twice/a%252Fb%2525");
    fails("/x/a%252Fb", "path_encoding");
    fails("/twice/%252e%252e/x", "path_encoding");
    fails("/twice/a%255Cb", "path_encoding");
}

#[test]
fn a_bare_dot_in_a_path_is_judged_logged_and_forwarded_as_nothing() {
    let (octroi, upstream) = started();
    let over = |host: &str, path: &str, version: &str| {
        octroi
            .curl(host, path)
            .args(&["--path-as-is", "--globoff", version])
            .header("Accept: text/html")
            .get()
    };

    // apt asks for its flat repositories so, and others who do not resolve what they were given.
    for (path, read) in [
        ("/repo/./Packages.gz?a=/./b", "/repo/Packages.gz?a=/./b"),
        ("/./x", "/x"),
        ("/x/.", "/x/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/x/././y/./?.", "/x/y/?."),
        ("/.x/y./...", "/.x/y./..."),
    ] {
        for version in ["--http1.1", "--http2"] {
            let answer = over("acme.test", path, version);
            assert_eq!((answer.status, upstream.only().target.as_str()), (200, read), "{version} {path}");
            let id = answer.field("octroi-request-id").unwrap();
            let logged = read.split_once('?').map_or(read, |(path, _)| path);
            assert_eq!(
                octroi.access_line(|line| line["request.id"] == id)["path"],
                logged,
                "{version} {path}"
            );
        }
    }
    // Its rule is that of the path without it, in whatever other form it is read.
    for path in [
        "/./ops/x",
        "/ops/./x",
        "/ops/.",
        "/ops/./",
        "/./OPS/x",
        "/./ops%2Fx",
        "/./%256fps/x",
        "/admin/.",
        "/./admin",
        "/admin/./",
    ] {
        assert_eq!(over("spelled.test", path, "--http1.1").status, 401, "{path}");
    }
    for path in ["/..", "/./..", "/%2e", "/x/%2E/y", "/.%2e", "/.;", "/.;x/y", "//./", "/.//", "/x/.%2fy"] {
        for version in ["--http1.1", "--http2"] {
            assert_eq!(over("acme.test", path, version).status, 400, "{version} {path}");
        }
    }
    assert!(upstream.take().is_empty());
    // Over to TLS, in the one form.
    let moved = octroi.plain("http", "acme.test", "/repo/./x?a=./b").args(&["--path-as-is"]).get();
    assert!(moved.field("location").unwrap().ends_with("/repo/x?a=./b"), "{moved:?}");
}

#[test]
fn what_clients_send_in_a_path_is_forwarded_as_it_is() {
    let (octroi, upstream) = started();
    let path = "/items[0]|a^b{c}";
    let over = |version: &str| octroi.curl("acme.test", path).args(&["--globoff", version]).status();

    let mut stream = raw(octroi.addr("plain"));
    let answer = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: acme.test\r\n\r\n"));
    assert_eq!((answer.status, over("--http1.1"), over("--http2")), (200, 200, 200));

    assert_eq!(upstream.take().into_iter().map(|got| got.target).collect::<Vec<_>>(), [path; 3]);
    for wrong in ["/a`b", "/a<b>", "/a\"b"] {
        let mut stream = raw(octroi.addr("plain"));
        let answer = ask(&mut stream, &format!("GET {wrong} HTTP/1.1\r\nHost: acme.test\r\n\r\n"));
        assert_eq!(answer.status, 400, "{wrong}");
    }
    assert_eq!(upstream.take().len(), 0);
}

#[test]
fn what_clients_send_raw_in_a_query_is_forwarded_as_it_is() {
    let (octroi, upstream) = started();
    let target = "/x?q=`c`\\d{e}|f^[g]'//./..;";

    let mut stream = raw(octroi.addr("plain"));
    let answer = ask(&mut stream, &format!("GET {target} HTTP/1.1\r\nHost: acme.test\r\n\r\n"));

    assert_eq!((answer.status, upstream.only().target.as_str()), (200, target));
}

#[test]
fn no_spelling_of_a_path_passes_its_rule() {
    let (octroi, upstream) = started();
    let status = |host: &str, path: &str| octroi.plain("plain", host, path).args(&["--path-as-is"]).status();

    for path in [
        "/ops/x",
        "/ops",
        "/OPS/x",
        "/Ops",
        "/ops%2Fx",
        "/OPS%2fx",
        "/ops%252Fx",
        "/%256fps/x",
        "/admin",
        "/admin/",
        "/ADMIN",
    ]
    .into_iter()
    .chain(["/adm%C4%B0n", "/adm%C4%B1n", "/ADM%C4%B0N", "/op%C5%BF/x"])
    .chain(["/admin%3fx", "/admin%23x", "/Admin%3Fx/y", "/ops%23", "/%EF%BD%81dmin", "/ops%EF%BC%8Fx"])
    {
        assert_eq!(status("spelled.test", path), 401, "{path}");
    }
    assert_eq!(upstream.take().len(), 0);
    // What ASP.NET, front controllers and Windows leave out of it.
    for path in [
        "/(S(x))/ops/x",
        "/(A(b)S(c))/ADMIN",
        "/index.php/admin",
        "/app_dev.php/ops/x",
        "/admin.",
        "/ops%20/x",
        "/admin::$DATA",
        "/ops./x",
        "/index.php%2Fadmin",
        "/_next/data/b/ops/x.json",
        "/admin.rsc",
        "/admin/__data.json",
        "/_next/data/b/admin.json/",
        "/admin.html__data.json",
        "/page-data/admin/page-data.json",
        "/admin/.data",
        "/admin/_payload-json",
        "/admin/q-data.json/",
        "/Admin/index.pageContext.json",
    ] {
        assert_eq!(status("spelled.test", path), 401, "{path}");
    }
    // Remix makes `/` of it.
    assert_eq!(status("spelled.test", "/free/x/...data"), 400);
    assert_eq!(upstream.take().len(), 0);
    // A rule for where the scripts and data of pages lie opens no page, whatever the length of its path.
    for path in [
        "/_next/data/b/me.json",
        "/_next/data/b/index.json",
        "/_next/data/b/fr/me.json",
        "/me.rsc",
        "/me.data",
        "/__data.json",
    ]
    .into_iter()
    .chain(["/_next/data/b/me.json/", "/me.rsc/", "/_next/data/b/fr/me.json/"])
    {
        assert_eq!(status("paged.test", path), 401, "{path}");
    }
    assert_eq!(upstream.take().len(), 0);
    for path in [
        "/_next/static/b.js",
        "/_next/data/b/free.json",
        "/free/x.rsc",
        "/free/__data.json",
        "/_next/data/b/free/x.json",
        "/x.data",
    ] {
        assert_eq!(status("paged.test", path), 200, "{path}");
    }
    upstream.take();
    for path in ["/index.php", "/index.php/opsx", "/(x)/ops", "/op.s/x", "/admin.css", "/ops:x"] {
        assert_eq!(status("spelled.test", path), 200, "{path}");
    }
    upstream.take();
    for path in ["/opsx", "/x%2Fops", "/X%252Fops/x", "/admin/x", "/administrator"] {
        assert_eq!(status("spelled.test", path), 200, "{path}");
    }
    upstream.take();
    // A full-width percent sign makes an escape, and is one in a name.
    for path in
        ["/%EF%BC%8561dmin", "/%EF%BC%85%EF%BC%96%EF%BC%91dmin", "/ops%EF%BC%852Fx", "/admin%EF%BC%9Fx"]
    {
        assert_eq!(status("spelled.test", path), 401, "{path}");
    }
    assert_eq!(status("kept.test", "/pub/;xx%EF%BC%8F../a"), 400);
    assert_eq!(upstream.take().len(), 0);
    for path in [
        "/files/100%EF%BC%85.pdf",
        "/files/50%EF%BC%85DEMO.pdf",
        "/%E4%BD%95%EF%BC%9F%EF%BC%81%EF%BC%8F%EF%BC%8Ea%EF%BC%9B",
    ] {
        assert_eq!(status("spelled.test", path), 200, "{path}");
    }
    for path in ["/adm%C3%AEn", "/adminx%3F", "/wiki/C%23", "/%EF%BC%91"] {
        assert_eq!(status("spelled.test", path), 200, "{path}");
    }
    upstream.take();
    for path in ["/pub;/account", "/pub%3B/account", "/pub;x/account", "/login%3Bx"] {
        assert_eq!(status("kept.test", path), 401, "{path}");
    }
    // Fastify and restify begin a query there.
    assert_eq!(status("kept.test", "/pub/secret;x/y"), 401);
    assert_eq!(upstream.take().len(), 0);
    for path in ["/login;jsessionid=1", "/pub/a;jsessionid=1", "/pub/a;v=1/b", "/pub/a%3Bb/c"] {
        assert_eq!(status("kept.test", path), 200, "{path}");
    }
    assert_eq!(
        (status("cased.test", "/OPS/x"), status("cased.test", "/ops/x"), status("cased.test", "/ops")),
        (200, 401, 401)
    );
}

#[test]
fn another_site_s_pages_change_nothing_where_the_origin_is_checked() {
    let (octroi, upstream) = started();
    let post = |path: &str, fields: &[&str]| {
        let mut curl = octroi.curl("acme.test", path).args(&["-X", "POST"]);
        for field in fields {
            curl = curl.header(field);
        }
        curl.status()
    };
    let own = format!("Origin: https://acme.test:{}", octroi.addr("public").port());

    assert_eq!(post("/checked/x", &[]), 200);
    assert_eq!(post("/checked/x", &[&own]), 200);
    assert_eq!(post("/checked/x", &["Sec-Fetch-Site: same-origin"]), 200);
    assert_eq!(post("/checked/x", &["Origin: https://evil.test"]), 403);
    assert_eq!(post("/checked/x", &["Origin: null"]), 403);
    assert_eq!(post("/checked/x", &["Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(post("/unchecked/x", &["Origin: https://evil.test"]), 200);
    assert_eq!(octroi.curl("acme.test", "/checked/x").header("Sec-Fetch-Site: cross-site").status(), 200);
    octroi.access_line(|line| line["reason"] == "csrf");
    let open = |fields: &str| {
        ask(&mut raw(octroi.addr("plain")), &handshake("acme.test", "/checked_ws", fields)).status
    };
    assert_eq!((open("Origin: http://evil.test\r\n"), upstream.take().len()), (403, 5));
}

#[test]
fn roles_and_the_age_of_the_sign_in_decide() {
    let (octroi, upstream) = started();
    let boss = sign_in(&octroi, "acme.test", "u_1", "\"boss\" \"x\"");
    let clerk = sign_in(&octroi, "acme.test", "u_2", "\"clerk\"");
    let get = |path: &str, cookie: &str| octroi.curl("acme.test", path).cookie(cookie).get();
    upstream.take();

    assert_eq!((get("/staff/x", &boss).status, get("/staff/x", &clerk).status), (200, 403));
    assert_eq!(upstream.only().field("octroi-roles"), Some("boss,x"));
    assert_eq!(octroi.curl("acme.test", "/staff/x").status(), 401);
    assert_eq!(get("/fresh/x", &clerk).status, 200);
    wait::elapse(Duration::from_millis(1100));
    let old = get("/fresh/x", &clerk);
    assert_eq!((old.status, octroi.reason(&old).as_str()), (401, "auth_too_old"));
    assert_eq!(get("/in/x", &clerk).status, 200);
}

#[test]
fn a_tenant_s_own_fields_and_cookies_hold() {
    let (octroi, _upstream) = started();
    let fields =
        "/x?h-Content-Security-Policy=default-src%20*&h-X-Frame-Options=sameorigin&h-Set-Cookie=lang%3Dfr";

    let answer = octroi.curl("own.test", fields).get();
    assert_eq!(answer.all("content-security-policy"), ["default-src 'self'"]);
    assert_eq!(
        (answer.field("x-frame-options"), answer.field("referrer-policy"), answer.field("x-own")),
        (None, None, Some("yes"))
    );
    assert_eq!(
        (answer.field("strict-transport-security"), answer.all("set-cookie").len()),
        (Some("max-age=1"), 1)
    );
    let answer = octroi.curl("acme.test", fields).get();
    assert_eq!(answer.all("content-security-policy"), ["default-src *"]);
    assert_eq!(answer.all("set-cookie"), ["lang=fr; Secure; HttpOnly; SameSite=Lax"]);
    assert_eq!(octroi.curl("none.test", fields).get().all("set-cookie").len(), 0);
    // `__Host-octroi` is the gateway's own, on every tenant.
    let shadow = octroi.curl("acme.test", "/x?h-Set-Cookie=__Host-octroi%3Dx").get();
    assert_eq!(shadow.all("set-cookie").len(), 0);
}

#[test]
fn observe_mode_writes_down_and_lets_pass() {
    let (octroi, upstream) = started();
    let get = |path: &str| {
        let answer = octroi.plain("plain", "watching.test", path).get();
        let id = answer.field("octroi-request-id").unwrap().to_owned();
        let line = octroi.access_line(|line| line["request.id"] == id.as_str());
        (
            answer.status,
            line["would"].as_str().unwrap_or("-").to_owned(),
            line["decision"].as_str().unwrap().to_owned(),
        )
    };

    assert_eq!(get("/x"), (200, "ip_denied".to_owned(), "allow".to_owned()));
    assert_eq!(get("/in/x").0, 200);
    assert_eq!(get("/staff/x").0, 200);
    assert_eq!(get("/x").0, 200);
    assert_eq!(get("/only/x").0, 200);
    // These are enforced all the same.
    assert_eq!(octroi.plain("plain", "watching.test", "/only/x").args(&["-X", "POST"]).status(), 405);
    assert_eq!(octroi.plain("plain", "watching.test", "/x//y").status(), 400);
    // Who has no session meets no age of the sign-in: ending one's session opens nothing.
    for path in ["/fresh/x", "/FRESH/x", "/fresh"] {
        let refused = octroi.plain("plain", "watching.test", path).get();
        assert_eq!((refused.status, octroi.reason(&refused).as_str()), (401, "auth_too_old"), "{path}");
    }
    assert_eq!(upstream.take().len(), 5);
    let observed = |check: &str, reason: &str| {
        octroi.metric(&format!(
            r#"octroi_decisions_total{{check="{check}",mode="observe",reason="{reason}",tenant="watching",verdict="deny"}}"#
        ))
    };
    assert!(
        observed("ip_access", "ip_denied") >= 5.0 && observed("session", "session_missing") >= 1.0,
        "{}",
        octroi.metrics()
    );
    assert!(observed("quota_before", "quota_exceeded") >= 1.0, "{}", octroi.metrics());

    // A quota in observe mode in a tenant that enforces.
    let answers: Vec<Answer> = (0..3).map(|_| octroi.plain("plain", "trial.test", "/x").get()).collect();
    assert!(
        answers.iter().all(|answer| answer.status == 200 && answer.field("ratelimit").is_none()),
        "{answers:?}"
    );
    octroi.access_line(|line| line["tenant"] == "trial" && line["would"] == "quota_exceeded");
    assert_eq!(octroi.metric(r#"octroi_quota_decisions_total{quota="trial",verdict="observe"}"#), 2.0);
}

#[test]
fn quotas_count_by_client_route_and_tenant() {
    let (octroi, upstream) = started();
    let from = |client: &str, host: &str, path: &str| {
        octroi.plain("behind", host, path).header(&format!("X-Forwarded-For: {client}")).get()
    };
    let count = |answers: &[u16], status: u16| answers.iter().filter(|&&answer| answer == status).count();

    // By client: an IPv4 address, an IPv6 /64; each tenant apart.
    let mine: Vec<u16> = (0..3).map(|_| from("192.0.2.1", "each.test", "/x").status).collect();
    assert_eq!((count(&mine, 200), count(&mine, 429)), (2, 1));
    assert_eq!(from("192.0.2.2", "each.test", "/x").status, 200);
    assert_eq!(from("192.0.2.1", "each-too.test", "/x").status, 200);
    let six: Vec<u16> = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8::3", "2001:db8:0:1::1"]
        .map(|ip| from(ip, "each.test", "/x").status)
        .into();
    assert_eq!(six, [200, 200, 429, 200]);

    // By route: all clients together, each rule apart.
    let path: Vec<u16> =
        (1..5).map(|last| from(&format!("192.0.2.{last}"), "acme.test", "/path_a/x").status).collect();
    assert_eq!(path, [200, 200, 429, 429]);
    assert_eq!(from("192.0.2.1", "acme.test", "/path_b/x").status, 200);

    // By tenant.
    let all: Vec<u16> =
        (1..6).map(|last| from(&format!("192.0.2.{last}"), "all.test", "/x").status).collect();
    assert_eq!(all, [200, 200, 200, 429, 429]);
    octroi.access_line(|line| line["tenant"] == "all" && line["reason"] == "tenant_quota_exceeded");
    assert_eq!(upstream.take().len(), 13);
    assert_eq!(octroi.metric(r#"octroi_quota_decisions_total{quota="all",verdict="allow"}"#), 3.0);
    assert_eq!(octroi.metric(r#"octroi_quota_decisions_total{quota="all",verdict="deny"}"#), 2.0);

    // The fields of the draft, on a refusal.
    let refused = from("192.0.2.1", "all.test", "/x");
    assert_eq!(refused.field("ratelimit-policy"), Some("\"all\";q=1;w=3600"), "{refused:?}");
    assert!(refused.field("ratelimit").unwrap().starts_with("\"all\";r=0;t="), "{refused:?}");
    assert!(refused.field("retry-after").unwrap().parse::<u32>().unwrap() > 3000);
}

#[test]
fn the_64s_of_a_48_have_eight_times_a_quota_and_no_more() {
    let (octroi, _upstream) = started();
    let from = |client: &str, path: &str| {
        octroi.plain("behind", "acme.test", path).header(&format!("X-Forwarded-For: {client}")).status()
    };
    let passed = |site: u16, host: &str| {
        let ask = |number: u16| {
            octroi
                .plain("behind", host, "/x")
                .header(&format!("X-Forwarded-For: 2001:db8:{site:x}:{number:x}::1"))
        };
        (0..24).filter(|number| ask(*number).status() == 200).count()
    };

    // Twenty-four clients of a /48 with a quota of two each.
    assert_eq!((passed(7, "each.test"), passed(8, "each.test"), passed(7, "each-too.test")), (16, 16, 16));
    octroi.access_line(|line| {
        line["tenant"] == "each" && line["detail"].as_str().is_some_and(|detail| detail.contains("/48"))
    });

    // What only failures cost is given back to both.
    for number in 0..20 {
        assert_eq!(from(&format!("2001:db8:9:{number:x}::1"), "/tries/x"), 200, "{number}");
    }
    let failed = |number: u16| from(&format!("2001:db8:9:{number:x}::1"), "/tries/x?status=404%20Not");
    assert_eq!((0..20).map(failed).filter(|status| *status == 429).count(), 4);
}

#[test]
fn quotas_count_by_user_and_session() {
    let (octroi, _upstream) = started();
    let (one, again, two) = (
        sign_in(&octroi, "acme.test", "u_1", ""),
        sign_in(&octroi, "acme.test", "u_1", ""),
        sign_in(&octroi, "acme.test", "u_2", ""),
    );
    let get = |path: &str, cookie: &str| octroi.curl("acme.test", path).cookie(cookie).status();

    assert_eq!(
        [
            get("/by_user/x", &one),
            get("/by_user/x", &again),
            get("/by_user/x", &one),
            get("/by_user/x", &two)
        ],
        [200, 200, 429, 200]
    );
    let by_session = [
        get("/by_session/x", &one),
        get("/by_session/x", &one),
        get("/by_session/x", &one),
        get("/by_session/x", &again),
    ];
    assert_eq!(by_session, [200, 200, 429, 200]);
}

#[test]
fn what_was_used_up_stays_used_up_over_a_reload() {
    let (mut octroi, upstream) = started();
    let get = |octroi: &Octroi| octroi.plain("plain", "each.test", "/x").status();
    assert_eq!([get(&octroi), get(&octroi), get(&octroi)], [200, 200, 429]);

    octroi.reload(&config(&upstream).replace(
        "bare: {hosts: [bare.test], upstream: app}",
        "bare: {hosts: [bare.test], upstream: app, suspended: true}",
    ));

    assert_eq!(get(&octroi), 429);
    octroi.reload(&config(&upstream).replace("rate: 1/h, burst: 2}", "rate: 1/h, burst: 50}"));
    assert_eq!(get(&octroi), 200);
}

#[test]
fn failures_are_given_back_where_the_answer_is_well() {
    let (octroi, _upstream) = started();
    let get = |path: &str| octroi.plain("plain", "acme.test", path).status();

    assert_eq!([get("/tries/x"), get("/tries/x"), get("/tries/x"), get("/tries/x")], [200, 200, 200, 200]);
    assert_eq!(
        [get("/tries/x?status=404%20Not"), get("/tries/x?status=500%20No"), get("/tries/x")],
        [404, 500, 429]
    );
}

#[test]
fn opening_the_sign_in_page_costs_nothing_and_a_wrong_password_or_link_does() {
    let fresh = || {
        let (octroi, upstream) = started();
        move |method: &str, path: &str| {
            let _keep = &upstream;
            octroi.curl("acme.test", path).args(&["-X", method]).status()
        }
    };
    const GRANT: &str = "h-Octroi-Session-Grant=user%3D%22u_1%22";

    // The page, its redirect and a link that signs in; a form that signs in.
    let ask = fresh();
    for path in
        ["/tried", "/tried?status=302%20Found", "/tried?status=304%20Same", &format!("/tried?{GRANT}")]
    {
        assert!(ask("GET", path) < 400, "{path}");
    }
    assert_eq!(
        [ask("OPTIONS", "/tried"), ask("HEAD", "/tried"), ask("POST", &format!("/tried?{GRANT}"))],
        [200; 3]
    );
    // A form that is shown again with 200, or answered with a redirect, has not signed in.
    assert_eq!(
        [ask("POST", "/tried"), ask("POST", "/tried?status=303%20See"), ask("GET", "/tried")],
        [200, 303, 429]
    );

    // A wrong link costs, and so does a grant that cannot stand.
    let ask = fresh();
    assert_eq!(ask("GET", "/tried?status=403%20No"), 403);
    assert_eq!(ask("POST", "/tried?h-Octroi-Session-Grant=nonsense"), 502);
    assert_eq!(ask("GET", "/tried"), 429);
}

#[test]
fn a_range_that_has_expired_counts_no_more() {
    let upstream = Upstream::start();
    let old = r#"[{range: 127.0.0.0/8, note: head office, expires: 2020-01-01}]"#;
    let more = format!(
        "  late: {{hosts: [late.test], upstream: app, routes: open, ip_access: {{allow: {old}}}}}\n  freed: {{hosts: [freed.test], upstream: app, routes: open, ip_access: {{deny: {old}}}}}\n"
    );
    let octroi = Octroi::start(&format!("{}{more}", config(&upstream)));

    assert_eq!(octroi.plain("plain", "late.test", "/x").status(), 403);
    assert_eq!(octroi.plain("plain", "freed.test", "/x").status(), 200);
}

#[test]
fn tenants_come_and_go_with_their_files() {
    let upstream = Upstream::start();
    let octroi = Octroi::prepared(&format!("{}tenant_files: [tenants.d/*.yaml]\n", config(&upstream)));
    let dir = octroi.path().join("tenants.d");
    std::fs::create_dir(&dir).unwrap();
    let tenant =
        |name: &str| format!("tenants:\n  {name}: {{hosts: [{name}.test], upstream: app, routes: open}}\n");
    std::fs::write(dir.join("first.yaml"), tenant("first")).unwrap();
    let mut octroi = octroi;
    octroi.run();
    assert_eq!(octroi.curl("first.test", "/x").status(), 200);

    std::fs::write(dir.join("second.yaml"), tenant("second")).unwrap();
    octroi.ok(&["reload"]);
    assert_eq!(octroi.curl("second.test", "/x").status(), 200);
    std::fs::write(dir.join("third.yaml"), tenant("second")).unwrap();
    let refused = octroi.command(&["reload"]);
    assert!(
        refused.status.code() == Some(1)
            && String::from_utf8_lossy(&refused.stderr).contains("third.yaml:2:"),
        "{refused:?}"
    );
    std::fs::remove_file(dir.join("third.yaml")).unwrap();
    std::fs::remove_file(dir.join("first.yaml")).unwrap();
    octroi.ok(&["reload"]);
    assert_ne!(octroi.curl("first.test", "/x").get().exit, 0);
}
