//! Bytes that other implementations must agree on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

#[path = "../examples/open_token.rs"]
#[allow(dead_code, reason = "the example's main is not the test's")]
mod open_token;

use std::{net::IpAddr, path::Path};

use octroi::{
    model::{ClientIp, Secret, SessionId, TenantName, UnixTime},
    session::{Bound, Claims, KeyRing, MasterKey, OpenError, Opened, Purpose, Roles, binding},
};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/token_v1.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    let text = value.as_str().unwrap();
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The ring of the vectors, with the key that is asked for in front.
fn ring(vectors: &Value, minting: u64) -> KeyRing {
    let keys = vectors["master_keys"].as_array().unwrap();
    let mut keys: Vec<MasterKey> = keys
        .iter()
        .map(|key| {
            let id = u16::try_from(key["id"].as_u64().unwrap()).unwrap();
            MasterKey { id, secret: Secret::new(bytes(&key["secret"])), open_only: false }
        })
        .collect();
    keys.sort_by_key(|key| u64::from(key.id) != minting);
    KeyRing::new(keys)
}

fn purpose(value: &Value) -> Purpose {
    [Purpose::Cookie, Purpose::Bearer]
        .into_iter()
        .find(|purpose| purpose.as_str() == value.as_str().unwrap())
        .unwrap()
}

fn name(value: &Value) -> TenantName {
    value.as_str().unwrap().parse().unwrap()
}

fn claims(value: &Value) -> Claims {
    let time = |field: &str| UnixTime::from_millis(value[field].as_u64().unwrap());
    let number = |field: &str| u32::try_from(value[field].as_u64().unwrap()).unwrap();
    Claims {
        id: SessionId::new(bytes(&value["session"])),
        tenant: name(&value["tenant"]),
        user: value["user"].as_str().unwrap().parse().unwrap(),
        roles: Roles::try_new(value["roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap()))
            .unwrap(),
        issued: time("issued"),
        auth_time: time("auth_time"),
        not_before: time("not_before"),
        idle_end: time("idle_end"),
        absolute_end: time("absolute_end"),
        generation: number("generation"),
        epoch: number("epoch"),
        binding: (!value["binding"].is_null()).then(|| bytes(&value["binding"])),
    }
}

#[test]
fn tokens_are_sealed_to_the_byte() {
    let vectors = vectors();
    for case in vectors["seal"].as_array().unwrap() {
        let ring = ring(&vectors, case["key"].as_u64().unwrap());

        let token = ring.seal(
            &claims(&case["claims"]),
            purpose(&case["purpose"]),
            &name(&case["realm"]),
            bytes(&case["nonce"]),
        );

        assert_eq!(token.unwrap(), case["token"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn tokens_open_to_their_claims() {
    let vectors = vectors();
    let ring = ring(&vectors, 7);
    for case in vectors["seal"].as_array().unwrap() {
        let opened =
            ring.open(case["token"].as_str().unwrap(), purpose(&case["purpose"]), &name(&case["realm"]));

        let key = u16::try_from(case["key"].as_u64().unwrap()).unwrap();
        assert_eq!(opened, Ok(Opened { claims: claims(&case["claims"]), key }), "{}", case["name"]);
    }
}

#[test]
fn bad_tokens_are_refused_for_the_right_reason() {
    let vectors = vectors();
    let ring = ring(&vectors, 7);
    for case in vectors["refuse"].as_array().unwrap() {
        let opened =
            ring.open(case["token"].as_str().unwrap(), purpose(&case["purpose"]), &name(&case["realm"]));

        let error = match opened.unwrap_err() {
            OpenError::Syntax => "syntax",
            OpenError::Version(_) => "version",
            OpenError::Key(_) => "key",
            OpenError::Tag => "tag",
            OpenError::Claims => "claims",
        };
        assert_eq!(error, case["error"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn session_hashes_agree() {
    let vectors = vectors();
    for case in vectors["session_hash"].as_array().unwrap() {
        let ring = ring(&vectors, case["minting"].as_u64().unwrap());

        assert_eq!(
            ring.session_hash(&SessionId::new(bytes(&case["session"]))),
            case["hash"].as_str().unwrap()
        );
    }
}

#[test]
fn bindings_agree() {
    for case in vectors()["binding"].as_array().unwrap() {
        let client = case["client"].as_str().map(|addr| ClientIp::from(addr.parse::<IpAddr>().unwrap()));
        let user_agent = case["user_agent"].as_str().map(str::as_bytes);

        let certificate = case["certificate"].as_str().map(|_| bytes::<32>(&case["certificate"]));
        let certificate = certificate.as_ref().map(|fingerprint| &fingerprint[..]);

        assert_eq!(
            binding(Bound { client, user_agent, certificate }),
            Some(bytes(&case["binding"])),
            "{case}"
        );
    }
}

/// Another program, which knows nothing but the document, agrees in both directions.
#[test]
fn the_written_format_is_all_one_needs() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/token_v1.py");
    let run = |vectors: &Path| {
        let output = std::process::Command::new("python3").arg(&script).arg(vectors).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let text = std::fs::read_to_string(script.with_extension("json")).unwrap();
    let (code, told, trouble) = run(&script.with_extension("json"));
    assert_eq!(code, Some(0), "{told}{trouble}");

    // A script that agrees with anything proves nothing.
    let dir = tempfile::tempdir().unwrap();
    let altered = dir.path().join("altered.json");
    std::fs::write(
        &altered,
        text.replacen("\"u_812\"", "\"u_813\"", 1).replacen("\"error\": \"tag\"", "\"error\": \"claims\"", 1),
    )
    .unwrap();
    let (code, told, _) = run(&altered);
    assert_eq!(
        (code, told.contains("seal documented"), told.contains("is not 'claims'")),
        (Some(1), true, true),
        "{told}"
    );
}

#[test]
fn the_example_reads_a_token() {
    let vectors = vectors();
    let key = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        bytes::<32>(&vectors["master_keys"][0]["secret"]),
    );
    let ring = open_token::ring(&format!("{key}\n"), 7).unwrap();
    let token = vectors["seal"][0]["token"].as_str().unwrap();
    let read = |purpose, realm, now| {
        open_token::read(&ring, token, purpose, realm, UnixTime::from_secs(now))
            .map_err(|error| error.to_string())
    };

    let told = "tenant acme\nuser u_812\nroles admin editor\n";
    assert_eq!(read("cookie", "lobby", 1_800_000_100), Ok(format!("{told}within its clocks\n")));
    assert_eq!(read("cookie", "lobby", 1_800_001_860), Ok(format!("{told}outside its clocks\n")));
    assert_eq!(read("bearer", "lobby", 1_800_000_100), Err("the session token does not open".to_owned()));
    assert_eq!(read("cookie", "acme", 1_800_000_100), Err("the session token does not open".to_owned()));
    assert!(open_token::ring("AAAA", 7).is_err());
}

#[test]
fn the_document_shows_the_first_vector() {
    let document =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session/mod.rs")).unwrap();
    let shown: String = document
        .split("```text")
        .last()
        .unwrap()
        .split("```")
        .next()
        .unwrap()
        .replace("//!", "")
        .split_whitespace()
        .collect();

    assert_eq!(shown, vectors()["seal"][0]["token"].as_str().unwrap());
}
