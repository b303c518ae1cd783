//! The apps of `examples/assertion`, behind octroi and asked by others: whom they believe.

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
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use harness::{
    Octroi, Upstream,
    apps::{self, App},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use octroi::{
    model::UnixTime,
    session::{AssertionKey, Assertions, Statement},
};
use serde_json::{Value, json};

/// An octroi whose upstream is not there yet: an app needs the keys first.
fn octroi(app: u16) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  assertion: {{key: "${{file:assertion.pem}}"}}
upstreams:
  app: {{servers: [{{address: "127.0.0.1:{app}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#
    )
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/assertion").join(file)
}

fn python(file: &str, keys: &str) -> App {
    let packages = apps::python(
        "assertion-python",
        &["Flask==3.1.3", "Django==5.2.19", "PyJWT==2.15.1", "cryptography==50.0.2"],
    );
    let mut command = Command::new("python3");
    App::start(
        command.arg(example("python").join(file)).arg(keys).env("PYTHONPATH", packages),
        tempfile::tempdir().unwrap(),
    )
}

fn node(keys: &str) -> App {
    let packages = apps::node("assertion-node", &["express@5.3.0", "jose@6.2.18"]);
    // A module finds its libraries beside itself.
    let dir = tempfile::tempdir().unwrap();
    for file in ["octroi.mjs", "app.mjs"] {
        fs::copy(example("node").join(file), dir.path().join(file)).unwrap();
    }
    std::os::unix::fs::symlink(packages.join("node_modules"), dir.path().join("node_modules")).unwrap();
    App::start(Command::new("node").arg(dir.path().join("app.mjs")).arg(keys), dir)
}

/// Asks the app itself, as somebody who comes past octroi.
fn past(app: &App, assertion: Option<&str>) -> u16 {
    let mut command = Command::new("curl");
    command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
    if let Some(assertion) = assertion {
        command.arg("-H").arg(format!("Octroi-Assertion: {assertion}"));
    }
    let output = command.arg(format!("http://127.0.0.1:{}/me", app.port)).output().unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn now() -> UnixTime {
    UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

fn assertions(pem: &str, issuer: &str) -> Assertions {
    Assertions::new(vec![AssertionKey::from_pkcs8(&der(pem)).unwrap()], issuer)
}

/// What must hold of every app.
fn holds(start: impl Fn(&str) -> App) {
    // The app is told where the keys are, and octroi where the app is.
    let silent = Upstream::start();
    let mut octroi_ = Octroi::start(&octroi(silent.addr.port()));
    let app = start(&format!("http://{}/.well-known/jwks.json", octroi_.addr("metrics")));
    octroi_.reload(&octroi(app.port));
    let octroi = octroi_;
    let bearer = octroi.ok(&[
        "session", "mint", "--tenant", "acme", "--user", "u_1", "--role", "editor", "--role", "admin",
        "--bearer",
    ]);
    let ask = |path: &str| {
        octroi.curl("acme.test", path).header(&format!("Authorization: Bearer {}", bearer.trim())).get()
    };

    let told = ask("/me");
    let body: Value = serde_json::from_str(&told.body).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let session = body["session"].as_str().unwrap();
    assert_eq!(session.len(), 16);
    let id = told.field("octroi-request-id").unwrap();
    assert_eq!(
        body,
        json!({"tenant": "acme", "user": "u_1", "roles": ["admin", "editor"], "session": session, "request": id})
    );
    assert_eq!(octroi.curl("acme.test", "/public/hello").get().status, 200);

    // Past octroi, with its own key: only a whole, fresh assertion for this app is believed.
    let pem = fs::read_to_string(octroi.path().join("assertion.pem")).unwrap();
    let ours = assertions(&pem, "octroi");
    let statement = Statement {
        audience: "app",
        user: "u_1",
        tenant: "acme",
        realm: "acme",
        roles: &["admin"],
        session: "0123456789abcdef",
        auth_time: now(),
        request_id: "01K0",
    };
    let good = ours.sign(&statement, now()).unwrap();
    assert_eq!(past(&app, Some(&good)), 200);
    assert_eq!(past(&app, None), 401);
    let refused = |what: &str, assertion: &str| assert_eq!(past(&app, Some(assertion)), 401, "{what}");
    refused("another audience", &ours.sign(&Statement { audience: "other", ..statement }, now()).unwrap());
    refused("another issuer", &assertions(&pem, "somebody").sign(&statement, now()).unwrap());
    refused("expired", &ours.sign(&statement, now().minus(Duration::from_secs(66))).unwrap());
    refused("from the future", &ours.sign(&statement, now().plus(Duration::from_secs(300))).unwrap());
    refused("garbage", "garbage");
    refused("two of them", &format!("{good}, {good}"));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = |text: &str, from: &str, to: &str| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        URL_SAFE_NO_PAD.encode(text.replace(from, to))
    };
    refused("another user", &format!("{header}.{}.{signature}", other(payload, "u_1", "u_2")));
    refused("another algorithm", &format!("{}.{payload}.{signature}", other(header, "EdDSA", "none")));
    refused("no signature", &format!("{}.{payload}.", other(header, "EdDSA", "none")));
    refused(
        "another type",
        &format!("{}.{payload}.{signature}", other(header, "octroi-assertion+jwt", "JWT")),
    );
    refused(
        "another key's name",
        &format!("{}.{payload}.{signature}", other(header, "\"kid\":\"", "\"kid\":\"x")),
    );

    // Signed well, and otherwise not what it must be.
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let kid = ours.keys()[0].kid().to_owned();
    let typ = Some("octroi-assertion+jwt".to_owned());
    let signed = |header: Header, claims: &Value| {
        encode(&header, claims, &EncodingKey::from_ed_der(&der(&pem))).unwrap()
    };
    let header = Header { alg: Algorithm::EdDSA, kid: Some(kid.clone()), typ, ..Header::default() };
    assert_eq!(past(&app, Some(&signed(header.clone(), &claims))), 200);
    refused("another type", &signed(Header { typ: Some("JWT".into()), ..header.clone() }, &claims));
    for missing in ["exp", "aud", "iss", "sub", "tenant"] {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(missing);
        refused(missing, &signed(header.clone(), &claims));
    }
    // The public key as a shared secret (CVE-2015-9235).
    let set: Value = serde_json::from_str(&ours.key_set()).unwrap();
    let public = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap()).unwrap();
    let confused = Header { alg: Algorithm::HS256, ..header };
    refused("a shared secret", &encode(&confused, &claims, &EncodingKey::from_secret(&public)).unwrap());
    // Somebody else's key.
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    refused("somebody else's key", &assertions(&stranger, "octroi").sign(&statement, now()).unwrap());

    // Whatever was shown, what comes through octroi is believed as before.
    assert_eq!(ask("/me").status, 200);
    drop(octroi);
    // The keys are kept: the app goes on without octroi's listener.
    assert_eq!(past(&app, Some(&ours.sign(&statement, now()).unwrap())), 200);
    // An app that never got them believes nobody, and says whose fault that is.
    let alone = start("http://127.0.0.1:9/.well-known/jwks.json");
    assert_eq!(past(&alone, Some(&good)), 503);
}

#[test]
#[ignore = "make full: installs Express and jose"]
fn express_believes_assertions() {
    holds(node);
}

#[test]
#[ignore = "make full: installs Flask and PyJWT"]
fn flask_believes_assertions() {
    holds(|keys| python("flask_app.py", keys));
}

#[test]
#[ignore = "make full: installs Django and PyJWT"]
fn django_believes_assertions() {
    holds(|keys| python("django_app.py", keys));
}
