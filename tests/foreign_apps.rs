//! Real apps that keep their own login, behind octroi: Express, Flask and Django.
//!
//! The libraries are installed into a folder of the build's own and nowhere else.

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
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{
    Octroi,
    apps::{self, App},
    client::Answer,
};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

fn python(file: &str) -> App {
    let packages = apps::python("python", &["Flask==3.1.3", "itsdangerous==2.2.0", "Django==5.2.19"]);
    let dir = tempfile::tempdir().unwrap();
    App::start(
        Command::new("python3").arg(app(file)).arg(SECRET).arg(dir.path()).env("PYTHONPATH", packages),
        dir,
    )
}

fn express(style: &str) -> App {
    let packages = apps::node("node", &["express@5.3.0", "cookie-session@2.1.1", "cookie-parser@1.4.7"]);
    let modules = packages.join("node_modules");
    let mut command = Command::new("node");
    App::start(
        command.arg(app("express_app.js")).args([SECRET, style]).env("NODE_PATH", modules),
        tempfile::tempdir().unwrap(),
    )
}

fn app(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(file)
}

fn octroi(app: &App, sessions: &str) -> Octroi {
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
{sessions}
upstreams:
  app: {{servers: [{{address: "127.0.0.1:{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, methods: [POST], access: public}}
      - {{path: /logout, methods: [POST], revoke: true}}
      - {{path: /admin/, roles: [admin]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        app.port
    ));
    let secret = octroi.path().join("app.key");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    octroi.run();
    octroi
}

/// A browser that keeps one host's cookies.
#[derive(Clone)]
struct Browser<'a> {
    octroi: &'a Octroi,
    host: &'static str,
    jar: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(octroi: &'a Octroi) -> Self {
        Self { octroi, host: "acme.test", jar: BTreeMap::new() }
    }

    fn ask(&mut self, method: &str, path: &str) -> Answer {
        let mut curl = self.octroi.curl(self.host, path).args(&["-X", method]);
        if !self.jar.is_empty() {
            let cookies: Vec<String> =
                self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            curl = curl.header(&format!("Cookie: {}", cookies.join("; ")));
        }
        let answer = curl.get();
        for line in answer.all("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let gone = value.is_empty()
                || value == "\"\""
                || line.to_ascii_lowercase().contains("max-age=0")
                || line.contains("1970");
            if gone {
                drop(self.jar.remove(name))
            } else {
                drop(self.jar.insert(name.to_owned(), value.to_owned()))
            }
        }
        answer
    }

    fn reason(&mut self, path: &str) -> (u16, String) {
        let answer = self.ask("GET", path);
        (answer.status, self.octroi.reason(&answer))
    }

    fn login(&mut self, user: &str, role: &str) {
        let answer = self.ask("POST", &format!("/login?user={user}&role={role}&tenant=acme"));
        assert_eq!((answer.status, self.jar.is_empty()), (200, false), "{answer:?}");
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// What must hold behind every app; `alice` is what octroi calls the user of that name.
fn holds(octroi: &Octroi, alice: &str) {
    let refused = |status: u16, reason: &str| (status, reason.to_owned());
    let mut browser = Browser::new(octroi);
    assert_eq!(browser.reason("/me"), refused(401, "session_missing"));

    // A visitor's session is the app's: it comes back, and opens nothing.
    assert_eq!(body(&browser.ask("GET", "/public/visit")), json!({"seen": 1}));
    assert_eq!(body(&browser.ask("GET", "/public/visit")), json!({"seen": 2}));
    assert_eq!(browser.reason("/me"), refused(401, "session_missing"));

    // A login at the app is a session here.
    browser.login("alice", "editor");
    assert_eq!(body(&browser.ask("GET", "/me")), json!({"app": "alice", "octroi": alice}));
    assert_eq!(browser.reason("/admin/"), refused(403, "role_missing"));
    let mut elsewhere = Browser { host: "globex.test", ..browser.clone() };
    assert_eq!(elsewhere.reason("/me"), refused(401, "session_tenant"));
    let mut forged = browser.clone();
    forged
        .jar
        .values_mut()
        .for_each(|value| *value = value.replacen(|c: char| c.is_ascii_lowercase(), "X", 1));
    assert_eq!(forged.reason("/me"), refused(401, "session_invalid"));
    // What was refused does not reach the app, where it would be signed anew.
    assert_eq!(body(&elsewhere.ask("GET", "/public/visit")), json!({"seen": 1}));

    // Logged out at the app: a copy of the cookie is dead too.
    let mut copy = browser.clone();
    assert_eq!(browser.ask("POST", "/logout").status, 200);
    assert_eq!(browser.reason("/me"), refused(401, "session_missing"));
    assert_eq!(copy.reason("/me"), refused(401, "session_revoked"));

    // A new login is a new session, until an operator ends all of the user's.
    browser.login("alice", "admin");
    assert_eq!(body(&browser.ask("GET", "/admin/")), json!({"app": "alice", "octroi": alice}));
    let done = octroi.command(&["session", "revoke", "--tenant", "acme", "--user", alice]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(browser.reason("/me"), refused(401, "session_revoked"));
    browser.login("alice", "editor");
    assert_eq!(browser.ask("GET", "/me").status, 200);
}

#[test]
#[ignore = "make full: installs Flask"]
fn flask_keeps_its_own_login() {
    let app = python("flask_app.py");
    let octroi = octroi(
        &app,
        r#"
  formats: [octroi, itsdangerous]
  itsdangerous:
    keys: [{id: now, secret: "${file:app.key}"}]
    claims: {user: user, roles: roles, tenant: tenant, auth_time: signed_in, session: sid}
"#,
    );

    holds(&octroi, "alice");
}

#[test]
#[ignore = "make full: installs Django"]
fn django_keeps_its_own_login() {
    let app = python("django_app.py");
    let octroi = octroi(
        &app,
        r#"
  formats: [octroi, django]
  django:
    keys: [{id: now, secret: "${file:app.key}"}]
    claims: {roles: roles, tenant: tenant, auth_time: signed_in, session: sid}
"#,
    );

    holds(&octroi, "1");
}

#[test]
#[ignore = "make full: installs Express"]
fn express_keeps_its_own_login() {
    for style in ["cookie-session", "signed-json"] {
        let app = express(style);
        let octroi = octroi(
            &app,
            &format!(
                r#"
  formats: [octroi, express]
  express:
    cookie: session
    style: {style}
    keys: [{{id: now, secret: "${{file:app.key}}"}}]
    claims: {{user: [user, id], roles: [user, roles], tenant: tenant, auth_time: signedIn, session: sid}}
"#
            ),
        );

        holds(&octroi, "alice");
    }
}
