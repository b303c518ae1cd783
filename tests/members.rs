//! One host for many customers, end to end: the session alone says whose rules hold, at the grant and on every request.

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
    time::Duration,
};

use harness::wait;
use harness::{Curl, Octroi, Upstream, client::Answer, eventually};

/// Two front doors over three customers, one of which has a host of its own. `MEMBER` is more of the tenant `acme`, `LOBBY` of `www`.
fn config(upstream: &Upstream, acme: &str, www: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: behind, address: "127.0.0.1:0", tls: {{}}, trusted_proxies: [127.0.0.0/8]}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], revoke: true}}
      - {{path: /ws, access: session, websocket: true}}
quotas:
  few: {{by: tenant, rate: 1/h, burst: 3}}
tenants:
  acme: {{upstream: app{acme}}}
  globex: {{upstream: app}}
  initech: {{hosts: [initech.test], upstream: app, routes: app}}
  www: {{hosts: [www.test], upstream: app, routes: app, members: [acme, globex, initech]{www}}}
  portal: {{hosts: [portal.test], upstream: app, routes: app, members: [acme]}}
"#,
        upstream.addr
    )
}

fn started(acme: &str, www: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, acme, www));
    (octroi, upstream)
}

/// Asks as a client at this address.
fn from(octroi: &Octroi, client: &str, host: &str, path: &str) -> Curl {
    let curl = Curl::new(octroi.addr("behind"), host, path).cacert(&octroi.path().join("certs/ca.pem"));
    curl.header(&format!("X-Forwarded-For: {client}"))
}

fn grant_from(octroi: &Octroi, client: &str, host: &str, tenant: &str, user: &str) -> Answer {
    let grant = format!(r#"user="{user}", tenant="{tenant}""#);
    let grant = percent_encoding::utf8_percent_encode(&grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    from(octroi, client, host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get()
}

fn sign_in(octroi: &Octroi, host: &str, tenant: &str, user: &str) -> String {
    grant_from(octroi, OFFICE, host, tenant, user).session()
}

fn ask(octroi: &Octroi, host: &str, cookie: &str) -> (u16, String) {
    ask_from(octroi, OFFICE, host, cookie)
}

fn ask_from(octroi: &Octroi, client: &str, host: &str, cookie: &str) -> (u16, String) {
    let answer = from(octroi, client, host, "/x").cookie(cookie).get();
    (answer.status, octroi.reason(&answer))
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

const OFFICE: &str = "203.0.113.7";
const HOME: &str = "198.51.100.7";

#[test]
fn a_member_s_ranges_hold_at_the_grant_and_on_every_request() {
    let (octroi, upstream) = started(", ip_access: {allow: [203.0.113.0/24], deny: [203.0.113.66/32]}", "");

    for (client, reason) in [(HOME, "grant_ip_denied"), ("203.0.113.66", "grant_ip_denied")] {
        let refused = grant_from(&octroi, client, "www.test", "acme", "u_1");
        assert_eq!(
            (refused.status, refused.all("set-cookie").len(), octroi.reason(&refused).as_str()),
            (403, 0, reason),
            "{client}"
        );
    }
    let acme = sign_in(&octroi, "www.test", "acme", "u_1");
    let globex = grant_from(&octroi, HOME, "www.test", "globex", "u_1").session();
    upstream.take();

    assert_eq!(ask(&octroi, "www.test", &acme), is(200, "-"));
    let got = upstream.only();
    assert_eq!(
        (got.field("octroi-realm"), got.field("octroi-tenant"), got.field("octroi-user")),
        (Some("www"), Some("acme"), Some("u_1"))
    );
    assert_eq!(ask_from(&octroi, HOME, "www.test", &acme), is(403, "member_ip_not_allowed"));
    assert_eq!(ask_from(&octroi, "203.0.113.66", "www.test", &acme), is(403, "member_ip_denied"));
    assert_eq!(ask_from(&octroi, HOME, "www.test", &globex), is(200, "-"));
    // Who shows no session is nobody's: the front door's own rules hold, on public paths.
    assert_eq!(from(&octroi, HOME, "www.test", "/public/").status(), 200);
    assert_eq!(upstream.take().len(), 2);
}

#[test]
fn a_front_door_that_observes_relaxes_no_member_and_a_member_only_itself() {
    let upstream = Upstream::start();
    let closed = ", ip_access: {deny: [198.51.100.0/24]}";
    let mut octroi = Octroi::start(&config(&upstream, closed, ", mode: observe"));
    let acme = sign_in(&octroi, "www.test", "acme", "u_1");
    let globex = sign_in(&octroi, "www.test", "globex", "u_1");
    assert_eq!(ask_from(&octroi, HOME, "www.test", &acme), is(403, "member_ip_denied"));

    octroi.reload(&config(
        &upstream,
        &format!("{closed}, mode: observe"),
        ", ip_access: {deny: [192.0.2.0/24]}",
    ));
    assert_eq!(ask_from(&octroi, HOME, "www.test", &acme).0, 200);
    let line = octroi.access_line(|line| line["would"] == "member_ip_denied");
    assert_eq!((&line["tenant"], &line["member"]), (&"www".into(), &"acme".into()));
    // The front door's own range holds for everybody, whatever their tenant's mode; and no grant is relaxed.
    assert_eq!(ask_from(&octroi, "192.0.2.7", "www.test", &acme), is(403, "ip_denied"));
    assert_eq!(ask_from(&octroi, "192.0.2.7", "www.test", &globex), is(403, "ip_denied"));
    let refused = grant_from(&octroi, HOME, "www.test", "acme", "u_1");
    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (403, "grant_ip_denied"));
}

#[test]
fn a_member_s_quota_is_its_own() {
    let (octroi, _upstream) = started(", quotas: [few]", "");
    let (acme, globex) =
        (sign_in(&octroi, "www.test", "acme", "u_1"), sign_in(&octroi, "www.test", "globex", "u_1"));

    let spent: Vec<u16> = (0..4).map(|_| ask(&octroi, "www.test", &acme).0).collect();

    assert_eq!(spent, [200, 200, 200, 429]);
    assert_eq!(ask(&octroi, "www.test", &acme), is(429, "tenant_quota_exceeded"));
    // Through the other front door it is the same account; the neighbour is not charged.
    let there = sign_in(&octroi, "portal.test", "acme", "u_2");
    assert_eq!(ask(&octroi, "portal.test", &there).0, 429);
    assert_eq!(ask(&octroi, "www.test", &globex), is(200, "-"));
}

#[test]
fn a_member_s_clocks_hold_at_the_grant_and_as_they_are_now() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, ", sessions: {idle: 10m, absolute: 1h}", ""));
    let told = |octroi: &Octroi, cookie: &str| -> serde_json::Value {
        serde_json::from_str(&octroi.ok(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]))
            .unwrap()
    };
    let seconds = |told: &serde_json::Value, end: &str| {
        let time =
            |name: &str| told[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        (time(end) - time("auth_time")) / 1000
    };
    let (acme, globex) =
        (sign_in(&octroi, "www.test", "acme", "u_1"), sign_in(&octroi, "www.test", "globex", "u_1"));

    let (of_acme, of_globex) = (told(&octroi, &acme), told(&octroi, &globex));
    assert_eq!((seconds(&of_acme, "idle_end"), seconds(&of_acme, "absolute_end")), (600, 3600));
    assert_eq!((seconds(&of_globex, "idle_end"), seconds(&of_globex, "absolute_end")), (1800, 43_200));

    octroi.reload(&config(&upstream, ", sessions: {idle: 1s, absolute: 1h}", ""));
    wait::elapse(Duration::from_millis(1100));
    assert_eq!(ask(&octroi, "www.test", &acme), is(401, "session_idle"));
    octroi.reload(&config(&upstream, ", sessions: {idle: 1s, absolute: 1s}", ""));
    assert_eq!(ask(&octroi, "www.test", &acme), is(401, "session_expired"));
    assert_eq!(ask(&octroi, "www.test", &globex), is(200, "-"));
}

#[test]
fn a_session_is_one_at_its_own_front_door_only() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, "", ""));
    let acme = sign_in(&octroi, "www.test", "acme", "u_1");
    let initech = sign_in(&octroi, "www.test", "initech", "u_1");
    upstream.take();

    // At the other door of the same customer, at the customer's own host, and at a host of somebody else.
    for (cookie, host) in [
        (&acme, "portal.test"),
        (&acme, "initech.test"),
        (&initech, "initech.test"),
        (&initech, "portal.test"),
    ] {
        assert_eq!(ask(&octroi, host, cookie), is(401, "session_invalid"), "{host}");
        let public = from(&octroi, OFFICE, host, "/public/").cookie(cookie).get();
        assert_eq!((public.status, upstream.only().has("octroi-user")), (200, false), "{host}");
        assert_eq!(public.all("set-cookie").len(), 0, "{host}");
    }
    assert_eq!(
        (ask(&octroi, "www.test", &acme), ask(&octroi, "www.test", &initech)),
        (is(200, "-"), is(200, "-"))
    );
    let foreign = grant_from(&octroi, OFFICE, "portal.test", "globex", "u_1");
    assert_eq!(
        (foreign.status, foreign.all("set-cookie").len(), octroi.reason(&foreign).as_str()),
        (403, 0, "grant_tenant")
    );

    // A customer that is no member any more.
    let text =
        config(&upstream, "", "").replace("members: [acme, globex, initech]", "members: [acme, globex]");
    octroi.reload(&text);
    assert_eq!(
        (ask(&octroi, "www.test", &initech), ask(&octroi, "www.test", &acme)),
        (is(401, "session_tenant"), is(200, "-"))
    );
}

#[test]
fn revoking_one_member_ends_its_sessions_and_no_others() {
    let (octroi, _upstream) = started("", "");
    let acme = [sign_in(&octroi, "www.test", "acme", "u_1"), sign_in(&octroi, "www.test", "acme", "u_2")];
    let there = sign_in(&octroi, "portal.test", "acme", "u_1");
    let others =
        [sign_in(&octroi, "www.test", "globex", "u_1"), sign_in(&octroi, "www.test", "initech", "u_1")];
    let own = sign_in(&octroi, "www.test", "www", "u_1");

    // A user of one customer is not the user of that name of another.
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert_eq!(
        (ask(&octroi, "www.test", &acme[0]), ask(&octroi, "portal.test", &there)),
        (is(401, "session_revoked"), is(401, "session_revoked"))
    );
    assert_eq!(ask(&octroi, "www.test", &acme[1]), is(200, "-"));
    // Nor does the app of one end another's.
    let wish = "/logout?h-Octroi-Session-Revoke=user%3D%22u_2%22";
    assert_eq!(
        from(&octroi, OFFICE, "www.test", wish).args(&["-X", "POST"]).cookie(&others[0]).status(),
        200
    );
    assert_eq!(ask(&octroi, "www.test", &acme[1]), is(200, "-"));

    octroi.ok(&["session", "revoke", "--tenant", "acme"]);
    assert_eq!(ask(&octroi, "www.test", &acme[1]), is(401, "session_revoked"));
    for cookie in others.iter().chain([&own]) {
        assert_eq!(ask(&octroi, "www.test", cookie), is(200, "-"));
    }
    let again = sign_in(&octroi, "www.test", "acme", "u_1");
    assert_eq!(ask(&octroi, "www.test", &again), is(200, "-"));
}

#[test]
fn a_suspended_member_is_out_at_once() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, "", ""));
    let (acme, globex) =
        (sign_in(&octroi, "www.test", "acme", "u_1"), sign_in(&octroi, "www.test", "globex", "u_1"));
    let ca = octroi.path().join("certs/ca.pem");
    let open = |cookie: &str| {
        let mut stream = harness::raw_tls(octroi.addr("public"), "www.test", &ca, &[b"http/1.1"]);
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: www.test\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        assert_eq!(harness::client::ask(&mut stream, &head).status, 101);
        stream
    };
    let (mut theirs, mut other) = (open(&acme), open(&globex));

    octroi.reload(&config(&upstream, ", suspended: true, mode: observe", ""));

    assert_eq!(ask(&octroi, "www.test", &acme), is(403, "member_suspended"));
    let public = from(&octroi, OFFICE, "www.test", "/public/").cookie(&acme).get();
    assert_eq!((public.status, octroi.reason(&public).as_str()), (403, "member_suspended"));
    let refused = grant_from(&octroi, OFFICE, "www.test", "acme", "u_1");
    assert_eq!(
        (refused.status, refused.all("set-cookie").len(), octroi.reason(&refused).as_str()),
        (403, 0, "grant_suspended")
    );
    // Its open WebSocket is cut, its neighbour's goes on.
    let mut buffer = [0; 64];
    eventually("the WebSocket is cut", || {
        let goes_on =
            theirs.write_all(b"ping").is_ok() && theirs.read(&mut buffer).is_ok_and(|read| read > 0);
        (!goes_on).then_some(())
    });
    other.write_all(b"ping").unwrap();
    assert_eq!(other.read(&mut buffer).unwrap(), 4);
    assert_eq!(ask(&octroi, "www.test", &globex), is(200, "-"));

    octroi.reload(&config(&upstream, "", ""));
    assert_eq!(ask(&octroi, "www.test", &acme), is(200, "-"), "suspending ends no session");
    // The front door itself: everybody, on every path.
    octroi.reload(&config(&upstream, "", ", suspended: true"));
    assert_eq!(
        (ask(&octroi, "www.test", &globex), ask(&octroi, "www.test", &acme)),
        (is(403, "tenant_suspended"), is(403, "tenant_suspended"))
    );
    assert_eq!(from(&octroi, OFFICE, "www.test", "/public/").status(), 403);
    let there = sign_in(&octroi, "portal.test", "acme", "u_1");
    assert_eq!(ask(&octroi, "portal.test", &there), is(200, "-"));
}
