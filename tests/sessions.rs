//! Sessions end to end: clocks, renewal, binding, tokens by command, revocation, keys, members.

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

use std::time::{Duration, Instant};

use harness::wait;
use harness::{
    Octroi, Upstream,
    client::{Answer, ask},
    eventually,
    http2_client::{Http2Client, block_on},
};

/// `KEYS`, `RULES` and `MORE` are the session keys, more of `sessions` and more tenants.
fn config(upstream: &Upstream, keys: &str, rules: &str, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: behind, address: "127.0.0.1:0", tls: {{}}, trusted_proxies: [127.0.0.0/8]}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{keys}]{rules}}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
{more}
"#,
        upstream.addr
    )
}

const KEY: &str = r#"{id: 1, secret: "${file:session.key}"}"#;

fn started(rules: &str, more: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, KEY, rules, more));
    (octroi, upstream)
}

fn grant(octroi: &Octroi, host: &str, grant: &str) -> Answer {
    let grant = percent_encoding::utf8_percent_encode(grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    octroi.curl(host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get()
}

fn sign_in(octroi: &Octroi, host: &str, wish: &str) -> String {
    grant(octroi, host, wish).session()
}

fn with(octroi: &Octroi, host: &str, cookie: &str) -> Answer {
    octroi.curl(host, "/x").cookie(cookie).get()
}

fn reason(octroi: &Octroi, answer: &Answer) -> (u16, String) {
    (answer.status, octroi.reason(answer))
}

#[test]
fn a_session_rests_and_lives_no_longer_than_its_clocks() {
    let (octroi, upstream) = started(", idle: 4s, absolute: 8s", "");
    let start = Instant::now();
    let resting = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let short = sign_in(&octroi, "acme.test", r#"user="u_3", absolute=1"#);
    let mut used = sign_in(&octroi, "acme.test", r#"user="u_2""#);
    upstream.take();
    let fresh = with(&octroi, "acme.test", &used);
    // A quarter of `idle`.
    if start.elapsed() < Duration::from_secs(1) {
        assert_eq!(fresh.all("set-cookie").len(), 0);
    }

    // In use, it outlives its rest, and not its absolute end.
    let mut renewed = 0;
    let (took, why) = eventually("the absolute end", || {
        let answer = with(&octroi, "acme.test", &used);
        if answer.status == 401 {
            return Some((start.elapsed(), octroi.reason(&answer)));
        }
        if answer.all("set-cookie").iter().any(|set| set.starts_with("__Host-octroi=oct1.")) {
            assert_eq!(answer.field("cache-control"), Some("no-store"));
            used = answer.session();
            renewed += 1;
        }
        None
    });

    assert_eq!(why, "session_expired");
    assert!(took >= Duration::from_secs(7), "{took:?}");
    assert!((2..=8).contains(&renewed), "{renewed}");
    assert!(octroi.metric(r#"octroi_session_events_total{event="renewed"}"#) >= 2.0);
    assert_eq!(reason(&octroi, &with(&octroi, "acme.test", &resting)).1, "session_expired");
    assert_eq!(reason(&octroi, &with(&octroi, "acme.test", &short)), (401, "session_expired".to_owned()));
}

#[test]
fn a_session_that_rests_too_long_ends() {
    let (octroi, _upstream) = started(", idle: 1s", "");
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);

    wait::elapse(Duration::from_millis(1100));

    assert_eq!(reason(&octroi, &with(&octroi, "acme.test", &cookie)), (401, "session_idle".to_owned()));
    let public = octroi.curl("acme.test", "/public/").cookie(&cookie).header("Accept: text/html").get();
    assert_eq!((public.status, public.all("set-cookie").len()), (200, 0));
    assert_eq!(octroi.metric(r#"octroi_session_checks_total{result="session_idle"}"#), 2.0);
}

#[test]
fn a_bound_session_stays_where_it_began() {
    let (octroi, _upstream) = started(", bind: [client_prefix, user_agent]", "");
    let ask = |path: &str, client: &str, agent: &str, cookie: Option<&str>| {
        let curl = harness::Curl::new(octroi.addr("behind"), "acme.test", path)
            .cacert(&octroi.path().join("certs/ca.pem"));
        let curl = curl.header(&format!("X-Forwarded-For: {client}")).args(&["-A", agent]);
        cookie.into_iter().fold(curl, |curl, cookie| curl.cookie(cookie)).get()
    };
    let cookie =
        ask("/login?h-Octroi-Session-Grant=user%3D%22u_1%22", "192.0.2.1", "Browser/1", None).session();

    assert_eq!(ask("/x", "192.0.2.1", "Browser/1", Some(&cookie)).status, 200);
    assert_eq!(ask("/x", "192.0.2.200", "Browser/1", Some(&cookie)).status, 200);
    let moved = ask("/x", "192.0.3.1", "Browser/1", Some(&cookie));
    assert_eq!(reason(&octroi, &moved), (401, "session_binding".to_owned()));
    assert_eq!(ask("/x", "192.0.2.1", "Browser/2", Some(&cookie)).status, 401);
}

#[test]
fn tokens_are_minted_and_read_by_command() {
    let (octroi, upstream) = started(
        "",
        "  globex: {upstream: app}\n  www: {hosts: [www.test], upstream: app, routes: app, members: [globex]}",
    );
    let bearer = octroi
        .ok(&["session", "mint", "--tenant", "acme", "--user", "robot", "--role", "export", "--bearer"]);
    let bearer = bearer.trim();
    let minted: serde_json::Value = serde_json::from_str(
        &octroi.ok(&["session", "mint", "--tenant", "globex", "--realm", "www", "--user", "u_7", "--json"]),
    )
    .unwrap();
    let cookie = format!("__Host-octroi={}", minted["token"].as_str().unwrap());
    let as_bearer = |host: &str, token: &str| {
        octroi.curl(host, "/x").header(&format!("Authorization: Bearer {token}")).get()
    };

    assert_eq!(as_bearer("acme.test", bearer).status, 200);
    let got = upstream.only();
    assert_eq!(
        (got.field("octroi-user"), got.field("octroi-roles"), got.has("authorization")),
        (Some("robot"), Some("export"), false)
    );
    assert_eq!(with(&octroi, "www.test", &cookie).status, 200);
    assert_eq!(upstream.only().field("octroi-tenant"), Some("globex"));
    // A token opens only in the place it was made for.
    assert_eq!(as_bearer("www.test", bearer).status, 401);
    assert_eq!(with(&octroi, "acme.test", &format!("__Host-octroi={bearer}")).status, 401);
    assert_eq!(as_bearer("www.test", minted["token"].as_str().unwrap()).status, 401);
    // The app's own Bearer tokens are the app's.
    assert_eq!(octroi.curl("acme.test", "/public/").header("Authorization: Bearer theirs").status(), 200);
    assert_eq!(upstream.only().field("authorization"), Some("Bearer theirs"));

    let told: serde_json::Value =
        serde_json::from_str(&octroi.ok(&["session", "inspect", bearer, "--json"])).unwrap();
    assert_eq!(
        (&told["tenant"], &told["user"], &told["purpose"]),
        (&"acme".into(), &"robot".into(), &"bearer".into())
    );
    assert!(octroi.ok(&["session", "inspect", bearer]).contains("robot"));
    let line = octroi.access_line(|line| line["user"] == "robot" && line["status"] == 200);
    assert_eq!(line["session"], told["session_hash"], "{line}");
    assert_eq!(octroi.code(&["session", "inspect", &format!("{bearer}x")]), 1);
    let expired = octroi.ok(&["session", "mint", "--tenant", "acme", "--user", "u", "--absolute", "1s"]);
    wait::elapse(Duration::from_millis(1050));
    assert_eq!(octroi.code(&["session", "inspect", expired.trim()]), 1);
    assert!(!octroi.printed().iter().any(|line| line.contains("oct1.A")), "a token in a log");
}

#[test]
fn sessions_are_revoked_one_by_one_by_user_by_tenant_and_at_a_date() {
    let (octroi, _upstream) = started("", "  other: {hosts: [other.test], upstream: app, routes: app}");
    let sessions = ["u_1", "u_1", "u_2", "u_3", "u_4"]
        .map(|user| sign_in(&octroi, "acme.test", &format!("user=\"{user}\"")));
    let elsewhere = sign_in(&octroi, "other.test", r#"user="u_1""#);
    let alive =
        || sessions.iter().map(|cookie| with(&octroi, "acme.test", cookie).status == 200).collect::<Vec<_>>();
    let token = sessions[0].split_once('=').unwrap().1;
    let told: serde_json::Value =
        serde_json::from_str(&octroi.ok(&["session", "inspect", token, "--json"])).unwrap();

    octroi.ok(&["session", "revoke", "--session", told["session"].as_str().unwrap()]);
    assert_eq!(alive(), [false, true, true, true, true]);
    let said: serde_json::Value = serde_json::from_str(
        &octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1", "--note", "left", "--json"]),
    )
    .unwrap();
    assert_eq!(said["nodes"], 1);
    assert_eq!(alive(), [false, false, true, true, true]);
    assert_eq!(with(&octroi, "other.test", &elsewhere).status, 200);
    let line = octroi.access_line(|line| line["event"] == "admin" && line["path"] == "/v1/sessions/revoke");
    assert!(line["principal"].as_str().unwrap().starts_with("local:"), "{line}");

    let soon = jiff::Timestamp::now() + Duration::from_secs(3);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2", "--at", &soon.to_string()]);
    eventually("the date comes", || {
        let asked = jiff::Timestamp::now();
        let status = with(&octroi, "acme.test", &sessions[2]).status;
        assert!(status == 200 || jiff::Timestamp::now() >= soon, "too early: {status}");
        assert!(status == 401 || asked < soon, "too late: {status}");
        (status == 401).then_some(())
    });
    assert_eq!(alive(), [false, false, false, true, true]);

    octroi.ok(&["session", "revoke", "--tenant", "acme"]);
    assert_eq!(alive(), [false; 5]);
    assert_eq!(with(&octroi, "other.test", &elsewhere).status, 200);
    let again = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    assert_eq!(with(&octroi, "acme.test", &again).status, 200);
    assert!(octroi.metric("octroi_revocations") >= 3.0);
    assert_eq!(octroi.code(&["session", "revoke", "--tenant", "nobody"]), 1);
    assert_eq!(octroi.code(&["session", "revoke"]), 2);
}

#[test]
fn the_app_ends_a_user_s_sessions_in_its_own_tenant_only() {
    let (octroi, _upstream) = started("", "  other: {hosts: [other.test], upstream: app, routes: app}");
    let one = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let same = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let boss = sign_in(&octroi, "acme.test", r#"user="u_9""#);
    let elsewhere = sign_in(&octroi, "other.test", r#"user="u_1""#);
    let wish = "h-Octroi-Session-Revoke=user%3D%22u_1%22";

    // Where the route does not say so, and without a session, it is ignored.
    assert_eq!(octroi.curl("acme.test", &format!("/public/?{wish}")).cookie(&boss).status(), 200);
    assert_eq!(with(&octroi, "acme.test", &one).status, 200);
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="revoke_ignored"}"#), 1.0);

    let answer =
        octroi.curl("acme.test", &format!("/logout?{wish}")).args(&["-X", "POST"]).cookie(&boss).get();
    assert_eq!((answer.status, answer.field("octroi-session-revoke")), (200, None));
    assert_eq!([&one, &same].map(|cookie| with(&octroi, "acme.test", cookie).status), [401, 401]);
    assert_eq!(
        (with(&octroi, "acme.test", &boss).status, with(&octroi, "other.test", &elsewhere).status),
        (200, 200)
    );
}

#[test]
fn a_grant_ends_the_session_that_was_presented() {
    let (octroi, _upstream) = started("", "");
    let before = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let after = octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .cookie(&before)
        .get()
        .session();

    assert_eq!(
        (with(&octroi, "acme.test", &before).status, with(&octroi, "acme.test", &after).status),
        (401, 200)
    );
}

#[test]
fn a_browser_is_sent_to_sign_in_and_knows_the_way_back() {
    let (octroi, _upstream) = started(", login_url: /login", "");
    let browser = |path: &str| octroi.curl("acme.test", path).header("Accept: text/html").get();

    let sent = browser("/reports/a%20b?secret=1");
    assert_eq!((sent.status, sent.field("location")), (303, Some("/login?next=%2Freports%2Fa%2520b")));
    assert_eq!(octroi.curl("acme.test", "/reports/").header("Accept: application/json").status(), 401);
    assert_eq!(
        octroi.curl("acme.test", "/reports/").header("Accept: text/html").args(&["-X", "POST"]).status(),
        401
    );
    let mode = |mode: &str| {
        octroi.curl("acme.test", "/reports/").header("Accept: text/html, */*").header(mode).status()
    };
    assert_eq!(mode("Sec-Fetch-Mode: navigate"), 303);
    assert_eq!(
        [mode("Sec-Fetch-Mode: cors"), mode("Sec-Fetch-Mode: same-origin"), mode("Sec-Fetch-Mode: no-cors")],
        [401; 3]
    );
}

#[test]
fn what_the_app_asks_for_in_vain_is_in_the_line() {
    let (octroi, _upstream) = started("", "");
    let told = |path: &str, method: &str| {
        let answer = octroi.curl("acme.test", path).args(&["-X", method]).get();
        let id = answer.field("octroi-request-id").unwrap().to_owned();
        octroi.access_line(|line| line["request.id"] == id.as_str())["detail"]
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };

    let grant = "h-Octroi-Session-Grant=user%3D%22u_1%22";
    assert_eq!(
        told(&format!("/public/?{grant}"), "GET"),
        "the upstream's grant is ignored: the rule `/public/` has no `grant`"
    );
    assert_eq!(
        told(&format!("/login?status=401%20No&{grant}"), "POST"),
        "the upstream's grant is ignored: its answer has status 401"
    );
    assert_eq!(told(&format!("/login?{grant}"), "POST"), "-");
    let revoke = "h-Octroi-Session-Revoke=self";
    assert_eq!(
        told(&format!("/public/?{revoke}"), "GET"),
        "the upstream's revocation is ignored: the rule `/public/` has no `revoke`"
    );
}

#[test]
fn keys_are_rotated_without_signing_anybody_out() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, KEY, "", ""));
    let old = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let two = r#"{id: 2, secret: "${file:session-2.key}"}, {id: 1, secret: "${file:session.key}", open_only: true}"#;
    octroi.configure(&config(&upstream, two, "", ""));
    octroi.ok(&["keys", "init"]);

    octroi.reload(&config(&upstream, two, "", ""));
    let new = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let key = |cookie: &str| {
        let told = octroi.ok(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["key"].as_u64().unwrap()
    };
    assert_eq!((key(&old), key(&new)), (1, 2));
    assert_eq!(
        (with(&octroi, "acme.test", &old).status, with(&octroi, "acme.test", &new).status),
        (200, 200)
    );

    octroi.reload(&config(&upstream, r#"{id: 2, secret: "${file:session-2.key}"}"#, "", ""));
    assert_eq!(
        (with(&octroi, "acme.test", &old).status, with(&octroi, "acme.test", &new).status),
        (401, 200)
    );
}

#[test]
fn a_tenant_that_was_taken_out_comes_back_without_its_old_sessions() {
    let upstream = Upstream::start();
    let all = config(&upstream, KEY, "", "  other: {hosts: [other.test], upstream: app, routes: app}");
    let mut octroi = Octroi::start(&all);
    let old = sign_in(&octroi, "other.test", r#"user="u_1""#);
    let stays = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    assert_eq!(with(&octroi, "other.test", &old).status, 200);

    octroi.reload(&config(&upstream, KEY, "", ""));
    assert_ne!(with(&octroi, "other.test", &old).exit, 0);
    octroi.reload(&all);

    assert_eq!(reason(&octroi, &with(&octroi, "other.test", &old)), (401, "session_revoked".to_owned()));
    let new = sign_in(&octroi, "other.test", r#"user="u_1""#);
    assert_eq!(
        (with(&octroi, "other.test", &new).status, with(&octroi, "acme.test", &stays).status),
        (200, 200)
    );
}

#[test]
fn members_bring_their_own_clocks_ranges_mode_and_suspension_to_the_front_door() {
    let upstream = Upstream::start();
    let members = |globex: &str| {
        let more = format!(
            "  globex: {{upstream: app{globex}}}\n  quick: {{upstream: app, sessions: {{idle: 1s}}}}\n  few: {{upstream: app, quotas: [few]}}\n  \
             www: {{hosts: [www.test], upstream: app, routes: app, members: [globex, quick, few]}}\nquotas: {{few: {{by: client, rate: 1/h, burst: 2}}}}"
        );
        config(&upstream, KEY, "", &more)
    };
    let mut octroi = Octroi::start(&members(""));
    let session = |octroi: &Octroi, tenant: &str| {
        sign_in(octroi, "www.test", &format!(r#"user="u_1", tenant="{tenant}""#))
    };
    let (globex, quick, few) =
        (session(&octroi, "globex"), session(&octroi, "quick"), session(&octroi, "few"));
    let ask = |octroi: &Octroi, cookie: &str| reason(octroi, &with(octroi, "www.test", cookie));
    let is = |status: u16, reason: &str| (status, reason.to_owned());

    assert_eq!(ask(&octroi, &globex), is(200, "-"));
    assert_eq!([ask(&octroi, &few).0, ask(&octroi, &few).0, ask(&octroi, &few).0], [200, 200, 429]);
    wait::elapse(Duration::from_millis(1100));
    assert_eq!(ask(&octroi, &quick), is(401, "session_idle"));
    assert_eq!(ask(&octroi, &globex), is(200, "-"));

    octroi.reload(&members(", ip_access: {allow: [203.0.113.0/24]}"));
    assert_eq!(ask(&octroi, &globex), is(403, "member_ip_not_allowed"));
    octroi.reload(&members(", ip_access: {deny: [127.0.0.0/8]}"));
    assert_eq!(ask(&octroi, &globex), is(403, "member_ip_denied"));
    octroi.reload(&members(", mode: observe, ip_access: {deny: [127.0.0.0/8]}"));
    assert_eq!(ask(&octroi, &globex).0, 200);
    octroi.access_line(|line| line["would"] == "member_ip_denied" && line["member"] == "globex");
    octroi.reload(&members(", suspended: true"));
    assert_eq!(ask(&octroi, &globex), is(403, "member_suspended"));
    let refused = grant(&octroi, "www.test", r#"user="u_1", tenant="globex""#);
    assert_eq!(
        (refused.status, refused.all("set-cookie").len(), octroi.reason(&refused).as_str()),
        (403, 0, "grant_suspended")
    );
    octroi.reload(&members(", sessions: {idle: 1s, absolute: 1s}"));
    assert_eq!(ask(&octroi, &globex), is(401, "session_expired"));
}

#[test]
fn the_cookie_s_name_and_what_a_user_may_look_like_are_settings() {
    let (octroi, _upstream) = started(", cookie: __Host-app, allow_email_user: true", "");

    let answer = grant(&octroi, "acme.test", r#"user="jane@example.com""#);

    let set = answer.all("set-cookie")[0];
    assert!(set.starts_with("__Host-app=oct1."), "{set}");
    for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Domain") && !set.contains("jane"), "{set}");
    assert_eq!(with(&octroi, "acme.test", set.split(';').next().unwrap()).status, 200);
}

#[test]
fn an_open_websocket_ends_with_its_session() {
    use std::io::{Read, Write};
    let upstream = Upstream::start();
    let ws = "- {path: /public/, access: public}\n      - {path: /ws, access: session, websocket: true}";
    let octroi =
        Octroi::start(&config(&upstream, KEY, "", "").replace("- {path: /public/, access: public}", ws));
    let cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let ca = octroi.path().join("certs/ca.pem");
    let mut stream = harness::raw_tls(octroi.addr("public"), "acme.test", &ca, &[b"http/1.1"]);
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(harness::client::ask(&mut stream, &head).status, 101);
    let mut buffer = [0; 64];
    stream.write_all(b"ping").unwrap();
    assert_eq!(stream.read(&mut buffer).unwrap(), 4);

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);

    // A tunnel is judged again about once a second.
    let start = Instant::now();
    while stream.write_all(b"ping").is_ok() && stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        assert!(start.elapsed() < Duration::from_secs(10), "the tunnel goes on");
        wait::slow_peer(Duration::from_millis(100));
    }
    let line = octroi.access_line(|line| line["path"] == "/ws");
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &"session_revoked".into()), "{line}");
}

/// A request with a body is watched over before its answer is there: what the answer ends must not end the answer.
#[test]
fn who_has_a_session_signs_in_and_out_with_a_form() {
    let (octroi, _upstream) = started(", max_per_user: {limit: 1, over: oldest}", "");
    let form = "name=a&password=b";
    let encoded = |field: &str| {
        percent_encoding::utf8_percent_encode(field, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let login = format!("/login?h-Octroi-Session-Grant={}", encoded(r#"user="u_1""#));
    let new_cookie = |set: &str| set.split(';').next().unwrap().to_owned();

    let mut cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
    let mut stream = harness::raw_tls(
        octroi.addr("public"),
        "acme.test",
        &octroi.path().join("certs/ca.pem"),
        &[b"http/1.1"],
    );
    for count in 0..100 {
        let length = form.len();
        let head = format!(
            "POST {login} HTTP/1.1\r\nHost: acme.test\r\nCookie: {cookie}\r\nContent-Length: {length}\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let answer = ask(&mut stream, form);
        assert_eq!(answer.status, 200, "{count}: {answer:?}");
        cookie = answer.session();
    }
    cookie = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        for count in 0..100 {
            let mut call = client.ask("POST", &login, &[("cookie", &cookie)], false).await;
            call.say(form.as_bytes(), true);
            let got = call.end().await;
            assert_eq!(got.status, 200, "{count}: {got:?}");
            cookie = new_cookie(got.field("set-cookie").unwrap());
        }
        cookie
    });

    // The same where it is signed out, of this session or of all of its user's.
    for wish in ["self", r#"user="u_1""#] {
        let logout = format!("/logout?h-Octroi-Session-Revoke={}", encoded(wish));
        for http2 in [false, true] {
            for _ in 0..20 {
                let status = if http2 {
                    block_on(async {
                        let mut client = Http2Client::connect(&octroi, "acme.test").await;
                        let mut call = client.ask("POST", &logout, &[("cookie", &cookie)], false).await;
                        call.say(form.as_bytes(), true);
                        call.end().await.status.as_u16()
                    })
                } else {
                    octroi
                        .curl("acme.test", &logout)
                        .cookie(&cookie)
                        .args(&["--http1.1", "-d", form])
                        .status()
                };
                assert_eq!(status, 200, "{wish} {http2}");
                assert_eq!(
                    reason(&octroi, &with(&octroi, "acme.test", &cookie)),
                    (401, "session_revoked".to_owned())
                );
                cookie = sign_in(&octroi, "acme.test", r#"user="u_1""#);
            }
        }
    }
}
