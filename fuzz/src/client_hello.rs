//! The ClientHello: one fingerprint however it is spread over records, whatever follows it, and of one form.

use std::path::Path;

use octroi::wire::client_hello::ja4;

use super::input::{Input, pieces};

/// Judges one input: three sizes of pieces, then what a connection begins with.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let records = input.0;
    // As a handshake message too, so that the fuzzer need not find the lengths of records.
    let framed = spread(records, &[0]);
    for bytes in [records, &framed] {
        let Some(print) = ja4(bytes) else { continue };
        assert!(
            print.len() == 36 && print.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{print}"
        );
        assert_eq!(ja4(&[bytes, b"\x14\x03\x03\0\x01\x01"].concat()).as_ref(), Some(&print));
        if let Some(message) = message(bytes) {
            assert_eq!(ja4(&spread(&message, &sizes)), Some(print));
        }
    }
}

/// Puts a handshake message into records.
fn spread(message: &[u8], sizes: &[u8]) -> Vec<u8> {
    let record = |piece: &&[u8]| {
        [&[22, 3, 1][..], &u16::try_from(piece.len()).unwrap_or(0).to_be_bytes(), piece].concat()
    };
    pieces(message, sizes).iter().flat_map(record).collect()
}

/// Takes a message out of records that hold nothing else.
fn message(mut records: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    while let Some((&[kind, _, _, high, low], rest)) = records.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        message.extend_from_slice(rest.get(..length).filter(|_| kind == 22)?);
        records = &rest[length..];
    }
    records.is_empty().then_some(message)
}

/// Makes the seeds: hellos of the two versions, in one record, in several, and as they stand.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let vec16 = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u8, body: &[u8]| [&[0, kind][..], &vec16(body)].concat();
    let hello = |extensions: &[u8]| {
        let suites = [0x2a, 0x2a, 0x13, 1, 0x13, 2, 0xc0, 0x2b];
        let body = [&[3, 3][..], &[7; 32], &[0], &vec16(&suites), &[1, 0], extensions].concat();
        [&[1, 0][..], &vec16(&body)].concat()
    };
    let full = [
        extension(0, b"\0\x0c\0\0\x09acme.test"),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(13, b"\0\x04\x04\x03\x08\x04"),
        extension(43, b"\x06\x3a\x3a\x03\x04\x03\x03"),
        extension(51, &[9; 40]),
        vec![0x1a, 0x1a, 0, 0],
    ]
    .concat();
    let hellos = [hello(&vec16(&full)), hello(b""), hello(&vec16(b""))];
    let framed = hellos
        .iter()
        .flat_map(|hello| [spread(hello, &[0]), spread(hello, &[40]), spread(hello, &[1, 3, 90])]);
    hellos.iter().cloned().chain(framed).map(|bytes| [&[9, 1, 0][..], &bytes].concat()).collect()
}
