//! Keys that an issuer publishes: fetched over TLS, rotated, withdrawn, and kept while the issuer is away.

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
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harness::wait;
use harness::{Octroi, Upstream, client, client::Answer, eventually, pki::openssl, raw_tls};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::PublicKeyData;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

/// How the issuer answers on a path.
#[derive(Clone)]
enum Says {
    /// With this status, these fields and this body.
    Answer(&'static str, String, String),
    /// With a byte a second.
    Trickle,
    /// Not at all: the connection is closed.
    Nothing,
}

fn says(body: &str) -> Says {
    Says::Answer("200 OK", String::new(), body.to_owned())
}

/// A server that publishes keys, over TLS for 127.0.0.1 and in clear text.
struct Issuer {
    ca: String,
    tls: u16,
    plain: u16,
    pages: Arc<Mutex<BTreeMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    fn start() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &rcgen::Issuer::new(params, ca_key)).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap(),
                )
                .unwrap();
        let (pages, asked) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(Mutex::new(Vec::new())));
        let serve = |config: Option<Arc<ServerConfig>>| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let (pages, asked) = (Arc::clone(&pages), Arc::clone(&asked));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (config, pages, asked) = (config.clone(), Arc::clone(&pages), Arc::clone(&asked));
                    std::thread::spawn(move || {
                        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                        match config {
                            None => answer(stream, &pages, &asked),
                            Some(config) => answer(
                                StreamOwned::new(ServerConnection::new(config).unwrap(), stream),
                                &pages,
                                &asked,
                            ),
                        }
                    });
                }
            });
            port
        };
        Self {
            ca: ca.pem(),
            tls: serve(Some(Arc::new(config))),
            plain: serve(None),
            pages: Arc::clone(&pages),
            asked: Arc::clone(&asked),
        }
    }

    fn publish(&self, path: &str, says: Says) {
        self.pages.lock().unwrap().insert(path.to_owned(), says);
    }

    /// Returns how often a path was asked for.
    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

fn answer(mut stream: impl Read + Write, pages: &Mutex<BTreeMap<String, Says>>, asked: &Mutex<Vec<String>>) {
    let mut path = String::new();
    {
        let mut reader = BufReader::with_capacity(1, &mut stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
            if path.is_empty() {
                line.split_whitespace().nth(1).unwrap_or("").clone_into(&mut path);
            }
            line.clear();
        }
    }
    asked.lock().unwrap().push(path.clone());
    let says = pages.lock().unwrap().get(&path).cloned().unwrap_or(Says::Nothing);
    match says {
        Says::Answer(status, fields, body) => {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}Connection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.flush());
            let _ = stream.read(&mut [0; 1]);
        }
        Says::Trickle => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
            while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
                wait::slow_peer(Duration::from_secs(1));
            }
        }
        Says::Nothing => {}
    }
}

/// A key of an issuer.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    signs: EncodingKey,
    jwk: Value,
}

impl Key {
    fn ed25519(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": URL_SAFE_NO_PAD.encode(pair.der_bytes())});
        Self { kid, algorithm: Algorithm::EdDSA, signs: EncodingKey::from_ed_der(&pair.serialize_der()), jwk }
    }

    /// As large issuers publish them: without `alg`.
    fn rsa(kid: &'static str, bits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        openssl(dir.path(), &["genrsa", "-traditional", "-out", "key.pem", bits]);
        openssl(dir.path(), &["rsa", "-in", "key.pem", "-traditional", "-outform", "DER", "-out", "key.der"]);
        let modulus = openssl(dir.path(), &["rsa", "-in", "key.pem", "-noout", "-modulus"]);
        let hex = modulus.trim().strip_prefix("Modulus=").unwrap();
        let n: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let jwk =
            json!({"kty": "RSA", "use": "sig", "kid": kid, "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"});
        let der = fs::read(dir.path().join("key.der")).unwrap();
        Self { kid, algorithm: Algorithm::RS256, signs: EncodingKey::from_rsa_der(&der), jwk }
    }

    fn token(&self, header: Header) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({"sub": "u_1", "tenant": "acme", "iss": "https://idp.test", "iat": now - 10, "exp": now + 600});
        encode(&header, &claims, &self.signs).unwrap()
    }

    fn signed(&self) -> String {
        self.token(Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) })
    }
}

fn set(keys: &[&Key]) -> Says {
    says(&json!({"keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()}).to_string())
}

fn config(upstream: &Upstream, keys: &str) -> String {
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
  formats: [octroi, jwt]
  jwt:
    issuer: https://idp.test
    keys:
{keys}
    claims: {{tenant: tenant}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn source(issuer: &Issuer, path: &str) -> String {
    format!("      - {{id: idp, jwks: {{url: \"https://127.0.0.1:{}{path}\", ca: idp-ca.pem}}}}", issuer.tls)
}

/// Writes the configuration and the CA, and starts.
fn started(issuer: &Issuer, upstream: &Upstream, keys: &str) -> Octroi {
    // Commands before the start read the CA too.
    let dir_less = config(upstream, "      - {id: none, algorithm: HS256, secret: \"${file:session.key}\"}");
    let mut octroi = Octroi::prepared(&dir_less);
    fs::write(octroi.path().join("idp-ca.pem"), &issuer.ca).unwrap();
    octroi.configure(&config(upstream, keys));
    octroi.run();
    octroi
}

fn ask(octroi: &Octroi, token: &str) -> (u16, String) {
    let answer = octroi.curl("acme.test", "/x").header(&format!("Authorization: Bearer {token}")).get();
    (answer.status, octroi.reason(&answer))
}

fn unknown() -> (u16, String) {
    (401, "session_key_unknown".to_owned())
}

fn passes() -> (u16, String) {
    (200, "-".to_owned())
}

fn ready(octroi: &Octroi) -> Answer {
    let url = format!("http://{}/readyz", octroi.addr("metrics"));
    let output = Command::new("curl").args(["-sS", "-i", &url]).output().unwrap();
    client::parse(&String::from_utf8(output.stdout).unwrap(), 0)
}

fn status(octroi: &Octroi) -> BTreeMap<String, Value> {
    let told = octroi.command(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&told.stdout).unwrap();
    // Tokens of an issuer without a key are refused: somebody must act.
    let without = status["key_sets"].as_array().unwrap().iter().any(|set| set["keys"] == 0);
    assert_eq!(told.status.code(), Some(i32::from(without)), "{status}");
    status["key_sets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| (set["set"].as_str().unwrap().to_owned(), set.clone()))
        .collect()
}

#[test]
fn keys_are_fetched_and_a_new_one_is_asked_for_once_a_minute() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let (old, rsa, new) = (Key::ed25519("old"), Key::rsa("rsa", "2048"), Key::ed25519("new"));
    issuer.publish("/jwks", set(&[&old, &rsa]));
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));

    assert_eq!((ask(&octroi, &old.signed()), ask(&octroi, &rsa.signed())), (passes(), passes()));
    // A token that names no key means none of those.
    assert_eq!(ask(&octroi, &old.token(Header::new(Algorithm::EdDSA))), (401, "session_invalid".to_owned()));
    assert_eq!(issuer.asked("/jwks"), 1);
    assert_eq!(octroi.metric(r#"octroi_key_set_keys{set="idp"}"#), 2.0);

    // The issuer changes its key: who comes first is refused, and asks for it.
    issuer.publish("/jwks", set(&[&new]));
    assert_eq!(ask(&octroi, &new.signed()), unknown());
    eventually("the new key is there", || (ask(&octroi, &new.signed()) == passes()).then_some(()));
    assert_eq!(ask(&octroi, &old.signed()), unknown());
    assert_eq!(issuer.asked("/jwks"), 2);

    // Strangers with random names: the issuer hears nothing of it before the minute is over.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (octroi, new) = (&octroi, &new);
            scope.spawn(move || {
                let ca = octroi.path().join("certs/ca.pem");
                let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca, &[b"http/1.1"]);
                for number in 0..250 {
                    let token = new.token(Header {
                        kid: Some(format!("{thread}-{number}")),
                        ..Header::new(Algorithm::EdDSA)
                    });
                    let head = format!(
                        "GET /x HTTP/1.1\r\nHost: acme.test\r\nAuthorization: Bearer {token}\r\n\r\n"
                    );
                    assert_eq!(client::ask(&mut stream, &head).status, 401);
                }
            });
        }
    });
    assert!(octroi.metric(r#"octroi_session_checks_total{result="session_key_unknown"}"#) >= 1002.0);
    assert_eq!((issuer.asked("/jwks"), ask(&octroi, &new.signed())), (2, passes()));
    assert_eq!(octroi.metric(r#"octroi_key_set_fetches_total{result="success",set="idp"}"#), 2.0);
}

#[test]
fn strangers_cause_one_fetch_however_many_they_are() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let key = Key::ed25519("a");
    issuer.publish("/jwks", set(&[&key]));
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));

    let ca = octroi.path().join("certs/ca.pem");
    let mut stream = raw_tls(octroi.addr("public"), "acme.test", &ca, &[b"http/1.1"]);
    for number in 0..1000 {
        let token = key.token(Header { kid: Some(number.to_string()), ..Header::new(Algorithm::EdDSA) });
        // On public routes too, where such a session is none.
        let path = if number % 2 == 0 { "/x" } else { "/public/x" };
        let head = format!("GET {path} HTTP/1.1\r\nHost: acme.test\r\nAuthorization: Bearer {token}\r\n\r\n");
        assert_eq!(client::ask(&mut stream, &head).status, if number % 2 == 0 { 401 } else { 200 });
    }

    eventually("the one fetch", || (issuer.asked("/jwks") == 2).then_some(()));
    assert_eq!(issuer.asked("/jwks"), 2);
}

#[test]
fn nothing_in_a_token_is_asked() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let (ours, theirs) = (Key::ed25519("a"), Key::ed25519("a"));
    issuer.publish("/jwks", set(&[&ours]));
    issuer.publish("/theirs", set(&[&theirs]));
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));

    let url = format!("https://127.0.0.1:{}/theirs", issuer.tls);
    let header = |kid: &str| Header {
        kid: Some(kid.into()),
        jku: Some(url.clone()),
        x5u: Some(url.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    let own = Header { jwk: serde_json::from_value(theirs.jwk.clone()).ok(), ..header("a") };
    assert!(own.jwk.is_some());

    assert_eq!(ask(&octroi, &theirs.token(header("a"))), (401, "session_invalid".to_owned()));
    assert_eq!(ask(&octroi, &theirs.token(own)), (401, "session_invalid".to_owned()));
    assert_eq!(ask(&octroi, &theirs.token(header(&url))), unknown());
    assert_eq!(ask(&octroi, &ours.token(header("a"))), passes());
    assert_eq!(issuer.asked("/theirs"), 0);
}

#[test]
fn without_keys_tokens_are_refused_and_readiness_says_so() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let key = Key::ed25519("a");
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    let answer = ready(&octroi);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "not ready: the keys of `idp` were not fetched yet\n")
    );

    // Others are served meanwhile.
    let bearer = octroi.ok(&["session", "mint", "--tenant", "acme", "--user", "u_1", "--bearer"]);
    assert_eq!(ask(&octroi, bearer.trim()), passes());
    eventually("the failure is told", || status(&octroi)["idp"]["error"].as_str().map(str::to_owned));
    assert_eq!(status(&octroi)["idp"]["keys"], 0);
    assert!(octroi.metric(r#"octroi_key_set_fetches_total{result="unreachable",set="idp"}"#) >= 1.0);
    assert_eq!(octroi.metric(r#"octroi_key_set_fetched_timestamp_seconds{set="idp"}"#), 0.0);

    issuer.publish("/jwks", set(&[&key]));
    // Whoever comes asks for the keys; a schedule does so too.
    eventually("the key is there", || (ask(&octroi, &key.signed()) == passes()).then_some(()));
    assert_eq!(ready(&octroi).status, 200);
    assert_eq!(status(&octroi)["idp"]["error"], Value::Null);
    assert!(octroi.metric(r#"octroi_key_set_fetched_timestamp_seconds{set="idp"}"#) > 1e9);
    assert!(octroi.ok(&["status"]).contains("keys        idp: 1 in force, 0 ignored, fetched "));
}

#[test]
fn the_last_good_set_stays_while_the_issuer_is_away() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let (key, other) = (Key::ed25519("a"), Key::ed25519("b"));
    issuer.publish("/jwks", set(&[&key]));
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));

    issuer.publish("/jwks", says("<html>"));
    assert_eq!(ask(&octroi, &other.signed()), unknown());
    let error =
        eventually("the failure is told", || status(&octroi)["idp"]["error"].as_str().map(str::to_owned));

    assert_eq!(error, "it is no JSON Web Key Set");
    assert_eq!((ask(&octroi, &key.signed()), ask(&octroi, &other.signed())), (passes(), unknown()));
    assert_eq!((status(&octroi)["idp"]["keys"].clone(), ready(&octroi).status), (json!(1), 200));
    assert_eq!(octroi.metric(r#"octroi_key_set_fetches_total{result="unusable",set="idp"}"#), 1.0);
}

#[test]
fn what_is_no_set_of_keys_is_refused_by_name() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let (key, short) = (Key::ed25519("a"), Key::rsa("short", "1024"));
    let whole = |keys: Value| says(&json!({ "keys": keys }).to_string());
    let mut private = key.jwk.clone();
    private["d"] = json!("AAAA");
    let elsewhere = format!("Location: https://127.0.0.1:{}/elsewhere\r\n", issuer.tls);
    issuer.publish("/elsewhere", set(&[&key]));
    for (name, says) in [
        ("good", set(&[&key])),
        ("redirect", Says::Answer("302 Found", elsewhere, String::new())),
        ("error", Says::Answer("500 Internal Server Error", String::new(), String::new())),
        ("garbage", says("{\"keys\": [")),
        ("large", says(&" ".repeat(300 << 10))),
        ("private", whole(json!([private]))),
        ("shared", whole(json!([key.jwk, {"kty": "oct", "kid": "b", "k": "AAAA"}]))),
        ("short", whole(json!([short.jwk]))),
        ("twice", whole(json!([key.jwk, key.jwk]))),
        ("slow", Says::Trickle),
    ] {
        issuer.publish(&format!("/{name}"), says);
    }
    let source =
        |id: &str, url: &str| format!("      - {{id: {id}, jwks: {{url: \"{url}\", ca: idp-ca.pem}}}}\n");
    let mut keys: String =
        ["redirect", "error", "garbage", "large", "private", "shared", "short", "twice", "slow"]
            .iter()
            .map(|name| source(name, &format!("https://127.0.0.1:{}/{name}", issuer.tls)))
            .collect();
    keys.push_str(&source("plain", &format!("http://127.0.0.1:{}/good", issuer.plain)));
    keys.push_str(&format!(
        "      - {{id: stranger, jwks: {{url: \"https://127.0.0.1:{}/good\"}}}}\n",
        issuer.tls
    ));
    keys.push_str(&source("name", &format!("https://localhost:{}/good", issuer.tls)));

    let octroi = started(&issuer, &upstream, &keys);

    let told = wait::eventually_within(Duration::from_secs(40), "each set has a result", || {
        let told = status(&octroi);
        told.values().all(|set| set["error"].is_string() || set["fetched"].is_string()).then_some(told)
    });
    let error = |set: &str| told[set]["error"].as_str().unwrap_or("-");
    assert_eq!(error("redirect"), "the answer is 302 Found; a redirect is not followed");
    assert_eq!(error("error"), "the answer is 500 Internal Server Error; a redirect is not followed");
    assert_eq!(error("garbage"), "it is no JSON Web Key Set");
    assert_eq!(error("large"), "the answer has more than 262144 bytes");
    assert_eq!(
        error("private"),
        "it holds a private key, or a shared secret: whoever reads it signs as the issuer does"
    );
    assert_eq!(error("shared"), error("private"));
    assert_eq!(error("short"), "none of its 1 keys verifies with an allowed algorithm");
    assert_eq!(error("twice"), "two keys have the `kid` `a`");
    assert_eq!(error("slow"), "the exchange took longer than 10 s");
    assert!(error("stranger").starts_with("TLS with `127.0.0.1` failed: "), "{}", error("stranger"));
    assert!(error("name").starts_with("TLS with `localhost` failed: "), "{}", error("name"));
    assert_eq!((error("plain"), &told["plain"]["keys"]), ("-", &json!(1)));
    assert_eq!(issuer.asked("/elsewhere"), 0);
    assert_eq!(ask(&octroi, &key.signed()), passes());
}

#[test]
fn a_reload_and_a_successor_have_the_keys_before_they_serve() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let (one, two) = (Key::ed25519("one"), Key::ed25519("two"));
    issuer.publish("/one", set(&[&one]));
    issuer.publish("/two", set(&[&two]));
    let mut octroi = started(&issuer, &upstream, &source(&issuer, "/one"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));

    octroi.reload(&config(&upstream, &source(&issuer, "/two")));
    assert_eq!((ask(&octroi, &two.signed()), ask(&octroi, &one.signed())), (passes(), unknown()));
    octroi.ok(&["upgrade"]);
    octroi.succeed();
    assert_eq!(ask(&octroi, &two.signed()), passes());
}

#[test]
fn a_command_beside_it_fetches_nothing() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let key = Key::ed25519("a");
    issuer.publish("/jwks", set(&[&key]));
    let octroi = started(&issuer, &upstream, &source(&issuer, "/jwks"));
    eventually("it is ready", || (ready(&octroi).status == 200).then_some(()));
    let token = octroi.path().join("token");
    fs::write(&token, key.signed()).unwrap();

    assert!(octroi.command(&["check"]).status.success());
    let bearer = format!("@{}", Path::new(&token).display());
    let explained = octroi.command(&["explain", "--bearer", &bearer, "https://acme.test/x"]);

    let inspect = |more: &[&str]| octroi.command(&[&["session", "inspect", &key.signed()], more].concat());
    let refused = String::from_utf8(inspect(&[]).stderr).unwrap();
    assert!(refused.contains("this command fetches nothing: name a file"), "{refused}");
    let file = octroi.path().join("set.json");
    fs::write(&file, json!({"keys": [key.jwk]}).to_string()).unwrap();
    let told = inspect(&["--jwks", file.to_str().unwrap(), "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["user"], &told["key"]), (&json!("u_1"), &json!("a")));
    let text = String::from_utf8(explained.stdout).unwrap();
    assert!(
        text.contains("the set `idp` was not fetched") && text.contains("[session_key_unknown]"),
        "{text}"
    );
    assert_eq!(issuer.asked("/jwks"), 1);
}
