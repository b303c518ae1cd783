//! How an app may read a path that is spelled so that readers differ.
//!
//! A rule that allows `%2F` in a segment compares it as the three characters it is; an app behind it may decode it, and then sees another
//! path, for which another rule was written. So such a path is judged in each form that an app may read (`design.md` 5).

/// How often an app may decode. What is an escape after that is refused before (CWE-174).
const DECODINGS: usize = 2;

/// Returns every form of a path, beside the one it is `asked` as: decoded once or twice, with encoded slashes decoded or kept, with
/// parameters kept or taken off before or after each decoding, with what stands before a decoded `?` or `#` alone, with full-width
/// characters as those that they stand for, and with empty segments merged.
///
/// Parameters of the last segment as they are written (`/login;jsessionid=1`) are always taken off: whoever keeps them has no such page,
/// or one for every name. `%3B` is data (RFC 3986, section 2.2), so it is kept there too.
///
/// Two ways to decode, parameters taken off or not, before and after two decodings: at most 160 forms of what has all of that, each no
/// longer than the path.
pub(super) fn all(raw: &str, asked: &str) -> Vec<String> {
    let mut found = Vec::new();
    let last = last_stripped(raw);
    if last != raw {
        forms(vec![raw.to_owned()], |text| {
            read(&mut found, asked, &stripped(text));
            read(&mut found, asked, &last_stripped(text));
        });
    }
    let mut begun = vec![last];
    add(&mut begun, stripped(raw));
    forms(begun, |text| read(&mut found, asked, text));
    found
}

/// Tells of every text that comes of decoding.
fn forms(mut layer: Vec<String>, mut tell: impl FnMut(&str)) {
    for _ in 0..DECODINGS {
        let mut next = Vec::new();
        for text in &layer {
            for slash in [Slash::Kept, Slash::Decoded] {
                let decoded = decoded(text, slash);
                add(&mut next, stripped(&decoded));
                add(&mut next, decoded);
            }
        }
        for text in &next {
            tell(text);
        }
        layer = next;
    }
}

/// Notes what becomes of a decoded text.
fn read(found: &mut Vec<String>, asked: &str, text: &str) {
    let mut note = |text: &str| {
        for text in [text, before_query(text)] {
            let read = merged(text);
            if read != asked {
                add(found, read);
            }
        }
    };
    note(text);
    if is_wide(text) {
        let narrow = narrowed(text);
        note(&stripped(&narrow));
        note(&narrow);
    }
}

/// Returns what stands before a `?` or `#`: who forwards a path that it decoded makes a query of the rest (`proxy_pass http://app$uri`).
pub(super) fn before_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// Says whether a text has a character that Windows makes an ASCII one of on the way to a code page.
pub(super) fn is_wide(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(|character| narrow(character) != character)
}

/// Reads full-width characters as Windows does on the way to a code page of its own ("best fit"), and NFKC: a backslash as the slash that
/// it is there.
pub(super) fn narrowed(text: &str) -> String {
    text.chars().map(narrow).collect()
}

fn narrow(character: char) -> char {
    match character {
        '\u{ff3c}' | '\u{2216}' | '\u{fe68}' | '\u{2044}' | '\u{2215}' => '/',
        '\u{2024}' | '\u{fe52}' => '.',
        '\u{fe54}' => ';',
        '\u{ff01}'..='\u{ff5e}' => u32::from(character).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(character),
        _ => character,
    }
}

/// What becomes of `%2F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    /// It stays an escape, as [`super::Path::matching`] writes it.
    Kept,
    /// It is a slash like any other.
    Decoded,
}

/// Decodes every escape once. What is no escape, or no UTF-8, no rule can name.
pub(super) fn decoded(text: &str, slash: Slash) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, after @ ..] if byte == b'%' => digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        rest = escaped.map_or(after, |(_, after)| after);
        match escaped {
            Some((b'/', _)) if slash == Slash::Kept => bytes.extend_from_slice(b"%2F"),
            Some((octet, _)) => bytes.push(octet),
            None => bytes.push(byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Says whether a text has an escape.
pub(super) fn has_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| matches!(three, [b'%', high, low] if digit(*high).is_some() && digit(*low).is_some()))
}

/// The value of a hexadecimal digit.
pub(super) fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Takes the parameters off each segment.
fn stripped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, segment) in text.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        out.push_str(segment.split(';').next().unwrap_or_default());
    }
    out
}

/// Takes the parameters off the last segment.
fn last_stripped(text: &str) -> String {
    let last = text.rfind('/').unwrap_or(0);
    let end = text.get(last..).and_then(|segment| segment.find(';')).map_or(text.len(), |at| last.saturating_add(at));
    text.get(..end).unwrap_or(text).to_owned()
}

/// Reads `//` as `/`.
pub(super) fn merged(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if !(character == '/' && out.ends_with('/')) {
            out.push(character);
        }
    }
    out
}

fn add(all: &mut Vec<String>, text: String) {
    if !all.contains(&text) {
        all.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Vec<String> {
        let asked = merged(&stripped(&decoded(raw, Slash::Kept)));
        all(raw, &asked)
    }

    #[test]
    fn a_slash_is_decoded_or_kept() {
        assert_eq!(read("/ops%2Fusers"), ["/ops/users"]);
        assert_eq!(read("/ops%2f%2Fusers"), ["/ops/users"]);
        assert_eq!(read("/ops/users"), [""; 0]);
        assert_eq!(read("/%C3%A9t%C3%A9"), [""; 0]);
    }

    #[test]
    fn parameters_are_taken_off_before_or_after() {
        assert_eq!(read("/a;x%2Fb"), ["/a/b", "/a;x/b"]);
        assert_eq!(read("/a;x"), [""; 0]);
        assert_eq!(read("/a/b;x"), [""; 0]);
    }

    #[test]
    fn parameters_are_kept_but_those_of_the_last_segment() {
        assert_eq!(read("/a;x/b"), ["/a;x/b"]);
        assert_eq!(read("/a;x/b;y"), ["/a;x/b"]);
        assert_eq!(read("/a%3Bx/b"), ["/a;x/b"]);
        assert_eq!(read("/a%3Bx"), ["/a;x"]);
        assert_eq!(read("/a%3Bx;y"), ["/a;x"]);
        assert_eq!(read("/a;/"), ["/a;/"]);
    }

    #[test]
    fn what_stands_before_a_question_mark_or_hash_is_read_alone() {
        assert_eq!(read("/admin%3Fx"), ["/admin"]);
        assert_eq!(read("/admin%23x/y%3fz"), ["/admin"]);
        assert_eq!(read("/admin%253Fx"), ["/admin?x", "/admin"]);
        assert_eq!(read("/admin%2Fx%3Fy"), ["/admin%2Fx", "/admin/x?y", "/admin/x"]);
    }

    #[test]
    fn full_width_characters_are_read_as_those_they_stand_for() {
        assert_eq!(read("/%EF%BD%81dmin"), ["/admin"]);
        assert_eq!(read("/a%EF%BC%8Fb%E2%81%84c"), ["/a/b/c"]);
        assert_eq!(read("/%E3%81%82"), [""; 0], "hiragana");
    }

    #[test]
    fn what_is_decoded_twice_is_read_twice() {
        assert_eq!(read("/%2561dmin"), ["/admin"]);
        assert_eq!(read("/ops%252Fusers"), ["/ops/users"]);
        assert_eq!(read("/a%252Fb%2Fc"), ["/a%2Fb/c", "/a/b/c"]);
        assert_eq!(read("/a%253Bx%252Fb"), ["/a", "/a;x%2Fb", "/a/b", "/a;x/b"]);
    }

    #[test]
    fn there_are_never_many() {
        let busy = "/a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f".repeat(20);
        let all = format!("{busy}%EF%BC%9B/a%EF%BC%8F;x%2F{busy}%3F%253F/;y%2F%3B%252F");

        for path in [&busy, &all] {
            assert!(read(path).len() <= 160, "{}", read(path).len());
        }
    }
}
