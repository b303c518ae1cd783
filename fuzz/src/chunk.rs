//! The chunks of a body: one verdict however the bytes are cut, and that of a reader who has the whole body before him.

use std::{path::Path, time::Duration};

use octroi::model::{Connection, Facts, HeadDeadlines, Http2Limits, Phase, Transport, UnixTime};

use super::input::{Input, pieces};

/// Judges one input: three sizes of pieces, then a body.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let body = input.0;
    let whole = is_wrong(&[body]);
    assert_eq!(is_wrong(&pieces(body, &sizes)), whole, "in pieces of {sizes:?}");
    assert_eq!(is_wrong(&body.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
    match read(body) {
        Read::Whole => assert!(!whole, "a well-formed body is refused"),
        Read::Wrong => assert!(whole, "a malformed body passes"),
        Read::Partial => {}
    }
}

/// Feeds a connection whose head comes with the first piece, and asks for its verdict.
fn is_wrong(pieces: &[&[u8]]) -> bool {
    let address = "192.0.2.1:5".parse().expect("an address");
    let facts = Facts {
        id: 1,
        listener: "public".parse().expect("a name"),
        local: address,
        peer: address,
        source: address,
        transport: Transport::Plain,
        accepted: UnixTime::from_secs(1),
    };
    let second = Duration::from_secs(1);
    let http2 = Http2Limits {
        streams: 1,
        stream_window: 1,
        connection_window: 1,
        send_buffer: 1,
        resets: 1,
        errors: 1,
        settings: 1,
        pings: 1,
        priorities: 1,
        window_updates: 1,
        empty_data: 1,
        continuations: 1,
        starved: 1,
    };
    let deadlines = HeadDeadlines {
        header_timeout: second,
        idle_timeout: second,
        header_bytes: 1024,
        header_count: 100,
        write_stall: second,
        write_min_rate: 0,
        many_clients: false,
        http2,
    };
    let connection = Connection::new(facts, deadlines);
    let head = b"POST / HTTP/1.1\r\nHost: acme.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let first = [head, *pieces.first().unwrap_or(&&b""[..])].concat();
    assert_eq!(connection.received(&first).phase, Phase::HeadRead);
    assert_eq!(connection.request_begins().as_deref(), Some(&head[..]));
    for piece in pieces.iter().skip(1) {
        connection.received(piece);
    }
    connection.chunks_are_wrong()
}

/// What a reader finds who has all the bytes: RFC 9112, section 7.1, with our bounds.
enum Read {
    Whole,
    Wrong,
    Partial,
}

fn read(mut rest: &[u8]) -> Read {
    loop {
        let Some((line, after)) = line(rest) else { return Read::Partial };
        let Some(size) = size(line).filter(|_| line.len() + 2 <= 256) else { return Read::Wrong };
        rest = after;
        if size == 0 {
            break;
        }
        let Some(data) = usize::try_from(size).ok().and_then(|size| rest.get(size..)) else {
            return Read::Partial;
        };
        if data.len() < 2 {
            return Read::Partial;
        }
        let Some(after) = data.strip_prefix(b"\r\n") else { return Read::Wrong };
        rest = after;
    }
    let trailer = rest.len();
    while let Some((text, after)) = line(rest) {
        if trailer - after.len() > 8192 {
            return Read::Wrong;
        }
        rest = after;
        if text.is_empty() {
            return Read::Whole;
        }
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { return Read::Wrong };
        let (name, value) = text.split_at(colon);
        if name.is_empty()
            || !name.iter().all(|byte| is_token(*byte))
            || value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Read::Wrong;
        }
    }
    Read::Partial
}

/// Cuts off what stands before the first CR LF.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// Reads a size line: 1 to 15 digits, then `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted ) ] )`.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(1..=15).contains(&digits) {
        return None;
    }
    let (number, mut rest) = line.split_at(digits);
    while !rest.is_empty() {
        rest = blanks(blanks(rest).strip_prefix(b";")?);
        rest = token(rest)?;
        let Some(value) = blanks(rest).strip_prefix(b"=") else { continue };
        let value = blanks(value);
        rest = if value.first() == Some(&b'"') { quoted(value)? } else { token(value)? };
    }
    u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()
}

fn blanks(bytes: &[u8]) -> &[u8] {
    let count = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[count..]
}

fn token(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.iter().take_while(|byte| is_token(**byte)).count();
    (count > 0).then(|| &bytes[count..])
}

/// Passes over a quoted text: visible ASCII, blanks, and `\` before any of these.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return bytes.get(at + 1..),
            b'\\' if matches!(bytes.get(at + 1)?, b'\t' | b' '..=b'~') => at += 2,
            b'\\' => return None,
            b'\t' | b' '..=b'~' => at += 1,
            _ => return None,
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    [
        "0\r\n\r\n",
        "5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
        "00a\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "5; some; parameters=stuff\r\nhello\r\n0\r\n\r\n",
        "5 ;a = b ; c=\"d;\\\" \t\" ;e\r\nhello\r\n0\r\n\r\n",
        "1E\r\nall your base are belong to us\r\n0\r\nVary: *\r\nX-A:\r\n\r\n",
        " 5\r\n",
        "5;a=\"b\nhello",
        "0x5\r\n",
        "fffffffffffffff\r\n",
        "5\r\nhello0\r\n",
        "0\r\nA : b\r\n",
    ]
    .map(|body| [&[7, 1, 3][..], body.as_bytes()].concat())
    .into()
}
