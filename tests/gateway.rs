//! The real program, end to end: real sockets, real TLS, a real upstream, curl.

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

use std::io::{Read, Write};

use harness::wait;
use harness::{Curl, Octroi, Upstream, client, eventually, raw_tls};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 5s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login}}
limits: {{header_timeout: 1s}}
upstreams:
  app: {{servers: [{{address: "{}"}}], timeouts: {{connect: 1s, first_byte: 1s, between_bytes: 1s}}}}
  dead: {{servers: [{{address: "127.0.0.1:1"}}]}}
quotas:
  few: {{by: client, rate: 1/h, burst: 3}}
  login: {{by: client, rate: 1/h, burst: 2, count: failures}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /small/, access: public, request_limits: {{body_bytes: 1KiB}}}}
      - {{path: /few/, access: public, quotas: [few]}}
      - {{path: /login, methods: [GET, POST], access: public, grant: true}}
      - {{path: /guess, methods: [POST], access: public, grant: true, quotas: [login]}}
      - {{path: /password, methods: [POST], access: session, grant: true, revoke: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
      - {{path: /admin/, roles: [admin]}}
      - {{path: /ws, access: public, websocket: true}}
      - {{path: /events, access: public}}
      - {{path: /garbage, access: public}}
      - {{path: /close, access: public}}
      - {{path: /switch, access: public}}
tenants:
  acme: {{hosts: [acme.test, "*.acme.test"], upstream: app, routes: app, cookies: {{allow: [lang]}}}}
  closed: {{hosts: [closed.test], upstream: app, routes: app, ip_access: {{allow: [203.0.113.0/24]}}}}
  watching: {{hosts: [watching.test], upstream: app, routes: app, mode: observe, ip_access: {{allow: [203.0.113.0/24]}}}}
  gone: {{hosts: [gone.test], upstream: app, routes: app, suspended: true}}
  down: {{hosts: [down.test], upstream: dead, routes: app}}
  globex: {{upstream: app}}
  initech: {{upstream: app, ip_access: {{allow: [203.0.113.0/24]}}}}
  www: {{hosts: [www.test], upstream: app, routes: app, members: [acme, globex, initech]}}
"#,
        upstream.addr
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream));
    (octroi, upstream)
}

const GRANT: &str = "/login?h-Octroi-Session-Grant=user%3D%22u_1%22%2C%20roles%3D%28%22editor%22%29";

/// Signs a user in and returns the Cookie field.
fn sign_in(octroi: &Octroi, host: &str, grant: &str) -> String {
    let grant: String =
        percent_encoding::utf8_percent_encode(grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    let answer =
        octroi.curl(host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.session()
}

fn ca(octroi: &Octroi) -> std::path::PathBuf {
    octroi.path().join("certs/ca.pem")
}

#[test]
fn a_public_request_is_forwarded_with_our_word_and_none_of_the_clients() {
    let (octroi, upstream) = started();

    let answer = octroi
        .curl("acme.test", "/public/a%20b?q=1")
        .header("X-Forwarded-For: 198.51.100.1")
        .header("Octroi-User: root")
        .header("X_Forwarded_Host: evil.test")
        .header("Connection: close, X-Real-IP")
        .header("X-Request-Id: mine-1")
        .get();

    assert_eq!((answer.status, answer.body.as_str()), (200, "upstream saw GET /public/a%20b?q=1\n"));
    let got = upstream.only();
    assert_eq!(got.field("host"), Some(format!("acme.test:{}", octroi.addr("public").port()).as_str()));
    assert_eq!(got.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.field("x-forwarded-proto"), Some("https"));
    assert_eq!(got.field("octroi-realm"), Some("acme"));
    assert_eq!(got.field("octroi-tenant"), Some("acme"));
    assert_eq!(got.field("x-request-id"), Some("mine-1"));
    assert_eq!(got.field("octroi-request-id").map(str::len), Some(26));
    assert!(!got.has("octroi-user") && !got.has("x_forwarded_host"));
}

#[test]
fn answers_get_security_fields_and_lose_what_tells_too_much() {
    let (octroi, _upstream) = started();

    let answer = octroi.curl("acme.test", "/public/?h-X-Powered-By=x&h-Octroi-Session=y").get();

    assert_eq!(answer.field("strict-transport-security"), Some("max-age=63072000"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("content-security-policy"), Some("frame-ancestors 'none'"));
    assert_eq!(answer.field("octroi-request-id").map(str::len), Some(26));
    for hidden in ["server", "x-powered-by", "octroi-session"] {
        assert_eq!(answer.field(hidden), None, "{hidden}");
    }
}

#[test]
fn both_versions_of_http_are_served() {
    let (octroi, upstream) = started();

    assert_eq!(octroi.curl("acme.test", "/public/").args(&["--http1.1"]).get().version, "HTTP/1.1");
    assert_eq!(octroi.curl("acme.test", "/public/").args(&["--http2"]).get().version, "HTTP/2");

    let got = upstream.take();
    let host = format!("acme.test:{}", octroi.addr("public").port());
    assert!(got.iter().all(|got| got.field("host") == Some(&host)), "{got:?}");
}

#[test]
fn hosts_lead_to_tenants_and_nothing_else_does() {
    let (octroi, upstream) = started();

    assert_eq!(octroi.curl("ACME.Test", "/public/").status(), 200);
    assert_eq!(octroi.curl("eu.acme.test", "/public/").status(), 200);
    assert_eq!(octroi.curl("acme.test", "/public/").header("Host: acme.test:443").status(), 200);
    assert_eq!(octroi.curl("acme.test", "/public/").header("Host: acme.test:81").status(), 421);
    assert_eq!(octroi.curl("acme.test", "/public/").header("Host: nobody.test").status(), 421);
    assert_eq!(octroi.curl("acme.test", "/public/").header("Host: closed.test").status(), 421);
    assert_eq!(octroi.curl("acme.test", "/public/").header("Host: 127.0.0.1").status(), 421);
    // No certificate is for this name: the handshake ends.
    assert_ne!(octroi.curl("nobody.test", "/public/").get().exit, 0);
    assert_eq!(upstream.take().len(), 3);
}

#[test]
fn addresses_suspension_and_observation() {
    let (octroi, upstream) = started();

    assert_eq!(octroi.curl("closed.test", "/public/").status(), 403);
    assert_eq!(octroi.curl("gone.test", "/public/").status(), 403);
    assert!(upstream.take().is_empty());
    assert_eq!(octroi.curl("watching.test", "/public/").status(), 200);
    let line = octroi.access_line(|line| line["tenant"] == "watching");
    assert_eq!(line["would"], "ip_not_allowed", "{line}");
    let line = octroi.access_line(|line| line["tenant"] == "closed");
    assert_eq!(
        (&line["decision"], &line["reason"], &line["status"]),
        (&"deny".into(), &"ip_not_allowed".into(), &403.into()),
        "{line}"
    );
}

#[test]
fn a_session_is_granted_used_and_ended() {
    let (octroi, upstream) = started();

    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1", roles=("editor")"#);
    upstream.take();
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&format!("lang=fr; {cookie}")).status(), 200);
    let got = upstream.only();
    assert_eq!(
        (got.field("octroi-user"), got.field("octroi-roles"), got.field("cookie")),
        (Some("u_1"), Some("editor"), Some("lang=fr"))
    );
    assert_eq!(octroi.curl("acme.test", "/admin/").cookie(&cookie).status(), 403);
    // Another tenant's host: the token does not open there.
    assert_eq!(octroi.curl("www.test", "/private").cookie(&cookie).status(), 401);

    let answer = octroi
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .args(&["-X", "POST"])
        .cookie(&cookie)
        .get();

    assert_eq!(answer.status, 200);
    assert!(answer.all("set-cookie").iter().any(|value| value.starts_with("__Host-octroi=;")), "{answer:?}");
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&cookie).status(), 401);
    let line = octroi.access_line(|line| line["reason"] == "session_revoked");
    assert_eq!(line["status"], 401);
}

#[test]
fn a_grant_stands_only_where_the_route_says_so() {
    let (octroi, _upstream) = started();

    let elsewhere = octroi.curl("acme.test", &GRANT.replace("/login", "/public/")).get();
    assert_eq!((elsewhere.status, elsewhere.all("set-cookie").len()), (200, 0));
    assert_eq!(elsewhere.field("octroi-session-grant"), None);
    let failed = octroi.curl("acme.test", &format!("{GRANT}&status=403%20Forbidden")).get();
    assert_eq!((failed.status, failed.all("set-cookie").len()), (403, 0));
    let malformed = octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3Du_1").get();
    assert_eq!((malformed.status, malformed.all("set-cookie").len()), (502, 0));
    let email = octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22jane@example.com%22").get();
    assert_eq!(email.status, 502);
}

#[test]
fn an_app_can_end_every_session_of_a_user_and_go_on_with_a_new_one() {
    let (octroi, _upstream) = started();
    let (here, elsewhere) =
        (sign_in(&octroi, "acme.test", r#"user="u_1""#), sign_in(&octroi, "acme.test", r#"user="u_1""#));

    let path = "/password?h-Octroi-Session-Revoke=user%3D%22u_1%22&h-Octroi-Session-Grant=user%3D%22u_1%22";
    let answer = octroi.curl("acme.test", path).args(&["-X", "POST"]).cookie(&here).get();

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&here).status(), 401);
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&elsewhere).status(), 401);
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&answer.session()).status(), 200);
}

#[test]
fn a_front_door_serves_the_users_of_its_members() {
    let (octroi, upstream) = started();

    let acme = sign_in(&octroi, "www.test", r#"user="u_1", tenant="acme""#);
    let globex = sign_in(&octroi, "www.test", r#"user="u_1", tenant="globex""#);
    upstream.take();
    assert_eq!(octroi.curl("www.test", "/private").cookie(&globex).status(), 200);
    let got = upstream.only();
    assert_eq!(
        (got.field("octroi-realm"), got.field("octroi-tenant"), got.field("octroi-user")),
        (Some("www"), Some("globex"), Some("u_1"))
    );
    // A member whose ranges leave the client out gets no session at all.
    let refused = octroi
        .curl("www.test", "/login?h-Octroi-Session-Grant=user%3D%22u_9%22%2Ctenant%3D%22initech%22")
        .get();
    assert_eq!((refused.status, refused.all("set-cookie").len()), (403, 0));
    // Somebody who is no member neither.
    let refused = octroi
        .curl("www.test", "/login?h-Octroi-Session-Grant=user%3D%22u_9%22%2Ctenant%3D%22closed%22")
        .get();
    assert_eq!((refused.status, refused.all("set-cookie").len()), (403, 0));

    let said = octroi.ok(&["session", "revoke", "--tenant", "globex"]);

    assert!(said.contains("1 node"), "{said}");
    assert_eq!(octroi.curl("www.test", "/private").cookie(&globex).status(), 401);
    assert_eq!(octroi.curl("www.test", "/private").cookie(&acme).status(), 200);
}

#[test]
fn a_revoked_session_stays_dead_over_kill_and_restart() {
    let (mut octroi, _upstream) = started();
    let one = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let two = sign_in(&octroi, "acme.test", r#"user="u_2""#);

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    octroi.signal("KILL");
    octroi.wait();
    octroi.run();

    assert_eq!(octroi.curl("acme.test", "/private").cookie(&one).status(), 401);
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&two).status(), 200);
    let again = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&again).status(), 200);
}

#[test]
fn a_bad_session_is_anonymous_on_a_public_route_and_cleared_where_a_page_is_refused() {
    let (octroi, upstream) = started();
    let forged = format!("__Host-octroi=oct1.{}", "A".repeat(120));

    let answer = octroi.curl("acme.test", "/public/").cookie(&forged).get();

    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("set-cookie").len(), 0, "{answer:?}");
    let got = upstream.only();
    assert!(!got.has("cookie") && !got.has("octroi-user"), "{got:?}");
    assert_eq!(octroi.curl("acme.test", "/private").cookie(&forged).status(), 401);
    let page = octroi.curl("acme.test", "/private").header("Accept: text/html").cookie(&forged).get();
    assert_eq!(page.status, 303);
    assert!(page.all("set-cookie").iter().any(|value| value.starts_with("__Host-octroi=;")), "{page:?}");
}

#[test]
fn the_apps_cookies_are_those_on_the_list() {
    let (octroi, _upstream) = started();

    let answer = octroi
        .curl(
            "acme.test",
            "/public/?h-Set-Cookie=lang%3Dfr&h-set-cookie=track%3D1&h-SET-COOKIE=__host-octroi%3Dx",
        )
        .get();

    assert_eq!(answer.all("set-cookie"), ["lang=fr; Secure; HttpOnly; SameSite=Lax"]);
}

#[test]
fn quotas_refuse_and_say_when_to_come_again() {
    let (octroi, upstream) = started();
    let ask = || octroi.curl("acme.test", "/few/").get();

    assert_eq!([ask().status, ask().status, ask().status], [200, 200, 200]);
    let refused = ask();

    assert_eq!(refused.status, 429);
    assert!(refused.field("retry-after").unwrap().parse::<u32>().unwrap() > 1000, "{refused:?}");
    assert!(refused.field("ratelimit-policy").unwrap().contains("\"few\";q=1;w=3600"), "{refused:?}");
    assert_eq!(upstream.take().len(), 3);
    assert_eq!(octroi.curl("acme.test", "/public/").status(), 200);
}

#[test]
fn only_failures_cost_where_failures_are_counted() {
    let (octroi, _upstream) = started();
    let good = "/guess?h-Octroi-Session-Grant=user%3D%22u_1%22";
    let post = |path: &str| octroi.curl("acme.test", path).args(&["-X", "POST"]).status();

    for _ in 0..4 {
        assert_eq!(post(good), 200);
    }
    assert_eq!(post("/guess?status=403%20Forbidden"), 403);
    assert_eq!(post("/guess"), 200); // 200 without a grant is no sign-in
    assert_eq!(post(good), 429);
}

#[test]
fn malformed_requests_are_refused_in_one_voice_and_written_down() {
    let (octroi, upstream) = started();
    let send = |head: &str| {
        let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
        client::exchange(&mut stream, head.as_bytes())
    };
    let cases = [
        (
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "framing_cl_te",
        ),
        (
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
            "framing_te",
        ),
        (
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            400,
            "framing_cl",
        ),
        (
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
            400,
            "framing_chunk",
        ),
        (
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n;a=b\r\nhello\r\n0\r\n\r\n",
            400,
            "framing_chunk",
        ),
        ("GET /public/ HTTP/1.1\nHost: acme.test\n\n", 400, "head_octet"),
        ("GET /public/ HTTP/1.1\r\nHost: acme.test\r\nBroken Name: x\r\n\r\n", 400, "head_syntax"),
        ("GET /public/a b HTTP/1.1\r\nHost: acme.test\r\n\r\n", 400, "head_syntax"),
        ("GET /public/ HTTP/1.1\r\n\r\n", 400, "host_missing"),
        ("GET /public/../admin/ HTTP/1.1\r\nHost: acme.test\r\n\r\n", 400, "path_dot_segment"),
        ("GET /public/ HTTP/1.1\r\nHost: acme.test\r\nExpect: magic\r\n\r\n", 417, "expect"),
        ("TRACE /public/ HTTP/1.1\r\nHost: acme.test\r\n\r\n", 405, "method_unknown"),
        ("CONNECT acme.test:443 HTTP/1.1\r\nHost: acme.test\r\n\r\n", 405, "method_unknown"),
        ("NONSENSE\r\n\r\n", 400, "head_syntax"),
    ];

    for (head, status, reason) in cases {
        let answer = client::parse(&send(head), 0);

        assert_eq!(answer.status, status, "{head:?} {answer:?}");
        let id = answer
            .field("octroi-request-id")
            .unwrap_or_else(|| panic!("no request id: {head:?} {answer:?}"))
            .to_owned();
        assert!(answer.body.contains(&id), "{answer:?}");
        let line = octroi.access_line(|line| line["request.id"] == id.as_str());
        assert_eq!((&line["reason"], &line["status"]), (&reason.into(), &status.into()), "{head:?} {line}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn what_the_http2_library_refuses_is_written_down() {
    let (octroi, upstream) = started();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let send = |block: &[u8]| {
        let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"h2"]);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        stream.write_all(&[preface, frame(4, 0, 0, &[]), frame(1, 5, 1, block)].concat()).unwrap();
        stream
    };
    // Index 0, which is none (RFC 7541, section 6.1); a field that does not end; a table that grows beyond what we allow (section 6.3).
    for (number, block) in (1..).zip([&b"\x80"[..], b"\x82\x40", b"\x3f\xe2\x1f\x82"]) {
        let _open = send(block);
        let fits =
            |line: &&serde_json::Value| line["detail"] == "the connection was ended: COMPRESSION_ERROR";
        let line =
            eventually("its line", || octroi.access_lines().iter().filter(fits).nth(number - 1).cloned());
        assert_eq!(
            (&line["reason"], &line["http.version"], &line["decision"]),
            (&"protocol".into(), &"HTTP/2".into(), &"deny".into()),
            "{line}"
        );
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn what_follows_a_refused_body_is_never_a_request() {
    let (octroi, upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "closed.test", &ca(&octroi), &[b"http/1.1"]);
    let hidden = "GET /public/ HTTP/1.1\r\nHost: closed.test\r\n\r\n";

    let answer = client::exchange(
        &mut stream,
        format!(
            "POST /public/ HTTP/1.1\r\nHost: closed.test\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        )
        .as_bytes(),
    );

    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(upstream.take().is_empty());
}

#[test]
fn chunks_that_go_wrong_later_end_the_request() {
    let (octroi, _upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
    stream
        .write_all(
            b"POST /public/ HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        )
        .unwrap();
    stream.flush().unwrap();
    wait::slow_peer(std::time::Duration::from_millis(200));

    // Without a size: the library would take it for the end.
    let answer = client::parse(
        &client::exchange(&mut stream, b"\r\nGET /public/ HTTP/1.1\r\nHost: acme.test\r\n\r\n"),
        0,
    );

    assert_eq!(answer.status, 400, "{answer:?}");
    octroi.access_line(|line| line["reason"] == "framing_chunk");
}

#[test]
fn a_slow_head_is_cut_and_answered() {
    let (octroi, _upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);

    let answer = client::parse(&client::exchange(&mut stream, b"GET /public/ HTTP/1.1\r\nHost: ac"), 0);

    assert_eq!(answer.status, 408, "{answer:?}");
    octroi.access_line(|line| line["reason"] == "timeout_head");
}

#[test]
fn bodies_are_bounded_before_and_while_they_are_read() {
    let (octroi, upstream) = started();
    let body = "x".repeat(1025);

    let post = |extra: &[&str], body: &str| {
        octroi.curl("acme.test", "/small/").args(&["--http1.1", "--data-binary", body]).args(extra).status()
    };

    assert_eq!(post(&[], &body[..1024]), 200);
    assert_eq!(upstream.only().body.len(), 1024);
    assert_eq!(post(&[], &body), 413);
    assert!(upstream.take().is_empty());
    assert_eq!(post(&["-H", "Transfer-Encoding: chunked"], &body), 413);
}

#[test]
fn upstream_failures_have_their_own_answers() {
    let (octroi, _upstream) = started();
    let ask = |host: &str, path: &str| octroi.curl(host, path).get();
    let reason =
        |id: &str| octroi.access_line(|line| line["request.id"] == id)["reason"].as_str().unwrap().to_owned();

    for (host, path, status, code) in [
        ("down.test", "/public/", 502, "upstream_connect"),
        ("acme.test", "/public/?sleep=1500", 504, "upstream_timeout"),
        ("acme.test", "/garbage", 502, "upstream_protocol"),
        ("acme.test", "/close", 502, "upstream_closed"),
        ("acme.test", "/switch", 502, "upstream_protocol"),
    ] {
        let answer = ask(host, path);
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert_eq!(reason(answer.field("octroi-request-id").unwrap()), code, "{path}");
    }
}

#[test]
fn refusals_speak_french_and_json() {
    let (octroi, _upstream) = started();

    let french = octroi.curl("closed.test", "/public/").header("Accept-Language: fr-CA, en;q=0.5").get();
    let api = octroi.curl("closed.test", "/public/").header("Accept: application/json").get();

    assert!(french.body.starts_with("403 Vous n'avez pas accès"), "{french:?}");
    assert_eq!(api.field("content-type"), Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_str(&api.body).unwrap();
    assert_eq!(problem["status"], 403);
}

#[test]
fn a_websocket_goes_through_where_the_route_allows_it() {
    let (octroi, upstream) = started();
    let open = |path: &str| {
        let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: acme.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 1024];
        while !got.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&buffer[..read]);
        }
        (stream, String::from_utf8_lossy(&got).into_owned())
    };

    let (mut stream, head) = open("/ws");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"ping").unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"ping");
    drop(stream);
    upstream.take();

    // Elsewhere the wish to upgrade is not forwarded, and the request is an ordinary one.
    let (_stream, head) = open("/public/");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let got = upstream.only();
    assert!(!got.has("upgrade") && !got.has("connection"), "{got:?}");
}

#[test]
fn events_come_one_by_one() {
    let (octroi, _upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n").unwrap();

    let mut first = String::new();
    let mut buffer = [0; 1024];
    while !first.contains("data: 1") {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0);
        first.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }

    assert!(!first.contains("data: 2"), "the events came together: {first}");
}

#[test]
fn a_plain_listener_redirects_and_does_nothing_else() {
    let (octroi, upstream) = started();
    let ask = |path: &str| Curl::plain(octroi.addr("http"), "acme.test", path);

    let answer = ask("/a?b=c").get();
    assert_eq!((answer.status, answer.field("location")), (308, Some("https://acme.test/a?b=c")));
    assert_eq!(ask("/a").args(&["-X", "POST"]).status(), 403);
    assert_eq!(ask("/a").header("Host: nobody.test").status(), 421);
    assert!(upstream.take().is_empty());
}

#[test]
fn connections_are_kept_and_shared() {
    let (octroi, upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);

    for number in 0..3 {
        stream
            .write_all(format!("GET /public/{number} HTTP/1.1\r\nHost: acme.test\r\n\r\n").as_bytes())
            .unwrap();
        let mut got = String::new();
        let mut buffer = [0; 4096];
        while !got.contains(&format!("GET /public/{number}\n")) {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "{got}");
            got.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    let got = upstream.take();
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|got| got.connection == 0), "one upstream connection serves all: {got:?}");
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let (octroi, upstream) = started();
    let before = octroi.ok(&["status"]);

    octroi.configure(&config(&upstream).replace("suspended: true", "suspended: maybe"));
    let refused = octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("suspended"), "{refused:?}");
    assert_eq!(octroi.curl("gone.test", "/public/").status(), 403);
    assert!(octroi.metrics().contains("octroi_config_last_reload_successful 0"));

    octroi.configure(&config(&upstream).replace("suspended: true", "suspended: false"));
    octroi.ok(&["reload"]);
    assert_eq!(octroi.curl("gone.test", "/public/").status(), 200);
    assert!(octroi.metrics().contains("octroi_config_last_reload_successful 1"));
    assert_ne!(before, octroi.ok(&["status"]));

    octroi.configure(&config(&upstream));
    octroi.signal("HUP");
    eventually("the signal's reload", || {
        (octroi.curl("gone.test", "/public/").status() == 403).then_some(())
    });
}

#[test]
fn a_reload_keeps_connections_and_judges_their_next_request_anew() {
    let (octroi, upstream) = started();
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
    let mut ask = || {
        stream.write_all(b"GET /public/ HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).unwrap();
        client::parse(&String::from_utf8_lossy(&buffer[..read]), 0).status
    };

    assert_eq!(ask(), 200);
    octroi.configure(&config(&upstream).replace("acme: {hosts", "acme: {suspended: true, hosts"));
    octroi.ok(&["reload"]);

    assert_eq!(ask(), 403);
}

#[test]
fn term_drains_and_ends_when_idle() {
    let (mut octroi, upstream) = started();
    let idle = raw_tls(octroi.addr("public"), "acme.test", &ca(&octroi), &[b"http/1.1"]);
    let slow = {
        let curl = octroi.curl("acme.test", "/public/?sleep=700");
        std::thread::spawn(move || curl.status())
    };
    eventually("the slow request is at the app", || (!upstream.peek().is_empty()).then_some(()));

    octroi.signal("TERM");

    assert_eq!(slow.join().unwrap(), 200);
    assert_eq!(octroi.wait(), 0);
    drop(idle);
}

#[test]
fn health_readiness_and_metrics() {
    let (octroi, _upstream) = started();
    let ask = |path: &str| Curl::plain(octroi.addr("metrics"), "localhost", path).get();
    octroi.curl("closed.test", "/public/").status();

    assert_eq!((ask("/healthz").status, ask("/readyz").status, ask("/nothing").status), (200, 200, 404));
    let metrics = octroi.metrics();

    assert!(metrics.contains("octroi_build_info"), "{metrics}");
    assert!(metrics.contains(r#"reason="ip_not_allowed""#), "{metrics}");
    assert!(metrics.contains("octroi_connections{"), "{metrics}");
}

#[test]
fn the_log_file_is_opened_again_on_usr1() {
    let upstream = Upstream::start();
    let octroi =
        Octroi::start(&format!("{}\naccess_log: [{{to: file, path: access.log}}]\n", config(&upstream)));
    let log = octroi.path().join("access.log");
    let lines = |path: &std::path::Path| {
        std::fs::read_to_string(path).map(|text| text.matches("\"event\":\"request\"").count()).unwrap_or(0)
    };

    octroi.curl("acme.test", "/public/").status();
    eventually("the first line", || (lines(&log) == 1).then_some(()));
    std::fs::rename(&log, octroi.path().join("access.log.old")).unwrap();
    octroi.signal("USR1");
    eventually("the new file", || log.exists().then_some(()));
    octroi.curl("acme.test", "/public/").status();

    eventually("the second line", || (lines(&log) == 1).then_some(()));
}

#[test]
fn a_bad_start_is_said_plainly() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream));
    let taken = octroi.addr("public");

    let mut second =
        Octroi::prepared(&config(&upstream).replace(
            r#"name: public, address: "127.0.0.1:0""#,
            &format!(r#"name: public, address: "{taken}""#),
        ));
    let output = second.command(&["run"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&taken.to_string()), "{output:?}");

    second.configure("version: 1\nlisteners: nonsense\n");
    let output = second.command(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("octroi.yaml:2:"), "{output:?}");
    let _ = &mut second;
}
