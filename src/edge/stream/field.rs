//! Which octets the parts of an HTTP/2 head may have: pure rules (RFC 9113, sections 8.2 and 8.3).
//!
//! They refuse whatever the library's types refuse, so that nothing that they let through ends more than its own request.

use crate::model::Malformed;

/// Longer targets than this the library does not take.
pub(super) const MOST_PATH: usize = 65_534;
/// The longest scheme that the library takes.
const MOST_SCHEME: usize = 64;
/// The longest name of a field that the library takes.
const MOST_NAME: usize = 65_535;

/// Judges the name of a field: a token in lower case (RFC 9113, section 8.2.1).
pub(super) fn is_name(name: &[u8]) -> bool {
    let fits = |octet: u8| is_token(octet) && !octet.is_ascii_uppercase();
    !name.is_empty() && name.len() <= MOST_NAME && name.iter().copied().all(fits)
}

/// RFC 9110, section 5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// Judges the value of a field: octets from 0x80 on pass, and so does TAB, but neither that nor a space at its ends.
pub(super) fn value(value: &[u8]) -> Result<(), Malformed> {
    // No early end: without one the compiler looks at many octets at once.
    let controls = value.iter().fold(false, |seen, &octet| seen | (octet < 0x20 && octet != b'\t') | (octet == 0x7f));
    if controls {
        return Err(if has_line(value) { Malformed::FieldLine } else { Malformed::FieldOctet });
    }
    let is_blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) { Err(Malformed::FieldBlank) } else { Ok(()) }
}

/// Says whether there is an octet of those that end a line or a text somewhere: no page can set one (Fetch, section 2.2.2).
pub(super) fn has_line(value: &[u8]) -> bool {
    value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'))
}

/// Says whether something is a method (RFC 9110, section 9.1).
pub(super) fn is_method(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().copied().all(is_token)
}

/// Says whether something is a scheme (RFC 3986, section 3.1).
pub(super) fn is_scheme(value: &[u8]) -> bool {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.');
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.len() <= MOST_SCHEME && value.iter().all(fits)
}

/// Judges `:path`. What stands behind a `#` is nobody's.
pub(super) fn path(value: &[u8]) -> Result<(), Malformed> {
    if value == b"*" {
        return Ok(());
    }
    if value.first() != Some(&b'/') {
        return Err(Malformed::PathForm);
    }
    if value.len() > MOST_PATH {
        return Err(Malformed::PathTooLong);
    }
    let told = value.split(|&octet| octet == b'#').next().unwrap_or_default();
    let mut in_query = false;
    for &octet in told {
        if !is_of_path(octet, in_query) {
            return Err(Malformed::PathOctet);
        }
        in_query |= octet == b'?';
    }
    // The library reads all of it as text, and ends the connection where it is none.
    if !value.is_ascii() && std::str::from_utf8(value).is_err() { Err(Malformed::PathOctet) } else { Ok(()) }
}

/// Says what the library takes: in a path more than the standard, for JSON that somebody wrote into one. Our own check comes behind it.
pub(super) fn is_of_path(octet: u8, in_query: bool) -> bool {
    match octet {
        0..=0x20 | b'<' | b'>' | 0x7f => false,
        b'"' | b'`' => in_query == (octet == b'`'),
        _ => true,
    }
}

/// Says whether something may be an authority; whose it is, and whether it is a host, others say.
pub(super) fn is_authority(value: &[u8]) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    // Nearly all of them, and they cost nothing.
    let (host, port) = match value.iter().position(|&octet| octet == b':') {
        Some(at) => (value.get(..at).unwrap_or_default(), value.get(at + 1..).unwrap_or_default()),
        None => (value, &b""[..]),
    };
    if !host.is_empty() && host.iter().copied().all(is_plain) && port.iter().all(u8::is_ascii_digit) {
        return true;
    }
    !value.contains(&b'@') && http::uri::Authority::try_from(value).is_ok()
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderName, HeaderValue, Method,
        uri::{Authority, PathAndQuery, Scheme},
    };

    use super::*;

    #[test]
    fn whatever_the_library_s_types_refuse_is_refused() {
        for octet in 0..=u8::MAX {
            for text in [vec![octet], vec![b'a', octet], vec![b'a', octet, b'a']] {
                if is_name(&text) {
                    assert!(HeaderName::from_lowercase(&text).is_ok(), "{text:?}");
                }
                assert_eq!(is_method(&text), Method::from_bytes(&text).is_ok(), "{text:?}");
                if is_scheme(&text) {
                    assert!(Scheme::try_from(&text[..]).is_ok(), "{text:?}");
                }
                if is_authority(&text) {
                    assert!(Authority::try_from(&text[..]).is_ok(), "{text:?}");
                }
            }
            let inside = [b'a', octet, b'a'];
            assert_eq!(value(&inside).is_ok(), HeaderValue::from_bytes(&inside).is_ok(), "{octet:x}");
            for target in [vec![b'/', octet], vec![b'/', octet, b'a'], vec![b'/', b'?', octet], vec![b'/', b'?', b'a', octet, b'a']] {
                assert_eq!(path(&target).is_ok(), PathAndQuery::try_from(&target[..]).is_ok(), "{target:?}");
            }
        }
        for (target, fits) in
            [(&b"*"[..], true), (b"**", false), (b"", false), (b"?a", false), (b"a", false), (b"/\xc3\xa9", true), (b"/\xc3", false)]
        {
            assert_eq!(path(target).is_ok(), fits, "{target:?}");
        }
        assert_eq!((path(b"/a#\xc3\xa9"), path(b"/a#\xff")), (Ok(()), Err(Malformed::PathOctet)));
        let long = |octets: usize| [b"/", &vec![b'a'; octets - 1][..]].concat();
        assert_eq!((path(&long(MOST_PATH)), path(&long(MOST_PATH + 1))), (Ok(()), Err(Malformed::PathTooLong)));
        assert!(PathAndQuery::try_from(&long(MOST_PATH)[..]).is_ok());
        assert!(HeaderName::from_lowercase(&[b'a'; MOST_NAME]).is_ok());
    }

    #[test]
    fn a_value_has_no_control_character_and_no_blank_at_its_ends() {
        for fine in [&b""[..], b"a", b"a b", b"a\tb", b"\x80\xff", b"\xc3\xa9"] {
            assert_eq!(value(fine), Ok(()), "{fine:?}");
        }
        for (bad, why) in [
            (&b"a\x01b"[..], Malformed::FieldOctet),
            (b"a\x7f", Malformed::FieldOctet),
            (b"a\0b", Malformed::FieldLine),
            (b"a\r\nb", Malformed::FieldLine),
            (b" a", Malformed::FieldBlank),
            (b"a\t", Malformed::FieldBlank),
            (b" ", Malformed::FieldBlank),
        ] {
            assert_eq!(value(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn an_authority_names_nobody_s_user() {
        for fine in ["acme.test", "acme.test:8443", "a_b.test", "[2001:db8::1]:443", "192.0.2.1"] {
            assert!(is_authority(fine.as_bytes()), "{fine}");
        }
        for bad in ["", "user@acme.test", "a%2eb", "acme.test/x", "a b", "a\"b", "[::1", "\u{e9}"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
