//! A pingora request, as the checks see it.

use std::sync::Arc;

use http::Version;
use pingora::{http::RequestHeader, proxy::Session};

use crate::model::{
    Connection, Facts, HttpVersion, Malformed, NO_HOST, Presented, RequestView, STREAM_FIELD, StreamMark,
    Tick, UnixTime,
};

/// Finds the connection that edge put under this session.
pub(super) fn connection(session: &Session) -> Option<Arc<Connection>> {
    let digest = session.as_downstream().digest()?.proxy_digest.as_ref()?;
    digest.user_data.as_ref()?.downcast_ref::<Arc<Connection>>().cloned()
}

/// Removes the field in which edge says on which stream of HTTP/2 a request came, and what is wrong with it.
/// Edge puts it after every field of the client's, under a key that no client knows.
pub(super) fn take_mark(session: &mut Session, connection: &Connection) -> Option<StreamMark> {
    if !session.is_http2() {
        return None;
    }
    let request = session.req_header_mut();
    let mark = request
        .headers
        .get_all(STREAM_FIELD)
        .iter()
        .next_back()
        .and_then(|value| connection.stream_mark(value.as_bytes()));
    request.remove_header(STREAM_FIELD);
    if mark.is_some_and(|mark| mark.malformed.is_some())
        && request.uri.authority().is_some_and(|authority| authority == NO_HOST)
    {
        let path = request.uri.path_and_query().cloned().map(http::Uri::from);
        request.set_uri(path.unwrap_or_default());
    }
    mark
}

/// Returns what is wrong with a request that has no mark: over HTTP/2 nobody has judged its head, so nothing
/// in it is believed, nor anything more of its connection.
pub(super) fn unmarked(session: &Session, connection: &Connection) -> Option<Malformed> {
    session.is_http2().then(|| {
        connection.note_unread_head();
        Malformed::Unread
    })
}

/// Returns the HTTP version of a request.
pub(super) fn version(request: &RequestHeader) -> HttpVersion {
    match request.version {
        Version::HTTP_2 => HttpVersion::Http2,
        Version::HTTP_10 => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}

/// Builds the view. For HTTP/1 the target is read from the head as received: pingora escapes an illegal one
/// before anybody sees it.
pub(super) fn view<'a>(
    request: &'a RequestHeader,
    head: Option<&'a [u8]>,
    facts: &'a Facts,
    certificate: Option<&'a Presented>,
    now: UnixTime,
    tick: Tick,
) -> RequestView<'a> {
    RequestView {
        connection: facts,
        certificate,
        version: version(request),
        method: request.method.as_str(),
        target: head.map_or_else(|| request.raw_path(), target),
        authority: request.uri.authority().map(http::uri::Authority::as_str),
        headers: &request.headers,
        head,
        now,
        tick,
    }
}

/// Returns what stands between the first two spaces of the request line.
pub(super) fn target(head: &[u8]) -> &[u8] {
    let line = head.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or(&[]);
    line.split(|&byte| byte == b' ').nth(1).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_what_the_client_sent() {
        assert_eq!(target(b"GET /a%20b?c HTTP/1.1\r\nHost: a\r\n\r\n"), b"/a%20b?c");
        assert_eq!(target(b"GET /a b HTTP/1.1\r\n\r\n"), b"/a");
        assert_eq!(target(b"GET\r\n\r\n"), b"");
    }
}
