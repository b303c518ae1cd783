//! The body of a request on its way to the app.

use bytes::{Buf, Bytes, BytesMut};

use crate::model::{Deny, Reason};

/// The body of a request on its way to the server. It holds one piece: while the server has not taken that,
/// the client is not read. The only exception are octets that are there when the answer begins.
///
/// What has come from the client belongs to the request; what was sent belongs to the attempt, and another
/// attempt begins anew ([`rewind`](Self::rewind)). That includes the end, which is octets in the chunked
/// coding.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// Whether it leaves in chunks (RFC 9112, section 7.1), because its length is unknown.
    chunked: bool,
    /// Whether all of it has come.
    came: bool,
    /// What has come so far, as long as it can be sent again.
    kept: Option<BytesMut>,
    /// What waits for the server of this attempt.
    out: Bytes,
    /// Whether that server takes no more of it.
    refused: bool,
    /// Whether an octet of it has come.
    has_octets: bool,
}

/// Where the body of a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyState {
    /// Whether all of it has come from the client.
    pub(crate) has_come: bool,
    /// Whether all of it has been taken by the server.
    pub(crate) is_done: bool,
    /// Whether the exchange waits for the client only.
    pub(crate) waits_for_client: bool,
}

/// The most octets that are kept for a retry: the single message of most gRPC calls fits.
const MOST_KEPT: usize = 64 * 1024;

impl RequestBody {
    /// Begins a body that has `came` already, or is still to come. It can be sent again until it is let go,
    /// while no more than [`MOST_KEPT`] has come.
    pub(crate) fn new(came: bool, chunked: bool) -> Self {
        Self {
            chunked,
            came,
            kept: Some(BytesMut::new()),
            out: Bytes::new(),
            refused: false,
            has_octets: false,
        }
    }

    /// Begins again for another server. Returns false where that is impossible: too much has come, or it was
    /// let go.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(kept) = &self.kept else { return false };
        self.out = if self.chunked { chunk(kept, self.came) } else { Bytes::copy_from_slice(kept) };
        self.refused = false;
        true
    }

    /// Drops what was kept: there is no retry from here on.
    pub(crate) fn let_go(&mut self) {
        self.kept = None;
    }

    /// Says whether an octet of it has come from the client.
    pub(crate) const fn has_octets(&self) -> bool {
        self.has_octets
    }

    /// Says whether all of it has come from the client.
    pub(crate) const fn has_come(&self) -> bool {
        self.came
    }

    /// Returns where it stands.
    pub(crate) fn state(&self) -> BodyState {
        BodyState { has_come: self.came, is_done: self.is_done(), waits_for_client: self.waits_for_client() }
    }

    /// Says whether all of it has been taken by the server.
    pub(crate) fn is_done(&self) -> bool {
        self.came && self.out.is_empty() && !self.refused
    }

    /// Says whether what waits is the last of it.
    pub(crate) fn ends_here(&self) -> bool {
        self.came && !self.out.is_empty()
    }

    /// Says whether the exchange waits for the client only.
    pub(crate) fn waits_for_client(&self) -> bool {
        !self.came && self.out.is_empty() && !self.refused
    }

    /// Returns what waits to be taken by the server.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.out
    }

    /// Takes octets off the front of that.
    pub(crate) fn take(&mut self, bytes: usize) -> Bytes {
        self.out.split_to(bytes.min(self.out.len()))
    }

    /// Notes that the server took octets of that.
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.out.advance(bytes.min(self.out.len()));
    }

    /// Notes that the server takes no more. Its answer may be there already; the rest of the body is
    /// discarded.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
        self.out = Bytes::new();
    }

    /// Says whether the server takes no more.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused
    }

    /// Adds the next piece, and whether it is the last. It leaves after what waits.
    pub(crate) fn put(&mut self, piece: Option<Bytes>, end: bool) {
        self.came = end;
        self.has_octets |= piece.as_ref().is_some_and(|piece| !piece.is_empty());
        if let Some(kept) = &mut self.kept {
            let piece = piece.as_deref().unwrap_or_default();
            if kept.len() + piece.len() > MOST_KEPT {
                self.kept = None;
            } else {
                kept.extend_from_slice(piece);
            }
        }
        if self.refused {
            return;
        }
        let piece = piece.unwrap_or_default();
        let piece = if self.chunked { chunk(&piece, end) } else { piece };
        self.out = if self.out.is_empty() { piece } else { [&*self.out, &*piece].concat().into() };
    }
}

/// Refuses a body that comes too slowly.
pub(crate) fn slow_body() -> Deny {
    Deny::new(Reason::TimeoutBody, "the body came slower than `body_min_rate`")
}

/// Writes a piece as a chunk (RFC 9112, section 7.1). An empty one would be the last, so it is written only
/// as that.
fn chunk(piece: &[u8], end: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(piece.len() + 32);
    if !piece.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    if end {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_once() {
        let mut body = RequestBody::new(false, true);
        let mut sent = Vec::new();
        for (piece, end) in [
            (Some(&b"abc"[..]), false),
            (Some(&b""[..]), false),
            (Some(&[b'x'; 17][..]), false),
            (None, true),
        ] {
            assert!(body.waits_for_client());
            body.put(piece.map(Bytes::copy_from_slice), end);
            while !body.pending().is_empty() {
                sent.push(body.pending()[0]);
                body.taken(1);
            }
        }

        assert_eq!(sent, b"3\r\nabc\r\n11\r\nxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
        assert!(body.is_done());
    }

    #[test]
    fn what_is_put_behind_what_waits_leaves_behind_it() {
        for (chunked, sent) in [(false, &b"abcdef"[..]), (true, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")] {
            let mut body = RequestBody::new(false, chunked);
            body.put(Some(Bytes::from_static(b"abc")), false);
            body.put(Some(Bytes::from_static(b"def")), true);

            assert_eq!((body.pending(), body.has_come()), (sent, true));
        }
    }

    #[test]
    fn what_little_has_come_can_be_said_again() {
        let mut body = RequestBody::new(false, false);
        body.put(Some(Bytes::from_static(b"abc")), false);
        body.take(3);
        body.put(Some(Bytes::from_static(b"def")), true);
        body.refuse();

        assert!(body.rewind());
        assert_eq!((body.pending(), body.has_come(), body.is_done()), (&b"abcdef"[..], true, false));
        body.let_go();
        assert!(!body.rewind());

        for (bytes, again) in [(MOST_KEPT, true), (MOST_KEPT + 1, false)] {
            let mut body = RequestBody::new(false, false);
            body.put(Some(Bytes::from(vec![0; bytes])), false);
            assert_eq!(body.rewind(), again, "{bytes}");
        }
    }

    #[test]
    fn chunks_are_said_again_with_their_end() {
        let mut empty = RequestBody::new(false, true);
        empty.put(None, true);
        empty.taken(5);
        assert!(empty.is_done() && empty.rewind() && !empty.is_done());
        assert_eq!(empty.pending(), b"0\r\n\r\n");

        let mut body = RequestBody::new(false, true);
        for piece in [&b"ab"[..], b"c"] {
            body.put(Some(Bytes::from_static(piece)), false);
            body.taken(body.pending().len());
        }
        // As one piece: where chunks begin means nothing.
        assert!(body.rewind());
        assert_eq!((body.pending(), body.has_come()), (&b"3\r\nabc\r\n"[..], false));
        body.put(None, true);
        assert!(body.rewind());
        assert_eq!(body.pending(), b"3\r\nabc\r\n0\r\n\r\n");

        // And none has no end to be said.
        let mut none = RequestBody::new(true, false);
        assert!(none.rewind() && none.is_done());
    }

    #[test]
    fn what_the_server_refuses_is_thrown_away_and_is_not_done() {
        let mut body = RequestBody::new(false, false);
        body.put(Some(Bytes::from_static(b"abc")), false);

        body.refuse();
        body.put(Some(Bytes::from_static(b"def")), true);

        assert_eq!((body.pending(), body.has_come(), body.is_done()), (&b""[..], true, false));
    }
}
