//! What the HTTP/2 library refuses by itself: seen in the frames that it sends, since it tells nobody.
//!
//! A stream that breaks the protocol is reset, and a connection that does is ended with GOAWAY, before any request begins
//! (RFC 9113, section 5.4). Only the nine octets at the front of each frame are read, and of those two kinds the error code.

use std::io::IoSlice;

const FRAME_HEAD: usize = 9;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// What the library ended, with the code it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Refusal {
    /// One stream, by its number.
    Stream(u32, Http2Error),
    /// The connection.
    Connection(Http2Error),
}

/// The codes that say that the client broke the protocol (RFC 9113, section 7). The others are ours, or no errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Error {
    /// PROTOCOL_ERROR.
    Protocol,
    /// FLOW_CONTROL_ERROR.
    FlowControl,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSize,
    /// COMPRESSION_ERROR.
    Compression,
    /// ENHANCE_YOUR_CALM.
    Calm,
}

impl Http2Error {
    fn of(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Protocol),
            3 => Some(Self::FlowControl),
            5 => Some(Self::StreamClosed),
            6 => Some(Self::FrameSize),
            9 => Some(Self::Compression),
            11 => Some(Self::Calm),
            _ => None,
        }
    }

    /// Returns the name of the standard.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "PROTOCOL_ERROR",
            Self::FlowControl => "FLOW_CONTROL_ERROR",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::Compression => "COMPRESSION_ERROR",
            Self::Calm => "ENHANCE_YOUR_CALM",
        }
    }
}

/// Follows the frames of one direction, however they are cut into writes. Bounded: it keeps at most one frame's head and code.
#[derive(Debug, Default)]
pub(in crate::edge) struct Frames {
    /// The head of a frame, and for the two kinds that matter what stands before and in their code.
    kept: [u8; FRAME_HEAD + 8],
    filled: usize,
    /// Octets of a payload that do not matter.
    skip: usize,
}

impl Frames {
    /// Takes in what was sent: the first `sent` octets of the pieces.
    pub(in crate::edge) fn sent(&mut self, pieces: &[IoSlice<'_>], mut sent: usize, mut each: impl FnMut(Http2Refusal)) {
        for piece in pieces {
            let taken = piece.get(..sent.min(piece.len())).unwrap_or_default();
            sent -= taken.len();
            self.take(taken, &mut each);
        }
    }

    fn take(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Http2Refusal)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = self.wanted();
            let more = (wanted - self.filled).min(bytes.len());
            let (head, rest) = bytes.split_at(more);
            if let Some(place) = self.kept.get_mut(self.filled..self.filled + more) {
                place.copy_from_slice(head);
            }
            self.filled += more;
            bytes = rest;
            if self.filled == self.wanted() {
                self.whole(each);
            }
        }
    }

    /// How many octets of the frame are kept, as far as is known by now.
    fn wanted(&self) -> usize {
        let [.., kind, _, _, _, _, _] = self.head();
        match (self.filled < FRAME_HEAD, kind) {
            (true, _) => FRAME_HEAD,
            (false, RST_STREAM) => FRAME_HEAD + 4,
            (false, GOAWAY) => FRAME_HEAD + 8,
            (false, _) => FRAME_HEAD,
        }
    }

    fn head(&self) -> [u8; FRAME_HEAD] {
        self.kept.first_chunk().copied().unwrap_or_default()
    }

    /// Reads a frame's head, and begins the next one.
    fn whole(&mut self, each: &mut impl FnMut(Http2Refusal)) {
        let [a, b, c, kind, _, d, e, f, g] = self.head();
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0);
        let read = self.filled - FRAME_HEAD;
        let code = |from: usize| {
            let bytes = self.kept.get(from..from + 4).and_then(|bytes| bytes.first_chunk().copied());
            bytes.map(u32::from_be_bytes).and_then(Http2Error::of)
        };
        let refusal = match kind {
            RST_STREAM => code(FRAME_HEAD).map(|error| Http2Refusal::Stream(u32::from_be_bytes([d, e, f, g]), error)),
            GOAWAY => code(FRAME_HEAD + 4).map(Http2Refusal::Connection),
            _ => None,
        };
        self.filled = 0;
        self.skip = length.saturating_sub(read);
        if let Some(refusal) = refusal {
            each(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
    }

    fn seen(bytes: &[u8], cut: usize) -> Vec<Http2Refusal> {
        let (mut frames, mut seen) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            frames.sent(&[IoSlice::new(piece)], piece.len(), |refusal| seen.push(refusal));
        }
        seen
    }

    #[test]
    fn refusals_are_found_however_the_frames_are_cut() {
        let bytes = [
            frame(4, 0, &[]),
            frame(0, 1, &[7; 300]),
            frame(RST_STREAM, 3, &1_u32.to_be_bytes()),
            frame(1, 5, b"head"),
            frame(GOAWAY, 0, &[&[0, 0, 0, 5][..], &11_u32.to_be_bytes(), b"too_many"].concat()),
            frame(6, 0, &[0; 8]),
        ]
        .concat();

        for cut in 1..=bytes.len() {
            let expected = [Http2Refusal::Stream(3, Http2Error::Protocol), Http2Refusal::Connection(Http2Error::Calm)];
            assert_eq!(seen(&bytes, cut), expected, "{cut}");
        }
    }

    #[test]
    fn our_own_endings_are_no_refusals() {
        let bytes =
            [frame(RST_STREAM, 1, &0_u32.to_be_bytes()), frame(RST_STREAM, 3, &8_u32.to_be_bytes()), frame(GOAWAY, 0, &[0; 8])].concat();

        assert_eq!(seen(&bytes, 1000), []);
    }

    #[test]
    fn only_what_was_taken_counts() {
        let bytes = frame(RST_STREAM, 3, &1_u32.to_be_bytes());
        let (mut frames, mut seen) = (Frames::default(), Vec::new());

        frames.sent(&[IoSlice::new(&bytes[..4]), IoSlice::new(&bytes[4..])], 12, |refusal| seen.push(refusal));
        assert_eq!(seen, []);
        frames.sent(&[IoSlice::new(&bytes[12..])], 1, |refusal| seen.push(refusal));

        assert_eq!(seen, [Http2Refusal::Stream(3, Http2Error::Protocol)]);
    }
}
