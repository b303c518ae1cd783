//! The head of a request: where it ends, and how it frames its body.

/// Finds where a head ends: after the first empty line, with any line ending that the HTTP library would
/// accept.
///
/// `from` is where an earlier search stopped.
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

/// What a head says about the bytes behind it. Whether that is valid is checked with the head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    /// It has a `Transfer-Encoding` field.
    pub(super) chunks: bool,
    /// How long its body is: `None` without a Content-Length, an error where it is ambiguous.
    pub(super) length: Option<Result<u64, ()>>,
    /// It has an `Upgrade` field.
    pub(super) upgrade: bool,
}

/// Reads what a head says about the bytes behind it.
pub(super) fn announced(head: &[u8]) -> Announced {
    let mut all = Announced::default();
    for end in memchr::memchr_iter(b'\n', head) {
        let line = head.get(end + 1..).unwrap_or_default();
        let value = |name: &[u8]| {
            line.split_at_checked(name.len())
                .filter(|(start, _)| start.eq_ignore_ascii_case(name))
                .map(|(_, rest)| rest)
        };
        match line.first() {
            Some(b't' | b'T') => all.chunks |= value(b"transfer-encoding").is_some(),
            Some(b'u' | b'U') => all.upgrade |= value(b"upgrade").is_some(),
            Some(b'c' | b'C') => {
                if let Some(rest) = value(b"content-length") {
                    all.length = Some(if all.length.is_some() { Err(()) } else { length(rest) });
                }
            }
            _ => {}
        }
    }
    all
}

/// Reads the value of the field through the end of its line: 1 to 18 digits, which always fit into 64 bits.
fn length(rest: &[u8]) -> Result<u64, ()> {
    let line = memchr::memchr(b'\n', rest).and_then(|end| rest.get(..end)).unwrap_or_default();
    let digits = line.strip_prefix(b":").unwrap_or_default().trim_ascii();
    let digits = Some(digits)
        .filter(|digits| (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit));
    digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_announces_is_found_in_any_case_and_not_in_values() {
        let head = |lines: &str| announced(format!("POST /upgrade HTTP/1.1\r\n{lines}\r\n").as_bytes());

        assert_eq!(head("X: upgrade, content-length: 3\r\n"), Announced::default());
        assert_eq!(
            head("transfer-ENCODING: x\r\nUPGRADE: y\r\n"),
            Announced { chunks: true, length: None, upgrade: true }
        );
        assert_eq!(head("content-length:\t07 \r\n").length, Some(Ok(7)));
        for unclear in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length : 1\r\n",
            "Content-Length:\r\n",
        ] {
            assert_eq!(head(unclear).length, Some(Err(())), "{unclear}");
        }
    }

    #[test]
    fn an_empty_line_ends_the_head_however_it_is_written() {
        assert_eq!(end_of_head(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(end_of_head(b"a\n\nb", 0), Some(3));
        assert_eq!(end_of_head(b"a\n\r\nb", 0), Some(4));
        assert_eq!(end_of_head(b"a\r\n\r", 0), None);
        assert_eq!(end_of_head(b"a\r\n\r\n", 1), Some(5));
    }
}
