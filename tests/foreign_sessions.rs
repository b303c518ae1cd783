//! Sessions of an app's own login, end to end: what is forwarded, what is refused, what an operator ends.

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
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  formats: [octroi, jwt]
  jwt:
    cookie: login
    bearer: true
    keys: [{{id: app, algorithm: HS256, secret: "${{file:jwt.key}}"}}]
    claims: {{roles: roles, tenant: tenant, session: sid}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
      - {{path: /admin/, roles: [admin]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        upstream.addr
    ));
    let secret = octroi.path().join("jwt.key");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    octroi.run();
    (octroi, upstream)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(change: &Value) -> String {
    let mut claims =
        json!({"sub": "u_1", "tenant": "acme", "sid": "s_1", "iat": now() - 10, "exp": now() + 600});
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn with(octroi: &Octroi, path: &str, token: &str) -> Answer {
    octroi.curl("acme.test", path).header(&format!("Cookie: a=b; login={token}; c=d")).get()
}

fn reason(octroi: &Octroi, answer: &Answer) -> (u16, String) {
    (answer.status, octroi.reason(answer))
}

fn revoke(octroi: &Octroi, args: &[&str]) {
    let done = octroi.command(&[&["session", "revoke"], args].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_app_gets_its_own_session_and_the_identity_that_was_found_in_it() {
    let (octroi, upstream) = started();
    let admin = token(&json!({"roles": ["admin"]}));

    assert_eq!(with(&octroi, "/admin/x", &admin).status, 200);
    let got = upstream.take().pop().unwrap();
    assert_eq!(got.field("cookie"), Some(&*format!("a=b; login={admin}; c=d")));
    assert_eq!(
        (got.field("octroi-user"), got.field("octroi-roles"), got.field("octroi-tenant")),
        (Some("u_1"), Some("admin"), Some("acme"))
    );
    assert_eq!(got.field("octroi-session").map(str::len), Some(16));

    let bearer = octroi.curl("acme.test", "/admin/x").header(&format!("Authorization: Bearer {admin}")).get();
    assert_eq!(bearer.status, 200);
    assert_eq!(upstream.take().pop().unwrap().field("authorization"), Some(&*format!("Bearer {admin}")));

    assert_eq!(
        reason(&octroi, &with(&octroi, "/admin/x", &token(&json!({})))),
        (403, "role_missing".to_owned())
    );
    let elsewhere = octroi.curl("globex.test", "/x").header(&format!("Cookie: login={admin}")).get();
    assert_eq!(reason(&octroi, &elsewhere), (401, "session_tenant".to_owned()));
    assert_eq!(upstream.take().len(), 0);
}

#[test]
fn a_session_that_was_refused_does_not_reach_the_app() {
    let (octroi, upstream) = started();
    let bad = [
        token(&json!({"exp": now() - 1})),
        format!("{}x", token(&json!({}))),
        token(&json!({"tenant": "globex"})),
    ];
    let missing = octroi.curl("acme.test", "/x").get();
    let text = |answer: &Answer| {
        let id = answer.field("octroi-request-id").unwrap().to_owned();
        answer.body.replace(&id, "ID")
    };
    for token in &bad {
        let refused = with(&octroi, "/x", token);
        assert_eq!((refused.status, text(&refused)), (401, text(&missing)), "one answer, whatever is wrong");

        assert_eq!(with(&octroi, "/public/x", token).status, 200);
        let got = upstream.take().pop().unwrap();
        assert_eq!((got.field("cookie"), got.has("octroi-user")), (Some("a=b; c=d"), false));

        let bearer =
            octroi.curl("acme.test", "/public/x").header(&format!("Authorization: Bearer {token}")).get();
        assert_eq!(bearer.status, 200);
        assert!(!upstream.take().pop().unwrap().has("authorization"));
    }
    // A visitor's own session is the app's to read; another token is none of ours.
    let visitor = token(&json!({"sub": null}));
    assert_eq!(with(&octroi, "/public/x", &visitor).status, 200);
    assert_eq!(upstream.take().pop().unwrap().field("cookie"), Some(&*format!("a=b; login={visitor}; c=d")));
    assert_eq!(with(&octroi, "/x", &visitor).status, 401);
    assert_eq!(
        octroi.curl("acme.test", "/public/x").header("Authorization: Bearer opaque").get().status,
        200
    );
    assert_eq!(upstream.take().pop().unwrap().field("authorization"), Some("Bearer opaque"));
}

#[test]
fn what_an_app_might_decode_to_its_session_reaches_no_app() {
    let (octroi, upstream) = started();
    let good = token(&json!({}));

    for name in ["logi%6e", "%6Cogin", "LOGIN", "login[x]", "login%00"] {
        // Alone it would make somebody of a visitor whom nobody knows here; beside the real one, somebody else.
        assert_eq!(
            octroi.curl("acme.test", "/public/").cookie(&format!("{name}=forged; a=b")).status(),
            200,
            "{name}"
        );
        assert_eq!(upstream.only().field("cookie"), Some("a=b"), "{name}");
        assert_eq!(
            octroi.curl("acme.test", "/x").cookie(&format!("{name}=forged; login={good}")).status(),
            200,
            "{name}"
        );
        assert_eq!(upstream.only().field("cookie"), Some(format!("login={good}").as_str()), "{name}");
    }
    assert_eq!(octroi.curl("acme.test", "/public/").cookie("log%2Din=1; login2=2; log.in=3").status(), 200);
    assert_eq!(upstream.only().field("cookie"), Some("log%2Din=1; login2=2; log.in=3"));
}

#[test]
fn sessions_of_the_app_are_ended_as_ours_are() {
    let (octroi, _upstream) = started();
    let revoked = || (401, "session_revoked".to_owned());
    let ask = |token: &str| reason(&octroi, &with(&octroi, "/x", token));

    // By the app: this session, also when it was signed anew. The cookie is the app's to clear.
    let logout = octroi.curl("acme.test", "/logout?h-Octroi-Session-Revoke=self").args(&["-X", "POST"]);
    let logout = logout.header(&format!("Cookie: login={}", token(&json!({})))).get();
    assert_eq!((logout.status, logout.all("set-cookie").len()), (200, 0));
    assert_eq!(ask(&token(&json!({}))), revoked());
    assert_eq!(ask(&token(&json!({"iat": now()}))), revoked());
    let other = json!({"sid": "s_2"});
    assert_eq!(ask(&token(&other)).0, 200);

    // By an operator: of one user, and what is signed later counts again.
    revoke(&octroi, &["--tenant", "acme", "--user", "u_1"]);
    assert_eq!(ask(&token(&other)), revoked());
    let later = json!({"sid": "s_2", "iat": now() + 2});
    assert_eq!(ask(&token(&later)).0, 200);
    let another_user = json!({"sid": "s_3", "sub": "u_2"});
    assert_eq!(ask(&token(&another_user)).0, 200);

    // Of a whole tenant, though no token says an epoch.
    revoke(&octroi, &["--tenant", "acme"]);
    assert_eq!(ask(&token(&another_user)), revoked());
    assert_eq!(ask(&token(&json!({"sid": "s_4", "iat": now() + 2}))).0, 200);
}

#[test]
fn a_token_stands_in_no_line() {
    let (octroi, _upstream) = started();
    let token = token(&json!({}));

    let answer = octroi
        .curl("acme.test", &format!("/public/{token}/x?{token}"))
        .header(&format!("Referer: https://acme.test/{token}"));
    let answer = answer
        .header(&format!("Authorization: Bearer {token}"))
        .args(&["-A", &format!("agent {token}")])
        .get();

    let id = answer.field("octroi-request-id").unwrap().to_owned();
    let line = octroi.access_line(|line| line["request.id"] == id).to_string();
    assert!(line.contains("/public/eyJ…/x"), "{line}");
    for part in token.split('.') {
        assert!(!line.contains(part), "{line}");
    }
}

#[test]
fn a_command_says_what_the_keys_prove_and_nothing_else() {
    let (octroi, _upstream) = started();
    let asked = |text: &str, more: &[&str]| {
        let output = octroi.command(&[&["session", "inspect", text], more].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let good = token(&json!({"roles": "editor admin", "card": "4111 1111 1111 1111"}));

    let (code, told, _) = asked(&good, &["--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let said = |name: &str| told[name].as_str().unwrap().to_owned();
    assert_eq!((code, said("clocks")), (0, "valid".to_owned()));
    assert_eq!(
        [said("user"), said("tenant"), said("format"), said("key")],
        ["u_1", "acme", "jwt", "app"].map(str::to_owned)
    );
    assert_eq!(told["roles"], json!(["editor", "admin"]));
    // The identifier is the one that an operator ends it by, the hash the one in access lines.
    let answer = with(&octroi, "/x", &good);
    let id = answer.field("octroi-request-id").unwrap().to_owned();
    assert_eq!(octroi.access_line(|line| line["request.id"] == id)["session"], told["session_hash"]);
    revoke(&octroi, &["--session", &said("session")]);
    assert_eq!(reason(&octroi, &with(&octroi, "/x", &good)), (401, "session_revoked".to_owned()));

    let (_, people, _) = asked(&good, &[]);
    assert!(people.contains("user          u_1\n") && !people.contains("4111"), "{people}");
    for (text, expected) in [
        (token(&json!({"exp": now() - 1})), "clocks        expired"),
        (token(&json!({"nbf": now() + 100})), "clocks        not yet"),
        (token(&json!({"sub": "a@example.com"})), "clocks        its user looks like an e-mail address"),
        (token(&json!({"tenant": "nobody"})), "clocks        no tenant of this name"),
        (token(&json!({"sub": null})), "nobody has signed in"),
        (format!("{good}xx"), "as `jwt`: it is not three parts of canonical base64url"),
        (good.replacen('.', ".e", 1), "as `jwt`: it was altered, or signed with another key"),
        ("opaque".to_owned(), "of no format that the configuration reads"),
        ("oct1.AQAB".to_owned(), "the token does not open"),
    ] {
        let (code, out, err) = asked(&text, &[]);
        assert!(code == 1 && (out + &err).contains(expected), "{expected}: {err}");
    }
}

#[test]
fn two_sessions_in_one_request_are_a_conflict_and_on_a_public_route_none() {
    let (octroi, upstream) = started();
    let mint = |more: &[&str]| {
        octroi
            .ok(&[&["session", "mint", "--tenant", "acme", "--user", "u_1"], more].concat())
            .trim()
            .to_owned()
    };
    let (cookie, bearer, app) = (mint(&[]), mint(&["--bearer"]), token(&json!({})));
    let conflict = || (401, "credential_conflict".to_owned());
    let ask = |path: &str, cookies: &str, bearer: Option<&str>| {
        let curl = octroi.curl("acme.test", path).header(&format!("Cookie: {cookies}"));
        bearer
            .into_iter()
            .fold(curl, |curl, token| curl.header(&format!("Authorization: Bearer {token}")))
            .get()
    };
    let own = format!("__Host-octroi={cookie}");

    let both = format!("{own}; login={app}");
    assert_eq!(reason(&octroi, &ask("/x", &both, None)), conflict());
    assert_eq!(reason(&octroi, &ask("/x", &own, Some(&bearer))), conflict());
    assert_eq!(reason(&octroi, &ask("/x", &format!("login={app}"), Some(&app))), conflict());
    assert_eq!(reason(&octroi, &ask("/x", &format!("login={app}"), Some(&bearer))), conflict());
    // A visitor's session of the app is none, and one that does not open says so.
    assert_eq!(ask("/x", &format!("{own}; login={}", token(&json!({"sub": null}))), None).status, 200);
    assert_eq!(
        reason(&octroi, &ask("/x", &format!("{own}; login={app}xx"), None)),
        (401, "session_invalid".to_owned())
    );
    upstream.take();

    let public = ask("/public/login", &format!("{both}; lang=fr"), None);
    let cleared = public
        .all("set-cookie")
        .into_iter()
        .find(|line| line.starts_with("__Host-octroi=;"))
        .map(str::to_owned);
    assert!(public.status == 200 && cleared.is_some_and(|line| line.contains("Max-Age=0")), "{public:?}");
    let got = upstream.only();
    assert_eq!((got.field("cookie"), got.has("octroi-user")), (Some("lang=fr"), false));
}
