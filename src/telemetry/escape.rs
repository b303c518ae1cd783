//! Untrusted text as JSON: escaped, cut to length, tokens redacted (`threat-model.md` 2.9).

use crate::model::is_dangerous;

/// The prefix of a token, and its replacement in the line.
const TOKEN: (&[u8], &str) = (b"oct1.", "oct1.…");

/// The prefixes of app sessions, and their replacements in the line: base64 of a JSON object (JSON Web
/// Tokens, Flask, Django, cookie-session), of a packed one (Flask, Django), and a signed JSON cookie of
/// Express.
const FOREIGN: [(&[u8], &str); 3] = [(b"eyJ", "eyJ…"), (b".eJ", ".eJ…"), (b"s:j:", "s:j:…")];

/// How many characters must follow such a prefix: fewer cannot hold a signature and may be a word.
const FOREIGN_CHARS: usize = 20;

/// How many nested percent-encodings of a character are decoded: more than anybody decodes by hand.
const LAYERS: u8 = 8;

/// Appends a JSON string, quotes included.
///
/// At most `cap` bytes of the text are taken; `…` at the end says that there was more. Control characters
/// (C0, DEL, C1), line and paragraph separators and bidirectional controls become `\u00XX`; each run of
/// bytes that is not UTF-8 becomes `\ufffd`; a token becomes `oct1.…`, also where the cap would have cut it,
/// and an app's session `eyJ…`, `.eJ…` or `s:j:…`. Both are found in any percent-encoding, because a reader
/// of the line could decode it.
pub(super) fn append(out: &mut Vec<u8>, text: &[u8], cap: usize) {
    out.push(b'"');
    if text.len() <= cap && is_plain(text) {
        out.extend_from_slice(text);
    } else {
        append_slowly(out, text, cap);
    }
    out.push(b'"');
}

/// Returns whether the text needs no escaping: printable ASCII without a quote, a backslash or the prefix of
/// a token.
fn is_plain(text: &[u8]) -> bool {
    // One pass for all checks, because a line has twenty texts.
    let seen = text.iter().fold(0, |seen, &byte| seen | BITS.get(usize::from(byte)).copied().unwrap_or(ODD));
    seen & ODD == 0
        // Few texts have all characters of a prefix, and most have no percent sign.
        && !(BEGINNINGS.iter().any(|(_, bits)| seen & bits == *bits) && holds_a_beginning(text))
        && (seen & PERCENT == 0 || !hides_a_token(text))
}

/// Returns whether the text holds the prefix of a token, undecoded.
fn holds_a_beginning(text: &[u8]) -> bool {
    let ends = |at: usize| {
        text.get(..=at).is_some_and(|head| BEGINNINGS.iter().any(|(beginning, _)| head.ends_with(beginning)))
    };
    memchr::memchr3_iter(b'.', b'J', b'j', text).any(ends)
}

/// One bit for each property of a text: a byte that needs escaping, a percent sign, and each character of
/// [`BEGINNINGS`].
const ODD: u16 = 1;
const PERCENT: u16 = 2;
const CHARACTERS: &[u8] = b"oct1.eyJs:j";

/// The prefixes of tokens, and the bits of their characters. Each ends in a character that
/// [`holds_a_beginning`] searches for.
const BEGINNINGS: [(&[u8], u16); 4] =
    [(TOKEN.0, bits(TOKEN.0)), (b"eyJ", bits(b"eyJ")), (b".eJ", bits(b".eJ")), (b"s:j", bits(b"s:j"))];

/// Returns the bits of some characters.
const fn bits(mut text: &[u8]) -> u16 {
    let mut bits = 0;
    while let [byte, rest @ ..] = text {
        bits |= bit(*byte);
        text = rest;
    }
    bits
}

const fn bit(byte: u8) -> u16 {
    let (mut bit, mut characters) = (PERCENT << 1, CHARACTERS);
    while let [character, rest @ ..] = characters {
        if *character == byte {
            return bit;
        }
        (bit, characters) = (bit << 1, rest);
    }
    match byte {
        b'%' => PERCENT,
        b'"' | b'\\' => ODD,
        b' '..=b'~' => 0,
        _ => ODD,
    }
}

/// The bits of each byte.
#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "in a constant: what is out of bounds does not compile"
)]
const BITS: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = bit(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Returns whether the text holds the prefix of a token with at least one character percent-encoded.
fn hides_a_token(text: &[u8]) -> bool {
    // Few positions can start a prefix.
    (0..text.len()).filter_map(|at| text.get(at..)).any(|rest| {
        matches!(rest.first(), Some(b'%' | b'o' | b'e' | b'.' | b's'))
            && std::iter::once(TOKEN).chain(FOREIGN).any(|(prefix, _)| after(rest, prefix).is_some())
    })
}

/// Returns the text after a prefix, each character of which may be percent-encoded.
fn after<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    prefix.iter().try_fold(text, |rest, &byte| {
        let (octet, length) = octet(rest, true)?;
        rest.get(length..).filter(|_| octet == byte)
    })
}

/// Returns the first octet of a text after decoding, and how many bytes encoded it. The digits of an escape
/// may be `escaped` themselves.
fn octet(text: &[u8], escaped: bool) -> Option<(u8, usize)> {
    let (mut octet, mut length) = (*text.first()?, 1);
    // `%256f` is `%6f` for the first decoder, and `o` for the second.
    for _ in 0..LAYERS {
        if octet != b'%' {
            break;
        }
        let Some((high, first)) = text.get(length..).and_then(|rest| digit(rest, escaped)) else { break };
        let Some((low, second)) = text.get(length + first..).and_then(|rest| digit(rest, escaped)) else {
            break;
        };
        (octet, length) = (high << 4 | low, length + first + second);
    }
    Some((octet, length))
}

/// Returns the value of the first hexadecimal digit of a text.
fn digit(text: &[u8], escaped: bool) -> Option<(u8, usize)> {
    let (digit, length) = if escaped { octet(text, false)? } else { (*text.first()?, 1) };
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())?;
    Some((value, length))
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

/// Appends the first character or token of the text. Returns how many bytes it took, and how many count
/// against the cap.
fn append_one(out: &mut Vec<u8>, rest: &[u8]) -> (usize, usize) {
    for ((prefix, mark), least) in
        std::iter::once((TOKEN, 1)).chain(FOREIGN.map(|foreign| (foreign, FOREIGN_CHARS)))
    {
        let Some(body) = after(rest, prefix) else { continue };
        let (characters, bytes) = run(body, least > 1);
        if characters >= least {
            out.extend_from_slice(mark.as_bytes());
            return (rest.len() - body.len() + bytes, prefix.len() + 1);
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

/// Returns the length of a token in characters and in bytes. In an app's session, every percent-encoded
/// character belongs to it.
fn run(text: &[u8], foreign: bool) -> (usize, usize) {
    let (mut characters, mut bytes) = (0, 0);
    while let Some((octet, length)) = text.get(bytes..).and_then(|rest| octet(rest, true)) {
        if !(is_token_byte(octet) || (foreign && (length > 1 || matches!(octet, b':' | b'+')))) {
            break;
        }
        (characters, bytes) = (characters + 1, bytes + length);
    }
    (characters, bytes)
}

/// Returns whether a byte continues a token. The dot does, so that a token inside `oct1.oct1.…` is redacted
/// too.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=')
}

/// Returns the first character, or how many bytes are not UTF-8.
fn first_char(bytes: &[u8]) -> Result<char, usize> {
    // A character has at most four bytes; a longer window would make the loop quadratic.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(
            json("\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}", 64),
            r#""\u202a\u202e\u2066\u2069\u200e\u200f\u061c""#
        );
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
    fn whatever_begins_a_token_has_bits_of_its_own() {
        for (beginning, bits) in BEGINNINGS {
            assert_eq!(usize::try_from(bits.count_ones()).unwrap(), beginning.len(), "{beginning:?}");
            assert_eq!(bits & (ODD | PERCENT), 0);
            assert!(matches!(beginning.last(), Some(b'.' | b'J' | b'j')), "{beginning:?}");
            assert!(holds_a_beginning(beginning) && !is_plain(beginning));
        }
        for byte in 0..=u8::MAX {
            assert_eq!(
                BITS[usize::from(byte)] & ODD == 0,
                matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'),
                "{byte}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// What is written as it stands is what the slow way writes, and nothing else is written so.
        #[test]
        fn the_quick_way_is_no_other_one(text in prop_oneof![
            "(oct1|oc|t1|ey|eyJ|\\.|\\.eJ|s:|j:?|%6f|[a-z.:%J1])*".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]) {
            let stands = text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(is_plain(&text), stands && !holds_a_beginning(&text) && !hides_a_token(&text));
            let mut slow = Vec::new();
            append_slowly(&mut slow, &text, 64);
            prop_assert!(!is_plain(&text) || text.len() > 64 || slow == text);
        }
    }

    #[test]
    fn a_token_is_found_in_any_percent_encoding() {
        for text in [
            "%6fct1.SECRET",
            "%6Fct1.SECRET",
            "o%63t1.SECRET",
            "oct%31.SECRET",
            "oct1%2eSECRET",
            "%6f%63%74%31%2e%53%45%43%52%45%54",
            "%256fct1.SECRET",
            "%25%36%66ct1.SECRET",
            "%%36fct1.SECRET",
            "%25256fct1.SECRET",
            "%2525252525256fct1.SECRET",
            "oct1.%53ECRE%54",
            "oct1.%2553ECRET",
        ] {
            assert_eq!(json(format!("/x/{text}/y"), 64), "\"/x/oct1.…/y\"", "{text}");
            assert_eq!(json(format!("/%C3%A9/{text}"), 64), "\"/%C3%A9/oct1.…\"", "{text}");
        }
        let tail = "hbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2ln-_A";
        for (text, mark) in [
            ("%65yJ", "eyJ…"),
            ("e%79%4a", "eyJ…"),
            ("%2EeJ", ".eJ…"),
            ("s%3aj%3A%7B", "s:j:…"),
            ("%73:%6A:", "s:j:…"),
        ] {
            assert_eq!(json(format!("/{text}{tail}/y"), 64), format!("\"/{mark}/y\""), "{text}");
        }
        // Beside it: no token, and it stands as it came.
        for text in [
            "/100%",
            "/%6fct2.SECRET",
            "/%6gct1.SECRET",
            "/%6fct1.",
            "/%2",
            "/caf%C3%A9",
            "/%2525252525252525256fct1.x",
            "%%%%%%%%",
        ] {
            assert_eq!(json(text, 64), format!("\"{text}\""));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
    fn a_flood_of_escapes_costs_little() {
        let text = "%25".repeat(5000);

        let began = std::time::Instant::now();
        let line = json(&text, 1024);

        assert!(
            line.len() < 1100 && began.elapsed() < std::time::Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
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
