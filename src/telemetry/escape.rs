//! Strangers' text as JSON: escaped, cut to length, tokens taken out (`security.md`, section 2.9).

/// What a token begins with.
const TOKEN_PREFIX: &[u8] = b"oct1.";

/// What the sessions of apps begin with, and what stands in the line in their place: base64 of a JSON object (JSON Web Tokens, Flask, Django,
/// cookie-session), of a packed one (Flask, Django), and a signed JSON cookie of Express.
const FOREIGN_PREFIXES: [(&[u8], &str); 5] =
    [(b"eyJ", "eyJ…"), (b".eJ", ".eJ…"), (b"s:j:", "s:j:…"), (b"s%3Aj%3A", "s:j:…"), (b"s%3aj%3a", "s:j:…")];

/// How many bytes must follow such a prefix: fewer hold no signature, and may be a word.
const FOREIGN_BYTES: usize = 20;

/// Appends a JSON string, quotes included.
///
/// At most `cap` bytes of the text are taken; `…` at the end says that there was more. Control characters (C0, DEL, C1), line
/// and paragraph separators and bidirectional controls become `\u00XX`; each run of bytes that is not UTF-8 becomes `\ufffd`;
/// a token becomes `oct1.…`, also where the cap would have cut it, and an app's session `eyJ…`, `.eJ…` or `s:j:…`.
pub(super) fn append(out: &mut Vec<u8>, text: &[u8], cap: usize) {
    out.push(b'"');
    if text.len() <= cap && is_plain(text) {
        out.extend_from_slice(text);
    } else {
        append_slowly(out, text, cap);
    }
    out.push(b'"');
}

/// Says whether the text can stand as it is: printable ASCII without quote, backslash and token prefix.
fn is_plain(text: &[u8]) -> bool {
    // No early end: without one the compiler looks at many bytes at once.
    let odd = text.iter().fold(false, |odd, &byte| odd | !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\'));
    let ends_in = |at: usize, ends: &[&[u8]]| text.get(..=at).is_some_and(|head| ends.iter().any(|end| head.ends_with(end)));
    !odd && !memchr::memchr3_iter(b'.', b'J', b'j', text).any(|at| ends_in(at, &[TOKEN_PREFIX, b"eyJ", b".eJ", b"s:j", b"s%3Aj", b"s%3aj"]))
}

fn append_slowly(out: &mut Vec<u8>, text: &[u8], cap: usize) {
    let mut taken = 0;
    let mut rest = text;
    while !rest.is_empty() {
        if taken >= cap {
            out.extend_from_slice("…".as_bytes());
            return;
        }
        let (consumed, cost) = append_one(out, rest);
        taken += cost;
        rest = rest.get(consumed..).unwrap_or_default();
    }
}

/// Appends what the text begins with. Returns how many bytes that was, and how many count against the cap.
fn append_one(out: &mut Vec<u8>, rest: &[u8]) -> (usize, usize) {
    if let Some(after) = rest.strip_prefix(TOKEN_PREFIX) {
        let run = after.iter().take_while(|&&byte| is_token_byte(byte)).count();
        if run > 0 {
            out.extend_from_slice("oct1.…".as_bytes());
            return (TOKEN_PREFIX.len() + run, TOKEN_PREFIX.len() + 1);
        }
    }
    for (prefix, mark) in FOREIGN_PREFIXES {
        let Some(after) = rest.strip_prefix(prefix) else { continue };
        let run = after.iter().take_while(|&&byte| is_token_byte(byte) || matches!(byte, b':' | b'%' | b'+')).count();
        if run >= FOREIGN_BYTES {
            out.extend_from_slice(mark.as_bytes());
            return (prefix.len() + run, prefix.len() + 1);
        }
    }
    match first_char(rest) {
        Ok(character) => {
            append_char(out, character);
            (character.len_utf8(), character.len_utf8())
        }
        Err(invalid) => {
            out.extend_from_slice(b"\\ufffd");
            (invalid, invalid)
        }
    }
}

/// Says whether a byte continues a token. The dot does, so that `oct1.oct1.…` hides nothing.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=')
}

/// Returns the first character, or how many bytes are none.
fn first_char(bytes: &[u8]) -> Result<char, usize> {
    // A character has at most four bytes; looking further would make the whole quadratic.
    let window = bytes.get(..4).unwrap_or(bytes);
    match window.utf8_chunks().next() {
        Some(chunk) => chunk.valid().chars().next().ok_or_else(|| chunk.invalid().len().max(1)),
        None => Err(1),
    }
}

fn append_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        _ if is_dangerous(character) => {
            let code = u32::from(character);
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                let digit = char::from_digit((code >> shift) & 15, 16).unwrap_or('0');
                out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Says whether a character can change what a terminal or an editor shows around it.
const fn is_dangerous(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: impl AsRef<[u8]>, cap: usize) -> String {
        let mut out = Vec::new();
        append(&mut out, text.as_ref(), cap);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_stands_as_it_is() {
        assert_eq!(json("/a/b-c.html", 64), r#""/a/b-c.html""#);
        assert_eq!(json("Montréal", 64), "\"Montréal\"");
        assert_eq!(json("", 64), r#""""#);
    }

    #[test]
    fn quotes_and_control_characters_are_escaped() {
        assert_eq!(json("a\"b\\c", 64), r#""a\"b\\c""#);
        assert_eq!(json("a\r\nb\x1b[31m\0\x7f", 64), r#""a\u000d\u000ab\u001b[31m\u0000\u007f""#);
        assert_eq!(json("\u{80}\u{9b}31m\u{9f}", 64), r#""\u0080\u009b31m\u009f""#);
    }

    #[test]
    fn separators_and_bidirectional_controls_are_escaped() {
        assert_eq!(json("\u{2028}\u{2029}", 64), r#""\u2028\u2029""#);
        assert_eq!(json("\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}", 64), r#""\u202a\u202e\u2066\u2069\u200e\u200f\u061c""#);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(json(b"a\xffb", 64), r#""a\ufffdb""#);
        assert_eq!(json(b"\xe2\x82", 64), r#""\ufffd""#);
        assert_eq!(json(b"\xc0\xaf", 64), r#""\ufffd\ufffd""#);
        assert_eq!(json(b"\xed\xa0\x80", 64), r#""\ufffd\ufffd\ufffd""#);
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(json("a".repeat(8), 8), format!("\"{}\"", "a".repeat(8)));
        assert_eq!(json("a".repeat(9), 8), format!("\"{}…\"", "a".repeat(8)));
        assert_eq!(json("ééé", 3), "\"éé…\"");
    }

    #[test]
    fn a_token_never_stands_in_a_line() {
        assert_eq!(json("/x/oct1.AbC-_9/y", 64), "\"/x/oct1.…/y\"");
        assert_eq!(json("oct1.abc&oct1.def", 64), "\"oct1.…&oct1.…\"");
        assert_eq!(json("oct1.oct1.SECRET", 64), "\"oct1.…\"");
        assert_eq!(json("oct1. and oct1", 64), r#""oct1. and oct1""#);
        assert_eq!(json(format!("abcoct1.{}", "S".repeat(50)), 6), "\"abcoct1.…\"");
    }

    #[test]
    fn an_app_s_session_never_stands_in_a_line() {
        let tail = "hbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln-_A";
        assert_eq!(json(format!("/x/eyJ{tail}/y"), 64), "\"/x/eyJ…/y\"");
        assert_eq!(json(format!("?a=.eJ{tail}:z"), 64), "\"?a=.eJ…\"");
        assert_eq!(json(format!("s%3Aj%3A%7B%22u%22%3A1%7D.{tail}&b"), 64), "\"s:j:…&b\"");
        assert_eq!(json(format!("abceyJ{}", "S".repeat(50)), 5), "\"abceyJ…\"");
        assert_eq!(json("heyJude and .eJ", 64), "\"heyJude and .eJ\"");
        assert_eq!(json(format!("eyJ{}", "a".repeat(19)), 64), format!("\"eyJ{}\"", "a".repeat(19)));
    }

    #[test]
    fn every_input_becomes_one_json_string() {
        for first in 0_u8..=255 {
            for second in [0_u8, b'"', b'\\', 0x80, 0xbf, 0xe2, 0xff] {
                let text = json([first, second, b'1', b'.'], 3);

                assert!(serde_json::from_str::<String>(&text).is_ok(), "{text}");
                assert!(!text.chars().any(char::is_control));
            }
        }
    }
}
