//! What a YAML scanner's complaint means for whoever writes a configuration: where to look, and what would be right.

use super::source::Source;

/// What the scanner says, as far as its words are known, and what helps then.
const HINTS: &[(&str, &str)] = &[
    ("found a tab", TAB),
    ("did not find expected '-' indicator", INDENT),
    ("did not find expected key", INDENT),
    ("simple key expected ':'", "behind a key stand a colon and a blank: `key: value`"),
    ("unclosed quote", "end the value with the same quote"),
    ("did not find expected ',' or '}'", "a `{` above is not closed, or a comma is missing"),
    ("did not find expected ',' or ']'", "a `[` above is not closed, or a comma is missing"),
    ("unexpected character: `@'", QUOTES),
    ("unexpected character: ``'", QUOTES),
    ("unexpected character: `%'", QUOTES),
    ("mapping values are not allowed", "a value with `: ` in it needs quotes"),
    ("recursion limit", "so many lists and maps inside each other have no meaning here"),
];

const TAB: &str = "indent with blanks: YAML takes no tabs";
const INDENT: &str =
    "the line is indented differently from those that it belongs to; keys of one map, and the `-` of one list, begin in the same column";
const QUOTES: &str = "put the value in quotes: YAML keeps this character for itself";

/// Says where to look for what a scanner complains of, and what would be right.
pub(super) fn explain(what: &str, source: &Source, at: u32) -> (u32, Option<&'static str>) {
    let (line, _) = source.place(at);
    // A reference without quotes is a map inside of a map, and broken in its own way.
    if source.line_text(line).1.contains("${") {
        return (at, Some("inside of `{…}` and `[…]` a reference needs quotes: `\"${NAME}\"`"));
    }
    // The scanner may point at the value that the tab stands behind, a line earlier.
    if let Some(tab) = [line, line.saturating_add(1)].into_iter().find_map(|line| indented_with_tab(source, line)) {
        return (tab, Some(TAB));
    }
    (at, HINTS.iter().find(|(words, _)| what.contains(words)).map(|(_, hint)| *hint))
}

/// Finds a tab among the blanks that a line begins with.
fn indented_with_tab(source: &Source, line: u32) -> Option<u32> {
    let (start, text) = source.line_text(line);
    let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
    let tab = text.get(..blanks)?.find('\t')?;
    start.checked_add(u32::try_from(tab).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: &str, what: &str, at: u32) -> (u32, Option<&'static str>) {
        explain(what, &Source::new("a.yaml".into(), text.into()), at)
    }

    #[test]
    fn a_tab_is_pointed_at_where_it_stands() {
        assert_eq!(explained("a:\n  b: c\n \td: e\n", "found a tab", 5), (11, Some(TAB)));
        assert_eq!(explained("a:\n\tb: c\n", "did not find expected key", 0), (3, Some(TAB)));
        assert_eq!(explained("a: b\tc\n", "did not find expected key", 0), (0, Some(INDENT)), "inside of a value it is no indentation");
    }

    #[test]
    fn words_that_nobody_knows_have_no_hint() {
        assert_eq!(explained("a: b\n", "something else", 3), (3, None));
        assert_eq!(explained("a: @b\n", "unexpected character: `@'", 3), (3, Some(QUOTES)));
    }
}
