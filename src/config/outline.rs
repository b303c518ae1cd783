//! Where quotes, comments and brackets of a text stand that a YAML scanner has given up on: enough to say
//! which one is not closed.
//!
//! It reads what people write, not all of YAML, and is asked only once a text is known to be broken.

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// Values in quotes, from one quote to behind the other.
    pub(super) quoted: Vec<(usize, usize)>,
    /// Comments, to the ends of their lines.
    comments: Vec<(usize, usize)>,
    /// The opening quote or bracket that is not closed.
    pub(super) open: Option<(usize, char)>,
    /// The first closing bracket that nothing is open for, inside of others.
    pub(super) stray: Option<(usize, char)>,
}

impl Outline {
    /// Says whether a byte stands in a comment, or between two quotes of one line.
    pub(super) fn covers(&self, at: usize, text: &str) -> bool {
        let inside = |range: &&(usize, usize)| range.0 <= at && at < range.1;
        let spans_lines =
            |&(start, end): &(usize, usize)| text.get(start..end).is_some_and(|quoted| quoted.contains('\n'));
        self.comments.iter().any(|range| inside(&range))
            || self.quoted.iter().find(inside).is_some_and(|range| !spans_lines(range))
    }
}

/// Reads a text.
pub(super) fn outline(text: &str) -> Outline {
    let bytes = text.as_bytes();
    let byte_at = |at: usize| bytes.get(at).copied().unwrap_or(b'\n');
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut found = Outline::default();
    let mut stack: Vec<(usize, u8)> = Vec::new();
    // Whether a value may begin here, and whether a blank stands before.
    let (mut begins, mut after_blank) = (true, true);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut next = at + 1;
        match byte {
            b'\n' => (begins, after_blank) = (true, true),
            b' ' | b'\t' | b'\r' => after_blank = true,
            b'#' if after_blank => {
                next = end_of_line(bytes, at);
                found.comments.push((at, next));
            }
            b'"' | b'\'' if begins => {
                let Some(end) = end_of_quoted(bytes, at) else {
                    found.open = Some((at, char::from(byte)));
                    return found;
                };
                found.quoted.push((at, end));
                next = end;
                (begins, after_blank) = (false, false);
            }
            b'[' | b'{' if begins || !stack.is_empty() => {
                stack.push((at, byte));
                (begins, after_blank) = (true, false);
            }
            b']' | b'}' if !stack.is_empty() => {
                let fits = |&(_, open): &(usize, u8)| (open == b'[') == (byte == b']');
                if !stack.iter().any(fits) {
                    found.stray = found.stray.or(Some((at, char::from(byte))));
                } else if let Some((start, open)) = stack.pop().filter(|top| !fits(top)) {
                    found.open = Some((start, char::from(open)));
                    return found;
                }
                (begins, after_blank) = (false, false);
            }
            b',' if !stack.is_empty() => (begins, after_blank) = (true, false),
            b':' if is_blank(byte_at(next)) || !stack.is_empty() => (begins, after_blank) = (true, false),
            b'-' | b'?' if begins && is_blank(byte_at(next)) => after_blank = false,
            b'|' | b'>' if begins && stack.is_empty() => {
                next = end_of_block(bytes, at);
                (begins, after_blank) = (true, true);
            }
            _ => (begins, after_blank) = (false, false),
        }
        at = next;
    }
    found.open = stack.pop().map(|(at, open)| (at, char::from(open)));
    found
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map_or(bytes.len(), |end| at + end)
}

/// Returns what stands behind the quote that closes one.
fn end_of_quoted(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = bytes.get(start).copied()?;
    let mut at = start + 1;
    loop {
        match bytes.get(at).copied()? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Returns the start of the line behind the text of `|` or `>`: the first one that is not indented further
/// than what the text belongs to.
fn end_of_block(bytes: &[u8], at: usize) -> usize {
    let line = bytes.get(..at).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |end| end + 1);
    let indent = |from: usize, marks: &[u8]| {
        bytes.get(from..).map_or(0, |rest| rest.iter().take_while(|byte| marks.contains(byte)).count())
    };
    let own = indent(line, b" -");
    let mut from = end_of_line(bytes, at) + 1;
    while from < bytes.len() {
        let end = end_of_line(bytes, from);
        let blanks = indent(from, b" ");
        let is_empty = from + blanks >= end;
        if !is_empty && blanks <= own {
            break;
        }
        from = end + 1;
    }
    from.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Option<(usize, char)> {
        outline(text).open
    }

    #[test]
    fn what_is_not_closed_is_found() {
        assert_eq!(open("a: [b, c\nd: {e: 1}\n"), Some((3, '[')));
        assert_eq!(open("a: {b: [1, 2}\n"), Some((7, '[')));
        assert_eq!(open("a: [{b: 1, c: {}]\n"), Some((4, '{')));
        assert_eq!(open("a: \"b\nc: d\n"), Some((3, '"')));
        assert_eq!(open("a: {b: 'c\n"), Some((7, '\'')));
    }

    #[test]
    fn what_is_closed_or_means_nothing_is_not() {
        for text in [
            "a: [b, {c: 'd]'}]\n",
            "a: b[c\n",
            "a: it's [so\n",
            "a: ${B}\n",
            "# [ \" '\na: 1 # {\n",
            "a: |\n  [ \" {\n\n  '\nb: 1\n",
            "- a: |\n    [\n  b: 1\n",
            "a: 'it''s [' \nb: \"\\\"[\"\n",
            "a: [\n  b, # ]\n  c]\n",
        ] {
            assert_eq!(open(text), None, "{text}");
        }
    }

    #[test]
    fn a_bracket_too_many_is_none_that_lacks() {
        let found = outline("a: {b: [1]], c: 1}\n");

        assert_eq!((found.open, found.stray), (None, Some((10, ']'))));
    }

    #[test]
    fn comments_and_quotes_of_one_line_are_covered() {
        let text = "a: \"b\" # c\nd: \"e\nf\"\n";
        let found = outline(text);

        for (at, covered) in [(0, false), (4, true), (8, true), (15, false)] {
            assert_eq!(found.covers(at, text), covered, "{at}");
        }
    }
}
