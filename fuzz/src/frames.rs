//! The HTTP/2 frames of both directions: the same however they are cut into reads and writes, and those that a reader of the whole
//! finds.

use std::path::Path;

use octroi::{
    edge::{Http2Refusal, fuzz::refusals},
    wire::http2::{FrameEvent, FrameTracker},
};

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
    let whole = passed(FrameTracker::of_client(), &[sent]);
    assert_eq!(passed(FrameTracker::of_client(), &pieces(sent, &sizes)), whole);
    let frames = passed(FrameTracker::of_server(), &[sent]).0;
    assert_eq!(frames.iter().filter(|passed| matches!(passed, FrameEvent::Frame(_))).count(), count(sent));
}

/// Where a follower left off: between frames, in which frame, in which body.
type Left = (bool, Option<u64>, Option<(u32, usize)>);

/// What is told of what came, and where that left off.
fn passed(mut frames: FrameTracker, pieces: &[&[u8]]) -> (Vec<FrameEvent>, Left) {
    let mut told = Vec::new();
    for piece in pieces {
        frames.take(piece, |passed| told.push(passed));
    }
    (told, (frames.is_between_frames(), frames.unfinished(), frames.in_data()))
}

/// How many heads of frames are whole, with the number that follows where one does.
fn count(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while let Some((&[a, b, c, kind, _, _, _, _, _], payload)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
        let lead = match kind {
            3 | 8 => 4,
            7 => 8,
            _ => 0,
        };
        if payload.len() < length.min(lead) {
            break;
        }
        count += 1;
        rest = payload.get(length..).unwrap_or_default();
    }
    count
}

/// A refusal as stream and code; no stream is the connection.
fn said(refusal: &Http2Refusal) -> (Option<u32>, &'static str) {
    match refusal {
        Http2Refusal::Stream(stream, error) => (Some(*stream), error.as_str()),
        Http2Refusal::Connection(error) => (None, error.as_str()),
        Http2Refusal::Fields
        | Http2Refusal::HeadTimeout
        | Http2Refusal::Abuse(_)
        | Http2Refusal::Authority(_) => {
            panic!("no RST_STREAM and no GOAWAY says it")
        }
    }
}

/// What a reader finds who has all the bytes: RFC 9113, sections 4.1, 6.4 and 6.8.
fn read(mut rest: &[u8]) -> Vec<(Option<u32>, &'static str)> {
    let mut found = Vec::new();
    while let Some((&[a, b, c, kind, _, d, e, f, g], payload)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
        let (code_at, least) = match kind {
            3 => (0, 4),
            7 => (4, 8),
            _ => (0, 0),
        };
        let Some(kept) = payload.get(..least.min(length)) else { break };
        if least > 0 && kept.len() == least {
            let code = kept
                .get(code_at..)
                .and_then(|code| code.first_chunk().copied())
                .map_or(0, u32::from_be_bytes);
            let stream = (kind == 3).then(|| u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff);
            found.extend(name(code).map(|name| (stream, name)));
        }
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
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let client = [
        preface,
        frame(4, 0, &[0, 4, 0, 0, 0, 0]),
        frame(1, 1, b"head"),
        frame(8, 1, &[0, 0, 1, 0]),
        frame(3, 1, &[1]),
    ]
    .concat();
    let all = [&settings[..], &data, &reset, &away, &frame(6, 0, &[0; 8])].concat();
    let ours = [frame(3, 1, &[0; 4]), frame(7, 0, &[0; 8]), frame(3, 9, &[0, 0, 0, 8])].concat();
    [all, ours, client, reset, away, settings].map(|sent| [&[7, 1, 40][..], &sent].concat()).into()
}
