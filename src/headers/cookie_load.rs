//! Do its cookies make a head too large? (a cookie bomb)
//!
//! A page of one tenant can set cookies for a parent domain, as many as browsers keep. Then every other host
//! below that domain refuses its visitors for as long as the cookies live. So the refusal clears the cookies
//! (`Clear-Site-Data`).

use crate::{model::Reason, policy::Limits};

/// Says whether a head is refused for its cookies: without them it would fit, and with them it would not,
/// however short the target and `Referer` were. A stranger chooses those two with a long link on a page, and
/// must sign nobody out by it.
///
/// `fields` are the names, and the bytes of name and value; `is_whole` says that they are all there are. The
/// cookies must have more than half of what a head may have: in a head that was cut, because nobody knows
/// what else it had; in a whole one, because an app's few cookies are not to blame for something else that is
/// large.
pub fn is_to_blame<'a>(
    reason: Reason,
    fields: impl Iterator<Item = (&'a [u8], usize)>,
    is_whole: bool,
    limits: &Limits,
) -> bool {
    if reason == Reason::CookieTooLarge {
        return true;
    }
    let (mut cookies, mut rest) = (Share::default(), Share::default());
    for (name, length) in fields {
        if name.eq_ignore_ascii_case(b"cookie") {
            cookies.add(length);
        } else if !name.eq_ignore_ascii_case(b"referer") {
            rest.add(length);
        }
    }
    let fits = rest.longest <= limits.field_bytes
        && rest.count <= limits.header_count
        && rest.bytes <= limits.header_bytes;
    let is_over = |cookies: usize, rest: usize, bound: usize| {
        cookies > bound / 2 && (!is_whole || cookies.saturating_add(rest) > bound)
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other refusals are about something else")]
    match reason {
        Reason::HeadTooLarge => fits && is_over(cookies.bytes, rest.bytes, limits.header_bytes),
        Reason::TooManyFields => fits && is_over(cookies.count, rest.count, limits.header_count),
        Reason::FieldTooLarge => fits && cookies.longest > limits.field_bytes,
        _ => false,
    }
}

/// The share that some fields have of a head.
#[derive(Default)]
struct Share {
    count: usize,
    bytes: usize,
    longest: usize,
}

impl Share {
    fn add(&mut self, length: usize) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length).saturating_add(FRAMING);
        self.longest = self.longest.max(length);
    }
}

/// The bytes around a name and a value: `: ` and the end of the line.
const FRAMING: usize = 4;

/// Returns the fields of a head as received, which may end anywhere.
pub fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines =
        head.split(|&byte| byte == b'\n').skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        Some((name, value.get(1..)?.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Http2Limits;

    const LIMITS: Limits = Limits {
        handshake_timeout: Duration::ZERO,
        header_timeout: Duration::ZERO,
        header_bytes: 1000,
        header_count: 10,
        field_bytes: 500,
        path_bytes: 0,
        uri_bytes: 0,
        idle_timeout: Duration::ZERO,
        write_stall: Duration::ZERO,
        write_min_rate: 0,
        http2: Http2Limits {
            streams: 0,
            stream_window: 0,
            connection_window: 0,
            send_buffer: 0,
            resets: 0,
            errors: 0,
            settings: 0,
            pings: 0,
            priorities: 0,
            window_updates: 0,
            empty_data: 0,
            continuations: 0,
            starved: 0,
        },
    };

    fn judged(reason: Reason, is_whole: bool, fields: &[(&str, usize)]) -> bool {
        is_to_blame(reason, fields.iter().map(|(name, length)| (name.as_bytes(), *length)), is_whole, &LIMITS)
    }

    fn blamed(reason: Reason, fields: &[(&str, usize)]) -> bool {
        judged(reason, true, fields)
    }

    #[test]
    fn cookies_are_to_blame_where_the_rest_would_fit() {
        let many = |name: &'static str, count: usize| vec![(name, 20); count];

        assert!(blamed(Reason::CookieTooLarge, &[]));
        assert!(blamed(Reason::FieldTooLarge, &[("accept", 500), ("Cookie", 501)]));
        assert!(!blamed(Reason::FieldTooLarge, &[("accept", 501), ("cookie", 501)]));
        assert!(blamed(Reason::HeadTooLarge, &[("a", 496), ("b", 496), ("cookie", 497)]));
        assert!(!blamed(Reason::HeadTooLarge, &[("a", 496), ("b", 497), ("cookie", 497)]));
        assert!(blamed(Reason::TooManyFields, &[many("cookie", 20), many("a", 10)].concat()));
        assert!(!blamed(Reason::TooManyFields, &[many("cookie", 20), many("a", 11)].concat()));
        assert!(!blamed(Reason::HeadTooLarge, &[("accept", 20)]), "there are none");
        assert!(!blamed(Reason::HeadSyntax, &[("cookie", 500)]));
        assert!(!blamed(Reason::UriTooLong, &[("cookie", 500)]));
    }

    #[test]
    fn what_a_stranger_chooses_is_not_held_against_cookies() {
        // The target is no field, so whatever is missing here was its.
        assert!(
            !blamed(Reason::HeadTooLarge, &[("accept", 96), ("cookie", 450), ("cookie", 442)]),
            "1000 bytes in all"
        );
        assert!(blamed(Reason::HeadTooLarge, &[("accept", 96), ("cookie", 450), ("cookie", 443)]), "1001");
        assert!(!blamed(
            Reason::HeadTooLarge,
            &[("referer", 500), ("accept", 96), ("cookie", 450), ("cookie", 442)]
        ));
        assert!(!blamed(Reason::FieldTooLarge, &[("referer", 501), ("cookie", 500)]));
        assert!(!blamed(
            Reason::TooManyFields,
            &[[("cookie", 1); 9].as_slice(), &[("a", 1), ("Referer", 1)]].concat()
        ));
        // Other fields that are large leave little room for an app's own cookies.
        assert!(!blamed(Reason::HeadTooLarge, &[("authorization", 496), ("a", 100), ("cookie", 496)]));
        assert!(!blamed(Reason::TooManyFields, &[[("cookie", 1); 5], [("a", 1); 5]].concat()));
    }

    #[test]
    fn of_a_head_that_was_cut_cookies_are_more_than_half() {
        assert!(judged(Reason::HeadTooLarge, false, &[("accept", 96), ("cookie", 497)]));
        assert!(!judged(Reason::HeadTooLarge, false, &[("accept", 96), ("cookie", 496)]));
    }

    #[test]
    fn the_lines_of_half_a_head_are_read() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept:text/html \r\nnonsense\r\nCookie: a=b; c";

        let read: Vec<_> = lines(head).collect();

        assert_eq!(read, [(&b"Host"[..], &b"a"[..]), (b"Accept", b"text/html"), (b"Cookie", b"a=b; c")]);
    }
}
