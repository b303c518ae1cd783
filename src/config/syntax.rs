//! What a YAML scanner's complaint means for whoever writes a configuration: where to look, and what would be
//! right.

use super::{
    confusable::{self, Confusable},
    outline::{Outline, outline},
    source::Source,
};

/// What the scanner says, as far as its words are known, and what helps then.
const HINTS: &[(&str, &str)] = &[
    ("found a tab", TAB),
    ("did not find expected '-' indicator", INDENT),
    ("did not find expected key", INDENT),
    ("simple key expected ':'", "behind a key stand a colon and a blank: `key: value`"),
    (
        "trailing content",
        "the quotes end before: one inside of the value needs a `\\` before it, or other quotes around it",
    ),
    ("expected ',' or '}'", "a comma is missing before it"),
    ("expected ',' or ']'", "a comma is missing before it"),
    ("misplaced bracket", "nothing is open that it would close"),
    ("unexpected character: `@'", QUOTES),
    ("unexpected character: ``'", QUOTES),
    ("unexpected character: `%'", QUOTES),
    ("mapping values are not allowed", "a value with `: ` in it needs quotes"),
    ("unknown anchor", ALIAS),
    ("recursion limit", "so many lists and maps inside each other have no meaning here"),
];

const TAB: &str = "indent with blanks: YAML takes no tabs";
const INDENT: &str = "the line is indented differently from those that it belongs to; keys of one map, and the `-` of one list, begin in the same column";
const ALIAS: &str = "in YAML `*` begins an alias: put the value in quotes, as in `\"*.example.com\"`";
const DEEP: &str = "it is indented deeper than the key in the line before, which has its value already; keys of one map begin in the same column";
const QUOTES: &str = "put the value in quotes: YAML keeps this character for itself";

/// Where to look, and what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Explained {
    /// The first byte to point at.
    pub(super) start: u32,
    /// The byte after the last.
    pub(super) end: u32,
    /// What is wrong, where that is better known than the scanner does.
    pub(super) message: Option<String>,
    /// What would be right.
    pub(super) hint: Option<String>,
}

/// Says where to look for what a scanner complains of, and what would be right.
pub(super) fn explain(what: &str, source: &Source, at: u32) -> Explained {
    let (line, _) = source.place(at);
    let outline = outline(source.text());
    let here =
        |hint: Option<&str>| Explained { start: at, end: at, message: None, hint: hint.map(str::to_owned) };
    // What was read so far is often the line before.
    if let Some((start, odd)) =
        [line, line.saturating_sub(1)].into_iter().find_map(|line| confusable_in(source, &outline, line))
    {
        let end = start.saturating_add(length(odd.character));
        return Explained {
            start,
            end,
            message: Some(format!("here stands {}", odd.named())),
            hint: Some(odd.instead()),
        };
    }
    if let Some(explained) = unclosed(what, source, &outline, at) {
        return explained;
    }
    // A reference without quotes is a map inside of a map, and broken in its own way.
    if source.line_text(line).1.contains("${") {
        return here(Some("inside of `{…}` and `[…]` a reference needs quotes: `\"${NAME}\"`"));
    }
    // The scanner may point at the value that the tab stands behind, a line earlier.
    if let Some(tab) =
        [line, line.saturating_add(1)].into_iter().find_map(|line| indented_with_tab(source, line))
    {
        return Explained { start: tab, end: tab, message: None, hint: Some(TAB.to_owned()) };
    }
    if what.contains("mapping values are not allowed")
        && let Some((start, end)) =
            [line, line.saturating_add(1)].into_iter().find_map(|line| too_deep(source, line))
    {
        return Explained { start, end, message: None, hint: Some(DEEP.to_owned()) };
    }
    here(HINTS.iter().find(|(words, _)| what.contains(words)).map(|(_, hint)| *hint))
}

/// Finds a character of a line that is not what it looks like, outside of comments and of what is in quotes.
fn confusable_in(source: &Source, outline: &Outline, line: u32) -> Option<(u32, Confusable)> {
    let (start, text) = source.line_text(line);
    let mut from = 0;
    loop {
        let found = confusable::first(text.get(from..)?)?;
        let at = start.checked_add(u32::try_from(from + found.at).ok()?)?;
        if !outline.covers(usize::try_from(at).ok()?, source.text()) {
            return Some((at, found));
        }
        from += found.at + found.character.len_utf8();
    }
}

/// Finds the quote or bracket that a scanner went wrong behind, because it is not closed.
fn unclosed(what: &str, source: &Source, outline: &Outline, at: u32) -> Option<Explained> {
    let (line, _) = source.place(at);
    let explained = |start: usize, open: char| {
        let start = u32::try_from(start).ok()?;
        let (message, close) = (format!("not valid YAML: this `{open}` is not closed"), closing(open));
        let is_far = source.place(start).0 != line;
        let far = if is_far { format!("; reading went wrong in line {line}") } else { String::new() };
        Some(Explained {
            start,
            end: start.saturating_add(1),
            message: Some(message),
            hint: Some(format!("close it with `{close}`{far}")),
        })
    };
    // A quote that is missing is taken from the next value: what stands between its quotes then is what
    // should stand in none.
    let end = usize::try_from(at).ok()?;
    let last = outline.quoted.iter().rev().find(|(_, behind)| *behind <= end.saturating_add(1));
    if let Some(&(start, behind)) = last
        && what.contains("trailing content")
        && source.text().get(start..behind).is_some_and(|text| text.contains('\n'))
    {
        return explained(start, source.text().get(start..)?.chars().next()?);
    }
    // The scanner points at the opener of a mismatch.
    let is_mismatch = what.contains("mismatched bracket");
    if let Some((stray, close)) = outline.stray.filter(|(stray, _)| *stray <= end || is_mismatch) {
        let start = u32::try_from(stray).ok()?;
        let message = format!("not valid YAML: nothing is open that this `{close}` would close");
        return Some(Explained {
            start,
            end: start.saturating_add(1),
            message: Some(message),
            hint: Some("take it out".to_owned()),
        });
    }
    // A comma that is missing leaves no bracket open.
    outline
        .open
        .filter(|(start, _)| *start <= end || is_mismatch)
        .and_then(|(start, open)| explained(start, open))
}

const fn closing(open: char) -> char {
    match open {
        '[' => ']',
        '{' => '}',
        quote => quote,
    }
}

fn length(character: char) -> u32 {
    u32::try_from(character.len_utf8()).unwrap_or(1)
}

/// Finds a tab among the blanks that a line begins with.
fn indented_with_tab(source: &Source, line: u32) -> Option<u32> {
    let (start, text) = source.line_text(line);
    let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
    let tab = text.get(..blanks)?.find('\t')?;
    start.checked_add(u32::try_from(tab).ok()?)
}

/// Finds the key of a line that is indented deeper than the key before it, where that has a value of its own.
fn too_deep(source: &Source, line: u32) -> Option<(u32, u32)> {
    let (start, text) = source.line_text(line);
    let key = text.trim_start_matches(' ');
    let column = text.len() - key.len();
    let (name, _) = key
        .split_once(':')
        .filter(|(name, rest)| is_name(name) && (rest.is_empty() || rest.starts_with(' ')))?;
    let before = (1..line).rev().map(|line| source.line_text(line).1).find(|text| {
        let text = text.trim_start();
        !text.is_empty() && !text.starts_with('#')
    })?;
    // An item of a list begins its map behind the `-`.
    let outer = before.trim_start_matches([' ', '-']);
    let (outer_name, value) = outer.split_once(':')?;
    let value = value.strip_prefix(' ')?.trim_start();
    let has_value = !value.is_empty() && !value.starts_with(['#', '|', '>', '&']);
    let is_deeper = column > before.len() - outer.len();
    let at = start.checked_add(u32::try_from(column).ok()?)?;
    (is_name(outer_name) && has_value && is_deeper)
        .then_some((at, at.checked_add(u32::try_from(name.len()).ok()?)?))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: &str, what: &str, at: u32) -> (u32, Option<String>) {
        let Explained { start, hint, .. } = explain(what, &Source::new("a.yaml".into(), text.into()), at);
        (start, hint)
    }

    fn said(hint: &str) -> Option<String> {
        Some(hint.to_owned())
    }

    #[test]
    fn a_tab_is_pointed_at_where_it_stands() {
        assert_eq!(explained("a:\n  b: c\n \td: e\n", "found a tab", 5), (11, said(TAB)));
        assert_eq!(explained("a:\n\tb: c\n", "did not find expected key", 0), (3, said(TAB)));
        assert_eq!(
            explained("a: b\tc\n", "did not find expected key", 0),
            (0, said(INDENT)),
            "inside of a value it is no indentation"
        );
    }

    #[test]
    fn a_key_that_is_indented_too_deep_is_told_from_a_value_with_a_colon() {
        const WHAT: &str = "mapping values are not allowed in this context";
        let (deep, quotes) = (said(DEEP), said("a value with `: ` in it needs quotes"));
        for (text, start, hint) in [
            ("a:\n  routes: app\n      quotas: [x]\n", 23, &deep),
            ("a:\n  routes: app\n      quotas:\n", 23, &deep),
            ("a:\n  routes: app\n\n  # why\n   quotas: [x]\n", 29, &deep),
            ("- path: /a\n    access: public\n", 15, &deep),
            // In the same column, behind a key that has its value below, or in one line with it.
            ("a:\n  note: b: c\n", 12, &quotes),
            ("- path: /a\n  note: b: c\n", 20, &quotes),
            ("a: | # b\n  note: b: c\n", 18, &quotes),
        ] {
            let at = u32::try_from(text.rfind(": ").unwrap_or(text.len() - 2)).unwrap();
            let (found, said) = explained(text, WHAT, at);
            assert_eq!((&said, said == deep), (hint, found == start && *hint == deep), "{text}");
        }
    }

    #[test]
    fn words_that_nobody_knows_have_no_hint() {
        assert_eq!(explained("a: b\n", "something else", 3), (3, None));
        assert_eq!(explained("a: @b\n", "unexpected character: `@'", 3), (3, said(QUOTES)));
    }

    #[test]
    fn what_is_not_closed_is_pointed_at_and_a_missing_comma_is_not() {
        assert_eq!(
            explained("a: [b\nc: 1\n", "illegal placement", 7),
            (3, said("close it with `]`; reading went wrong in line 2"))
        );
        assert_eq!(explained("a: [{b: 1} {c: 1}]\n", "expected ',' or ']'", 11).0, 11);
        assert_eq!(
            explained("a: \"b\nc: \"d\"\n", "invalid trailing content", 10),
            (3, said("close it with `\"`; reading went wrong in line 2"))
        );
        assert_eq!(explained("a: \"b\" c\n", "invalid trailing content", 7).0, 7);
    }

    #[test]
    fn a_character_that_looks_like_another_is_pointed_at() {
        assert_eq!(
            explained("a:\u{a0}b\nc: d\n", "simple key expected ':'", 0),
            (2, said("type an ordinary blank instead"))
        );
        assert_eq!(
            explained("a: “b: c”\n", "mapping values are not allowed", 7),
            (3, said("type `\"` instead"))
        );
        // Where it is meant, it is not what is wrong.
        assert_eq!(explained("a: \"“b”\" c # ’\n", "did not find expected key", 13), (13, said(INDENT)));
    }
}
