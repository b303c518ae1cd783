//! The parts of a path that some servers leave out.

use super::{page_data, path_text::merged};

/// Returns how long a path is without all that some servers leave out, and without a slash at its end.
pub(super) fn shortened_length(path: &str) -> usize {
    without(path, &Odd::ALL).trim_end_matches('/').len()
}

/// A part of a path that some servers leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// `(S(…))`, a segment in which ASP.NET keeps a session without cookies, and removes wherever it is
    /// (CVE-2023-36899).
    Session,
    /// `index.php` and the like before more segments: frameworks route by the rest (`PATH_INFO`).
    Script,
    /// Blanks around a segment (Spring before 4.3), and at its end dots and the name of a stream (`::$DATA`),
    /// which Windows ignores.
    End,
}

impl Odd {
    pub(super) const ALL: [Self; 3] = [Self::Session, Self::Script, Self::End];
}

/// Says whether a path has a part that some servers leave out, or holds page data.
///
/// It is called for many plain paths, so it examines each segment from its ends.
pub(super) fn is_odd(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_stream = || {
        memchr::memchr_iter(b':', bytes)
            .any(|at| matches!(bytes.get(at.saturating_add(1)), Some(b':' | b'$')))
    };
    if page_data::is_data(text) || has_stream() {
        return true;
    }
    if memchr::memchr3(b' ', b'.', b'(', bytes).is_none() {
        return false;
    }
    let begins = |at: usize| match text.get(at.saturating_add(1)..) {
        Some(segment) if segment.starts_with(' ') => true,
        Some(segment) if segment.starts_with('(') => {
            is_session(segment.split('/').next().unwrap_or_default())
        }
        Some(_) | None => false,
    };
    let ends = |before: Option<&[u8]>| match before {
        Some([.., b' ' | b'.']) => true,
        Some(before) => is_script(before),
        None => false,
    };
    matches!(bytes, [.., b' ' | b'.'])
        || memchr::memchr_iter(b'/', bytes).any(|at| begins(at) || ends(bytes.get(..at)))
}

pub(super) fn without(text: &str, parts: &[Odd]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let ends = segments.peek().is_none();
        let is_out = |part: &Odd| match part {
            Odd::Session => is_session(segment),
            Odd::Script => !ends && is_script(segment.as_bytes()),
            Odd::End => false,
        };
        if !parts.iter().any(is_out) {
            out.push('/');
            out.push_str(if parts.contains(&Odd::End) { trimmed(segment) } else { segment });
        } else if ends {
            out.push('/');
        }
    }
    merged(&out).into_owned()
}

fn is_session(segment: &str) -> bool {
    let Some(mut rest) =
        segment.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).filter(|rest| !rest.is_empty())
    else {
        return false;
    };
    // `A(…)S(…)`: a letter each.
    while let [letter, b'(', ..] = rest.as_bytes() {
        let after = rest.split_once(')').filter(|_| letter.is_ascii_alphabetic());
        let Some((_, after)) = after else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// Says whether a text ends in the name of a script.
fn is_script(text: &[u8]) -> bool {
    const ENDS: [&str; 8] = ["php", "cfm", "cgi", "fcgi", "pl", "py", "rb", "lua"];
    let tail = text.last_chunk::<5>().map_or(text, |tail| tail);
    let end = tail.iter().rposition(|&byte| byte == b'.').and_then(|at| tail.get(at.saturating_add(1)..));
    end.is_some_and(|end| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known.as_bytes())))
}

fn trimmed(segment: &str) -> &str {
    let bytes = segment.as_bytes();
    let mut colons = memchr::memchr_iter(b':', bytes);
    let stream = colons.find(|at| matches!(bytes.get(at.saturating_add(1)), Some(b':' | b'$')));
    let named = stream.and_then(|at| segment.get(..at)).unwrap_or(segment);
    match named.as_bytes() {
        [b' ', ..] | [.., b' ' | b'.'] => named.trim_start_matches(' ').trim_end_matches([' ', '.']),
        _ => named,
    }
}
