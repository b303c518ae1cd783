//! What the checks of a path do with its text: decode, split, merge and compare segments.

use std::borrow::Cow;

/// Returns what precedes a `?` or `#`: software that forwards a decoded path makes a query of the rest
/// (`proxy_pass http://app$uri`).
pub(super) fn before_query(text: &str) -> &str {
    memchr::memchr2(b'?', b'#', text.as_bytes()).and_then(|at| text.get(..at)).unwrap_or(text)
}

/// Says whether a text has a character that Windows converts to ASCII on the way to a code page.
pub(super) fn is_wide(text: &str) -> bool {
    let mut characters = memchr::memchr2_iter(WIDE[0], WIDE[1], text.as_bytes())
        .filter_map(|at| text.get(at..)?.chars().next());
    characters.any(|character| narrow(character) != character)
}

/// Replaces full-width characters as Windows does on the way to a code page ("best fit"), and as NFKC does; a
/// backslash becomes the slash that it is there.
pub(super) fn narrowed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, wide)) =
        memchr::memchr2(WIDE[0], WIDE[1], rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(before);
        let mut characters = wide.chars();
        out.extend(characters.next().map(narrow));
        rest = characters.as_str();
    }
    out.push_str(rest);
    out
}

/// The first octets in UTF-8 of the characters that [`narrow`] knows; no other octet of a character equals
/// one of them.
const WIDE: [u8; 2] = [0xe2, 0xef];

fn narrow(character: char) -> char {
    match character {
        '\u{ff3c}' | '\u{2216}' | '\u{fe68}' | '\u{2044}' | '\u{2215}' => '/',
        '\u{2024}' | '\u{fe52}' => '.',
        '\u{fe54}' => ';',
        '\u{ff01}'..='\u{ff5e}' => {
            u32::from(character).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(character)
        }
        _ => character,
    }
}

/// What happens to `%2F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    /// It stays an escape, as [`super::Path::matching`] writes it.
    Kept,
    /// It is a slash like any other.
    Decoded,
}

/// Decodes every escape once. No rule can name what is neither an escape nor UTF-8.
pub(super) fn decoded(text: &str, slash: Slash) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((plain, escape)) = next_escape(rest) {
        bytes.extend_from_slice(plain);
        let octet = match escape {
            [_, high, low, ..] => octet(*high, *low),
            _ => None,
        };
        match octet {
            Some(b'/') if slash == Slash::Kept => bytes.extend_from_slice(b"%2F"),
            Some(octet) => bytes.push(octet),
            None => bytes.push(b'%'),
        }
        rest = escape.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest);
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Says whether a text has an escape.
pub(super) fn has_escape(text: &str) -> bool {
    escapes(text.as_bytes()).next().is_some()
}

/// Says whether a text contains what no path may: a backslash, or a NUL, which ends a string in C.
pub(super) fn hides(text: &str) -> bool {
    memchr::memchr2(b'\\', 0, text.as_bytes()).is_some()
}

pub(super) fn has_encoded_slash(text: &str) -> bool {
    escapes(text.as_bytes()).any(|octet| octet == b'/')
}

/// Returns the octet of each escape.
pub(super) fn escapes(text: &[u8]) -> impl Iterator<Item = u8> {
    memchr::memchr_iter(b'%', text).filter_map(|at| match text.get(at..) {
        Some([_, high, low, ..]) => octet(*high, *low),
        _ => None,
    })
}

/// Splits before the first `%`. Where there are many, each is near, and a vectorised search would cost more.
pub(super) fn next_escape(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.iter().position(|&byte| byte == b'%').and_then(|at| text.split_at_checked(at))
}

/// Returns the octet of two hexadecimal digits.
pub(super) fn octet(high: u8, low: u8) -> Option<u8> {
    digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low)
}

/// Returns the value of a hexadecimal digit.
pub(super) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a' - 10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A' - 10)),
        _ => None,
    }
}

/// Says whether a path has a segment that a file system or router would resolve. Windows ignores blanks
/// behind it, and old Spring ignores all blanks.
pub(super) fn is_climbing(text: &str) -> bool {
    // Most texts have no segment that begins this way.
    let begins =
        |at: usize| text.get(at.saturating_add(1)..).filter(|segment| segment.starts_with(['.', ' ']));
    memchr::memchr(b'.', text.as_bytes()).is_some()
        && memchr::memchr_iter(b'/', text.as_bytes())
            .filter_map(begins)
            .any(|segment| is_dots(segment.split('/').next().unwrap_or_default()))
}

/// Says whether a segment is `.` or `..`, with or without blanks around it.
pub(super) fn is_dots(segment: &str) -> bool {
    matches!(segment.trim_matches(' '), "." | "..")
}

/// Removes the parameters of each segment.
pub(super) fn stripped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((kept, after)) = rest.split_once(';') {
        out.push_str(kept);
        rest = after.find('/').and_then(|at| after.get(at..)).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Removes the parameters of the last segment.
pub(super) fn last_stripped(text: &str) -> &str {
    let last = text.rfind('/').unwrap_or(0);
    let end = text
        .get(last..)
        .and_then(|segment| segment.find(';'))
        .map_or(text.len(), |at| last.saturating_add(at));
    text.get(..end).unwrap_or(text)
}

/// Merges `//` into `/`.
pub(super) fn merged(text: &str) -> Cow<'_, str> {
    if !text.contains("//") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive('/') {
        if piece != "/" || !out.ends_with('/') {
            out.push_str(piece);
        }
    }
    Cow::Owned(out)
}
