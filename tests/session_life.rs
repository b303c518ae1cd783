//! The life of a session end to end: renewal under load and without the client's help, step-up, what the app's own cookies become.

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

use std::time::Duration;

use harness::wait;
use harness::{Octroi, Upstream, client::Answer, eventually};

fn started(sessions: &str, tenant: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login{sessions}}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /fresh/, max_auth_age: 4s}}
      - {{path: /logout, methods: [POST], revoke: true}}
  closed: {{}}
tenants:
  acme: {{hosts: [acme.test, "*.acme.test"], upstream: app, routes: app{tenant}}}
  closed: {{hosts: [closed.test], upstream: app, routes: closed}}
  other: {{hosts: [other.test], upstream: app, routes: app}}
"#,
        upstream.addr
    ));
    (octroi, upstream)
}

fn sign_in(octroi: &Octroi) -> String {
    octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22").get().session()
}

fn with(octroi: &Octroi, cookie: &str) -> Answer {
    octroi.curl("acme.test", "/x").cookie(cookie).get()
}

fn renewed(answer: &Answer) -> bool {
    answer.all("set-cookie").iter().any(|set| set.starts_with("__Host-octroi=oct1."))
}

fn inspect(octroi: &Octroi, cookie: &str) -> serde_json::Value {
    serde_json::from_slice(
        &octroi.command(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]).stdout,
    )
    .unwrap()
}

#[test]
fn of_many_requests_at_once_one_is_renewed_and_all_pass() {
    // A fourth of `idle` is 8 s: nothing here takes as long.
    let (octroi, _upstream) = started(", idle: 32s", "");
    let old = sign_in(&octroi);
    wait::elapse(Duration::from_millis(8200));

    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(|| with(&octroi, &old))).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });

    assert!(answers.iter().all(|answer| answer.status == 200));
    let new: Vec<_> = answers.iter().filter(|answer| renewed(answer)).collect();
    assert_eq!(new.len(), 1);
    let new = new[0].session();
    // A client that never takes it gets no other one for a while, and its own is still good.
    for _ in 0..5 {
        let answer = with(&octroi, &old);
        assert_eq!((answer.status, renewed(&answer)), (200, false));
    }
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="renewed"}"#), 1.0);
    // The same session with the same ends but one, one generation further; and no renewal of what is fresh.
    let (before, after) = (inspect(&octroi, &old), inspect(&octroi, &new));
    for same in ["session", "auth_time", "absolute_end", "user", "epoch"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!((&before["generation"], &after["generation"]), (&0.into(), &1.into()));
    assert!(after["idle_end"].as_str() > before["idle_end"].as_str());
    assert_eq!((with(&octroi, &new).status, renewed(&with(&octroi, &new))), (200, false));
}

#[test]
fn a_renewal_that_got_lost_costs_no_generation() {
    let (octroi, _upstream) = started(", idle: 8s", "");
    let old = sign_in(&octroi);
    let renewal = |cookie: &str| {
        eventually("a renewal", || Some(with(&octroi, cookie)).filter(renewed).map(|answer| answer.session()))
    };
    let lost = renewal(&old);

    let taken = renewal(&old);

    assert_ne!(lost, taken);
    assert_eq!(
        (&inspect(&octroi, &lost)["generation"], &inspect(&octroi, &taken)["generation"]),
        (&1.into(), &1.into())
    );
    assert_eq!(inspect(&octroi, &renewal(&taken))["generation"], 2);
}

#[test]
fn a_sign_in_that_is_too_old_is_asked_for_again() {
    let (octroi, _upstream) = started("", "");
    let old = sign_in(&octroi);
    let fresh = |cookie: &str, accept: &str| {
        octroi.curl("acme.test", "/fresh/a").header(&format!("Accept: {accept}")).cookie(cookie).get()
    };
    assert_eq!(fresh(&old, "application/json").status, 200);

    let api = eventually("it is too old", || {
        Some(fresh(&old, "application/json")).filter(|answer| answer.status != 200)
    });
    assert_eq!((api.status, octroi.reason(&api).as_str()), (401, "auth_too_old"));
    assert_eq!(
        api.field("www-authenticate"),
        Some(
            r#"Bearer error="insufficient_user_authentication", error_description="A more recent sign-in is needed", max_age="4""#
        )
    );
    assert!(api.body.contains("Please sign in again"), "{}", api.body);
    let browser = fresh(&old, "text/html");
    assert_eq!(
        (browser.status, browser.field("location")),
        (303, Some("/login?next=%2Ffresh%2Fa&max_age=4"))
    );
    let form = FORM
        .iter()
        .fold(octroi.curl("acme.test", "/fresh/a").cookie(&old), |curl, field| curl.header(field))
        .args(&["-d", "a=1"]);
    let form = form.header("Sec-Fetch-Site: same-origin").get();
    assert_eq!((form.status, form.field("location")), (303, Some("/login?max_age=4")));
    // Without a session nothing is said of an age, and elsewhere the session is as good as before.
    let nobody = octroi.curl("acme.test", "/fresh/a").header("Accept: application/json").get();
    assert_eq!((nobody.status, nobody.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(with(&octroi, &old).status, 200);

    // The user signs in again: another session, as of now; the one before ends.
    let again = octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .cookie(&old)
        .get()
        .session();
    assert_eq!(fresh(&again, "application/json").status, 200);
    assert!(inspect(&octroi, &again)["auth_time"].as_str() > inspect(&octroi, &old)["auth_time"].as_str());
    assert_eq!(with(&octroi, &old).status, 401);
}

/// What Chromium says of a form whose answer takes the page's place.
const FORM: [&str; 4] = [
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-User: ?1",
];

#[test]
fn a_form_of_somebody_who_is_signed_out_leads_to_the_sign_in_and_a_script_s_does_not() {
    let (octroi, upstream) = started("", "");
    let send = |host: &str, path: &str, fields: &[&str], args: &[&str]| {
        fields.iter().fold(octroi.curl(host, path).args(args), |curl, field| curl.header(field)).get()
    };
    let form =
        |path: &str, more: &[&str]| send("acme.test", path, &[&FORM[..], more].concat(), &["-d", "a=1"]);
    let to = |answer: &Answer| (answer.status, answer.field("location").map(str::to_owned));
    let sign_in_page = (303, Some("/login".to_owned()));

    // The button to sign out, in two tabs.
    let cookie = format!("Cookie: {}", sign_in(&octroi));
    let sign_out = || form("/logout?h-Octroi-Session-Revoke=self", &[&cookie, "Sec-Fetch-Site: same-origin"]);
    assert_eq!(sign_out().status, 200);
    let second = sign_out();
    assert_eq!(
        (to(&second), octroi.reason(&second), second.body.as_str()),
        (sign_in_page.clone(), "session_revoked".to_owned(), "")
    );
    assert_eq!(second.field("cache-control"), Some("no-store"));
    // A browser asks for that page with GET, and sends nothing once more.
    upstream.take();
    let followed = send("acme.test", "/x", &FORM, &["-L", "-d", "a=1"]);
    assert_eq!(followed.status, 303);
    assert!(followed.body.starts_with("HTTP/2 200"), "{}", followed.body);
    let got = upstream.only();
    assert_eq!((got.method.as_str(), got.target.as_str(), got.body.as_slice()), ("GET", "/login", &b""[..]));

    for version in ["--http1.1", "--http2"] {
        let none = send("acme.test", "/x?a=1", &FORM, &[version, "-d", "a=1"]);
        assert_eq!(
            (to(&none), octroi.reason(&none)),
            (sign_in_page.clone(), "session_missing".to_owned()),
            "{version}"
        );
    }
    // Another site's form learns no more and does no more than its link; with a session it is refused.
    let foreign = ["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"];
    assert_eq!(to(&form("/x", &foreign)), sign_in_page);
    let with_session = form("/x", &[&foreign[..], &[&format!("Cookie: {}", sign_in(&octroi))]].concat());
    assert_eq!((with_session.status, octroi.reason(&with_session).as_str()), (403, "csrf"));

    let but = |name: &str, other: &[&'static str]| {
        let fields: Vec<_> =
            FORM.into_iter().filter(|field| !field.starts_with(name)).chain(other.iter().copied()).collect();
        send("acme.test", "/x", &fields, &["-d", "a=1"])
    };
    assert_eq!(but("Sec-Fetch-Dest", &[]).status, 303, "older browsers do not say it");
    for (name, other) in [
        ("Sec-Fetch-Mode", &[][..]),
        ("Sec-Fetch-Mode", &["Sec-Fetch-Mode: cors"]),
        ("Sec-Fetch-Dest", &["Sec-Fetch-Dest: iframe"]),
        ("Accept", &["Accept: */*"]),
    ] {
        let refused = but(name, other);
        assert_eq!(
            (refused.status, refused.field("location"), refused.field("www-authenticate")),
            (401, None, Some("Bearer")),
            "{other:?}"
        );
    }
    let api = but("Accept", &["Accept: application/json"]);
    assert_eq!((api.status, api.field("content-type")), (401, Some("application/problem+json")));
    for method in [&["-X", "PUT", "-d", "a=1"][..], &["-X", "DELETE"], &["-I"]] {
        assert_eq!(send("acme.test", "/x", &FORM, method).status, 401, "{method:?}");
    }
}

#[test]
fn a_form_whose_session_ends_while_the_app_works_leads_to_the_sign_in() {
    let (octroi, upstream) = started("", "");
    for version in ["--http1.1", "--http2"] {
        let cookie = sign_in(&octroi);
        upstream.take();
        std::thread::scope(|scope| {
            let form =
                octroi.curl("acme.test", "/x?sleep=15000").args(&[version, "-d", "a=1"]).cookie(&cookie);
            let form = FORM
                .iter()
                .fold(form, |curl, field| curl.header(field))
                .header("Sec-Fetch-Site: same-origin");
            let asked = scope.spawn(|| form.get());
            eventually("the app has it", || (!upstream.peek().is_empty()).then_some(()));
            octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
            let answer = asked.join().unwrap();

            assert_eq!(
                (answer.status, answer.field("location"), octroi.reason(&answer).as_str()),
                (303, Some("/login"), "session_revoked")
            );
            // What the app was sent, it was sent once.
            assert_eq!(upstream.take().len(), 1, "{version}");
        });
    }
}

#[test]
fn a_page_to_sign_in_that_is_refused_itself_leads_to_no_circle() {
    let (octroi, _upstream) = started("", "");
    let ask = |path: &str, args: &[&str]| {
        let answer = FORM
            .iter()
            .fold(octroi.curl("closed.test", path).args(args), |curl, field| curl.header(field))
            .get();
        (answer.status, answer.field("location").map(str::to_owned))
    };

    assert_eq!(ask("/x", &[]), (303, Some("/login?next=%2Fx".to_owned())));
    assert_eq!(ask("/login/x", &[]), (303, Some("/login?next=%2Flogin%2Fx".to_owned())));
    assert_eq!([ask("/login", &[]), ask("/login?next=%2Fx", &[])], [(401, None), (401, None)]);
    assert_eq!(ask("/login", &["-d", "a=1"]), (303, Some("/login".to_owned())));
}

#[test]
fn the_app_s_cookies_are_secure_http_only_and_of_one_site() {
    let (octroi, _upstream) = started(
        "",
        ", cookies: {allow: [lang, csrftoken, embed, __Secure-id], script: [csrftoken], cross_site: [embed]}",
    );
    let set = |host: &str, cookie: &str| {
        let cookie =
            percent_encoding::utf8_percent_encode(cookie, percent_encoding::NON_ALPHANUMERIC).to_string();
        octroi.curl(host, &format!("/public/?h-Set-Cookie={cookie}")).get().all("set-cookie").join("|")
    };

    for (cookie, read) in [
        ("lang=fr; Path=/", "lang=fr; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ("lang=fr; SameSite=None", "lang=fr; Secure; HttpOnly; SameSite=Lax"),
        ("lang=fr; samesite=strict; secure; httponly", "lang=fr; samesite=strict; secure; httponly"),
        ("csrftoken=1", "csrftoken=1; Secure; SameSite=Lax"),
        ("embed=1; SameSite=None; Partitioned", "embed=1; Partitioned; Secure; HttpOnly; SameSite=None"),
        ("__Secure-id=1", "__Secure-id=1; Secure; HttpOnly; SameSite=Lax"),
        ("lang=fr; Domain=acme.test", "lang=fr; Domain=acme.test; Secure; HttpOnly; SameSite=Lax"),
        ("lang=fr; Domain=test", "lang=fr; Secure; HttpOnly; SameSite=Lax"),
        ("lang=fr; Domain=other.test", "lang=fr; Secure; HttpOnly; SameSite=Lax"),
        ("track=1", ""),
        ("__HOST-octroi=x", ""),
    ] {
        assert_eq!(set("acme.test", cookie), read, "{cookie}");
    }
    // A tenant without a list: every name, the same care.
    assert_eq!(set("other.test", "csrftoken=1"), "csrftoken=1; Secure; HttpOnly; SameSite=Lax");
    let count = |fate: &str| octroi.metric(&format!("octroi_app_cookies_total{{fate=\"{fate}\"}}"));
    assert_eq!(
        [count("kept"), count("tightened"), count("dropped_unlisted"), count("dropped_session")],
        [1.0, 9.0, 1.0, 1.0]
    );
    // In clear text a browser would not take a Secure cookie.
    let plain = octroi.plain("plain", "other.test", "/public/?h-Set-Cookie=a%3D1").get();
    assert_eq!(plain.all("set-cookie"), ["a=1; HttpOnly; SameSite=Lax"]);
}

#[test]
fn a_sign_in_that_another_site_began_makes_no_session() {
    let (octroi, _upstream) = started("", "");
    let path = "/login?h-Octroi-Session-Grant=user%3D%22u_1%22";
    let ask =
        |method: &str, field: &str| octroi.curl("acme.test", path).args(&["-X", method]).header(field).get();

    for (method, field) in [
        ("POST", "Origin: https://evil.test"),
        ("POST", "Sec-Fetch-Site: cross-site"),
        ("POST", "Origin: null"),
        ("POST", "Origin: https://acme.test.evil.test"),
        ("POST", "Origin: http://acme.test"),
        // Another port than the one that was asked.
        ("POST", "Origin: https://acme.test"),
        ("GET", "Sec-Fetch-Site: cross-site"),
    ] {
        let answer = ask(method, field);
        assert_eq!(
            (answer.status, answer.all("set-cookie").len(), octroi.reason(&answer).as_str()),
            (403, 0, "csrf"),
            "{method} {field}"
        );
    }
    let own = format!("Origin: https://acme.test:{}", octroi.addr("public").port());
    for field in [own.as_str(), "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "X-Nothing: 1"] {
        assert!(renewed(&ask("POST", field)), "{field}");
    }
}

#[test]
fn two_cookies_of_the_name_are_none_and_lookalikes_go() {
    let (octroi, upstream) = started("", "");
    let cookie = sign_in(&octroi);
    let token = cookie.split_once('=').unwrap().1;
    let ask = |path: &str, cookies: &str| octroi.curl("acme.test", path).cookie(cookies).get();
    upstream.take();

    let twice = ask("/x", &format!("{cookie}; {cookie}"));
    assert_eq!((twice.status, octroi.reason(&twice).as_str()), (401, "cookie_ambiguous"));
    let public = ask("/public/", &format!("{cookie}; __Host-octroi=x; a=1"));
    assert_eq!(public.status, 200);
    let got = upstream.only();
    assert_eq!((got.field("cookie"), got.has("octroi-user")), (Some("a=1"), false));
    for lookalike in [
        format!("__host-octroi={token}"),
        format!("\u{2000}__Host-octroi={token}"),
        format!("__Host-octroi\u{a0}={token}"),
    ] {
        assert_eq!(ask("/x", &lookalike).status, 401, "{lookalike}");
        // Beside the real one it reaches nobody either.
        assert_eq!(ask("/x", &format!("{lookalike}; {cookie}; b=2")).status, 200, "{lookalike}");
        assert_eq!(upstream.only().field("cookie"), Some("b=2"));
    }
    assert_eq!(octroi.metric(r#"octroi_session_events_total{event="cookie_lookalike"}"#), 3.0);
    for wrong in [
        format!("__Host-octroi=\"{token}\""),
        format!("$Version=1; __Host-octroi=\"{token}\""),
        "__Host-octroi=".to_owned(),
    ] {
        let answer = ask("/x", &wrong);
        assert_eq!((answer.status, octroi.reason(&answer).as_str()), (401, "session_invalid"), "{wrong}");
    }
}

#[test]
fn a_user_that_looks_like_an_address_is_refused() {
    let (octroi, _upstream) = started("", "");
    let ask = |user: &str| {
        octroi.curl("acme.test", &format!("/login?h-Octroi-Session-Grant=user%3D%22{user}%22")).get()
    };

    let refused = ask("jane%40example.com");

    assert_eq!(
        (refused.status, refused.all("set-cookie").len(), octroi.reason(&refused).as_str()),
        (502, 0, "grant_malformed")
    );
    assert_eq!(ask("jane%40").status, 200);
}
