//! The PROXY header: the same verdict however many bytes have come, and never more than the bound.

use std::path::Path;

use octroi::wire::proxy_protocol::{MAX_HEADER_BYTES, Parsed, looks_like_header, parse};

/// Judges one input.
pub fn run(data: &[u8]) {
    let whole = parse(data);
    match whole {
        Parsed::Header { bytes, source } => {
            assert!(bytes <= data.len() && bytes <= MAX_HEADER_BYTES);
            assert_eq!(parse(&data[..bytes]), whole);
            assert!(looks_like_header(data));
            if let Some(text) = data[..bytes].strip_prefix(b"PROXY ") {
                version_1(std::str::from_utf8(text).expect("version 1 is ASCII"), source);
            }
        }
        Parsed::NeedMore => assert!(data.len() < MAX_HEADER_BYTES),
        Parsed::Malformed(_) => {}
    }
    for cut in 0..data.len().min(MAX_HEADER_BYTES + 1) {
        match (parse(&data[..cut]), &whole) {
            (Parsed::NeedMore, _) | (Parsed::Malformed(_), Parsed::Malformed(_)) => {}
            (early, whole) => assert_eq!(&early, whole, "after {cut} bytes"),
        }
    }
}

/// What was read of a version 1 header is what stands there, written the one way there is.
fn version_1(text: &str, source: Option<std::net::SocketAddr>) {
    let line = text.strip_suffix("\r\n").expect("the line ends");
    let words: Vec<&str> = line.split(' ').collect();
    match (words.as_slice(), source) {
        (["TCP4" | "TCP6", from, _, port, _], Some(source)) => {
            assert_eq!((from.parse(), *port), (Ok(source.ip()), source.port().to_string().as_str()));
        }
        (["UNKNOWN", ..], None) => {}
        (_, _) => panic!("{line} is not {source:?}"),
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\nGET / HTTP/1.1\r\n"[..],
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 01234 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x01\xc0\0\x02\x02\x04\xd2\x01\xbb\x04\0\x04abcd",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let six = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..], &[0x20; 32], b"\x04\xd2\x01\xbb"].concat();
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    seeds.extend([six, unix]);
    seeds
}
