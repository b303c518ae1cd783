//! An upstream's answer on the short way: the same however its octets come, and its body ends where the head says.

use std::path::Path;

use octroi::upstream::fuzz::answer;

use super::input::{Input, pieces};

/// Judges one input: three sizes of pieces, whether a body may come, then what the server sends until it closes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let without_body = input.byte() % 4 == 3;
    let sent = input.0;
    let whole = answer(&[sent], without_body);
    // Which fault is found first may depend on the cut, not whether there is one.
    match (answer(&pieces(sent, &sizes), without_body), &whole) {
        (Ok(cut), Ok(whole)) => assert_eq!(&cut, whole),
        (Err(_), Err(_)) => {}
        (cut, whole) => panic!("{cut:?} in pieces of {sizes:?}, {whole:?} at once"),
    }
    let Ok(read) = whole else { return };
    let behind = &sent[read.head..];
    assert!((100..=999).contains(&read.status) && read.head <= 64 * 1024);
    if without_body {
        assert_eq!((read.body.len(), read.unexpected_bytes), (0, behind.len()));
    } else if read.chunked {
        // The other reader may refuse what stands behind a size; where it does not, it reads the same.
        let Some((body, end)) = chunks(behind) else { return };
        assert_eq!((read.body.as_slice(), read.unexpected_bytes), (body.as_slice(), behind.len() - end));
    } else {
        assert_eq!(read.body.len() + read.unexpected_bytes, behind.len());
        assert_eq!(read.body, &behind[..read.body.len()]);
    }
}

/// Puts chunks together as another reader does: the body, and where its trailers end.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(bytes.get(at..end)?);
        at = end + 2;
    }
    loop {
        let line = bytes.get(at..)?.iter().position(|byte| *byte == b'\n')? + 1;
        at += line;
        if line == 2 {
            return Some((body, at));
        }
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello surplus",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\n\r\nold",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    ]
    .iter()
    .enumerate()
    .map(|(at, text)| [&[7, 1, 3, u8::try_from(at % 4).unwrap_or(0)][..], text.as_bytes()].concat())
    .collect()
}
