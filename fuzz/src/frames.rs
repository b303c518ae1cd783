//! The HTTP/2 frames that are sent: the same refusals however they are cut into writes, and those that a reader of the whole finds.

use std::path::Path;

use octroi::edge::{Http2Refusal, fuzz::refusals};

use super::input::{Input, pieces};

/// Judges one input: three sizes of pieces, then what is sent.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes: [u8; 3] = input.array();
    let sent = input.0;
    let whole = refusals(&[sent]);
    assert_eq!(refusals(&pieces(sent, &sizes)), whole);
    assert_eq!(refusals(&sent.chunks(1).collect::<Vec<_>>()), whole);
    assert_eq!(whole.iter().map(said).collect::<Vec<_>>(), read(sent));
}

/// A refusal as stream and code; no stream is the connection.
fn said(refusal: &Http2Refusal) -> (Option<u32>, &'static str) {
    match refusal {
        Http2Refusal::Stream(stream, error) => (Some(*stream), error.as_str()),
        Http2Refusal::Connection(error) => (None, error.as_str()),
    }
}

/// What a reader finds who has all the bytes: RFC 9113, sections 4.1, 6.4 and 6.8. The library sends frames of the right length only.
fn read(mut rest: &[u8]) -> Vec<(Option<u32>, &'static str)> {
    let mut found = Vec::new();
    while let Some((&[a, b, c, kind, _, d, e, f, g], payload)) = rest.split_first_chunk() {
        let (code_at, least) = match kind {
            3 => (0, 4),
            7 => (4, 8),
            _ => (0, 0),
        };
        let Some(kept) = payload.get(..least) else { break };
        let code = kept.get(code_at..).and_then(|code| code.first_chunk().copied()).map_or(0, u32::from_be_bytes);
        let stream = (kind == 3).then(|| u32::from_be_bytes([d, e, f, g]));
        found.extend(name(code).map(|name| (stream, name)));
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0).max(least);
        rest = payload.get(length..).unwrap_or_default();
    }
    found
}

fn name(code: u32) -> Option<&'static str> {
    match code {
        1 => Some("PROTOCOL_ERROR"),
        3 => Some("FLOW_CONTROL_ERROR"),
        5 => Some("STREAM_CLOSED"),
        6 => Some("FRAME_SIZE_ERROR"),
        9 => Some("COMPRESSION_ERROR"),
        11 => Some("ENHANCE_YOUR_CALM"),
        _ => None,
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let frame = |kind: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap_or(0);
        [&[0, 0, length, kind, 0, 0, 0, 0, stream], payload].concat()
    };
    let settings = frame(4, 0, &[]);
    let reset = frame(3, 3, &[0, 0, 0, 1]);
    let away = frame(7, 0, &[0, 0, 0, 5, 0, 0, 0, 11, b'c', b'a', b'l', b'm']);
    let data = frame(0, 1, &[7; 200]);
    let all = [&settings[..], &data, &reset, &away, &frame(6, 0, &[0; 8])].concat();
    let ours = [frame(3, 1, &[0; 4]), frame(7, 0, &[0; 8]), frame(3, 9, &[0, 0, 0, 8])].concat();
    [all, ours, reset, away, settings].map(|sent| [&[7, 1, 40][..], &sent].concat()).into()
}
