//! Whether an upstream reads the bodies of its requests.
//!
//! A server that answers without reading the body, and keeps the connection open, reads the body as the next
//! request: a stranger's octets, which may contain fields of ours (`Octroi-User`), and the answer goes to the
//! next client. Where the body is the beginning of a request, the next client's head completes it, and nobody
//! can detect that. A server that is told `Connection: close` does not read on (RFC 9112, section 9.6). So
//! every request with a body says that, and its connection is not used again, unless the operator states that
//! the upstream reads bodies (`reads_bodies: true`). Then only requests say it whose body servers do not
//! expect; and every one with a body does, once octets arrived after the answer to such a request.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;

use crate::model::UpstreamName;

/// What is known about how an upstream reads bodies. It survives a reload that does not change the upstream.
#[derive(Debug)]
pub(crate) struct Bodies {
    upstream: UpstreamName,
    /// Whether the configuration says that it reads them. Otherwise nothing is known.
    reads: bool,
    /// Whether it was seen not to read one.
    unread: AtomicBool,
}

impl Bodies {
    pub(crate) fn new(upstream: UpstreamName, reads: bool) -> Self {
        Self { upstream, reads, unread: AtomicBool::new(false) }
    }

    /// Says whether the upstream was seen not to read a body.
    pub(crate) fn are_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Notes that octets arrived after the answer to a request with a body.
    pub(crate) fn found_unread(&self) {
        if self.unread.swap(true, Ordering::Relaxed) {
            return;
        }
        let upstream = &self.upstream;
        if self.reads {
            tracing::error!(
                event = "bodies_unread",
                %upstream,
                "octets came behind the answer to a request with a body: the upstream does not read bodies, and took one for a request. \
                 Until a restart each body goes over a connection of its own; take `reads_bodies: true` out, or mend the app"
            );
        } else {
            tracing::error!(
                event = "bodies_unread",
                %upstream,
                "octets came behind the answer to a request with a body: the upstream does not read bodies, and took one for a request \
                 although it was told to close the connection: mend the app"
            );
        }
    }

    /// Says whether the connection of a request with a body is not used again.
    pub(crate) fn closes(&self, method: &Method) -> bool {
        !self.reads || !expects_body(method) || self.are_unread()
    }

    /// Says whether an answer to HEAD, a 205, or a 304 with a length may be followed by the body that it must
    /// not have (RFC 9112, section 6.3). Handlers that treat HEAD as GET send it, as late as they like: the
    /// next client would read it as the answer to its own request.
    pub(crate) fn may_say_more(&self) -> bool {
        !self.reads
    }
}

/// Says whether servers expect a body with a method, so that they read it: RFC 9110 for POST and PUT, RFC
/// 5789 for PATCH, and WebDAV with its kin. Nobody has to look for one with any other (RFC 9110, sections
/// 9.3.1 and 9.3.5).
pub(crate) fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
        || matches!(
            method.as_str(),
            "PROPFIND"
                | "PROPPATCH"
                | "MKCOL"
                | "MKCALENDAR"
                | "LOCK"
                | "ACL"
                | "REPORT"
                | "SEARCH"
                | "QUERY"
        )
}

/// Says whether the octets after an answer are another answer. After one that has no body because of its
/// status they may be the body of a faulty app; line ends do not count either (RFC 9112, section 2.2).
pub(crate) fn is_another_answer(said: &[u8], without_body: bool) -> bool {
    let begins = said.get(..HTTP.len()).map_or_else(|| HTTP.starts_with(said), |begin| begin == HTTP);
    let only_line_ends = said.iter().all(|octet| matches!(octet, b'\r' | b'\n'));
    !only_line_ends && (begins || !without_body)
}

const HTTP: &[u8] = b"HTTP/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_nobody_expects_has_a_connection_of_its_own() {
        let closes = |bodies: &Bodies| {
            ["GET", "DELETE", "PURGE", "POST", "PUT", "PATCH", "REPORT"]
                .map(|name| bodies.closes(&name.parse().unwrap()))
        };
        let bodies = |reads| Bodies::new("app".parse().unwrap(), reads);

        assert_eq!(closes(&bodies(true)), [true, true, true, false, false, false, false]);
        assert_eq!(closes(&bodies(false)), [true; 7]);
        let found = bodies(true);
        found.found_unread();
        assert_eq!(closes(&found), [true; 7]);
    }

    #[test]
    fn what_a_careless_app_sends_behind_204_is_no_answer() {
        for (said, without_body, another) in [
            (&b"HTTP/1.1 200 OK"[..], false, true),
            (b"HTTP/1.1 200 OK", true, true),
            (b"HT", true, true),
            (b"{}", true, false),
            (b"{}", false, true),
            (b"0\r\n\r\n", true, false),
            (b"\r\n", false, false),
            (b"\r\nHTTP/1.1", false, true),
            (b"", false, false),
        ] {
            assert_eq!(is_another_answer(said, without_body), another, "{said:?}");
        }
    }
}
