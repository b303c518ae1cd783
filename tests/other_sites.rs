//! What pages of other sites may do: those of other tenants of a parent domain, and of the world.

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
    fs,
    os::unix::fs::PermissionsExt,
    time::{SystemTime, UNIX_EPOCH},
};

use harness::{Octroi, Upstream, client::Answer};
use jsonwebtoken::{EncodingKey, Header, encode};

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
    let theirs: [&[&str]; 4] = [
        &["Sec-Fetch-Site: same-site", &evil],
        &["Sec-Fetch-Site: same-site", "Origin: null"],
        &["Sec-Fetch-Site: same-site"],
        &[&evil],
    ];
    for fields in theirs {
        let with = [&[cookie.as_str()], fields].concat();
        for path in ["/x", "/public/x", "/logout", "/spa/x", "/login?h-Octroi-Session-Grant=user%3D%22u_2%22"]
        {
            assert_eq!(outcome(&octroi, &ask(&octroi, "POST", path, &with)), csrf(), "{path} {fields:?}");
        }
        let socket = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ];
        let handshake = with
            .iter()
            .chain(&socket)
            .fold(octroi.curl(ACME, "/ws").args(&["--http1.1"]), |curl, field| curl.header(field));
        let opened = handshake.get();
        assert_eq!(outcome(&octroi, &opened), csrf(), "{fields:?}");
        assert!(upstream.take().is_empty(), "{fields:?}");
        // Where there is no session, nor what makes one, there is nothing to misuse.
        assert_eq!(ask(&octroi, "POST", "/public/x", fields).status, 200, "{fields:?}");
        assert_eq!(ask(&octroi, "POST", "/hook", &with).status, 200, "{fields:?}");
        upstream.take();
    }

    let ours: [&[&str]; 5] = [
        &[],
        &["Sec-Fetch-Site: same-origin", &own],
        &["Sec-Fetch-Site: none"],
        &["Sec-Fetch-Site: cross-site", &other],
        &[&own],
    ];
    for fields in ours {
        assert_eq!(
            ask(&octroi, "POST", "/x", &[&[cookie.as_str()], fields].concat()).status,
            200,
            "{fields:?}"
        );
    }
    // A link leads in, from wherever it is.
    assert_eq!(ask(&octroi, "GET", "/x", &[&cookie, "Sec-Fetch-Site: cross-site"]).status, 200);
    // An origin that is listed, on its rule alone.
    let listed = [cookie.as_str(), "Sec-Fetch-Site: cross-site", "Origin: https://spa.example.com"];
    assert_eq!(
        [ask(&octroi, "POST", "/spa/x", &listed).status, ask(&octroi, "POST", "/x", &listed).status],
        [200, 403]
    );
}

/// What docs/guides/other-sites.md says of CORS.
#[test]
fn a_preflight_has_no_session_so_listed_origins_send_what_needs_none_and_the_app_answers_where_all_may_ask() {
    let (octroi, upstream) = started();
    let allow = "h-Access-Control-Allow-Origin=https%3A%2F%2Fspa.example.com&h-Access-Control-Allow-Headers=content-type";
    let cross = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"];
    let wishes =
        ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"];
    let preflight = |path: &str, origin: &str| {
        let origin = format!("Origin: {origin}");
        ask(&octroi, "OPTIONS", &format!("{path}?{allow}"), &[&cross[..], &wishes, &[&origin]].concat())
    };

    // Another host of the realm is another origin as well.
    for origin in ["https://spa.example.com", "https://app.acme.test"] {
        let refused = preflight("/spa/x", origin);
        assert_eq!(outcome(&octroi, &refused), (401, "session_missing".to_owned()), "{origin}");
        assert!(
            refused.fields.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("access-control-")),
            "{refused:?}"
        );
    }
    assert_eq!(upstream.take().len(), 0);
    let answered = preflight("/public/x", "https://spa.example.com");
    assert_eq!(
        (answered.status, answered.field("access-control-allow-origin")),
        (200, Some("https://spa.example.com"))
    );
    assert_eq!(answered.field("access-control-allow-headers"), Some("content-type"));
    let got = upstream.only();
    assert_eq!((got.method.as_str(), got.field("access-control-request-method")), ("OPTIONS", Some("POST")));
    assert_eq!(got.field("access-control-request-headers"), Some("authorization,content-type"));

    // What needs none: of the same site the cookie comes along, of another one it does not.
    let simple = |path: &str, site: &str, origin: &str, more: &[&str]| {
        let (site, origin) = (format!("Sec-Fetch-Site: {site}"), format!("Origin: {origin}"));
        let fields = [
            &[&*site, &origin, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Content-Type: text/plain"],
            more,
        ]
        .concat();
        outcome(&octroi, &ask(&octroi, "POST", path, &fields))
    };
    let cookie = sign_in(&octroi);
    let spa = "https://spa.example.com";
    assert_eq!(simple("/spa/x", "same-site", spa, &[&cookie]).0, 200);
    assert_eq!(
        simple("/spa/x", "same-site", "https://other.example.com", &[&cookie]),
        (403, "csrf".to_owned())
    );
    assert_eq!(simple("/spa/x", "cross-site", spa, &[]), (401, "session_missing".to_owned()));
    assert_eq!(simple("/public/x", "cross-site", spa, &[]).0, 200);
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
        let cookie =
            format!("Cookie: {}", ask(&octroi, "GET", &format!("/login?{GRANT}"), &[&field]).session());
        assert_eq!(
            ask(&octroi, "GET", "/logout?h-Octroi-Session-Revoke=self", &[&cookie, &field]).status,
            200,
            "{site}"
        );
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

// ── sign-ins that come back ──

const CALLBACKS: &str = r#"
      - {path: /callback, access: public, grant: callback}
      - {path: /start, access: public, sign_in: begin}
      - {path: /members-callback, access: session, grant: callback}
      - {path: /elsewhere, access: public}"#;

fn with_callbacks() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, CALLBACKS, ""));
    (octroi, upstream)
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A path whose answer redirects to a provider.
fn redirecting(path: &str, location: &str) -> String {
    format!("{path}?status=302%20Found&h-Location={}", encoded(location))
}

/// Returns the marks that an answer sets, as `(NAME=VALUE, attributes)`, and the names of those that it takes away.
fn marks(answer: &Answer) -> (Vec<(String, String)>, Vec<String>) {
    let (mut set, mut cleared) = (Vec::new(), Vec::new());
    for value in
        answer.all("set-cookie").into_iter().filter(|value| value.starts_with("__Host-octroi-sign-in-"))
    {
        let (pair, attributes) = value.split_once("; ").unwrap();
        match pair.strip_suffix('=') {
            Some(name) if attributes.ends_with("Max-Age=0") => cleared.push(name.to_owned()),
            _ => set.push((pair.to_owned(), attributes.to_owned())),
        }
    }
    (set, cleared)
}

/// Begins a sign-in at `/login` as a browser does, and returns its mark.
fn begin(octroi: &Octroi, host: &str, state: &str) -> String {
    let path = redirecting("/login", &format!("https://idp.example.com/authorize?client_id=a&state={state}"));
    let answer =
        octroi.curl(host, &path).header("Sec-Fetch-Site: none").header("Sec-Fetch-Dest: document").get();
    assert_eq!((answer.status, answer.field("cache-control")), (302, Some("no-store")), "{answer:?}");
    let (set, cleared) = marks(&answer);
    assert_eq!((set.len(), cleared.len()), (1, 0), "{answer:?}");
    set[0].0.clone()
}

fn come_back(octroi: &Octroi, query: &str, site: &str, cookies: &str) -> Answer {
    let curl = octroi.curl(ACME, &format!("/callback?code=x&{query}&{GRANT}"));
    let curl = if site.is_empty() { curl } else { curl.header(&format!("Sec-Fetch-Site: {site}")) };
    if cookies.is_empty() { curl.get() } else { curl.cookie(cookies).get() }
}

fn has_session(answer: &Answer) -> bool {
    answer.all("set-cookie").iter().any(|value| value.starts_with("__Host-octroi=oct1."))
}

#[test]
fn a_sign_in_that_began_here_comes_back_once() {
    let (octroi, upstream) = with_callbacks();
    let answer = octroi
        .curl(ACME, &redirecting("/login", "https://idp.example.com/authorize?state=a%2Fb%20c%3D&nonce=n"))
        .get();
    let (set, _) = marks(&answer);
    let [(mark, attributes)] = &set[..] else { panic!("{answer:?}") };
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
    assert_eq!(
        answer.field("location"),
        Some("https://idp.example.com/authorize?state=a%2Fb%20c%3D&nonce=n")
    );
    upstream.take();

    // The app reads its own cookies, at every route, and never the mark; nor what reads like it to some.
    for path in ["/callback", "/public/x", "/elsewhere", "/login"] {
        let name = mark.split_once('=').unwrap().0;
        let upper = name.to_ascii_uppercase();
        assert_eq!(
            octroi
                .curl(ACME, path)
                .cookie(&format!("a=1; {mark}; {upper}=x; b=2; \u{2000}{name}=x; __%48{}=x", &name[3..]))
                .status(),
            200
        );
        assert_eq!(upstream.only().field("cookie"), Some("a=1; b=2"), "{path}");
    }

    for version in ["--http1.1", "--http2"] {
        for site in ["cross-site", "same-site", "none", ""] {
            let state = format!("{site}{version}%3D");
            let mark = begin(&octroi, ACME, &state);
            let path = format!("/callback?code=x&state={state}&{GRANT}");
            let curl = octroi.curl(ACME, &path).args(&[version]).cookie(&format!("a=1; {mark}"));
            let answer = if site.is_empty() {
                curl.get()
            } else {
                curl.header(&format!("Sec-Fetch-Site: {site}")).get()
            };
            assert_eq!((answer.status, has_session(&answer)), (200, true), "{answer:?}");
            assert_eq!(marks(&answer).1, [mark.split_once('=').unwrap().0], "it is taken away: {answer:?}");
            // The browser has it no more.
            let again = come_back(&octroi, &format!("state={state}"), site, "a=1");
            assert_eq!(
                (outcome(&octroi, &again), has_session(&again)),
                ((403, "csrf".to_owned()), false),
                "{again:?}"
            );
        }
    }
    // Encoded otherwise by the provider.
    assert!(has_session(&come_back(&octroi, "state=a/b+c%3d", "cross-site", mark)));
    assert!(has_session(&come_back(&octroi, "st%61te=a%2fb%20c=", "cross-site", mark)));
}

const SEVERAL: &str = "`state` stands more than once, or in a spelling that only some apps read";

#[test]
fn nobody_comes_back_from_a_sign_in_of_somebody_else() {
    let (octroi, upstream) = with_callbacks();
    let mark = begin(&octroi, ACME, "mine");
    // The attacker has an account, too, and begins where they are: at their own tenant, and at this one in their own browser.
    let elsewhere = begin(&octroi, "evil.vendor.test", "theirs");
    let theirs = begin(&octroi, ACME, "theirs");
    upstream.take();

    let forged = [
        ("state=theirs", mark.as_str(), "no sign-in with this `state` began here in this browser"),
        ("state=theirs", "", "no sign-in with this `state` began here in this browser"),
        ("state=theirs", &elsewhere, "no sign-in with this `state` began here in this browser"),
        ("state=mine&state=theirs", &mark, SEVERAL),
        ("state=mine&State=theirs", &mark, SEVERAL),
        // As Rack 2, PHP and qs read it.
        ("x=1;state=theirs&state=mine", &mark, SEVERAL),
        ("+state=theirs&state=mine", &mark, SEVERAL),
        ("state%5B%5D=theirs&state=mine", &mark, SEVERAL),
        ("state%00=theirs&state=mine", &mark, SEVERAL),
        ("state=", &mark, "it comes back without a `state`"),
        ("nothing=1", &mark, "it comes back without a `state`"),
    ];
    for (query, cookies, why) in forged {
        for site in ["same-site", "cross-site", "none", ""] {
            let answer = come_back(&octroi, query, site, cookies);
            assert_eq!(
                (outcome(&octroi, &answer), has_session(&answer)),
                ((403, "csrf".to_owned()), false),
                "{query} {site}"
            );
            assert_eq!(marks(&answer), (vec![], vec![]), "{query} {site}: the right one may still come");
            let id = answer.field("octroi-request-id").unwrap().to_owned();
            assert_eq!(
                octroi.access_line(|line| line["request.id"] == id.as_str())["detail"],
                why,
                "{query} {site}"
            );
        }
    }
    // A mark cannot be given another name.
    let renamed = format!("{}={}", mark.split_once('=').unwrap().0, theirs.split_once('=').unwrap().1);
    assert_eq!(come_back(&octroi, "state=mine", "cross-site", &renamed).status, 403);
    // Nor does what somebody writes into the realm's own page: an image, or where the app redirects to.
    for (query, cookies) in
        [("state=theirs", ""), ("state=theirs", mark.as_str()), ("nothing=1", ""), ("nothing=1", &mark)]
    {
        let answer = come_back(&octroi, query, "same-origin", cookies);
        assert_eq!(
            (outcome(&octroi, &answer), has_session(&answer)),
            ((403, "csrf".to_owned()), false),
            "{query} {cookies}"
        );
    }
    let own = format!("Origin: https://{ACME}:{}", octroi.addr("public").port());
    let posted = ask(
        &octroi,
        "POST",
        &format!("/callback?state=theirs&{GRANT}"),
        &["Sec-Fetch-Site: same-origin", &own],
    );
    assert_eq!((outcome(&octroi, &posted), has_session(&posted)), ((403, "csrf".to_owned()), false));
    // The right one does.
    assert!(has_session(&come_back(&octroi, "state=mine", "cross-site", &mark)));
    // Without a grant, an app answers whatever comes back.
    assert_eq!(
        octroi
            .curl(ACME, "/callback?error=access_denied&state=theirs")
            .header("Sec-Fetch-Site: cross-site")
            .status(),
        200
    );
}

#[test]
fn a_form_comes_back_where_one_was_asked_for() {
    let (octroi, upstream) = with_callbacks();
    let post = |query: &str, cookies: &str| {
        let curl = octroi.curl(ACME, &format!("/callback?{query}{GRANT}")).args(&["-d", "code=x&state=abc"]);
        let curl = curl.header("Sec-Fetch-Site: cross-site").header("Origin: https://idp.example.com");
        if cookies.is_empty() { curl.get() } else { curl.cookie(cookies).get() }
    };
    let began = |location: &str| {
        let (set, _) = marks(&octroi.curl(ACME, &redirecting("/start", location)).get());
        assert_eq!(set.len(), 1, "{location}");
        set[0].clone()
    };

    for location in [
        "https://idp.example.com/authorize?response_mode=form_post&state=abc",
        "https://idp.example.com/saml?SAMLRequest=fZ%2B&RelayState=abc",
        "https://idp.example.com/saml?SAMLRequest=fZ%2Bx",
    ] {
        let (mark, attributes) = began(location);
        assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=None; Max-Age=600", "{location}");
        upstream.take();
        let answer = post("", &mark);
        assert_eq!((answer.status, has_session(&answer)), (200, true), "{location}");
        assert_eq!(marks(&answer).1, [mark.split_once('=').unwrap().0], "{location}");
        assert_eq!(upstream.only().body, b"code=x&state=abc");
    }

    // A mark of a link is none of a form: a page of another tenant could send one.
    let (link, _) = began("https://idp.example.com/authorize?state=abc");
    let (form, _) = began("https://idp.example.com/authorize?response_mode=form_post&state=def");
    upstream.take();
    for (query, cookies) in
        [("", ""), ("", link.as_str()), ("state=other&", &form), ("state=def&state=def&", &form)]
    {
        assert_eq!(outcome(&octroi, &post(query, cookies)), (403, "csrf".to_owned()), "{query} {cookies}");
    }
    assert!(upstream.take().is_empty(), "the app is not asked");
    assert!(has_session(&post("state=def&", &form)));
    // Of several tabs, the oldest is used.
    let second = began("https://idp.example.com/authorize?response_mode=form_post&state=ghi").0;
    let answer = post("", &format!("{second}; {form}"));
    assert_eq!(
        (has_session(&answer), marks(&answer).1),
        (true, vec![form.split_once('=').unwrap().0.to_owned()])
    );
}

#[test]
fn a_sign_in_begins_where_the_operator_says_so() {
    let (octroi, _upstream) = with_callbacks();
    let count = |path: &str, location: &str, fields: &[&str]| {
        let curl = octroi.curl(ACME, &redirecting(path, location));
        marks(&fields.iter().fold(curl, |curl, field| curl.header(field)).get()).0.len()
    };
    let idp = "https://idp.example.com/authorize?state=abc";

    assert_eq!(
        [
            count("/login", idp, &[]),
            count("/start", idp, &[]),
            count("/login", "/idp/authorize?state=abc", &[])
        ],
        [1; 3]
    );
    assert_eq!(
        [count("/elsewhere", idp, &[]), count("/callback", idp, &[]), count("/login", "/home", &[])],
        [0; 3]
    );
    assert_eq!(count("/login", "https://idp.example.com/authorize?state=abc&state=def", &[]), 0);
    // From wherever the visitor comes; but no other site makes one in a frame or with a script.
    for site in ["cross-site", "same-site"] {
        let site = format!("Sec-Fetch-Site: {site}");
        assert_eq!(count("/login", idp, &[&site, "Sec-Fetch-Dest: document"]), 1);
        assert_eq!(
            [
                count("/login", idp, &[&site, "Sec-Fetch-Dest: iframe"]),
                count("/login", idp, &[&site, "Sec-Fetch-Dest: empty"])
            ],
            [0; 2]
        );
    }
    assert_eq!(count("/login", idp, &["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: iframe"]), 1);
    let shown = octroi.curl(ACME, &format!("/login?h-Location={}", encoded(idp))).get();
    assert_eq!((shown.status, marks(&shown).0.len()), (200, 0));
    // The app cannot set a mark, in whatever spelling.
    for name in ["__Host-octroi-sign-in-01234567", "__host-OCTROI-sign-in-01234567"] {
        let forged = octroi.curl(ACME, &format!("/public/?h-Set-Cookie={name}%3Dx%3B%20Path%3D%2F")).get();
        assert!(forged.all("set-cookie").is_empty(), "{forged:?}");
    }
}

#[test]
fn every_tab_comes_back_and_the_oldest_make_room() {
    let (octroi, _upstream) = with_callbacks();
    // Tabs that begin at the same moment know nothing of each other.
    let tabs: Vec<String> = (0..8).map(|tab| begin(&octroi, ACME, &format!("tab{tab}"))).collect();
    let jar = tabs.join("; ");

    for tab in [7, 0, 3] {
        assert!(has_session(&come_back(&octroi, &format!("state=tab{tab}"), "cross-site", &jar)), "{tab}");
    }
    let ninth = redirecting("/login", "https://idp.example.com/authorize?state=ninth");
    let answer = octroi.curl(ACME, &ninth).cookie(&jar).get();
    let (set, cleared) = marks(&answer);
    assert_eq!((set.len(), cleared), (1, vec![tabs[0].split_once('=').unwrap().0.to_owned()]));
    // The same sign-in again, as when a page is loaded anew, takes no place of another.
    let again = redirecting("/login", "https://idp.example.com/authorize?state=tab7");
    let (set, cleared) = marks(&octroi.curl(ACME, &again).cookie(&jar).get());
    assert_eq!((set.len(), cleared.len()), (1, 0));
    // What is no mark goes first.
    let garbage = format!("{}; __Host-octroi-sign-in-ffffffff=x", tabs[1..].join("; "));
    let (_, cleared) = marks(&octroi.curl(ACME, &ninth).cookie(&garbage).get());
    assert_eq!(cleared, ["__Host-octroi-sign-in-ffffffff"]);
}

#[test]
fn what_another_site_opens_takes_no_place_of_other_sign_ins() {
    let (octroi, _upstream) = with_callbacks();
    let mut jar: Vec<String> = Vec::new();
    let mut open = |site: &str, state: &str| {
        let path = redirecting("/login", &format!("https://idp.example.com/authorize?state={state}"));
        let curl = octroi
            .curl(ACME, &path)
            .header(&format!("Sec-Fetch-Site: {site}"))
            .header("Sec-Fetch-Dest: document");
        let answer = if jar.is_empty() { curl.get() } else { curl.cookie(&jar.join("; ")).get() };
        let (set, cleared) = marks(&answer);
        jar.retain(|held| !cleared.iter().any(|name| held.starts_with(&format!("{name}="))));
        jar.push(set[0].0.clone());
        jar.clone()
    };

    for tab in 0..8 {
        open("none", &format!("own{tab}"));
    }
    for popup in 0..12 {
        open(if popup % 2 == 0 { "cross-site" } else { "same-site" }, &format!("popup{popup}"));
    }
    let jar = open("same-origin", "own8");

    let comes_back = |state: &str| {
        has_session(&come_back(&octroi, &format!("state={state}"), "cross-site", &jar.join("; ")))
    };
    assert_eq!(jar.len(), 12);
    // Of each kind, the oldest make room for the same kind.
    assert!(!comes_back("own0") && (1..9).all(|tab| comes_back(&format!("own{tab}"))));
    assert!(!comes_back("popup7") && (8..12).all(|popup| comes_back(&format!("popup{popup}"))));
}

/// What a browser sends where a person opens a page.
const PERSON: [&str; 4] = [
    "Accept: text/html,application/xhtml+xml",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Site: cross-site",
];

#[test]
fn whoever_comes_back_twice_or_too_late_finds_a_way_out() {
    let (octroi, upstream) = with_callbacks();
    let again = "__Host-octroi-sign-in-tryagain=1";
    let path = format!("/callback?code=x&state=used&{GRANT}");
    let visit = |method: &str, path: &str, cookies: &str, fields: &[&str]| {
        let cookies = format!("Cookie: {cookies}");
        ask(&octroi, method, path, &[fields, &[cookies.as_str()]].concat())
    };
    let sent = |answer: &Answer, to: &str, what: &str| {
        assert_eq!((answer.status, answer.field("location")), (303, Some(to)), "{what}: {answer:?}");
        assert_eq!(octroi.reason(answer), "csrf", "{what}");
        assert_eq!(
            answer.all("set-cookie"),
            [&format!("{again}; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=30")],
            "{what}"
        );
    };
    let session = sign_in(&octroi).strip_prefix("Cookie: ").unwrap().to_owned();
    let form = [&PERSON[..], &["Origin: https://idp.example.com"]].concat();
    let old_browser = &PERSON[..1];

    // The button of the browser, a link in its history, a form that is sent again.
    for (method, path, fields) in [
        ("GET", &*path, &PERSON[..]),
        ("GET", &path, old_browser),
        ("GET", &format!("/callback?{GRANT}"), &PERSON),
        ("POST", &path, &form),
    ] {
        sent(&visit(method, path, "a=1", fields), "/login", "nobody is signed in");
        let page = visit(method, path, &format!("a=1; {again}"), fields);
        assert_eq!(
            (outcome(&octroi, &page), page.all("set-cookie").len()),
            ((403, "csrf".to_owned()), 0),
            "{page:?}"
        );
        assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.body.contains("<a href=\"/login\">Sign in again</a>"), "{}", page.body);
    }
    // Whoever is signed in already, in another tab or by the first time.
    for path in [&path, &format!("/members-{}", &path[1..])] {
        sent(&visit("GET", path, &session, &PERSON), "/", "signed in");
        let page = visit(
            "GET",
            path,
            &format!("{session}; {again}"),
            &[&PERSON[..], &["Accept-Language: fr"]].concat(),
        );
        assert_eq!((page.status, page.field("content-language")), (403, Some("fr")));
        assert!(
            page.body.contains("déjà ouverte") && page.body.contains("<a href=\"/\">Continuer</a>"),
            "{}",
            page.body
        );
        assert_eq!(visit("GET", "/x", &session, &[]).status, 200, "the session stays");
    }
    // The right one comes back as ever, and the app never sees what was noted.
    let mark = begin(&octroi, ACME, "mine");
    upstream.take();
    let granted =
        visit("GET", &format!("/callback?state=mine&{GRANT}"), &format!("a=1; {again}; {mark}"), &PERSON);
    assert!(has_session(&granted));
    assert_eq!(upstream.only().field("cookie"), Some("a=1"));
    // Nobody looks on, or it was no sign-in that came back.
    for other in [
        &["Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"][..],
        &[
            "Accept: text/html",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            "Sec-Purpose: prefetch",
        ],
        &["Accept: text/html", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
        &["Accept: application/json"],
        &[],
    ] {
        for cookies in ["a=1", &session] {
            let refused = visit("GET", &path, cookies, other);
            assert_eq!(
                (refused.status, refused.field("location"), refused.all("set-cookie").len()),
                (403, None, 0),
                "{other:?}"
            );
            assert!(!refused.body.contains("href"), "{other:?}");
        }
    }
    let forced = ask(&octroi, "GET", &format!("/login?{GRANT}"), &PERSON);
    assert_eq!((outcome(&octroi, &forced), forced.field("location")), ((403, "csrf".to_owned()), None));
}

#[test]
fn without_a_page_to_sign_in_the_start_is_offered() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, CALLBACKS, "").replace(", login_url: /login", ""));

    let page = ask(&octroi, "GET", &format!("/callback?state=used&{GRANT}"), &PERSON);

    assert_eq!((page.status, page.all("set-cookie").len()), (403, 0));
    assert!(page.body.contains("<a href=\"/\">Sign in again</a>"), "{}", page.body);
}

#[test]
fn a_lobby_s_sign_in_comes_back_for_its_members() {
    let upstream = Upstream::start();
    let lobby = "\n  member: {upstream: app}\n  lobby: {hosts: [www.vendor.test], upstream: app, routes: app, members: [member]}\n";
    let octroi = Octroi::start(&format!("{}{lobby}", config(&upstream, CALLBACKS, "").trim_end()));
    let mark = begin(&octroi, "www.vendor.test", "abc");
    let grant = format!("h-Octroi-Session-Grant={}", encoded(r#"user="u_1", tenant="member""#));
    let ask = |host: &str| {
        octroi
            .curl(host, &format!("/callback?state=abc&{grant}"))
            .header("Sec-Fetch-Site: cross-site")
            .cookie(&mark)
            .get()
    };

    assert!(has_session(&ask("www.vendor.test")));
    // It was marked for the lobby, not for whoever else shows it.
    assert_eq!(ask("evil.vendor.test").status, 403);
}

#[test]
fn a_part_of_a_page_signs_nobody_in_or_out() {
    let (octroi, _upstream) = with_callbacks();
    let csrf = || (403, "csrf".to_owned());
    let parts = [
        "image", "style", "script", "font", "video", "audio", "track", "iframe", "frame", "embed", "object",
        "xslt", "",
    ];

    for field in parts
        .map(|part| format!("Sec-Fetch-Dest: {part}"))
        .into_iter()
        .chain(["Sec-Purpose: prefetch;prerender".to_owned()])
    {
        let with = ["Sec-Fetch-Site: same-origin", &field];
        let with =
            if field.ends_with(": ") { ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest;"] } else { with };
        let forced = ask(&octroi, "GET", &format!("/login?{GRANT}"), &with);
        assert_eq!((outcome(&octroi, &forced), has_session(&forced)), (csrf(), false), "{field}");
        let cookie = sign_in(&octroi);
        let out = ask(
            &octroi,
            "GET",
            "/logout?h-Octroi-Session-Revoke=self",
            &[&[cookie.as_str()], &with[..]].concat(),
        );
        assert_eq!(outcome(&octroi, &out), csrf(), "{field}");
        assert_eq!(
            ask(&octroi, "GET", "/x", &[&[cookie.as_str()], &with[..]].concat()).status,
            200,
            "{field}: it is shown"
        );
        // A form sends what its page decides.
        assert!(has_session(&ask(&octroi, "POST", &format!("/login?{GRANT}"), &with)), "{field}");
        assert_eq!(
            ask(
                &octroi,
                "POST",
                "/logout?h-Octroi-Session-Revoke=self",
                &[&[cookie.as_str()], &with[..]].concat()
            )
            .status,
            200
        );
    }
    for part in ["document", "empty"] {
        let with = ["Sec-Fetch-Site: same-origin", &format!("Sec-Fetch-Dest: {part}")];
        let answer = ask(&octroi, "GET", &format!("/login?{GRANT}"), &with);
        let cookie = format!("Cookie: {}", answer.session());
        let out = ask(
            &octroi,
            "GET",
            "/logout?h-Octroi-Session-Revoke=self",
            &[&[cookie.as_str()], &with[..]].concat(),
        );
        assert_eq!(out.status, 200, "{part}");
        assert_eq!(ask(&octroi, "GET", "/x", &[&cookie]).status, 401, "{part}");
    }
    // A sign-in that is renewed in a hidden frame has its mark.
    let mark = begin(&octroi, ACME, "silent");
    let renewed = octroi.curl(ACME, &format!("/callback?code=x&state=silent&{GRANT}")).cookie(&mark);
    assert!(has_session(
        &renewed.header("Sec-Fetch-Site: cross-site").header("Sec-Fetch-Dest: iframe").get()
    ));
}

#[test]
fn what_a_mark_lets_in_acts_in_nobody_s_name() {
    let (octroi, upstream) = with_callbacks();
    let cookie = sign_in(&octroi);
    let begun = octroi
        .curl(
            ACME,
            &redirecting("/start", "https://idp.example.com/authorize?response_mode=form_post&state=abc"),
        )
        .get();
    let both = format!("{cookie}; {}", marks(&begun).0[0].0);
    let port = octroi.addr("public").port();
    let evil = format!("Origin: https://evil.vendor.test:{port}");
    let own = format!("Origin: https://{ACME}:{port}");
    let user = |upstream: &Upstream| upstream.only().field("octroi-user").map(ToOwned::to_owned);
    upstream.take();

    for fields in [
        &["Sec-Fetch-Site: same-site", evil.as_str()][..],
        &["Sec-Fetch-Site: cross-site", "Origin: null"],
        &[evil.as_str()],
    ] {
        let with = [&[both.as_str()], fields].concat();
        let answer = ask(&octroi, "POST", "/callback?h-Octroi-Session-Revoke=self", &with);
        assert_eq!((answer.status, answer.all("set-cookie").len()), (200, 0), "{fields:?}");
        let asked = upstream.only();
        assert_eq!(
            (asked.field("octroi-user"), asked.field("octroi-session"), asked.field("cookie")),
            (None, None, None),
            "{fields:?}"
        );
        for method in ["PUT", "PATCH", "DELETE"] {
            assert_eq!(
                outcome(&octroi, &ask(&octroi, method, "/callback", &with)),
                (403, "csrf".to_owned()),
                "{method} {fields:?}"
            );
        }
        // Where a session is needed, that is none.
        assert_eq!(ask(&octroi, "POST", "/members-callback", &with).status, 401, "{fields:?}");
        assert!(upstream.take().is_empty(), "{fields:?}");
    }
    assert_eq!(ask(&octroi, "GET", "/x", &[&cookie]).status, 200, "the session is as it was");
    upstream.take();
    // The realm's own page acts in its user's name, with the mark or without, and so does a link.
    for cookies in [&both, &cookie] {
        assert_eq!(
            ask(&octroi, "POST", "/callback", &[cookies, "Sec-Fetch-Site: same-origin", &own]).status,
            200
        );
        assert_eq!(user(&upstream).as_deref(), Some("u_1"));
    }
    assert_eq!(ask(&octroi, "GET", "/callback?error=x", &[&both, "Sec-Fetch-Site: cross-site"]).status, 200);
    assert_eq!(user(&upstream).as_deref(), Some("u_1"));
    // A provider's form still signs in, whoever was signed in before.
    let granted = ask(
        &octroi,
        "POST",
        &format!("/callback?{GRANT}"),
        &[&both, "Sec-Fetch-Site: same-site", "Origin: https://idp.vendor.test"],
    );
    assert!(has_session(&granted));
}

#[test]
fn a_session_of_the_app_is_set_aside_too() {
    let upstream = Upstream::start();
    let jwt = "formats: [octroi, jwt], jwt: {cookie: app, keys: [{id: app, algorithm: HS256, secret: \"${file:app.key}\", tenants: [acme]}]}";
    let rules = config(&upstream, CALLBACKS, "")
        .replace("login_url: /login}", &format!("login_url: /login, {jwt}}}"));
    let mut octroi = Octroi::prepared(&rules);
    let secret = "0123456789abcdef0123456789abcdef";
    fs::write(octroi.path().join("app.key"), secret).unwrap();
    fs::set_permissions(octroi.path().join("app.key"), fs::Permissions::from_mode(0o600)).unwrap();
    octroi.run();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({"sub": "u_2", "iat": now, "exp": now + 3600});
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    let begun = octroi
        .curl(
            ACME,
            &redirecting("/start", "https://idp.example.com/authorize?response_mode=form_post&state=abc"),
        )
        .get();
    let cookies = format!("Cookie: a=1; app={token}; {}", marks(&begun).0[0].0);
    upstream.take();

    assert_eq!(ask(&octroi, "POST", "/callback", &[&cookies, "Sec-Fetch-Site: same-site"]).status, 200);
    let asked = upstream.only();
    assert_eq!((asked.field("octroi-user"), asked.field("cookie")), (None, Some("a=1")));
    // The realm's own page has it along.
    assert_eq!(ask(&octroi, "POST", "/callback", &[&cookies, "Sec-Fetch-Site: same-origin"]).status, 200);
    let asked = upstream.only();
    assert_eq!(
        (asked.field("octroi-user"), asked.field("cookie")),
        (Some("u_2"), Some(format!("a=1; app={token}").as_str()))
    );
}

#[test]
fn a_page_of_another_site_uses_up_nobody_s_tries() {
    let upstream = Upstream::start();
    let rule = "\n      - {path: /guess, access: public, grant: true, quotas: [login]}\n      - {path: /members, access: session, quotas: [login]}\n      - {path: /back, access: public, grant: callback, quotas: [login]}";
    let quotas = "quotas:\n  login: {by: client, rate: 1/h, burst: 2, count: failures}\nupstreams:";
    let octroi = Octroi::start(&config(&upstream, rule, "").replace("upstreams:", quotas));

    for _ in 0..5 {
        let forced = ask(
            &octroi,
            "POST",
            "/guess",
            &["Sec-Fetch-Site: cross-site", "Origin: https://evil.example.com"],
        );
        assert_eq!(outcome(&octroi, &forced), (403, "csrf".to_owned()));
        assert_eq!(
            ask(&octroi, "GET", "/members", &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"]).status,
            401
        );
    }
    assert!(upstream.take().is_empty());
    // Nor by what reaches the app and can sign nobody in: links and images, with a `state` of nobody's sign-in or without one. They have as
    // many tries of their own, for who is no browser says the same fields and learns from the answer whether a password is right.
    let mut asked = 0;
    for number in 0..5 {
        for (path, site, place) in [
            ("/back?state=x&code=1", "cross-site", "image"),
            ("/back?state=x&code=1", "none", "document"),
            ("/back?", "cross-site", "document"),
            ("/guess?", "cross-site", "document"),
            ("/guess?", "same-origin", "image"),
        ] {
            let fields = [format!("Sec-Fetch-Site: {site}"), format!("Sec-Fetch-Dest: {place}")];
            let wrong = ask(
                &octroi,
                "GET",
                &format!("{path}&status=400%20Bad%20Request&n={number}"),
                &[&fields[0], &fields[1]],
            );
            asked += 1;
            let expected = if asked <= 2 { (400, String::new()) } else { (429, "quota_exceeded".to_owned()) };
            assert_eq!(wrong.status, expected.0, "{asked} {path} {site} {place}");
            if asked > 2 {
                assert_eq!(outcome(&octroi, &wrong), expected, "{asked} {path}");
            }
        }
    }
    assert_eq!(upstream.take().len(), 2);
    // What the app answers costs as before, and so does a token that does not open.
    assert_eq!(ask(&octroi, "POST", "/guess?status=403%20Forbidden", &[]).status, 403);
    assert_eq!(ask(&octroi, "GET", "/members", &["Cookie: __Host-octroi=oct1.AAAA"]).status, 401);
    assert_eq!(ask(&octroi, "POST", "/guess", &[]).status, 429);
}

// ── a cookie bomb ──

#[test]
fn cookies_that_lock_a_visitor_out_are_taken_away() {
    let (octroi, upstream) = started();
    // As many as another tenant may set for the parent domain.
    let bomb = |count: usize, bytes: usize| {
        (0..count).map(|n| format!("bomb{n:03}={}", "x".repeat(bytes))).collect::<Vec<_>>().join("; ")
    };
    let cleared = |cookies: &str, fields: &[&str]| {
        let curl = octroi.curl(ACME, "/public/x").cookie(cookies);
        let answer = fields.iter().fold(curl, |curl, field| curl.header(field)).get();
        (answer.status, answer.field("clear-site-data").map(ToOwned::to_owned))
    };
    let gone = || (431, Some("\"cookies\"".to_owned()));

    for version in ["--http1.1", "--http2"] {
        let cleared = |cookies: &str, fields: &[&str]| {
            let curl = octroi.curl(ACME, "/public/x").args(&[version]).cookie(cookies);
            let answer = fields.iter().fold(curl, |curl, field| curl.header(field)).get();
            (answer.status, answer.field("clear-site-data").map(ToOwned::to_owned))
        };
        // Too many, too large a field, too large a head.
        for (count, bytes) in [(101, 1), (1, 16_380), (5, 4000), (9, 4000)] {
            assert_eq!(
                cleared(&bomb(count, bytes), &["Sec-Fetch-Mode: navigate"]),
                gone(),
                "{version} {count} {bytes}"
            );
            assert_eq!(
                cleared(&bomb(count, bytes), &["Accept: text/html"]),
                gone(),
                "{version} {count} {bytes}: an old browser"
            );
            // A script, or who is no browser, is told nothing of it.
            for other in ["Sec-Fetch-Mode: cors", "Sec-Fetch-Mode: no-cors", "Accept: application/json"] {
                assert_eq!(
                    cleared(&bomb(count, bytes), &[other]),
                    (431, None),
                    "{version} {count} {bytes} {other}"
                );
            }
        }
        assert_eq!(cleared(&bomb(100, 1), &["Sec-Fetch-Mode: navigate"]), (200, None), "{version}");
    }
    upstream.take();
    // A long link of a stranger makes the head too large, with cookies that an app may have: nobody is signed out by it.
    let referer = format!("Referer: https://evil.example.com/{}", "r".repeat(4000));
    for version in ["--http1.1", "--http2"] {
        let follow = |cookies: &str| {
            let curl = octroi
                .curl(ACME, &format!("/public/?{}", "a".repeat(15_600)))
                .args(&[version])
                .cookie(cookies);
            let answer = curl.header("Sec-Fetch-Mode: navigate").header(&referer).get();
            (answer.status, answer.field("clear-site-data").map(ToOwned::to_owned))
        };
        assert_eq!(follow(&bomb(4, 3500)), (431, None), "{version}");
    }
    // Something else is too large, cookies or not.
    let long = format!("X-Long: {}", "x".repeat(17_000));
    assert_eq!(cleared("a=1", &["Sec-Fetch-Mode: navigate", &long]), (431, None));
    assert_eq!(cleared(&bomb(1, 16_380), &["Sec-Fetch-Mode: navigate", &long]), (431, None));
    assert!(upstream.take().is_empty());
}

/// The form of a provider brings no session along, but the browser has one, and the sign-in takes its place.
#[test]
fn a_sign_in_that_comes_back_as_a_form_replaces_the_session_that_the_browser_had() {
    let upstream = Upstream::start();
    let octroi =
        Octroi::start(&config(&upstream, CALLBACKS, ", sessions: {max_per_user: {limit: 1, over: refuse}}"));
    let post = |mark: &str| {
        ask(
            &octroi,
            "POST",
            &format!("/callback?{GRANT}"),
            &["Sec-Fetch-Site: cross-site", &format!("Cookie: {mark}")],
        )
    };
    let begin = |cookie: &str| {
        let path =
            redirecting("/start", "https://idp.example.com/authorize?response_mode=form_post&state=abc");
        let answer = octroi.curl(ACME, &path).header(cookie).header("Sec-Fetch-Site: none").get();
        marks(&answer).0[0].0.clone()
    };
    let first = sign_in(&octroi);
    let mark = begin(&first);
    let anybody = begin("X-None: 1");

    // Somebody who has none is one too many; who steps up is not.
    assert_eq!(outcome(&octroi, &post(&anybody)), (403, "too_many_sessions".to_owned()));
    let stepped_up = post(&mark);
    assert_eq!((stepped_up.status, has_session(&stepped_up)), (200, true), "{stepped_up:?}");
    assert_eq!(outcome(&octroi, &ask(&octroi, "GET", "/x", &[&first])), (401, "session_revoked".to_owned()));
    assert_eq!(ask(&octroi, "GET", "/x", &[&format!("Cookie: {}", stepped_up.session())]).status, 200);
}
