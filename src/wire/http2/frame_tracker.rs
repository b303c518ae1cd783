//! Tracks the frames of one direction of an HTTP/2 connection (RFC 9113, section 4.1), however reads or
//! writes split them.
//!
//! It validates nothing: the HTTP library does that. It is total, keeps at most 17 octets, and works per
//! frame, not per octet: it skips a payload that does not matter in one step.

use super::frame_header::{FRAME_HEADER_BYTES as HEADER, FrameHeader, FrameKind};

/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many octets of a payload are kept at most: the last stream and the code of GOAWAY.
const LEAD: usize = 8;
/// One setting: identifier and value (RFC 9113, section 6.5.1).
const SETTING: usize = 6;

/// How many octets of a payload are kept, and where among them the number stands.
const fn lead(kind: FrameKind) -> (usize, usize) {
    match kind {
        FrameKind::Reset | FrameKind::WindowUpdate => (4, 0),
        FrameKind::GoAway => (8, 4),
        FrameKind::Data
        | FrameKind::Headers
        | FrameKind::Priority
        | FrameKind::Settings
        | FrameKind::PushPromise
        | FrameKind::Ping
        | FrameKind::Continuation
        | FrameKind::Other => (0, 0),
    }
}

/// A frame, reported once its header is whole and, where it carries a number, that too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// The error code of RST_STREAM and GOAWAY; the increment of WINDOW_UPDATE; the last octet of a HEADERS
    /// payload of at most eight octets; otherwise 0, also where the payload is too short.
    pub number: u32,
}

/// What the tracker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// A frame; the rest of its payload may not have arrived yet.
    Frame(Frame),
    /// A setting of a SETTINGS frame.
    Setting {
        /// Its identifier.
        id: u16,
        /// Its value.
        value: u32,
    },
}

/// Tracks one direction.
#[derive(Debug, Default)]
pub struct FrameTracker {
    /// Octets of the preface still expected.
    preface: usize,
    /// Whether the octets so far differ from the preface.
    no_preface: bool,
    /// A frame header with the first octets of its payload, or one setting.
    kept: [u8; HEADER + LEAD],
    filled: usize,
    /// Octets of the payload still expected.
    rest: usize,
    /// Whether these are settings.
    settings: bool,
    kind: FrameKind,
    stream: u32,
    /// Whether a field block has begun and not ended.
    in_block: bool,
    /// How many frames were reported.
    seen: u64,
}

impl FrameTracker {
    /// Tracks what a server sends.
    pub fn of_server() -> Self {
        Self::default()
    }

    /// Tracks what a client sends: its preface comes first.
    pub fn of_client() -> Self {
        Self { preface: PREFACE.len(), ..Self::default() }
    }

    /// Consumes the next octets and reports each frame and setting in them.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameEvent)) {
        let wanted = PREFACE.get(PREFACE.len() - self.preface..).unwrap_or_default();
        let compared = wanted.len().min(bytes.len());
        self.no_preface |= wanted.get(..compared) != bytes.get(..compared);
        bytes = skip(bytes, &mut self.preface);
        while !bytes.is_empty() {
            if self.rest > 0 && !self.settings {
                bytes = skip(bytes, &mut self.rest);
                continue;
            }
            let wanted = self.wanted();
            let (some, others) = bytes.split_at((wanted - self.filled).min(bytes.len()));
            if let Some(place) = self.kept.get_mut(self.filled..self.filled + some.len()) {
                place.copy_from_slice(some);
            }
            self.filled += some.len();
            bytes = others;
            // A complete header can raise the number of octets wanted.
            if self.filled == self.wanted() {
                each(if self.settings { self.setting() } else { self.frame() });
            }
        }
    }

    /// Says whether the client began with something other than the preface: then nothing that it sends is a
    /// frame.
    pub fn has_no_preface(&self) -> bool {
        self.no_preface
    }

    /// Says whether the next octet begins a frame.
    pub fn is_between_frames(&self) -> bool {
        self.preface == 0 && self.filled == 0 && self.rest == 0
    }

    /// Says whether a frame of another stream may be inserted here: between two frames, outside a field block
    /// (RFC 9113, section 4.3).
    pub fn may_be_interrupted(&self) -> bool {
        self.is_between_frames() && !self.in_block
    }

    /// Returns the number of the frame that has arrived in part, unless it is DATA. The first frame is number
    /// 1.
    pub fn unfinished(&self) -> Option<u64> {
        if self.rest > 0 {
            return (self.kind != FrameKind::Data).then_some(self.seen);
        }
        (self.filled > 0).then_some(self.seen + 1)
    }

    /// Returns the stream of the DATA frame that has arrived in part, and how many octets of it are missing.
    pub fn in_data(&self) -> Option<(u32, usize)> {
        (self.rest > 0 && self.kind == FrameKind::Data).then_some((self.stream, self.rest))
    }

    /// Returns how many frames were reported, which is the number of the last one.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns how many octets must be kept before there is something to report, as far as is known by now.
    fn wanted(&self) -> usize {
        if self.settings {
            return SETTING;
        }
        if self.filled < HEADER {
            return HEADER;
        }
        let header = self.header();
        let (kind, length) = (header.kind, header.payload_bytes());
        HEADER + if kind == FrameKind::Headers && length <= LEAD { length } else { lead(kind).0.min(length) }
    }

    /// Returns the header that was kept.
    fn header(&self) -> FrameHeader {
        self.kept.first_chunk().map(FrameHeader::parse).unwrap_or_default()
    }

    fn frame(&mut self) -> FrameEvent {
        let header = self.header();
        let kind = header.kind;
        let kept = self.kept.get(HEADER..).unwrap_or_default();
        let read = self.filled - HEADER;
        let (whole, at) = lead(kind);
        let number = match (read == whole && whole > 0, kept.get(at..).and_then(<[u8]>::first_chunk)) {
            (true, Some(&octets)) => u32::from_be_bytes(octets),
            (_, _) if kind == FrameKind::Headers => {
                kept.get(..read).and_then(<[u8]>::last).copied().map_or(0, u32::from)
            }
            (_, _) => 0,
        };
        self.filled = 0;
        self.rest = header.payload_bytes() - read;
        self.settings = kind == FrameKind::Settings && self.rest >= SETTING;
        self.kind = kind;
        self.stream = header.stream;
        if matches!(kind, FrameKind::Headers | FrameKind::PushPromise | FrameKind::Continuation) {
            self.in_block = !header.ends_block();
        }
        self.seen += 1;
        FrameEvent::Frame(Frame { header, number })
    }

    fn setting(&mut self) -> FrameEvent {
        let [a, b, c, d, e, f, ..] = self.kept;
        self.filled = 0;
        self.rest -= SETTING;
        // The remainder of a frame of a wrong length is skipped.
        self.settings = self.rest >= SETTING;
        FrameEvent::Setting { id: u16::from_be_bytes([a, b]), value: u32::from_be_bytes([c, d, e, f]) }
    }
}

/// Skips up to `left` octets.
fn skip<'a>(bytes: &'a [u8], left: &mut usize) -> &'a [u8] {
    let (skipped, rest) = bytes.split_at((*left).min(bytes.len()));
    *left -= skipped.len();
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn passed(mut frames: FrameTracker, pieces: &[&[u8]]) -> (Vec<FrameEvent>, String) {
        let mut seen = Vec::new();
        for piece in pieces {
            frames.take(piece, |passed| seen.push(passed));
        }
        (seen, format!("{:?} {:?} {}", frames.is_between_frames(), frames.in_data(), frames.seen()))
    }

    #[test]
    fn another_preface_is_seen_with_its_first_wrong_octet() {
        let has_none = |pieces: &[&[u8]]| {
            let mut frames = FrameTracker::of_client();
            pieces.iter().for_each(|piece| frames.take(piece, |_| {}));
            frames.has_no_preface()
        };

        for end in 0..=PREFACE.len() {
            assert!(!has_none(&[&PREFACE[..end], b"", &PREFACE[end..], b"anything"]), "{end}");
        }
        assert!(has_none(&[b"G"]) && has_none(&[&PREFACE[..23], b"\r"]) && has_none(&[b"PRI * HTTP/1"]));
        let mut server = FrameTracker::of_server();
        server.take(b"anything", |_| {});
        assert!(!server.has_no_preface());
    }

    #[test]
    fn frames_and_settings_are_told_in_order() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[0, 4, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]),
            frame(1, 5, 0x8000_0001, b"head"),
            frame(1, 5, 3, b"long head"),
            frame(0, 1, 1, &[7; 300]),
            frame(3, 0, 3, &[0, 0, 0, 8]),
            frame(8, 0, 0, &[0, 1, 0, 0]),
            frame(7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 11, 1, 2]),
        ]
        .concat();
        let told = |kind, flags, stream, length, number| {
            FrameEvent::Frame(Frame { header: FrameHeader { length, kind, flags, stream }, number })
        };

        let (seen, _) = passed(FrameTracker::of_client(), &[&bytes]);

        assert_eq!(
            seen,
            [
                told(FrameKind::Settings, 0, 0, 12, 0),
                FrameEvent::Setting { id: 4, value: 0 },
                FrameEvent::Setting { id: 3, value: 100 },
                told(FrameKind::Headers, 5, 1, 4, u32::from(b'd')),
                told(FrameKind::Headers, 5, 3, 9, 0),
                told(FrameKind::Data, 1, 1, 300, 0),
                told(FrameKind::Reset, 0, 3, 4, 8),
                told(FrameKind::WindowUpdate, 0, 0, 4, 65536),
                told(FrameKind::GoAway, 0, 0, 10, 11),
            ]
        );
    }

    #[test]
    fn frames_of_a_wrong_length_are_passed_over_and_the_next_one_is_found() {
        let ping = frame(6, 0, 0, &[0; 8]);
        for wrong in [
            frame(3, 0, 1, &[1]),
            frame(8, 0, 1, &[]),
            frame(7, 0, 0, &[1; 7]),
            frame(4, 0, 0, &[1; 13]),
            frame(4, 0, 0, &[1; 5]),
        ] {
            let (seen, state) = passed(FrameTracker::of_server(), &[&wrong, &ping]);

            let header = FrameHeader { length: 8, kind: FrameKind::Ping, flags: 0, stream: 0 };
            let last = FrameEvent::Frame(Frame { header, number: 0 });
            assert_eq!((seen.last(), state.as_str()), (Some(&last), "true None 2"), "{wrong:?}");
            let Some(FrameEvent::Frame(first)) = seen.first() else { panic!("{seen:?}") };
            assert_eq!(first.number, 0);
        }
    }

    #[test]
    fn a_block_of_fields_may_not_be_interrupted() {
        let mut frames = FrameTracker::of_server();
        assert!(frames.may_be_interrupted());
        frames.take(&frame(1, 0, 5, b"half"), |_| {});
        assert!(frames.is_between_frames() && !frames.may_be_interrupted());
        frames.take(&frame(9, 4, 5, b"rest"), |_| {});
        assert!(frames.may_be_interrupted());
        frames.take(&frame(0, 0, 5, b"data")[..10], |_| {});
        assert!(!frames.may_be_interrupted());
    }

    #[test]
    fn what_is_unfinished_is_known() {
        let mut frames = FrameTracker::of_server();
        frames.take(&frame(0, 0, 5, &[1; 100])[..50], |_| {});
        assert_eq!(
            (frames.in_data(), frames.unfinished(), frames.is_between_frames()),
            (Some((5, 59)), None, false)
        );
        frames.take(&[1; 59], |_| {});
        assert!(frames.is_between_frames());
        frames.take(&[0, 0], |_| {});
        assert_eq!((frames.in_data(), frames.unfinished()), (None, Some(2)));
        let mut frames = FrameTracker::of_server();
        frames.take(&frame(1, 0, 5, &[1; 100])[..50], |_| {});
        assert_eq!(frames.unfinished(), Some(1));
    }

    proptest! {
        #[test]
        fn any_octets_cut_anywhere_tell_the_same(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                proptest::collection::vec((0_u8..12, any::<u8>(), 0_u32..9, proptest::collection::vec(any::<u8>(), 0..30)), 0..20)
                    .prop_map(|frames| frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect()),
            ],
            cuts in proptest::collection::vec(0_usize..400, 0..20),
            client in any::<bool>(),
        ) {
            let new = || if client { FrameTracker::of_client() } else { FrameTracker::of_server() };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();

            prop_assert_eq!(passed(new(), &pieces), passed(new(), &[&bytes]));
        }
    }
}
