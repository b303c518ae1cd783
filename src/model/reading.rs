//! How an app may read a path that is spelled so that readers differ.
//!
//! A rule that allows `%2F` in a segment compares it as the three characters it is; an app behind it may decode it, and then sees another
//! path, for which another rule was written. So such a path is judged in each form that an app may read (`design.md` 5).

/// How often an app may decode. What is an escape after that is refused before (CWE-174).
const DECODINGS: usize = 2;

/// Returns every form of a path, beside the one it is `asked` as: decoded once or twice, with encoded slashes decoded or kept, with
/// parameters taken off before or after each decoding, and with empty segments merged.
///
/// Two ways to decode, parameters taken off or not, before and after two decodings: at most 40 forms, each no longer than the path.
pub(super) fn all(raw: &str, asked: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut layer = vec![raw.to_owned()];
    add(&mut layer, stripped(raw));
    for _ in 0..DECODINGS {
        let mut next = Vec::new();
        for text in &layer {
            for slash in [Slash::Kept, Slash::Decoded] {
                let decoded = decoded(text, slash);
                add(&mut next, stripped(&decoded));
                add(&mut next, decoded);
            }
        }
        for read in next.iter().map(|text| merged(&stripped(text))).filter(|read| read != asked) {
            add(&mut found, read);
        }
        layer = next;
    }
    found
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
        assert_eq!(read("/a;x%2Fb"), ["/a/b"]);
        assert_eq!(read("/a%3Bx/b"), [""; 0]);
        assert_eq!(read("/a;x/b"), [""; 0]);
    }

    #[test]
    fn what_is_decoded_twice_is_read_twice() {
        assert_eq!(read("/%2561dmin"), ["/admin"]);
        assert_eq!(read("/ops%252Fusers"), ["/ops/users"]);
        assert_eq!(read("/a%252Fb%2Fc"), ["/a%2Fb/c", "/a/b/c"]);
        assert_eq!(read("/a%253Bx%252Fb"), ["/a", "/a/b"]);
    }

    #[test]
    fn there_are_never_many() {
        let busy = "/a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f".repeat(20);

        assert!(read(&busy).len() <= 40, "{}", read(&busy).len());
    }
}
