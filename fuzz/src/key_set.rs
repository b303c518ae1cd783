//! Sets of keys that an issuer publishes: what is read is bounded, asymmetric and of one name each, and fewer algorithms read no more of it.

use std::path::Path;

use octroi::session::foreign::{Algorithm, KeySet, KeySetError, MAX_KEYS_OF_A_SET};

const ALL: [Algorithm; 5] =
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

/// Judges one input as the text of a set.
pub fn run(data: &[u8]) {
    let read = KeySet::parse(data, &ALL);
    assert_eq!(read, KeySet::parse(data, &ALL), "a set is read one way");
    for algorithm in ALL {
        match (&read, KeySet::parse(data, &[algorithm])) {
            (Ok(all), Ok(some)) => assert!(some.len() <= all.len() && some.ignored() >= all.ignored()),
            (Ok(_), Err(KeySetError::Empty(_))) | (Err(KeySetError::Twice(_)), _) => {}
            (Err(one), Err(other)) => assert_eq!(*one, other),
            (one, other) => panic!("{one:?}, and with one algorithm {other:?}"),
        }
    }
    assert_eq!(KeySet::parse(data, &[]).ok(), None, "no algorithm, no key");
    let shared = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
    assert_eq!(KeySet::parse(data, &shared).ok(), None, "no shared secret is read from what is public");
    if let Ok(set) = read {
        assert!((1..=MAX_KEYS_OF_A_SET).contains(&(set.len() + set.ignored())) && !set.is_empty());
    }
}

/// Makes the seeds: the keys of the tokens' vectors, and what is refused in them.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let ed = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let ec = r#"{"kty":"EC","crv":"P-256","kid":"b","key_ops":["verify"],"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    // RFC 7517, appendix A.1.
    let rsa = r#"{"kty":"RSA","kid":"2011-04-29","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#;
    let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes();
    vec![
        set(&[ed, ec, rsa]),
        set(&[rsa]),
        set(&[ed, ed]),
        set(&[&ed.replace("\"kid\"", "\"d\":\"AA\",\"kid\""), ec]),
        set(&[r#"{"kty":"oct","kid":"s","k":"AAAA"}"#]),
        set(&[&ec.replace("verify", "sign"), &ed.replace("sig", "enc")]),
        set(&[]),
        b"<html>".to_vec(),
    ]
}
