//! What pages of other sites may do: those of other tenants of a parent domain, and of the world.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use harness::{Octroi, Upstream, client::Answer};

/// `acme` and `evil` are customers of one vendor, under one parent. `RULES` and `ACME` are more rules, and more of acme.
fn config(upstream: &Upstream, rules: &str, acme: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, access: session, revoke: true}}
      - {{path: /ws, access: session, websocket: true}}
      - {{path: /hook, access: session, origin_check: false}}
      - {{path: /spa/, access: session, origins: ["https://spa.example.com"]}}
{rules}
tenants:
  acme: {{hosts: [acme.vendor.test, app.acme.test], upstream: app, routes: app{acme}}}
  evil: {{hosts: [evil.vendor.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

const ACME: &str = "acme.vendor.test";
const GRANT: &str = "h-Octroi-Session-Grant=user%3D%22u_1%22";

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, "", ""));
    (octroi, upstream)
}

/// Asks as a browser does for a page of another site, or as it is told.
fn ask(octroi: &Octroi, method: &str, path: &str, fields: &[&str]) -> Answer {
    let curl = octroi.curl(ACME, path).args(&["-X", method]);
    fields.iter().fold(curl, |curl, field| curl.header(field)).get()
}

fn sign_in(octroi: &Octroi) -> String {
    format!("Cookie: {}", ask(octroi, "POST", &format!("/login?{GRANT}"), &[]).session())
}

fn outcome(octroi: &Octroi, answer: &Answer) -> (u16, String) {
    (answer.status, octroi.reason(answer))
}

#[test]
fn a_page_of_another_tenant_acts_in_nobody_s_name() {
    let (octroi, upstream) = started();
    let cookie = sign_in(&octroi);
    let port = octroi.addr("public").port();
    let origin = |host: &str| format!("Origin: https://{host}:{port}");
    let (other, evil, own) = (origin("app.acme.test"), origin("evil.vendor.test"), origin(ACME));
    let csrf = || (403, "csrf".to_owned());
    upstream.take();

    // What Chromium, Firefox and Safari send for a form of https://evil.vendor.test, and what older ones do.
    let theirs: [&[&str]; 4] =
        [&["Sec-Fetch-Site: same-site", &evil], &["Sec-Fetch-Site: same-site", "Origin: null"], &["Sec-Fetch-Site: same-site"], &[&evil]];
    for fields in theirs {
        let with = [&[cookie.as_str()], fields].concat();
        for path in ["/x", "/public/x", "/logout", "/spa/x", "/login?h-Octroi-Session-Grant=user%3D%22u_2%22"] {
            assert_eq!(outcome(&octroi, &ask(&octroi, "POST", path, &with)), csrf(), "{path} {fields:?}");
        }
        let socket =
            ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="];
        let handshake = with.iter().chain(&socket).fold(octroi.curl(ACME, "/ws").args(&["--http1.1"]), |curl, field| curl.header(field));
        let opened = handshake.get();
        assert_eq!(outcome(&octroi, &opened), csrf(), "{fields:?}");
        assert!(upstream.take().is_empty(), "{fields:?}");
        // Where there is no session, nor what makes one, there is nothing to misuse.
        assert_eq!(ask(&octroi, "POST", "/public/x", fields).status, 200, "{fields:?}");
        assert_eq!(ask(&octroi, "POST", "/hook", &with).status, 200, "{fields:?}");
        upstream.take();
    }

    let ours: [&[&str]; 5] =
        [&[], &["Sec-Fetch-Site: same-origin", &own], &["Sec-Fetch-Site: none"], &["Sec-Fetch-Site: cross-site", &other], &[&own]];
    for fields in ours {
        assert_eq!(ask(&octroi, "POST", "/x", &[&[cookie.as_str()], fields].concat()).status, 200, "{fields:?}");
    }
    // A link leads in, from wherever it is.
    assert_eq!(ask(&octroi, "GET", "/x", &[&cookie, "Sec-Fetch-Site: cross-site"]).status, 200);
    // An origin that is listed, on its rule alone.
    let listed = [cookie.as_str(), "Sec-Fetch-Site: cross-site", "Origin: https://spa.example.com"];
    assert_eq!([ask(&octroi, "POST", "/spa/x", &listed).status, ask(&octroi, "POST", "/x", &listed).status], [200, 403]);
}

#[test]
fn a_link_of_another_tenant_signs_nobody_in_or_out() {
    let (octroi, _upstream) = started();
    let csrf = || (403, "csrf".to_owned());

    for site in ["same-site", "cross-site"] {
        let field = format!("Sec-Fetch-Site: {site}");
        let forced = ask(&octroi, "GET", &format!("/login?{GRANT}"), &[&field]);
        assert_eq!((outcome(&octroi, &forced), forced.all("set-cookie").len()), (csrf(), 0), "{site}");
        let cookie = sign_in(&octroi);
        let out = ask(&octroi, "GET", "/logout?h-Octroi-Session-Revoke=self", &[&cookie, &field]);
        assert_eq!(outcome(&octroi, &out), csrf(), "{site}");
        assert_eq!(ask(&octroi, "GET", "/x", &[&cookie]).status, 200, "{site}");
        // The page itself opens.
        assert_eq!(ask(&octroi, "GET", "/login", &[&field]).status, 200, "{site}");
    }
    for site in ["same-origin", "none"] {
        let field = format!("Sec-Fetch-Site: {site}");
        let cookie = format!("Cookie: {}", ask(&octroi, "GET", &format!("/login?{GRANT}"), &[&field]).session());
        assert_eq!(ask(&octroi, "GET", "/logout?h-Octroi-Session-Revoke=self", &[&cookie, &field]).status, 200, "{site}");
        assert_eq!(ask(&octroi, "GET", "/x", &[&cookie]).status, 401, "{site}");
    }
}

#[test]
fn where_the_check_is_off_check_says_so() {
    let (octroi, _upstream) = started();

    let told = String::from_utf8(octroi.command(&["check"]).stderr).unwrap();

    assert!(told.contains("`/hook` takes requests from every other site: `origin_check` is off"), "{told}");
    assert_eq!(told.matches("takes requests from every other site").count(), 1, "{told}");
}
