//! What the HTTP/2 library is given of a client: the same however it is cut, and in each block that can be read nothing that the library
//! ends more than a stream for.

use std::path::Path;

use http::{HeaderName, HeaderValue};
use octroi::{edge::fuzz::given, model::PREFACE};

use super::input::{Input, pieces};

const KEY: u64 = 0x0123_4567_89ab_cdef;
const BOUNDS: (usize, usize) = (2048, 20);
/// Twice the one, and 32 for each field and pseudo-field (`limits.header_bytes`).
const LIST: usize = 2 * 2048 + (20 + 4) * 32;

/// Judges one input: three sizes of pieces, then what a client sends behind its preface.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let sent = [PREFACE, input.0].concat();
    let whole = given(&[&sent], 4096, BOUNDS, KEY);
    assert_eq!(given(&pieces(&sent, &sizes), 4096, BOUNDS, KEY), whole);
    assert_eq!(given(&sent.chunks(1).collect::<Vec<_>>(), 7, BOUNDS, KEY), whole);
    let mut rest = whole.get(PREFACE.len()..).unwrap_or_default();
    let mut block: Option<Vec<u8>> = None;
    while let Some((&[a, b, c, kind, flags, ..], payload)) = rest.split_first_chunk::<9>() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let Some(payload) = payload.get(..length) else { return };
        match kind {
            // From here on the library gets what it ends the connection for.
            1 if length > 16_384 || (flags & 4 == 0 && payload.is_empty()) => return,
            9 if block.is_none() => return,
            1 if flags & 0x20 != 0 => block = Some(payload.get(5..).expect("a priority").to_vec()),
            1 => block = Some(payload.to_vec()),
            9 => block.iter_mut().for_each(|block| block.extend_from_slice(payload)),
            _ => {}
        }
        if flags & 4 != 0
            && matches!(kind, 1 | 9)
            && let Some(block) = block.take()
        {
            // Index 0: nobody can read it, or what follows.
            if block == [0x80] {
                return;
            }
            judge(&block);
        }
        rest = rest.get(9 + length..).expect("it is there");
    }
}

/// Every field is a literal that no table keeps, of a name and a value that the library's types take; all of them fit.
fn judge(mut block: &[u8]) {
    let mut list = 0;
    while let Some((&kind, rest)) = block.split_first() {
        assert!(matches!(kind, 0 | 0x10), "{kind:x}");
        let (name, rest) = text(rest);
        let (value, rest) = text(rest);
        block = rest;
        list += name.len() + value.len() + 32;
        match name {
            b":method" => assert!(http::Method::from_bytes(value).is_ok()),
            b":scheme" => assert!(http::uri::Scheme::try_from(value).is_ok()),
            b":path" => assert!(http::uri::PathAndQuery::try_from(value).is_ok()),
            b":authority" => assert!(http::uri::Authority::try_from(value).is_ok()),
            _ => {
                assert!(HeaderName::from_lowercase(name).is_ok() && HeaderValue::from_bytes(value).is_ok());
                let is_ours = name == b"octroi-stream";
                assert_eq!(is_ours, kind == 0x10);
                assert!(!is_ours || (block.is_empty() && value.starts_with(b"0123456789abcdef-")));
            }
        }
    }
    assert!(list <= LIST, "{list}");
}

/// A text that is not compressed.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (&first, mut rest) = bytes.split_first().expect("a length");
    let mut length = usize::from(first);
    assert!(length < 128, "it is compressed");
    if length == 127 {
        let mut shift = 0;
        loop {
            let (&octet, behind) = rest.split_first().expect("a length");
            rest = behind;
            length += usize::from(octet & 0x7f) << shift;
            shift += 7;
            if octet < 128 {
                break;
            }
        }
    }
    rest.split_at(length)
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
    let table =
        [frame(1, 5, 1, &with(b"\x40\x01a\x02b\x01\x40\x01c\x01d")), frame(1, 5, 3, &with(b"\xc0")), frame(1, 5, 5, b"\xbe\xbf")].concat();
    let pieces = [frame(1, 1, 1, &with(b"\x40\x03x-")), frame(9, 0, 1, b"a"), frame(9, 4, 1, b"\x01b")].concat();
    let body = [frame(1, 4, 1, get), frame(0, 0, 1, &[7; 100]), frame(1, 5, 1, b"\x40\x01a\x01b\x84")].concat();
    let padded = frame(1, 0x2d, 1, &[b"\x02\0\0\0\x03\x07".as_slice(), get, b"\0\0"].concat());
    let large = frame(1, 5, 1, &with(&[b"\x40\x01a\x7f\x81\x1f".as_slice(), &[b'v'; 4096], &[0xbe; 40]].concat()));
    let paths = frame(1, 5, 1, b"\x82\x87\x04\x09/a?b=\"<>c\x41\x01a");
    let broken = [frame(1, 5, 1, b"\xff\x80"), frame(1, 5, 3, get)].concat();
    let between = [frame(1, 0, 1, get), frame(6, 0, 0, &[0; 8])].concat();
    let all = [settings, table, pieces, body, padded, large, paths, broken, between];
    all.map(|sent| [&[7, 1, 40][..], &sent].concat()).into()
}
