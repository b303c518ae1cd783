//! Characters that look like others, as word processors, web pages and chats put them into what is copied:
//! they are named where they do harm.

/// A character that is not what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confusable {
    /// The byte at which it stands.
    pub(super) at: usize,
    /// The character.
    pub(super) character: char,
    kind: Kind,
    name: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blank,
    Invisible,
    Quote(char),
    Other(char),
}

impl Confusable {
    /// Names it: `a no-break space (U+00A0)`.
    pub(super) fn named(&self) -> String {
        let code = format!("U+{:04X}", u32::from(self.character));
        match self.kind {
            Kind::Blank | Kind::Invisible => format!("{} ({code})", self.name),
            Kind::Quote(_) | Kind::Other(_) => format!("`{}` ({code}), {}", self.character, self.name),
        }
    }

    /// Says what to type instead.
    pub(super) fn instead(&self) -> String {
        match self.kind {
            Kind::Blank => "type an ordinary blank instead".to_owned(),
            Kind::Invisible => "take it out: it cannot be seen, and counts all the same".to_owned(),
            Kind::Quote(character) | Kind::Other(character) => format!("type `{character}` instead"),
        }
    }
}

/// Finds the first one of a text that is no part of a word: an apostrophe between letters is one.
pub(super) fn first(text: &str) -> Option<Confusable> {
    let mut before = None;
    let mut all = text.char_indices().peekable();
    while let Some((at, character)) = all.next() {
        let after = all.peek().map(|(_, after)| *after);
        let in_word = |other: Option<char>| other.is_some_and(char::is_alphanumeric);
        let is_apostrophe = in_word(before) && in_word(after);
        if let Some((kind, name)) = kind(character)
            && !(is_apostrophe && matches!(kind, Kind::Quote(_)))
        {
            return Some(Confusable { at, character, kind, name });
        }
        before = Some(character);
    }
    None
}

/// Finds one that a text without quotes begins or ends with, which nobody means.
pub(super) fn at_an_end(text: &str) -> Option<Confusable> {
    let of = |(at, character): (usize, char)| {
        let (kind, name) = kind(character)?;
        (!matches!(kind, Kind::Other(_))).then_some(Confusable { at, character, kind, name })
    };
    text.char_indices().next().and_then(of).or_else(|| text.char_indices().next_back().and_then(of))
}

/// Says whether a character takes no room where it is shown, or moves what is shown.
pub(super) fn is_invisible(character: char) -> bool {
    character.is_control() || matches!(kind(character), Some((Kind::Invisible, _)))
}

/// Says whether a character looks like a blank and is none.
pub(super) fn is_blank(character: char) -> bool {
    matches!(kind(character), Some((Kind::Blank, _)))
}

fn kind(character: char) -> Option<(Kind, &'static str)> {
    const DOUBLE: (Kind, &str) = (Kind::Quote('"'), "a typographic quote");
    const SINGLE: (Kind, &str) = (Kind::Quote('\''), "a typographic quote");
    Some(match character {
        '\u{a0}' => (Kind::Blank, "a no-break space"),
        '\u{202f}' => (Kind::Blank, "a narrow no-break space"),
        '\u{2007}' => (Kind::Blank, "a figure space"),
        '\u{3000}' => (Kind::Blank, "an ideographic space"),
        '\u{2028}' | '\u{2029}' | '\u{85}' => {
            (Kind::Blank, "a separator of lines that YAML does not take for one")
        }
        '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{205f}' => {
            (Kind::Blank, "a blank that YAML does not take for one")
        }
        '\u{ad}' => (Kind::Invisible, "a soft hyphen"),
        '\u{200b}' => (Kind::Invisible, "a zero-width space"),
        '\u{200c}' | '\u{200d}' => (Kind::Invisible, "a zero-width joiner"),
        '\u{feff}' => (Kind::Invisible, "a byte order mark"),
        '\u{2060}'..='\u{2065}' | '\u{180e}' => (Kind::Invisible, "a character without width"),
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => {
            (Kind::Invisible, "a mark of the direction of writing")
        }
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2033}' | '\u{ff02}' => {
            DOUBLE
        }
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2039}' | '\u{203a}' | '\u{2032}'
        | '\u{b4}' | '\u{ff07}' => SINGLE,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => (Kind::Other('-'), "a dash that is no `-`"),
        '\u{ff1a}' => (Kind::Other(':'), "a full-width colon"),
        '\u{ff0c}' | '\u{3001}' => (Kind::Other(','), "a full-width comma"),
        '\u{ff3b}' => (Kind::Other('['), "a full-width bracket"),
        '\u{ff3d}' => (Kind::Other(']'), "a full-width bracket"),
        '\u{ff5b}' => (Kind::Other('{'), "a full-width brace"),
        '\u{ff5d}' => (Kind::Other('}'), "a full-width brace"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_named_with_what_to_type() {
        for (text, named, instead) in [
            ("a\u{a0}b", "a no-break space (U+00A0)", "type an ordinary blank instead"),
            ("\u{3000}b", "an ideographic space (U+3000)", "type an ordinary blank instead"),
            (
                "a\u{200b}",
                "a zero-width space (U+200B)",
                "take it out: it cannot be seen, and counts all the same",
            ),
            ("“a”", "`“` (U+201C), a typographic quote", "type `\"` instead"),
            ("a’", "`’` (U+2019), a typographic quote", "type `'` instead"),
            ("a： b", "`：` (U+FF1A), a full-width colon", "type `:` instead"),
        ] {
            let odd = first(text).unwrap();
            assert_eq!((odd.named(), odd.instead()), (named.to_owned(), instead.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn words_of_any_language_are_fine() {
        for text in ["l’heure", "café", "Straße", "日本", "a b", "it's \"so\"", ""] {
            assert_eq!(first(text), None, "{text}");
        }
        assert!(
            at_an_end("Bureau\u{a0}: Paris").is_none()
                && at_an_end("\u{a0}a").is_some()
                && at_an_end("a”").is_some()
        );
        assert!(at_an_end("– a").is_none() && at_an_end("").is_none());
    }
}
