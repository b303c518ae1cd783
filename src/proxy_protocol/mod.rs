//! The PROXY protocol, versions 1 and 2: who connected to the balancer in front of us.
//!
//! A pure parser: bytes in, a source address out. It is strict, because what it says decides whose ranges apply: anything but the
//! exact form is malformed (`security.md` 2.1). The specification is "The PROXY protocol, versions 1 & 2" (HAProxy Technologies, 2020).

mod v1;
mod v2;

use std::net::SocketAddr;

/// The most bytes that a header may have: a version 2 header with 520 bytes of addresses and TLVs. Real senders stay far below.
pub const MAX_HEADER_BYTES: usize = 536;

/// What the bytes are that a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header; more bytes decide.
    NeedMore,
    /// A whole header.
    Header {
        /// Who connected; none where the sender speaks for itself (`LOCAL`, `UNKNOWN`) or names no internet address.
        source: Option<SocketAddr>,
        /// How long the header is; what follows belongs to the connection.
        bytes: usize,
    },
    /// No header, or one that breaks the specification: why.
    Malformed(&'static str),
}

/// Reads the header at the beginning of a connection.
///
/// Total: never panics, whatever the bytes; looks at no more than [`MAX_HEADER_BYTES`].
pub fn parse(input: &[u8]) -> Parsed {
    let parsed = if begins(input, v2::SIGNATURE) {
        v2::parse(input)
    } else if begins(input, v1::SIGNATURE) {
        v1::parse(input)
    } else {
        Parsed::Malformed("no PROXY header")
    };
    match parsed {
        Parsed::NeedMore if input.len() >= MAX_HEADER_BYTES => Parsed::Malformed("the header is too long"),
        Parsed::NeedMore | Parsed::Header { .. } | Parsed::Malformed(_) => parsed,
    }
}

/// Says whether the bytes are what only a PROXY header begins with, for listeners that expect none.
pub fn looks_like_header(input: &[u8]) -> bool {
    [v1::SIGNATURE, v2::SIGNATURE].iter().any(|signature| input.len() >= 5 && begins(input, signature))
}

/// Says whether the input begins with the signature, as far as it goes.
fn begins(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_header_is_known_from_the_first_byte_that_differs() {
        assert_eq!(parse(b""), Parsed::NeedMore);
        assert_eq!(parse(b"PRO"), Parsed::NeedMore);
        assert_eq!(parse(b"\r\n\r\n\0"), Parsed::NeedMore);
        assert_eq!(parse(b"PRI * HTTP/2.0"), Parsed::Malformed("no PROXY header"));
        assert_eq!(parse(b"GET / HTTP/1.1"), Parsed::Malformed("no PROXY header"));
        assert_eq!(parse(&[22, 3, 1]), Parsed::Malformed("no PROXY header"));
    }

    #[test]
    fn an_unexpected_header_is_recognised() {
        assert!(looks_like_header(b"PROXY TCP4 "));
        assert!(looks_like_header(b"\r\n\r\n\0\r\nQUIT\n!"));
        assert!(!looks_like_header(b"POST / HTTP/1.1"));
        assert!(!looks_like_header(b"PRO"));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_no_header_is_longer_than_the_input(input in prop::collection::vec(any::<u8>(), 0..600), version in 0..3) {
            let mut bytes = match version {
                0 => v1::SIGNATURE.to_vec(),
                1 => v2::SIGNATURE.to_vec(),
                _ => Vec::new(),
            };
            bytes.extend_from_slice(&input);
            if let Parsed::Header { bytes: length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len() && length <= MAX_HEADER_BYTES);
            }
        }

        #[test]
        fn every_beginning_of_a_header_asks_for_more(cut in 0_usize..100) {
            let header = b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n";
            let cut = cut.min(header.len());
            let expected = if cut == header.len() {
                Parsed::Header { source: Some("[2001:db8::1]:1234".parse().unwrap()), bytes: header.len() }
            } else {
                Parsed::NeedMore
            };
            prop_assert_eq!(parse(&header[..cut]), expected);
        }
    }

    /// The corpus of another implementation, where it is at hand: `OCTROI_SUITES`, or the folder beside the project.
    #[test]
    fn the_corpus_is_judged_as_its_authors_judge_it() {
        let folder = std::env::var_os("OCTROI_SUITES").map_or_else(|| "../shared/suites".into(), std::path::PathBuf::from);
        let Ok(text) = std::fs::read_to_string(folder.join("data/proxy_protocol_requests.json")) else { return };
        let corpus: serde_json::Value = serde_json::from_str(&text).unwrap();

        for case in corpus["cases"].as_array().unwrap() {
            use base64::Engine;
            let raw = base64::engine::general_purpose::STANDARD.decode(case["raw_b64"].as_str().unwrap()).unwrap();
            // There the header is optional on such a listener; here never (`security.md`, row 32).
            let without_header = raw.starts_with(b"GET ");
            let accepted = matches!(parse(&raw), Parsed::Header { .. });
            assert_eq!(accepted, case["expect"] == "accept" && !without_header, "{}", case["id"]);
        }
    }
}
