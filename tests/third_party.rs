//! What others have collected, read as its authors mean it. The corpora are not part of the project: `make suites` runs these tests, and
//! each of them fails where its corpus is missing. Cases of our own stand beside the code, and in `hygiene.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::{env, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use octroi::{
    checks::hygiene::lint,
    session::{
        cookie::{self, Found, Name, Names},
        grant::{self, GrantError},
    },
    wire::proxy_protocol::{self, Parsed},
};
use serde_json::Value;
use support::LIMITS;

/// Reads one corpus from $SUITES, or from the folder beside the project.
fn corpus(name: &str) -> Value {
    let suites = env::var("SUITES").unwrap_or_else(|_| "../shared/suites".to_owned());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(suites).join("data").join(name);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the corpus {} is missing: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// What they call a defect of the head must not pass.
#[test]
#[ignore = "a third party's corpus: make suites"]
fn third_party_smuggling_gadgets_do_not_pass() {
    let corpus = corpus("smuggling_gadgets.json");
    let mut passed = Vec::new();
    for gadget in corpus["gadgets"].as_array().unwrap() {
        let lines = decoded(&gadget["gadget_b64"]);
        let version = gadget["version"].as_str().unwrap_or("HTTP/1.1");
        let text = [
            b"POST /p ",
            version.as_bytes(),
            b"\r\n",
            &lines,
            b"\r\nHost: acme.test\r\nContent-Length: 5\r\n\r\n",
        ]
        .concat();
        if lint(&text, &LIMITS).is_ok() {
            passed.push(String::from_utf8_lossy(&lines).into_owned());
        }
    }
    // What passes has no field that any reader takes for Transfer-Encoding.
    passed
        .retain(|lines| lines.to_ascii_lowercase().lines().any(|line| line.starts_with("transfer-encoding")));
    assert_eq!(passed, [""; 0]);
}

/// A key that stands twice is found, and only such a one is.
#[test]
#[ignore = "a third party's corpus: make suites"]
fn third_party_dictionaries_are_read_as_they_are() {
    for file in ["dictionary.json", "param-dict.json", "examples.json"] {
        let cases = corpus(&format!("structured-fields/{file}"));
        for case in cases.as_array().unwrap().iter().filter(|case| case["header_type"] == "dictionary") {
            let name = case["name"].as_str().unwrap();
            let mut lines: Vec<&[u8]> = case["raw"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line.as_str().unwrap().as_bytes())
                .collect();
            let joined = lines.join(b", ".as_slice());
            let Ok(dictionary) = sfv::Parser::parse_dictionary(&joined) else {
                assert!(
                    case["must_fail"] == true || case["can_fail"] == true || joined.contains(&b'@'),
                    "{name}"
                );
                continue;
            };
            let is_twice = matches!(grant::parse(&lines), Err(GrantError::Duplicate));
            assert_eq!(is_twice, name.contains("duplicate"), "{name}");
            if !dictionary.is_empty() {
                lines.push(b"added=1, added=1");
                assert!(matches!(grant::parse(&lines), Err(GrantError::Duplicate)), "{name}");
            }
        }
    }
}

/// What a browser sends reads as the same pairs, and ours is found among them.
#[test]
#[ignore = "a third party's corpus: make suites"]
fn third_party_cookies_read_as_browsers_meant_them() {
    const OURS: &str = "__Host-octroi";
    const TOKEN: &str = "oct1.abcdefghijklmnopqrst";
    let found = |line: &str| match cookie::find(std::iter::once(line.as_bytes()), &Name::new(OURS)) {
        Found::None => None,
        Found::One(token) => Some(token == TOKEN.as_bytes()),
        other @ (Found::Ambiguous | Found::Malformed | Found::TooLarge) => panic!("{line}: {other:?}"),
    };
    let stripped = |line: &str| {
        let stripped = cookie::strip(
            std::iter::once(line.as_bytes()),
            Names { own: OURS, foreign: &[], keep_foreign: false },
        );
        (stripped.rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()), stripped.lookalikes)
    };
    let corpus = corpus("cookies_http_state.json");
    let headers: Vec<&str> = corpus["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|case| case["expected_cookie_header"].as_str())
        .collect();

    assert!(headers.len() > 100);
    for header in headers {
        let with = format!("{header}; {OURS}={TOKEN}");
        let plain = stripped(header);

        assert_eq!((found(header), found(&with)), (None, Some(true)), "{with}");
        assert_eq!(stripped(&with), plain, "{with}");
        if !header.contains('$') {
            assert_eq!(plain.0.unwrap_or_default(), header, "what a browser writes is forwarded as it is");
        }
    }
}

#[test]
#[ignore = "a third party's corpus: make suites"]
fn third_party_proxy_headers_are_judged_as_their_authors_judge_them() {
    for case in corpus("proxy_protocol_requests.json")["cases"].as_array().unwrap() {
        let raw = decoded(&case["raw_b64"]);
        // There the header is optional on such a listener; here never.
        let without_header = raw.starts_with(b"GET ");
        let accepted = matches!(proxy_protocol::parse(&raw), Parsed::Header { .. });
        assert_eq!(accepted, case["expect"] == "accept" && !without_header, "{}", case["id"]);
    }
}
