//! Are its cookies what makes a head too large?
//!
//! A page of one tenant can set cookies for a parent domain, as many as browsers keep, and then every other host below it is refused to
//! its visitors, for as long as the cookies live. So the refusal takes the cookies away (`Clear-Site-Data`).

use crate::{model::Reason, policy::Limits};

/// Says whether a head that is refused would fit without its cookies. `fields` are its names, and the bytes of name and value.
pub(super) fn is_to_blame<'a>(reason: Reason, fields: impl Iterator<Item = (&'a [u8], usize)>, limits: &Limits) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other refusals are about something else")]
    match reason {
        Reason::CookieTooLarge => true,
        Reason::HeadTooLarge | Reason::FieldTooLarge | Reason::TooManyFields => {
            let (mut cookies, mut count, mut bytes) = (false, 0_usize, 0_usize);
            for (name, length) in fields {
                if name.eq_ignore_ascii_case(b"cookie") {
                    cookies = true;
                    continue;
                }
                (count, bytes) = (count.saturating_add(1), bytes.saturating_add(length).saturating_add(FRAMING));
                if length > limits.field_bytes {
                    return false;
                }
            }
            cookies && count <= limits.header_count && bytes <= limits.header_bytes
        }
        _ => false,
    }
}

/// What stands around a name and a value: `: ` and the end of the line.
const FRAMING: usize = 4;

/// Reads the lines of a head as received, which may end anywhere.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|&byte| byte == b'\n').skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
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

    fn blamed(reason: Reason, fields: &[(&str, usize)]) -> bool {
        is_to_blame(reason, fields.iter().map(|(name, length)| (name.as_bytes(), *length)), &LIMITS)
    }

    #[test]
    fn cookies_are_to_blame_where_the_rest_would_fit() {
        let many = |name: &'static str, count: usize| vec![(name, 20); count];

        assert!(blamed(Reason::CookieTooLarge, &[]));
        assert!(blamed(Reason::FieldTooLarge, &[("accept", 500), ("Cookie", 501)]));
        assert!(!blamed(Reason::FieldTooLarge, &[("accept", 501), ("cookie", 501)]));
        assert!(blamed(Reason::HeadTooLarge, &[("a", 496), ("b", 496), ("cookie", 400)]));
        assert!(!blamed(Reason::HeadTooLarge, &[("a", 496), ("b", 497), ("cookie", 400)]));
        assert!(blamed(Reason::TooManyFields, &[many("cookie", 20), many("a", 10)].concat()));
        assert!(!blamed(Reason::TooManyFields, &[many("cookie", 20), many("a", 11)].concat()));
        assert!(!blamed(Reason::HeadTooLarge, &[("accept", 20)]), "there are none");
        assert!(!blamed(Reason::HeadSyntax, &[("cookie", 500)]));
        assert!(!blamed(Reason::UriTooLong, &[("cookie", 500)]));
    }

    #[test]
    fn the_lines_of_half_a_head_are_read() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept:text/html \r\nnonsense\r\nCookie: a=b; c";

        let read: Vec<_> = lines(head).collect();

        assert_eq!(read, [(&b"Host"[..], &b"a"[..]), (b"Accept", b"text/html"), (b"Cookie", b"a=b; c")]);
    }
}
