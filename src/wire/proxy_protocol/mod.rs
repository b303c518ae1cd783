//! The PROXY protocol, versions 1 and 2: the address of the client that connected to the load balancer in
//! front of us.
//!
//! The parser is strict, because the address decides which ranges apply: anything but the exact form is
//! malformed. The specification is "The PROXY protocol, versions 1 & 2" (HAProxy Technologies, 2020).

mod parsed;
mod v1;
mod v2;

pub use parsed::{MAX_HEADER_BYTES, Parsed};

/// Reads the header at the beginning of a connection.
///
/// Total. Looks at no more than [`MAX_HEADER_BYTES`].
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

/// Says whether the bytes can only be a PROXY header, for listeners that expect none.
pub fn looks_like_header(input: &[u8]) -> bool {
    [v1::SIGNATURE, v2::SIGNATURE].iter().any(|signature| input.len() >= 5 && begins(input, signature))
}

/// Says whether the input agrees with the signature as far as it goes.
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

    /// `tests/third_party.rs` runs the corpus of another implementation.
    #[test]
    fn a_header_ends_where_the_request_begins() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n";
        let six = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"[..],
            &[0x20; 16],
            b"\x04\xd2\x01\xbb",
        ]
        .concat();
        let headers: [(&[u8], Option<&str>); 6] = [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", Some("192.0.2.1:1234")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", Some("[2001:db8::1]:1234")),
            (b"PROXY UNKNOWN\r\n", None),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\x01\xbb",
                Some("192.0.2.1:1234"),
            ),
            (&six, Some("[2001:db8::1]:1234")),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
        ];
        for (header, source) in headers {
            let source = source.map(|source| source.parse().unwrap());

            assert_eq!(
                parse(&[header, REQUEST].concat()),
                Parsed::Header { source, bytes: header.len() },
                "{}",
                header.escape_ascii()
            );
        }
        for header in [
            &b""[..],
            b"PROXY TCP4 192.0.2.1 192.0.2...\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65iii 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 65536\r\n",
            b"PROXY TCP4 client 192.0.2.2 1234 443\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1234 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1234 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\n",
        ] {
            assert!(
                matches!(parse(&[header, REQUEST].concat()), Parsed::Malformed(_)),
                "{}",
                header.escape_ascii()
            );
        }
    }
}
