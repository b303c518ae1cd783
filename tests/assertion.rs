//! The signed statement of who asks, end to end: what apps get, and the keys that verify it.

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

use std::{os::unix::fs::PermissionsExt, process::Command};

use harness::{Octroi, Upstream, client::Answer, upstream::Got};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

fn config(upstream: &Upstream, assertion: &str) -> String {
    let app = upstream.addr;
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
{assertion}
upstreams:
  app: {{servers: [{{address: "{app}"}}]}}
  www: {{servers: [{{address: "{app}"}}], audience: "https://www.example.test"}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  globex: {{upstream: app}}
  lobby: {{hosts: [www.test], upstream: www, routes: app, members: [globex]}}
"#
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, r#"  assertion: {key: "${file:assertion.pem}"}"#));
    (octroi, upstream)
}

fn sign_in(octroi: &Octroi, upstream: &Upstream, host: &str, grant: &str) -> String {
    let grant = percent_encoding::utf8_percent_encode(grant, percent_encoding::NON_ALPHANUMERIC).to_string();
    let answer =
        octroi.curl(host, &format!("/login?h-Octroi-Session-Grant={grant}")).args(&["-X", "POST"]).get();
    upstream.take();
    answer.session()
}

/// Asks the metrics listener for the keys.
fn published(octroi: &Octroi) -> Answer {
    let url = format!("http://{}/.well-known/jwks.json", octroi.addr("metrics"));
    let output = Command::new("curl").args(["-sS", "-i", &url]).output().unwrap();
    harness::client::parse(&String::from_utf8(output.stdout).unwrap(), 0)
}

/// Verifies as an app does.
fn verified(
    octroi: &Octroi,
    got: &Got,
    audience: &str,
    issuer: &str,
) -> Result<Value, jsonwebtoken::errors::Error> {
    let token = got.field("octroi-assertion").unwrap_or_else(|| panic!("no assertion: {got:?}"));
    let keys: JwkSet = serde_json::from_str(&published(octroi).body).unwrap();
    let header = decode_header(token)?;
    let key = keys.find(header.kid.as_deref().unwrap()).expect("a published key");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation).map(|data| data.claims)
}

#[test]
fn what_is_forwarded_with_a_session_says_so_under_a_signature() {
    let (octroi, upstream) = started();
    let cookie = sign_in(&octroi, &upstream, "acme.test", r#"user="u_1", roles=("editor" "admin")"#);

    // Our own way to the app, and the HTTP library's.
    for args in [&["-X", "GET"][..], &["-X", "POST", "-d", "body"]] {
        let answer = octroi
            .curl("acme.test", "/x")
            .cookie(&cookie)
            .header("Octroi-Assertion: forged")
            .args(args)
            .get();
        let got = upstream.only();
        let claims = verified(&octroi, &got, "app", "octroi").unwrap();

        let (issued, signed_in) = (claims["iat"].as_u64().unwrap(), claims["auth_time"].as_u64().unwrap());
        assert_eq!(
            claims,
            json!({
                "iss": "octroi", "aud": "app", "sub": "u_1", "tenant": "acme", "realm": "acme", "roles": ["admin", "editor"],
                "sid": got.field("octroi-session").unwrap(), "jti": answer.field("octroi-request-id").unwrap(),
                "auth_time": signed_in, "iat": issued, "exp": issued + 60,
            })
        );
        assert_eq!(got.field("octroi-auth-time"), Some(&*signed_in.to_string()));
        assert_eq!(
            decode_header(got.field("octroi-assertion").unwrap()).unwrap().typ.as_deref(),
            Some("octroi-assertion+jwt")
        );
    }
}

#[test]
fn each_upstream_gets_its_own() {
    let (octroi, upstream) = started();
    let cookie = sign_in(&octroi, &upstream, "www.test", r#"user="u_7", tenant="globex""#);

    octroi.curl("www.test", "/x").cookie(&cookie).get();
    let got = upstream.only();

    assert!(verified(&octroi, &got, "app", "octroi").is_err());
    let claims = verified(&octroi, &got, "https://www.example.test", "octroi").unwrap();
    assert_eq!(
        (&claims["tenant"], &claims["realm"], &claims["roles"]),
        (&json!("globex"), &json!("lobby"), &json!([]))
    );
}

#[test]
fn without_a_session_nobody_says_who_asks() {
    let (octroi, upstream) = started();

    for forged in [
        "Octroi-Assertion: forged",
        "octroi_assertion: forged",
        "X-Octroi-Assertion: forged",
        "octroi-session: forged",
    ] {
        assert_eq!(octroi.curl("acme.test", "/public/x").header(forged).get().status, 200);
        let got = upstream.only();
        assert!(
            !got.fields.iter().any(|(_, value)| value == "forged") && !got.has("octroi-assertion"),
            "{got:?}"
        );
    }
    let cookie = "__Host-octroi=oct1.AQAHoKGio6SlpqeoqaqrDSTvXAYiV5wseo1l_HAtMz8STwGSCbl36Hk5JLtJ14PZGTTf";
    assert_eq!(octroi.curl("acme.test", "/public/x").cookie(cookie).get().status, 200);
    assert!(!upstream.only().has("octroi-assertion"));
}

#[test]
fn a_key_is_published_before_it_signs_and_after() {
    let (mut octroi, upstream) = started();
    let cookie = sign_in(&octroi, &upstream, "acme.test", r#"user="u_1""#);
    let kids = |octroi: &Octroi| -> Vec<String> {
        let set: Value = serde_json::from_str(&published(octroi).body).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let signed_with = |octroi: &Octroi| {
        octroi.curl("acme.test", "/x").cookie(&cookie).get();
        let got = upstream.only();
        verified(octroi, &got, "app", "https://gate.test")
            .or_else(|_| verified(octroi, &got, "app", "octroi"))
            .unwrap();
        decode_header(got.field("octroi-assertion").unwrap()).unwrap().kid.unwrap()
    };
    let old = signed_with(&octroi);
    assert_eq!(kids(&octroi), vec![old.clone()]);
    let reload = |octroi: &mut Octroi, key: &str| {
        octroi.configure(&config(
            &upstream,
            &format!("  assertion: {{key: {key}, issuer: \"https://gate.test\"}}"),
        ));
        octroi.ok(&["keys", "init"]);
        octroi.ok(&["reload"]);
    };

    reload(&mut octroi, r#"["${file:assertion.pem}", "${file:assertion-2.pem}"]"#);
    let published = kids(&octroi);
    assert_eq!((published.len(), &published[0], signed_with(&octroi)), (2, &old, old.clone()));
    let new = published[1].clone();
    reload(&mut octroi, r#"["${file:assertion-2.pem}", "${file:assertion.pem}"]"#);
    assert_eq!((kids(&octroi), signed_with(&octroi)), (vec![new.clone(), old], new.clone()));
    reload(&mut octroi, r#""${file:assertion-2.pem}""#);
    assert_eq!((kids(&octroi), signed_with(&octroi)), (vec![new.clone()], new));
}

#[test]
fn keys_are_made_by_command_and_only_their_public_parts_are_told() {
    let (octroi, _upstream) = started();
    let file = octroi.path().join("assertion.pem");

    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // OpenSSL takes it for what it is.
    let shown =
        Command::new("openssl").args(["pkey", "-noout", "-text_pub", "-in"]).arg(&file).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().starts_with("ED25519 Public-Key:"));
    let answer = published(&octroi);
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/jwk-set+json")));
    assert_eq!(answer.field("cache-control"), Some("public, max-age=300"));
    let set: Value = serde_json::from_str(&answer.body).unwrap();
    let key = set["keys"][0].as_object().unwrap();
    assert_eq!(key.keys().map(String::as_str).collect::<Vec<_>>(), ["alg", "crv", "kid", "kty", "use", "x"]);
}

#[test]
fn without_the_key_in_the_configuration_nothing_is_signed_or_published() {
    let upstream = Upstream::start();
    let octroi =
        Octroi::start(&config(&upstream, "").replace(r#", audience: "https://www.example.test""#, ""));
    let cookie = sign_in(&octroi, &upstream, "acme.test", r#"user="u_1""#);

    octroi.curl("acme.test", "/x").cookie(&cookie).header("Octroi-Assertion: forged").get();

    let got = upstream.only();
    assert_eq!((got.field("octroi-user"), got.has("octroi-assertion")), (Some("u_1"), false));
    assert_eq!(published(&octroi).status, 404);
}
