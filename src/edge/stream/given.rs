//! What the library is given of an HTTP/2 client: its frames, but for the blocks of fields, which are read here and written anew.
//!
//! The library tells nobody the numbers of its streams, drops every interim answer, and ends a whole connection for one bad field. So each
//! block is read ([`hpack`](super::hpack)), judged ([`head`](super::head)) and given without compression, with a field of ours at its end:
//! the number of its stream, and what is wrong with it. With the number the gateway can have an interim answer said on the right stream
//! ([`Connection::say_interim`]), and the stream knows which requests have begun. The field carries the key of its connection, which never
//! leaves the process, and one of that name that a client sends is dropped, so a client can say nothing in it. It must not be indexed (RFC
//! 7541, section 6.2.3); nothing is, so the library's table of fields stays empty.
//!
//! A block that nobody can read is the end of the connection (RFC 9113, section 4.3), and so is one that another frame interrupts (section
//! 6.10), or that is on no stream of a client's (section 5.1.1). From there on nobody can tell what its frames mean, so the library gets
//! nothing more of them: whatever it read would be a head that nobody has judged. The connection is ended by us.
//!
//! Trailers that come behind our reset of their stream were under way (section 5.1): they are read, for the table, and dropped.
//!
//! [`Connection::say_interim`]: crate::model::Connection::say_interim

use std::{collections::VecDeque, mem};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::{
    head::{END_HEADERS, END_STREAM, HEAD, Head, Opening, PRIORITY, PRIORITY_BYTES},
    hpack::Decoder,
};
use crate::{
    edge::Http2Error,
    model::{FIELD_TABLE_BYTES, FRAME_BYTES, Malformed},
};

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// In SETTINGS.
const ACK: u8 = 1;
const PADDED: u8 = 8;
/// So many streams that we have reset are remembered: as many as are followed.
const RESET_REMEMBERED: usize = 256;
/// What is kept between two heads of what one needed.
const KEPT: usize = 2048;

/// What has come and was not given yet, and where the library stands.
#[derive(Debug)]
pub(in crate::edge) struct Given {
    /// What the field of ours says before the number; without one, no number is given.
    key: Option<u64>,
    preface: usize,
    /// Octets of the payload that are to come, of a frame that is given as it is.
    rest: usize,
    /// The stream of a DATA frame whose rest that is.
    data: Option<u32>,
    fields: Decoder,
    head: Head,
    /// Whether that has begun and not ended.
    in_block: bool,
    /// Why nobody can follow the client any more: then the library gets nothing more of it.
    lost: Option<Http2Error>,
    highest: u32,
    /// The last streams that we have reset.
    reset: VecDeque<u32>,
    /// A block as the library gets it, before anything else is given.
    due: Vec<u8>,
    /// How much of that was given.
    due_at: usize,
    /// The streams of requests that are reset behind their answer.
    to_reset: Vec<u32>,
    waiting: BytesMut,
    /// How much of that may be given.
    cleared: usize,
}

impl Given {
    /// Begins with the bounds of a head, and the key of its connection.
    pub(in crate::edge) fn new(header_bytes: usize, header_count: usize, key: Option<u64>) -> Self {
        Self {
            key,
            preface: PREFACE,
            rest: 0,
            data: None,
            fields: Decoder::new(FIELD_TABLE_BYTES, header_bytes),
            head: Head::new(header_bytes, header_count),
            in_block: false,
            lost: None,
            highest: 0,
            reset: VecDeque::new(),
            due: Vec::new(),
            due_at: 0,
            to_reset: Vec::new(),
            waiting: BytesMut::new(),
            cleared: 0,
        }
    }

    /// Says whether the library stands between two frames, and no block of fields has begun, so that a frame of ours may come.
    pub(super) fn is_between(&self) -> bool {
        self.cleared == 0 && self.preface == 0 && self.rest == 0 && !self.in_block && self.due.is_empty()
    }

    /// Returns the stream in whose DATA frame the library stands.
    pub(super) fn in_data(&self) -> Option<u32> {
        self.data.filter(|_| self.rest > 0)
    }

    /// Says whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty()
    }

    /// Returns the streams of requests that are reset behind their answer, each once.
    pub(super) fn take_to_reset(&mut self) -> impl Iterator<Item = u32> {
        mem::take(&mut self.to_reset).into_iter()
    }

    /// Returns why the connection has to end, once the library has all that came before that.
    pub(super) fn lost(&self) -> Option<Http2Error> {
        self.lost.filter(|_| self.is_empty())
    }

    /// Notes that we have reset a stream.
    pub(super) fn note_reset(&mut self, stream: u32) {
        if self.reset.len() >= RESET_REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(stream);
    }

    /// Keeps what came.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.lost.is_none() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Lets through what came, where nothing waits before it. Returns how much of it the library gets now; the rest waits.
    pub(super) fn pass_on(&mut self, bytes: &[u8]) -> usize {
        let (read, passed) = self.pass(bytes);
        self.keep(bytes.get(read + passed..).unwrap_or_default());
        passed
    }

    /// Gives what waits, as much as may be given now. Says whether that was anything.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        while self.cleared == 0 && self.due.is_empty() && !self.waiting.is_empty() {
            let mut waiting = mem::take(&mut self.waiting);
            let (read, passed) = self.pass(&waiting);
            waiting.advance(read);
            if self.lost.is_some() {
                waiting.truncate(passed);
            }
            (self.waiting, self.cleared) = (waiting, passed);
            // Behind what was dropped, there may be more.
            if read == 0 {
                break;
            }
        }
        let before = buf.remaining();
        if self.cleared > 0 {
            let some = self.cleared.min(buf.remaining());
            buf.put_slice(self.waiting.get(..some).unwrap_or_default());
            self.waiting.advance(some);
            self.cleared -= some;
        } else {
            let due = self.due.get(self.due_at..).unwrap_or_default();
            let some = due.get(..buf.remaining()).unwrap_or(due);
            buf.put_slice(some);
            self.due_at += some.len();
            if self.due_at == self.due.len() {
                self.due.clear();
                self.due.shrink_to(KEPT);
                self.due_at = 0;
            }
        }
        if self.waiting.is_empty() {
            self.waiting = BytesMut::new();
        }
        buf.remaining() < before
    }

    /// Reads on, up to the end of a block, to a block behind other frames, or to a frame whose head, or whose fields, are not whole. Returns
    /// how much was read here and is not given, and how much may be given as it is: one of both is 0.
    fn pass(&mut self, bytes: &[u8]) -> (usize, usize) {
        let (mut read, mut at) = (0, 0);
        while self.lost.is_none() {
            let to_come = if self.preface > 0 { &mut self.preface } else { &mut self.rest };
            let some = (*to_come).min(bytes.len() - at);
            *to_come -= some;
            at += some;
            if self.preface > 0 || self.rest > 0 {
                return (read, at - read);
            }
            let Some((&head, behind)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<HEAD>()) else { return (read, at - read) };
            let [a, b, c, kind, flags, d, e, f, g] = head;
            let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if let Err(error) = self.follow(kind, flags, stream, length) {
                self.lose(error);
                break;
            }
            if !matches!(kind, HEADERS | CONTINUATION) {
                (self.rest, self.data) = (length, (kind == DATA).then_some(stream));
                at += HEAD;
                continue;
            }
            let Some(payload) = behind.get(..length).filter(|_| at == read) else { return (read, at - read) };
            at += HEAD + length;
            read = at;
            if let Err(error) = self.block(kind, flags, stream, payload) {
                self.lose(error);
            }
            if !self.in_block {
                return (read, 0);
            }
        }
        (read, at - read)
    }

    /// Says why a frame is one that nobody can follow: whatever stands behind it could be read as something else.
    fn follow(&self, kind: u8, flags: u8, stream: u32, length: usize) -> Result<(), Http2Error> {
        let continues = kind == CONTINUATION && self.in_block && stream == self.head.stream();
        let is_fit = match kind {
            RESET | WINDOW_UPDATE => length == 4,
            PING => length == 8,
            SETTINGS if flags & ACK != 0 => length == 0,
            SETTINGS => length.is_multiple_of(6),
            _ => length <= FRAME_BYTES,
        };
        match kind {
            // RFC 9113, section 6.10: nothing comes between.
            _ if self.in_block && !continues => Err(Http2Error::Protocol),
            CONTINUATION if !continues => Err(Http2Error::Protocol),
            // Sections 5.1.1 and 8.4: a client's streams have odd numbers, and it pushes nothing.
            HEADERS if stream.is_multiple_of(2) => Err(Http2Error::Protocol),
            PUSH_PROMISE => Err(Http2Error::Protocol),
            _ if !is_fit || length > FRAME_BYTES => Err(Http2Error::FrameSize),
            _ => Ok(()),
        }
    }

    /// Reads one frame of a block.
    fn block(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Http2Error> {
        let fields = if kind == HEADERS { self.open(flags, stream, payload)? } else { payload };
        let last = flags & END_HEADERS != 0;
        self.in_block = !last;
        let Self { fields: decoder, head, .. } = self;
        decoder.read(fields, last, |found| head.take(found)).map_err(|_| Http2Error::Compression)?;
        if !last {
            return Ok(());
        }
        if head.is_trailers() && self.reset.contains(&stream) {
            head.drop_block();
        } else if head.end(self.key, &mut self.due).is_some_and(Malformed::resets) {
            self.to_reset.push(stream);
        }
        Ok(())
    }

    /// Begins a block. Returns its fields; fails where the frame has no room for what stands around them (RFC 9113, section 6.2).
    fn open<'a>(&mut self, flags: u8, stream: u32, payload: &'a [u8]) -> Result<&'a [u8], Http2Error> {
        let mut priority = [0; PRIORITY_BYTES];
        let mut fields = payload;
        let mut padding = 0;
        if flags & PADDED != 0 {
            let (length, rest) = fields.split_first().ok_or(Http2Error::FrameSize)?;
            (padding, fields) = (usize::from(*length), rest);
        }
        if flags & PRIORITY != 0 {
            let (found, rest) = fields.split_first_chunk().ok_or(Http2Error::FrameSize)?;
            (priority, fields) = (*found, rest);
        }
        let fields = fields.len().checked_sub(padding).and_then(|length| fields.get(..length)).ok_or(Http2Error::Protocol)?;
        let trailers = stream <= self.highest;
        self.highest = self.highest.max(stream);
        self.head.begin(Opening { stream, flags: flags & (END_STREAM | PRIORITY), priority, trailers });
        Ok(fields)
    }

    /// From here on the library gets nothing of the client's.
    fn lose(&mut self, error: Http2Error) {
        (self.lost, self.in_block) = (Some(error), false);
    }
}

/// Gives what came in pieces, to a library that reads so many octets at a time. Returns what it reads.
pub(in crate::edge) fn all_of(given: &mut Given, pieces: &[&[u8]], room: usize) -> Vec<u8> {
    let (mut all, mut space) = (Vec::new(), vec![0; room.max(1)]);
    for piece in pieces {
        if given.is_empty() {
            let passed = given.pass_on(piece);
            all.extend_from_slice(piece.get(..passed).unwrap_or_default());
        } else {
            given.keep(piece);
        }
        loop {
            let mut buf = ReadBuf::new(&mut space);
            if !given.give(&mut buf) {
                break;
            }
            all.extend_from_slice(buf.filled());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{super::head::frame_head, *};
    use crate::model::{STREAM_FIELD, StreamMark};

    const KEY: u64 = 0xfeed_0000_0000_0001;
    const GET: &[u8] = b"\x82\x87\x84\x41\x01a";
    const READ: &[u8] = b"\0\x07:method\x03GET\0\x07:scheme\x05https\0\x05:path\x01/\0\x0a:authority\x01a";

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        [&frame_head(payload.len(), kind, flags, stream), payload].concat()
    }

    /// The field with the number.
    fn mark(stream: u32, malformed: Option<Malformed>) -> Vec<u8> {
        let text = StreamMark { stream, malformed }.text(KEY);
        let text = text.as_bytes();
        [b"\x10\x0doctroi-stream", &[u8::try_from(text.len()).unwrap()][..], text].concat()
    }

    /// A block as the library gets it, with the number behind its fields.
    fn marked(flags: u8, stream: u32, fields: &[&[u8]]) -> Vec<u8> {
        frame(1, flags, stream, &[&fields.concat()[..], &mark(stream, None)].concat())
    }

    fn refused(flags: u8, stream: u32, fields: &[&[u8]], malformed: Malformed) -> Vec<u8> {
        frame(1, flags, stream, &[&fields.concat()[..], &mark(stream, Some(malformed))].concat())
    }

    /// What the library gets of these pieces, in reads of so many octets.
    fn given(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        all_of(&mut Given::new(1024, 100, Some(KEY)), pieces, room)
    }

    /// The same of one block that opens stream 1.
    fn given_block(block: &[u8]) -> Vec<u8> {
        given(&[&[vec![0; PREFACE], frame(1, 5, 1, block)].concat()], 4096).split_off(PREFACE)
    }

    #[test]
    fn each_head_is_read_and_ends_with_its_number_however_it_is_cut() {
        let preface = [b'p'; PREFACE];
        let text = &b"\x40\x01a\x01b"[..];
        let said = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(1, 5, 1, &[GET, text].concat()),
            // By the table now, over three frames that end within fields, and padded.
            frame(1, 8, 3, &[&b"\x03"[..], GET, b"\x40\x03x-", b"\0\0\0"].concat()),
            frame(9, 0, 3, b""),
            frame(9, 4, 3, b"a\x02bc\xc0"),
            frame(0, 0, 3, &[7; 300]),
            // Trailers.
            frame(1, 5, 3, b"\xc0"),
            frame(1, 0x25, 7, &[&b"\0\0\0\x01\x07"[..], GET].concat()),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        let written = &b"\0\x01a\x01b"[..];
        let expected = [
            preface.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            marked(5, 1, &[READ, written]),
            marked(4, 3, &[READ, b"\0\x03x-a\x02bc", written]),
            frame(0, 0, 3, &[7; 300]),
            frame(1, 5, 3, written),
            marked(0x25, 7, &[b"\0\0\0\x01\x07", READ]),
            frame(6, 0, 0, &[0; 8]),
        ]
        .concat();
        for room in [1, 9, 64, 4096] {
            assert_eq!(given(&[&said], room), expected, "{room}");
        }
        for cut in 0..said.len() {
            assert_eq!(given(&[&said[..cut], &said[cut..]], 4096), expected, "{cut}");
        }
        let octets: Vec<&[u8]> = said.chunks(1).collect();
        assert_eq!(given(&octets, 4096), expected);
    }

    #[test]
    fn one_bad_field_is_left_out_and_named_and_never_comes_back_by_the_table() {
        let first = [GET, b"\x40\x03x-a\x03a\x01b\x40\x01c\x01d"].concat();
        let second = [GET, b"\xbf"].concat();
        let said = [vec![0; PREFACE], frame(1, 5, 1, &first), frame(1, 5, 3, &second)].concat();
        // Behind this one's authority stand `c`, `x-a` and the first one's.
        let expected =
            [vec![0; PREFACE], refused(5, 1, &[READ, b"\0\x01c\x01d"], Malformed::FieldOctet), marked(5, 3, &[READ, b"\0\x01c\x01d"])]
                .concat();
        assert_eq!(given(&[&said], 4096), expected);

        let again = [GET, b"\xc0"].concat();
        let said = [vec![0; PREFACE], frame(1, 5, 1, &first), frame(1, 5, 3, &again)].concat();
        let expected = [
            vec![0; PREFACE],
            refused(5, 1, &[READ, b"\0\x01c\x01d"], Malformed::FieldOctet),
            refused(5, 3, &[READ], Malformed::FieldOctet),
        ]
        .concat();
        assert_eq!(given(&[&said], 4096), expected);
    }

    #[test]
    fn what_is_malformed_is_told_apart_and_the_library_gets_a_whole_request() {
        let plain = |fields: &[(&str, &str)]| {
            let mut block = Vec::new();
            for (name, value) in fields {
                block.push(0);
                crate::model::literal(&mut block, name.as_bytes());
                crate::model::literal(&mut block, value.as_bytes());
            }
            block
        };
        let request = |path: &str, authority: &str| {
            [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", authority)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let with = |more: &[(&str, &str)]| {
            let owned = request("/", "a");
            let all: Vec<_> = owned.iter().map(|(name, value)| (&**name, &**value)).chain(more.iter().copied()).collect();
            plain(&all)
        };
        for (field, why) in [
            (("X", "a"), Malformed::FieldName),
            (("", "a"), Malformed::FieldName),
            (("a b", "a"), Malformed::FieldName),
            (("x", "a\u{1}b"), Malformed::FieldOctet),
            (("x", "a\r\nb"), Malformed::FieldLine),
            (("x", " a"), Malformed::FieldBlank),
            (("connection", "close"), Malformed::ConnectionField),
            (("upgrade", "h2c"), Malformed::ConnectionField),
            (("transfer-encoding", "chunked"), Malformed::TransferEncoding),
            (("te", "gzip"), Malformed::Te),
            (("content-length", "+5"), Malformed::Length),
            // The stream ends with the head.
            (("content-length", "5"), Malformed::Length),
            (("host", "b"), Malformed::AuthorityConflict),
            (("host", "u@a"), Malformed::AuthoritySyntax),
            ((":path", "/"), Malformed::PseudoTwice),
            ((":status", "200"), Malformed::PseudoUnknown),
            ((":protocol", "websocket"), Malformed::PseudoUnknown),
            ((":x", "a"), Malformed::PseudoUnknown),
        ] {
            assert_eq!(given_block(&with(&[field])), refused(5, 1, &[READ], why), "{field:?}");
        }
        assert_eq!(given_block(&with(&[("x", ""), (":path", "/")])), refused(5, 1, &[READ, b"\0\x01x\0"], Malformed::PseudoLate));
        for (field, written) in [
            (("x", ""), &b"\0\x01x\0"[..]),
            (("x", "a\tb"), b"\0\x01x\x03a\tb"),
            (("x", "\u{e9}"), b"\0\x01x\x02\xc3\xa9"),
            (("te", "Trailers"), b"\0\x02te\x08trailers"),
            (("content-length", "0"), b"\0\x0econtent-length\x010"),
            (("host", "a"), b"\0\x04host\x01a"),
            (("host", "A"), b""),
            (("octroi-stream", "feed000000000001-7"), b""),
        ] {
            assert_eq!(given_block(&with(&[field])), marked(5, 1, &[READ, written]), "{field:?}");
        }
        // Without one of them, and with one that is none.
        for (missing, why) in
            [(0, Malformed::PseudoMissing), (1, Malformed::PseudoMissing), (2, Malformed::PseudoMissing), (3, Malformed::AuthorityMissing)]
        {
            let mut fields = request("/", "a").to_vec();
            fields.remove(missing);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let host = if missing == 3 { &b"\x0eoctroi.invalid"[..] } else { b"\x01a" };
            let read = [&READ[..READ.len() - 2], host].concat();
            assert_eq!(given_block(&plain(&fields)), refused(5, 1, &[&read], why), "{missing}");
        }
        for (path, authority, shown, host, why) in [
            ("/a?b=\"<>", "a", "/a?b=%22%3C%3E", "a", Malformed::PathOctet),
            ("/a\u{1}", "a", "/a%01", "a", Malformed::PathOctet),
            ("", "a", "/", "a", Malformed::PathForm),
            ("a", "a", "/", "a", Malformed::PathForm),
            ("/", "u@a", "/", "octroi.invalid", Malformed::AuthoritySyntax),
            ("/", "", "/", "octroi.invalid", Malformed::AuthorityMissing),
        ] {
            let fields = request(path, authority);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let expected = plain(&[(":method", "GET"), (":scheme", "https"), (":path", shown), (":authority", host)]);
            assert_eq!(given_block(&plain(&fields)), refused(5, 1, &[&expected], why), "{path} {authority}");
        }
        // CONNECT has neither.
        let connect = [(":method", "CONNECT"), (":authority", "a:1")];
        assert_eq!(given_block(&plain(&connect)), marked(5, 1, &[&plain(&connect)]));
        assert_eq!(
            given_block(&plain(&[&connect[..], &[(":path", "/")]].concat())),
            refused(5, 1, &[&plain(&connect)], Malformed::PseudoUnknown)
        );
    }

    #[test]
    fn malformed_trailers_become_what_the_library_resets_their_stream_for() {
        for (fields, fine) in [(&b"\0\x01a\x01b"[..], true), (b"\x84", false), (b"\0\x01A\x01b", false), (b"\0\x01a\x02 b", false)] {
            let said = [vec![0; PREFACE], frame(1, 4, 1, GET), frame(1, 5, 1, fields)].concat();
            let trailers = if fine { frame(1, 5, 1, fields) } else { frame(1, 5, 1, b"\0\x0aconnection\x05close") };
            assert_eq!(given(&[&said], 4096), [vec![0; PREFACE], marked(4, 1, &[READ]), trailers].concat(), "{fields:x?}");
        }
    }

    #[test]
    fn trailers_are_few_and_small_or_their_stream_is_reset() {
        // One octet stands for a field of 3,900.
        let large = [&b"\x40\x01x"[..], &{
            let mut value = Vec::new();
            crate::model::literal(&mut value, &[b'v'; 3900]);
            value
        }];
        let reset = &b"\0\x0aconnection\x05close"[..];
        let one = &b"\0\x01a\x01b"[..];
        for (fields, fits) in [
            ([large.concat(), vec![0xbe]].concat(), true),
            ([large.concat(), vec![0xbe; 2]].concat(), false),
            (one.repeat(64), true),
            (one.repeat(65), false),
        ] {
            let mut given = Given::new(64 * 1024, 100, Some(KEY));
            let said = [vec![0; PREFACE], frame(1, 4, 1, GET), frame(1, 5, 1, &fields), frame(1, 5, 3, GET)].concat();
            let out = all_of(&mut given, &[&said], 4096);
            assert_eq!(out.ends_with(&[frame(1, 5, 1, reset), marked(5, 3, &[READ])].concat()), !fits);
            assert!(given.lost().is_none() && out.len() < PREFACE + 8600);
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_and_the_table_stays_whole() {
        // 2 * 1024 + 104 * 32 are the library's, 320 of them ours.
        let room = 2048 + 104 * 32 - 320 - (4 * 32 + 39);
        let field = |octets: usize| {
            let mut block = b"\0\x01x".to_vec();
            crate::model::literal(&mut block, &vec![b'v'; octets]);
            block
        };
        let fits = given_block(&[GET, &field(room - 33)].concat());
        assert_eq!(fits, marked(5, 1, &[READ, &field(room - 33)]));
        let over = [GET, b"\x40\x01a\x01b", &field(room), b"\x40\x01c\x01d"].concat();
        let said = [vec![0; PREFACE], frame(1, 5, 1, &over), frame(1, 5, 3, &[GET, b"\xbf"].concat())].concat();
        let expected =
            [vec![0; PREFACE], refused(5, 1, &[READ, b"\0\x01a\x01b"], Malformed::TooLarge), marked(5, 3, &[READ, b"\0\x01c\x01d"])]
                .concat();
        assert_eq!(given(&[&said], 4096), expected);
    }

    #[test]
    fn a_large_head_is_given_in_frames_that_the_library_takes() {
        let mut said = vec![0; PREFACE];
        let mut value = Vec::new();
        crate::model::literal(&mut value, &[b'v'; 12_000]);
        let field = [&b"\0\x01x"[..], &value].concat();
        said.extend(frame(1, 1, 1, &[GET, &field].concat()));
        said.extend(frame(9, 0, 1, &field));
        said.extend(frame(9, 4, 1, &field));
        let all = [READ, &field, &field, &field, &mark(1, None)].concat();

        let out = all_of(&mut Given::new(32 * 1024, 100, Some(KEY)), &[&said], 4096);

        let (first, rest) = all.split_at(FRAME_BYTES);
        let (second, third) = rest.split_at(FRAME_BYTES);
        assert_eq!(out[PREFACE..], [frame(1, 1, 1, first), frame(9, 0, 1, second), frame(9, 4, 1, third)].concat());
    }

    /// What the library gets of this behind its preface, and why nothing behind it is read.
    fn ends(said: &[u8]) -> (Vec<u8>, Option<Http2Error>) {
        let mut given = Given::new(1024, 100, Some(KEY));
        let said = [&[0; PREFACE][..], said, &frame(1, 5, 9, GET)].concat();
        let out = all_of(&mut given, &[&said], 4096).split_off(PREFACE);
        // However it is cut.
        let mut cut = Given::new(1024, 100, Some(KEY));
        assert_eq!(all_of(&mut cut, &said.chunks(1).collect::<Vec<_>>(), 7).split_off(PREFACE), out);
        assert_eq!((cut.lost(), cut.waiting.len()), (given.lost(), given.waiting.len()));
        (out, given.lost())
    }

    #[test]
    fn of_what_nobody_can_follow_the_library_gets_nothing() {
        for block in [&b"\x80"[..], b"\x10\x04x-sw\x93", b"\x40", b"\x7f", b"\xff\x80", b"\x00\x81\xff\x00"] {
            assert_eq!(ends(&frame(1, 5, 1, block)), (Vec::new(), Some(Http2Error::Compression)), "{block:x?}");
        }
        for (flags, payload, error) in [
            (0xd, &b"\x05\x82"[..], Http2Error::Protocol),
            (0xd, b"", Http2Error::FrameSize),
            (0x25, b"abcd", Http2Error::FrameSize),
            (0x2d, b"\x01abcde", Http2Error::Protocol),
        ] {
            assert_eq!(ends(&frame(1, flags, 1, payload)), (Vec::new(), Some(error)), "{payload:?}");
        }
        // Another frame within a block, be it of a kind that nobody knows, and one that is on another stream or on none.
        let begun = |stream| frame(1, 1, stream, &GET[..2]);
        for (stream, other) in [
            (1, frame(0, 0, 1, b"abc")),
            (1, frame(99, 0, 1, b"abc")),
            (1, frame(9, 4, 3, &GET[2..])),
            (1, frame(9, 4, 0, &GET[2..])),
            (1, frame(1, 5, 1, GET)),
            (1, frame(1, 5, 3, GET)),
            (0, frame(9, 4, 1, &GET[2..])),
            (0, frame(9, 4, 0, &GET[2..])),
            (2, frame(9, 4, 2, &GET[2..])),
        ] {
            assert_eq!(ends(&[begun(stream), other].concat()), (Vec::new(), Some(Http2Error::Protocol)));
        }
        for (alone, error) in [
            (frame(9, 4, 1, GET), Some(Http2Error::Protocol)),
            (frame(1, 5, 0, GET), Some(Http2Error::Protocol)),
            (frame(1, 5, 2, GET), Some(Http2Error::Protocol)),
            (frame(5, 4, 1, &[b"\0\0\0\x02", GET].concat()), Some(Http2Error::Protocol)),
            (frame(1, 5, 1, &vec![0x82; FRAME_BYTES + 1]), Some(Http2Error::FrameSize)),
            (frame(0, 0, 1, &vec![0; FRAME_BYTES + 1]), Some(Http2Error::FrameSize)),
            (frame(0, 0, 1, &vec![0; FRAME_BYTES]), None),
            (frame(99, 0, 1, b"abc"), None),
            (frame(3, 0, 1, b"abc"), Some(Http2Error::FrameSize)),
            (frame(4, 0, 0, &[0; 7]), Some(Http2Error::FrameSize)),
            (frame(4, 1, 0, &[0; 6]), Some(Http2Error::FrameSize)),
            (frame(6, 0, 0, &[0; 9]), Some(Http2Error::FrameSize)),
            (frame(8, 0, 0, &[1; 3]), Some(Http2Error::FrameSize)),
            (frame(8, 0, 0, &[1; 4]), None),
        ] {
            let last = marked(5, 9, &[READ]);
            let expected = if error.is_none() { [&alone[..], &last].concat() } else { Vec::new() };
            assert_eq!(ends(&alone), (expected, error), "{:x?}", alone.first_chunk::<9>());
        }
        // What came before it is given.
        let ping = frame(6, 0, 0, &[0; 8]);
        let said = [frame(1, 5, 1, GET), ping.clone(), frame(9, 4, 1, b"")].concat();
        assert_eq!(ends(&said), ([marked(5, 1, &[READ]), ping].concat(), Some(Http2Error::Protocol)));
    }

    #[test]
    fn trailers_of_a_stream_that_we_have_reset_are_read_and_dropped() {
        let text = &b"\x40\x01a\x01b"[..];
        let data = frame(0, 0, 3, b"abc");
        for room in [1, 4096] {
            let mut given = Given::new(1024, 100, Some(KEY));
            let begun = [vec![0; PREFACE], frame(1, 4, 1, GET), frame(1, 4, 3, GET)].concat();
            all_of(&mut given, &[&begun], room);
            given.note_reset(1);
            // Those of the other one are not, and the table has all of them.
            let said = [frame(1, 1, 1, text), frame(9, 4, 1, b"\xbe"), data.clone(), frame(1, 5, 3, b"\xbe")].concat();
            let expected = [&data[..], &frame(1, 5, 3, b"\0\x01a\x01b")].concat();
            assert_eq!(all_of(&mut given, &[&said], room), expected);
            assert_eq!((given.lost(), given.is_between()), (None, true));
        }
        let mut given = Given::new(1024, 100, Some(KEY));
        (0..1000).for_each(|n| given.note_reset(2 * n + 1));
        assert_eq!(given.reset.len(), RESET_REMEMBERED);
    }

    #[test]
    fn frames_of_ours_come_between_frames_and_outside_of_heads() {
        let mut given = Given::new(1024, 100, Some(KEY));
        let give = |given: &mut Given, bytes: &[u8]| all_of(given, &[bytes], 4096);
        give(&mut given, &[0; PREFACE]);
        assert!(given.is_between());
        assert!(give(&mut given, &frame(1, 0, 1, b"\x82")).is_empty() && !given.is_between());
        assert_eq!(given.pass_on(&frame(9, 4, 1, &GET[1..])), 0);
        assert!(!given.is_between());
        assert!(!give(&mut given, b"").is_empty() && given.is_between());
        give(&mut given, &frame(0, 0, 1, b"abc")[..10]);
        assert_eq!((given.is_between(), given.in_data()), (false, Some(1)));
    }

    #[test]
    fn without_a_key_nothing_is_added_and_what_is_malformed_is_reset() {
        for (block, read) in [(GET.to_vec(), READ), ([GET, b"\0\x01X\0"].concat(), &b"\0\x0aconnection\x05close"[..])] {
            let said = [vec![0; PREFACE], frame(1, 5, 1, &block)].concat();
            let out = all_of(&mut Given::new(1024, 100, None), &[&said], 4096);
            assert_eq!(out, [vec![0; PREFACE], frame(1, 5, 1, read)].concat());
            assert!(!out.windows(STREAM_FIELD.len()).any(|window| window == STREAM_FIELD.as_bytes()));
        }
    }

    #[test]
    fn only_what_is_malformed_is_reset_behind_its_answer() {
        let mut given = Given::new(1024, 100, Some(KEY));
        let block = |more: &[u8]| [GET, more].concat();
        let said = [
            vec![0; PREFACE],
            frame(1, 5, 1, &block(b"")),
            frame(1, 5, 3, &block(b"\0\x01X\0")),
            frame(1, 5, 5, b"\x82\x87\x04\x02/<\x41\x01a"),
            frame(1, 5, 7, &block(b"\0\x01x\x02\r\n")),
        ];
        all_of(&mut given, &[&said.concat()], 4096);
        assert_eq!(given.take_to_reset().collect::<Vec<_>>(), [3, 7]);
        assert_eq!(given.take_to_reset().count(), 0);
    }

    /// How many requests one connection of h2, which the library is built on, takes of these octets, up to so many, and whether it ends.
    fn read_by_the_library(bytes: &[u8], most: usize) -> (usize, bool) {
        use tokio::io::AsyncWriteExt;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let list = u32::try_from(crate::model::field_list_bytes(1024, 100)).unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(bytes).await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.max_header_list_size(list).max_local_error_reset_streams(None);
            let mut connection = builder.handshake::<_, bytes::Bytes>(server).await.unwrap();
            let (mut taken, mut open) = (0, Vec::new());
            while taken < most {
                // A stream that it resets by itself is the only thing to wait for; the clock goes on when nothing else does.
                match tokio::time::timeout(std::time::Duration::from_secs(5), connection.accept()).await {
                    Ok(Some(Ok(request))) => {
                        let marks: Vec<_> = request.0.headers().get_all(STREAM_FIELD).iter().collect();
                        let key = format!("{KEY:016x}-");
                        assert!(marks.len() == 1 && marks[0].as_bytes().starts_with(key.as_bytes()), "{request:?}");
                        open.push(request);
                        taken += 1;
                    }
                    Ok(Some(Err(_)) | None) => return (taken, true),
                    Err(_) => return (taken, false),
                }
            }
            (taken, false)
        })
    }

    /// How many blocks these frames have.
    fn heads_in(mut out: &[u8]) -> usize {
        let mut heads = 0;
        out = &out[PREFACE..];
        while let Some((&[_, a, b, kind, ..], rest)) = out.split_first_chunk::<HEAD>() {
            heads += usize::from(kind == 1);
            out = &rest[usize::from(a) * 256 + usize::from(b)..];
        }
        heads
    }

    #[test]
    fn no_sequence_of_frames_makes_the_library_read_a_head_without_its_mark() {
        // SplitMix64.
        let mut state = 11_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % u64::try_from(below).unwrap()).unwrap()
        };
        let (mut read, mut lost) = (0, 0);
        for round in 0..1500 {
            let mut said = vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            let (mut open, mut next) = (None, 1);
            for _ in 0..=random(12) {
                // Mostly what a client sends: the rest of a block that has begun, or a new one.
                let odd = random(5) == 0;
                let stream = if odd { u32::try_from(random(8)).unwrap() } else { open.unwrap_or(next) };
                let kind = match (odd, open) {
                    (true, _) => [0, 1, 1, 2, 3, 4, 5, 6, 8, 9, 9, 99][random(12)],
                    (false, Some(_)) => 9,
                    (false, None) => 1,
                };
                let flags = [5, 4, 1, 0, 5, 0xd, 0x25, 0xff][random(8)];
                let fields = [GET, READ, &GET[..3], b"", b"\xbe", b"\x40\x01a\x01b", b"\0\x0doctroi-stream\x01a"][random(7)];
                let around = [b"", &b"\0"[..], b"\0\0\0\0\x07", b"\0\0\0\0\0\x07", b"\x01"][if odd { random(5) } else { 0 }];
                said.push(frame(kind, if odd { flags } else { flags & 5 }, stream, &[around, fields].concat()));
                open = (flags & END_HEADERS == 0).then_some(stream);
                next = next.max(stream | 1) + 2 * u32::from(open.is_none());
            }
            let mut given = Given::new(1024, 100, Some(KEY));
            let out = all_of(&mut given, &[&said.concat()], 4096);
            let (taken, _) = read_by_the_library(&out, usize::MAX);
            read += taken;
            lost += usize::from(given.lost().is_some());
            assert!(taken <= heads_in(&out), "{round} {said:x?}");
        }
        assert!(read > 500 && lost > 200 && lost < 1400, "{read} {lost}");
    }

    #[test]
    fn whatever_can_be_read_the_library_takes_as_a_request_and_goes_on() {
        // SplitMix64.
        let mut state = 7_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % u64::try_from(below).unwrap()).unwrap()
        };
        let pieces: [&[u8]; 24] = [
            b"\x82",
            b"\x83",
            b"\x84",
            b"\x85",
            b"\x86",
            b"\x87",
            b"\x88",
            b"\xbe",
            b"\xbf",
            b"\xc0",
            b"\x41\x01a",
            b"\x41\x03a@b",
            b"\x04\x04/a?\"",
            b"\x04\x02/<",
            b"\x40\x01X\x01a",
            b"\x40\x01x\x02a\x01",
            b"\x40\x01x\x01\n",
            b"\x7a\x8b\xff\xff",
            b"\x0f\x17\x02 a",
            b"\x40\x0aconnection\x01a",
            b"\x66\x01b",
            b"\x5c\x02+1",
            b"\x40\x02:x\x00",
            b"\x40\x84\x94\x9c\x61\x7f\x81\x07",
        ];
        let (mut refused, mut lost) = (0, 0);
        for round in 0..400 {
            let mut said = vec![b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            for request in 0..8_u32 {
                let mut block = if random(4) == 0 { Vec::new() } else { GET.to_vec() };
                for _ in 0..random(5) {
                    block.extend_from_slice(pieces[random(pieces.len())]);
                }
                if random(12) == 0 && !block.is_empty() {
                    let at = random(block.len());
                    block[at] = u8::try_from(random(256)).unwrap();
                }
                said.push(frame(1, 5, 2 * request + 1, &block));
            }
            let mut given = Given::new(1024, 100, Some(KEY));
            let out = all_of(&mut given, &[&said.concat()], 4096);
            let (taken, ended) = read_by_the_library(&out, heads_in(&out));
            refused += given.take_to_reset().count();
            lost += usize::from(given.lost().is_some());
            assert!(!ended, "{round} {said:x?}");
            if given.lost().is_none() {
                assert_eq!(taken, 8, "{round} {said:x?} {out:x?}");
            }
        }
        assert!(refused > 400 && lost > 10 && lost < 300, "{refused} {lost}");
    }
}
