//! What the HTTP/2 library is given of a client: the same however it is cut, and in each block that can be read nothing that the library
//! ends more than a stream for.

use std::path::Path;

use http::{HeaderName, HeaderValue};
use octroi::{
    edge::fuzz::{HeadBounds, filtered},
    model::FIELD_TABLE_BYTES,
    wire::http2::{
        PREFACE,
        hpack::{Decoded, Decoder},
    },
};

use super::input::{Input, pieces};

const KEY: u64 = 0x0123_4567_89ab_cdef;
const BOUNDS: HeadBounds = HeadBounds { bytes: 2048, count: 20 };
/// Twice the one, and 32 for each field and pseudo-field (`limits.header_bytes`).
const LIST: usize = 2 * 2048 + (20 + 4) * 32;

/// Judges one input: three sizes of pieces, then what a client sends behind its preface.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let sent = [PREFACE, input.0].concat();
    let whole = filtered(&[&sent], 4096, BOUNDS, KEY);
    assert_eq!(filtered(&pieces(&sent, &sizes), 4096, BOUNDS, KEY), whole);
    assert_eq!(filtered(&sent.chunks(1).collect::<Vec<_>>(), 7, BOUNDS, KEY), whole);
    let blocks = blocks(&whole);
    let read = fields(&blocks);
    assert_eq!(read.len(), blocks.len(), "a block that nobody can read");
    read.iter().for_each(|fields| judge(fields));
}

/// The blocks of the library's, as far as it does not end the connection.
fn blocks(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = whole.get(PREFACE.len()..).unwrap_or_default();
    let mut blocks = Vec::new();
    let mut block: Option<Vec<u8>> = None;
    while let Some((&[a, b, c, kind, flags, ..], payload)) = rest.split_first_chunk::<9>() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let Some(payload) = payload.get(..length) else { break };
        // What changes nothing never reaches it.
        assert!(matches!(kind, 0 | 1 | 3 | 4 | 6..=9), "{kind}");
        match kind {
            // From here on the library gets what it ends the connection for.
            1 if length > 16_384 || (flags & 4 == 0 && payload.is_empty()) => break,
            9 if block.is_none() => break,
            1 => {
                assert_eq!(flags & 0x28, 0, "neither a rank nor padding");
                block = Some(payload.to_vec());
            }
            9 => block.iter_mut().for_each(|block| block.extend_from_slice(payload)),
            _ => {}
        }
        if flags & 4 != 0
            && matches!(kind, 1 | 9)
            && let Some(block) = block.take()
        {
            // Index 0: nobody can read it, or what follows.
            if block == [0x80] {
                break;
            }
            blocks.push(block);
        }
        rest = rest.get(9 + length..).expect("it is there");
    }
    blocks
}

/// The fields of one block: names and values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Decodes the blocks of a connection, up to the first one that cannot be decoded.
fn fields(blocks: &[Vec<u8>]) -> Vec<Fields> {
    let mut decoder = Decoder::new(FIELD_TABLE_BYTES, 0);
    let read = |block: &Vec<u8>| {
        let mut fields = Fields::new();
        let mut each = |found: Decoded<'_>| match found {
            Decoded::Field(name, value) => fields.push((name.to_vec(), value.to_vec())),
            Decoded::TooLong(_) => {}
        };
        decoder.read(block, true, &mut each).ok().map(|()| fields)
    };
    blocks.iter().map_while(read).collect()
}

/// Every field has a name and a value that the library's types take; all of them fit, and ours stands at the end.
fn judge(fields: &[(Vec<u8>, Vec<u8>)]) {
    let mut list = 0;
    for (at, (name, value)) in fields.iter().enumerate() {
        let (name, value) = (&name[..], &value[..]);
        list += name.len() + value.len() + 32;
        match name {
            b":method" => assert!(http::Method::from_bytes(value).is_ok()),
            b":scheme" => assert!(http::uri::Scheme::try_from(value).is_ok()),
            b":path" => assert!(http::uri::PathAndQuery::try_from(value).is_ok()),
            b":authority" => assert!(http::uri::Authority::try_from(value).is_ok()),
            _ => {
                assert!(HeaderName::from_lowercase(name).is_ok() && HeaderValue::from_bytes(value).is_ok());
                let is_last = at + 1 == fields.len();
                assert!(name != b"octroi-stream" || (is_last && value.starts_with(b"0123456789abcdef-")));
                // Only malformed trailers have one, and nothing else.
                assert!(
                    !matches!(name, b"connection" | b"transfer-encoding" | b"upgrade")
                        || fields == [(name.to_vec(), b"close".to_vec())]
                );
            }
        }
    }
    assert!(list <= LIST, "{list}");
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let get = b"\x82\x87\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let with = |more: &[u8]| [get, more].concat();
    let settings = frame(4, 0, 0, &[]);
    let table = [
        frame(1, 5, 1, &with(b"\x40\x01a\x02b\x01\x40\x01c\x01d")),
        frame(1, 5, 3, &with(b"\xc0")),
        frame(1, 5, 5, b"\xbe\xbf"),
    ]
    .concat();
    let bad = [
        frame(1, 5, 1, &with(b"\x40\x01a\x02bb")),
        frame(1, 5, 3, &with(b"\xbf\x40\x01A\x01b")),
        frame(1, 5, 5, &with(b"\xc0\xbf")),
    ]
    .concat();
    let pieces =
        [frame(1, 1, 1, &with(b"\x40\x03x-")), frame(9, 0, 1, b"a"), frame(9, 4, 1, b"\x01b")].concat();
    let body =
        [frame(1, 4, 1, get), frame(0, 0, 1, &[7; 100]), frame(1, 5, 1, b"\x40\x01a\x01b\x84")].concat();
    let padded = frame(1, 0x2d, 1, &[b"\x02\0\0\0\x03\x07".as_slice(), get, b"\0\0"].concat());
    let large =
        frame(1, 5, 1, &with(&[b"\x40\x01a\x7f\x81\x1f".as_slice(), &[b'v'; 4096], &[0xbe; 40]].concat()));
    let paths = frame(1, 5, 1, b"\x82\x87\x04\x09/a?b=\"<>c\x41\x01a");
    let broken = [frame(1, 5, 1, b"\xff\x80"), frame(1, 5, 3, get)].concat();
    let between = [frame(1, 0, 1, get), frame(6, 0, 0, &[0; 8])].concat();
    let itself = b"\0\0\0\x01\x07".as_slice();
    let ranked = [
        frame(2, 0, 7, b"\0\0\0\x07\x07"),
        frame(16, 0, 0, b"\0\0\0\x01u=1"),
        frame(1, 0x25, 1, &[itself, get].concat()),
    ]
    .concat();
    let sizes = [
        frame(1, 5, 1, &[b"\x20\x3f\xe1\x1f", &get[..]].concat()),
        frame(1, 5, 3, &[b"\x20\x20\x20", &get[..]].concat()),
    ]
    .concat();
    // On streams that are over, or are reset for it.
    let closed = [
        frame(1, 5, 1, get),
        frame(0, 1, 1, b"x"),
        frame(1, 4, 3, get),
        frame(8, 0, 3, &[0; 4]),
        frame(1, 5, 3, get),
        frame(2, 0, 3, &[0; 4]),
    ]
    .concat();
    let all =
        [settings, table, bad, pieces, body, padded, large, paths, broken, between, ranked, sizes, closed];
    all.map(|sent| [&[7, 1, 40][..], &sent].concat()).into()
}
