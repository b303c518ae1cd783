//! HTTP/2 by hand, for what no client does.

use std::{
    io::{ErrorKind, Read, Write},
    time::{Duration, Instant},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, and SETTINGS with these.
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &payload)].concat()
}

/// A block of fields, none of them compressed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A request that may have a body, whole but for that.
pub fn request(stream: u32, method: &str, host: &str, path: &str, flags: u8) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)];
    frame(HEADERS, flags | END_HEADERS, stream, &block(&fields))
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl ReceivedFrame {
    /// The code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Reads frames until one fits, the connection ends, or the time is over. Returns what came, and whether the connection has ended.
pub fn until(
    stream: &mut impl Read,
    within: Duration,
    fits: impl Fn(&ReceivedFrame) -> bool,
) -> (Vec<ReceivedFrame>, bool) {
    let deadline = Instant::now() + within;
    let (mut bytes, mut came, mut space) = (Vec::new(), Vec::new(), vec![0; 65_536]);
    while Instant::now() < deadline {
        match stream.read(&mut space) {
            Ok(0) => return (came, true),
            Ok(read) => bytes.extend_from_slice(&space[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return (came, true),
        }
        while bytes.len() >= 9 {
            let length = usize::try_from(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])).unwrap();
            if bytes.len() < 9 + length {
                break;
            }
            let rest = bytes.split_off(9 + length);
            let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
            came.push(ReceivedFrame {
                kind: bytes[3],
                flags: bytes[4],
                stream,
                payload: bytes[9..].to_vec(),
            });
            bytes = rest;
            if fits(came.last().unwrap()) {
                return (came, false);
            }
        }
    }
    (came, false)
}

/// Writes all, or as much as the other side takes before it ends the connection.
pub fn send(stream: &mut impl Write, bytes: &[u8]) -> bool {
    stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
}
