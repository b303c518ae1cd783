//! Sessions of apps: what nobody signed never opens, and what the app signed becomes claims within their bounds, whatever it says.

use std::{path::Path, time::Duration};

use aws_lc_rs::hmac;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use octroi::{
    model::Secret,
    session::foreign::{
        Algorithm, ClaimPath, Codec, Derivation, Digest, Django, Express, Itsdangerous, Jwt, MacKey, Mapping,
        Presented, SigningKey, Style, VerifyKey,
    },
};

use super::input::Input;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const SALT: &[u8] = b"salt";

/// Judges one input: its first byte picks the format, its second whether the rest is presented as it is, or signed first.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (codec, is_signed) = (codec(input.byte()), input.byte().is_multiple_of(2));
    if !is_signed {
        let text = String::from_utf8_lossy(input.0);
        let (text, signature) = text.split_once('\n').unwrap_or((&text, ""));
        assert!(codec.open(Presented { text, signature: Some(signature) }).is_err(), "nobody signed it");
        return;
    }
    let (text, signature) = signed(&codec, input.0);
    let Ok(authentic) = codec.open(Presented { text: &text, signature: signature.as_deref() }) else {
        return;
    };
    let mapping = Mapping {
        user: ClaimPath::named("user"),
        roles: Some(ClaimPath(["a".into(), "roles".into()].into())),
        tenant: Some(ClaimPath::named("tenant")),
        auth_time: Some(ClaimPath::named("at")),
        session: None,
        max_age: Some(Duration::from_secs(3600)),
    };
    for mapping in [mapping.clone(), Mapping { tenant: None, auth_time: None, ..mapping }] {
        let Ok(Some(claims)) = mapping.claims(codec.format(), &authentic, &"lobby".parse().expect("a name"))
        else {
            continue;
        };
        assert!(claims.absolute_end <= claims.issued.plus(Duration::from_secs(3600)));
        assert!(claims.not_before >= claims.auth_time);
        assert!(claims.roles.len() <= 32 && claims.roles.iter().all(|role| (1..=64).contains(&role.len())));
    }
}

fn codec(byte: u8) -> Codec {
    let shared = || Secret::new(SECRET.to_vec());
    fn keys<K>(key: K) -> Vec<SigningKey<K>> {
        vec![SigningKey { id: "k".into(), tenants: None, key }]
    }
    let express = |style, digest| {
        Codec::Express(Express {
            cookie: "c".into(),
            style,
            keys: keys(MacKey::new(digest, shared())),
            required: Box::default(),
        })
    };
    match byte % 5 {
        0 => {
            let key = VerifyKey::shared(Algorithm::Hs256, shared()).expect("32 bytes");
            Codec::Jwt(Jwt {
                keys: keys(key),
                sets: Vec::new(),
                issuer: None,
                audience: Box::default(),
                without_exp: true,
            })
        }
        1 => Codec::Itsdangerous(Itsdangerous {
            keys: keys(Itsdangerous::key(SECRET, SALT, Digest::Sha1, Derivation::Hmac)),
        }),
        2 => Codec::Django(Django { keys: keys(Django::key(SECRET, SALT, Digest::Sha256)) }),
        3 => express(Style::CookieSession, Digest::Sha1),
        _ => express(Style::SignedJson, Digest::Sha256),
    }
}

/// Puts the bytes where the format has its payload, and signs them.
fn signed(codec: &Codec, data: &[u8]) -> (String, Option<String>) {
    let mac = |algorithm, key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes()).as_ref().to_vec()
    };
    let sha1 = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
    let payload = URL_SAFE_NO_PAD.encode(data);
    match codec {
        Codec::Jwt(_) => {
            // The first line is the header, if there are two.
            let mut lines = data.splitn(2, |byte| *byte == b'\n');
            let (first, second) = (lines.next().unwrap_or_default(), lines.next());
            let (header, payload) =
                second.map_or((br#"{"alg":"HS256"}"#.as_slice(), first), |second| (first, second));
            let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            let tag = mac(hmac::HMAC_SHA256, SECRET, &text);
            (format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)), None)
        }
        Codec::Itsdangerous(_) => {
            let key = hmac::sign(&hmac::Key::new(sha1, SECRET), SALT);
            let packed = if data.first() == Some(&0x78) { "." } else { "" };
            let text = format!("{packed}{payload}.a0nSAA");
            (format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac(sha1, key.as_ref(), &text))), None)
        }
        Codec::Django(_) => {
            let key =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[SALT, b"signer", SECRET].concat());
            let packed = if data.first() == Some(&0x78) { "." } else { "" };
            let text = format!("{packed}{payload}:1vUmcW");
            (format!("{text}:{}", URL_SAFE_NO_PAD.encode(mac(hmac::HMAC_SHA256, key.as_ref(), &text))), None)
        }
        Codec::Express(express) if express.style == Style::CookieSession => {
            let text = STANDARD.encode(data);
            let tag = mac(sha1, SECRET, &format!("c={text}"));
            (text, Some(URL_SAFE_NO_PAD.encode(tag)))
        }
        Codec::Express(_) => {
            let text = format!("j:{}", String::from_utf8_lossy(data));
            let tag = STANDARD_NO_PAD.encode(mac(hmac::HMAC_SHA256, SECRET, &text));
            let all = format!("s:{text}.{tag}");
            (
                percent_encoding::utf8_percent_encode(&all, percent_encoding::NON_ALPHANUMERIC).to_string(),
                None,
            )
        }
    }
}

/// Makes the seeds: payloads that are signed, and every token of the vectors, which are signed with other keys.
pub fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let payloads: [&[u8]; 5] = [
        br#"{"user":"u_1","a":{"roles":["admin","b:c"]},"tenant":"acme","at":1800000000,"iat":1800000000}"#,
        br#"{"user":42,"a":{"roles":"read write"},"tenant":"acme","at":1800000000.5,"exp":1e300,"nbf":-1}"#,
        br#"{"user":{" u":"00112233445566778899aabbccddeeff"},"at":{" d":"Sun, 06 Nov 1994 08:49:37 GMT"},"tenant":"acme"}"#,
        b"{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k\"}\n{\"user\":\"u\",\"aud\":[\"x\"]}",
        // `{}`, packed.
        b"\x78\x9c\xab\xae\x05\x00\x01\x75\x00\xf9",
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for format in 0..5 {
        seeds.extend(payloads.iter().map(|payload| [&[format, 0], *payload].concat()));
    }
    for (format, name) in [(0, "jwt"), (1, "itsdangerous"), (2, "django"), (3, "express"), (4, "express")] {
        let text = std::fs::read_to_string(root.join(format!("tests/vectors/foreign_{name}.json")))
            .expect("the vectors");
        let tokens =
            text.lines().filter_map(|line| line.trim().strip_prefix("\"text\": \"")?.split('"').next());
        seeds.extend(
            tokens
                .filter(|text| text.len() < 500)
                .step_by(4)
                .map(|text| [&[format, 1], text.as_bytes()].concat()),
        );
    }
    assert!(seeds.len() > 60, "the vectors hold tokens");
    seeds
}
