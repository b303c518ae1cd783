//! The head of a request: where it ends, and what it announces.

/// Finds where a head ends: after the first empty line, with whatever line ends the HTTP library would accept.
///
/// `from` is how far an earlier search came.
pub(super) fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = head.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let after = at + found + 1;
        match head.get(after..) {
            Some([b'\n', ..]) => return Some(after + 1),
            Some([b'\r', b'\n', ..]) => return Some(after + 2),
            _ => at = after,
        }
    }
    None
}

/// Says whether a head has a `Transfer-Encoding` field. Whether its value can stand is judged with the head.
pub(super) fn announces_chunks(head: &[u8]) -> bool {
    const NAME: &[u8] = b"transfer-encoding";
    memchr::memchr_iter(b'\n', head).any(|end| {
        let line = head.get(end + 1..).unwrap_or_default();
        line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_ends_the_head_however_it_is_written() {
        assert_eq!(end_of_head(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(end_of_head(b"a\n\nb", 0), Some(3));
        assert_eq!(end_of_head(b"a\n\r\nb", 0), Some(4));
        assert_eq!(end_of_head(b"a\r\n\r", 0), None);
        assert_eq!(end_of_head(b"a\r\n\r\n", 1), Some(5));
    }
}
