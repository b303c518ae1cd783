//! Foreign text for display: file names, configuration values, messages from servers.
//!
//! A name may contain control characters, and its author could use them to forge log lines, or to erase what
//! a terminal shows (CWE-117, CWE-150).

use std::borrow::Cow;

/// Says whether a character can change what a terminal or an editor shows around it: C0, DEL and C1, other
/// line ends, bidirectional controls.
pub const fn is_dangerous(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes such characters: `\n`, `\u{1b}`. For one name or one value.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_dangerous)
}

/// The same for whole lines, whose ends stay. What is inserted into them must be [`printable`] by itself.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_dangerous(character))
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for character in text.chars() {
        if is_meant(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_escaped_and_words_of_any_language_are_not() {
        for (text, shown) in [
            ("a\u{1b}[2J\nb", "a\\u{1b}[2J\\nb"),
            ("\u{7f}\u{9b}\r\t", "\\u{7f}\\u{9b}\\r\\t"),
            ("\u{2028}\u{2029}\u{202e}\u{2066}", "\\u{2028}\\u{2029}\\u{202e}\\u{2066}"),
            ("été \\ 何 🦀 \u{a0}", "été \\ 何 🦀 \u{a0}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b\n");
    }
}
