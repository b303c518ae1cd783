//! Which octets the parts of an HTTP/2 head may contain (RFC 9113, sections 8.2 and 8.3).
//!
//! The rules reject everything that the types of the HTTP library reject, because the library ends a whole
//! connection for it: what passes here can end its own request at most.

use crate::wire::token::is_token;

/// What the standard counts for each field beside its octets (RFC 9113, section 6.5.2, and RFC 7541, section
/// 4.1).
pub const FIELD_OVERHEAD: usize = 32;
/// The longest `:path` that the library accepts.
pub const MAX_PATH: usize = 65_534;
/// The longest scheme that the library accepts.
const MAX_SCHEME: usize = 64;
/// The longest field name that the library accepts.
const MAX_NAME: usize = 65_535;

/// What is wrong with the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFault {
    /// It contains NUL, CR or LF.
    LineBreak,
    /// It contains another control character.
    Control,
    /// It begins or ends with a space or a tab.
    Blank,
}

/// What is wrong with `:path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It is neither `*` nor begins with `/`.
    Form,
    /// It contains a character that no URL has.
    Character,
    /// It is longer than [`MAX_PATH`].
    TooLong,
}

/// What role a field plays in a head, for a caller who only needs to know whether the head is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `:method`, other than CONNECT.
    Method,
    /// `:method` with CONNECT.
    Connect,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// Cookie.
    Cookie,
    /// Host.
    Host,
    /// Content-Length: a number.
    Length,
    /// Any other well-formed field.
    Regular,
    /// Malformed, or not to be passed on unchanged.
    Invalid,
}

/// Classifies a field. The caller checks rules that involve several fields.
pub fn classify(name: &[u8], text: &[u8]) -> FieldKind {
    let or_invalid = |fine: bool, kind: FieldKind| if fine { kind } else { FieldKind::Invalid };
    match name {
        b":method" => or_invalid(
            is_method(text),
            if text == b"CONNECT" { FieldKind::Connect } else { FieldKind::Method },
        ),
        b":scheme" => or_invalid(is_scheme(text), FieldKind::Scheme),
        b":authority" => or_invalid(is_authority(text), FieldKind::Authority),
        b":path" => or_invalid(check_path(text).is_ok(), FieldKind::Path),
        _ if !is_name(name) || check_value(text).is_err() => FieldKind::Invalid,
        b"cookie" => FieldKind::Cookie,
        b"host" => or_invalid(!text.contains(&b'@'), FieldKind::Host),
        b"content-length" => or_invalid(is_length(text), FieldKind::Length),
        b"te" => or_invalid(text == b"trailers", FieldKind::Regular),
        _ => or_invalid(!is_hop_by_hop(name) && name != b"transfer-encoding", FieldKind::Regular),
    }
}

/// Says whether a field is specific to an HTTP/1 connection (RFC 9113, section 8.2.2). The gateway itself
/// handles `http2-settings`, which browsers have been seen to send.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"keep-alive" | b"proxy-connection" | b"upgrade")
}

/// Says whether a value is a Content-Length of at most 18 digits, which always fits into 64 bits.
pub fn is_length(value: &[u8]) -> bool {
    (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// Says whether a value is a field name: a token in lower case (RFC 9113, section 8.2.1).
pub fn is_name(name: &[u8]) -> bool {
    let fits = |octet: u8| is_token(octet) && !octet.is_ascii_uppercase();
    !name.is_empty() && name.len() <= MAX_NAME && name.iter().copied().all(fits)
}

/// Checks the value of a field. Octets from 0x80 on are allowed; so is a tab or a space, except at either
/// end.
pub fn check_value(value: &[u8]) -> Result<(), ValueFault> {
    // No early return: the compiler can vectorise this loop.
    let controls =
        value.iter().fold(false, |seen, &octet| seen | (octet < 0x20 && octet != b'\t') | (octet == 0x7f));
    if controls {
        return Err(if has_line_break(value) { ValueFault::LineBreak } else { ValueFault::Control });
    }
    let is_blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) { Err(ValueFault::Blank) } else { Ok(()) }
}

/// Says whether a value contains NUL, CR or LF, which no web page can set (Fetch, section 2.2.2).
pub fn has_line_break(value: &[u8]) -> bool {
    value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'))
}

/// Says whether a value is a method (RFC 9110, section 9.1).
pub fn is_method(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().copied().all(is_token)
}

/// Says whether a value is a scheme (RFC 3986, section 3.1).
pub fn is_scheme(value: &[u8]) -> bool {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.');
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.len() <= MAX_SCHEME && value.iter().all(fits)
}

/// Checks `:path`. A fragment behind `#` has no meaning here, but the library requires it to be UTF-8 too.
pub fn check_path(value: &[u8]) -> Result<(), PathFault> {
    if value == b"*" {
        return Ok(());
    }
    if value.first() != Some(&b'/') {
        return Err(PathFault::Form);
    }
    if value.len() > MAX_PATH {
        return Err(PathFault::TooLong);
    }
    let without_fragment = value.split(|&octet| octet == b'#').next().unwrap_or_default();
    let mut in_query = false;
    for &octet in without_fragment {
        if !is_path_character(octet, in_query) {
            return Err(PathFault::Character);
        }
        in_query |= octet == b'?';
    }
    // The library decodes all of it as UTF-8 and ends the connection where that fails.
    if !value.is_ascii() && std::str::from_utf8(value).is_err() { Err(PathFault::Character) } else { Ok(()) }
}

/// Says whether the library accepts a character. It accepts more than the standard, for JSON in query
/// strings; our own check of the path follows later.
fn is_path_character(octet: u8, in_query: bool) -> bool {
    match octet {
        0..=0x20 | b'<' | b'>' | 0x7f => false,
        b'"' | b'`' => in_query == (octet == b'`'),
        _ => true,
    }
}

/// Says whether a value has the form of an authority without user information. Whether it is a host that we
/// serve is checked later.
pub fn is_authority(value: &[u8]) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    // Fast path: nearly all of them are a plain host, with a port or without.
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
            assert_eq!(check_value(&inside).is_ok(), HeaderValue::from_bytes(&inside).is_ok(), "{octet:x}");
            for target in [
                vec![b'/', octet],
                vec![b'/', octet, b'a'],
                vec![b'/', b'?', octet],
                vec![b'/', b'?', b'a', octet, b'a'],
            ] {
                assert_eq!(
                    check_path(&target).is_ok(),
                    PathAndQuery::try_from(&target[..]).is_ok(),
                    "{target:?}"
                );
            }
        }
        for (target, fits) in [
            (&b"*"[..], true),
            (b"**", false),
            (b"", false),
            (b"?a", false),
            (b"a", false),
            (b"/\xc3\xa9", true),
            (b"/\xc3", false),
        ] {
            assert_eq!(check_path(target).is_ok(), fits, "{target:?}");
        }
        assert_eq!((check_path(b"/a#\xc3\xa9"), check_path(b"/a#\xff")), (Ok(()), Err(PathFault::Character)));
        let long = |octets: usize| [b"/", &vec![b'a'; octets - 1][..]].concat();
        assert_eq!(
            (check_path(&long(MAX_PATH)), check_path(&long(MAX_PATH + 1))),
            (Ok(()), Err(PathFault::TooLong))
        );
        assert!(PathAndQuery::try_from(&long(MAX_PATH)[..]).is_ok());
        assert!(HeaderName::from_lowercase(&[b'a'; MAX_NAME]).is_ok());
    }

    #[test]
    fn a_value_has_no_control_character_and_no_blank_at_its_ends() {
        for fine in [&b""[..], b"a", b"a b", b"a\tb", b"\x80\xff", b"\xc3\xa9"] {
            assert_eq!(check_value(fine), Ok(()), "{fine:?}");
        }
        for (bad, why) in [
            (&b"a\x01b"[..], ValueFault::Control),
            (b"a\x7f", ValueFault::Control),
            (b"a\0b", ValueFault::LineBreak),
            (b"a\r\nb", ValueFault::LineBreak),
            (b" a", ValueFault::Blank),
            (b"a\t", ValueFault::Blank),
            (b" ", ValueFault::Blank),
        ] {
            assert_eq!(check_value(bad), Err(why), "{bad:?}");
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
