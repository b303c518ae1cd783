//! Follows the frames of one direction of an HTTP/2 connection (RFC 9113, section 4.1), however they are cut into reads or writes.
//!
//! It decides nothing and refuses nothing: the HTTP library does that. It is total, keeps at most 17 octets, and does work per
//! frame, not per octet: a payload that does not matter is passed over in one step.

/// What a client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The most that is kept of a payload: last stream and code of a GOAWAY.
const LEAD: usize = 8;
/// One setting: identifier and value (RFC 9113, section 6.5.1).
const SETTING: usize = 6;

const FLAG_ACK: u8 = 0x1;
const FLAG_END_STREAM: u8 = 0x1;
const FLAG_END_HEADERS: u8 = 0x4;

/// What a frame is (RFC 9113, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameKind {
    /// DATA.
    #[default]
    Data,
    /// HEADERS.
    Headers,
    /// PRIORITY.
    Priority,
    /// RST_STREAM.
    Reset,
    /// SETTINGS.
    Settings,
    /// PUSH_PROMISE.
    PushPromise,
    /// PING.
    Ping,
    /// GOAWAY.
    GoAway,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// A type that the standard does not name: an extension.
    Other,
}

impl FrameKind {
    const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }

    /// How many octets of its payload are of interest, and where among them the number stands.
    const fn lead(self) -> (usize, usize) {
        match self {
            Self::Reset | Self::WindowUpdate => (4, 0),
            Self::GoAway => (8, 4),
            Self::Data
            | Self::Headers
            | Self::Priority
            | Self::Settings
            | Self::PushPromise
            | Self::Ping
            | Self::Continuation
            | Self::Other => (0, 0),
        }
    }
}

/// One frame, told once its head is whole (and, where there is one, its number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: FrameKind,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to; 0 is the connection.
    pub stream: u32,
    /// How long its payload is.
    pub length: u32,
    /// The error code of RST_STREAM and GOAWAY, the increment of WINDOW_UPDATE; the last octet of a HEADERS of at most eight; 0 for
    /// others, and where the payload is too short.
    pub number: u32,
}

impl Frame {
    /// Says whether it acknowledges one of ours. Only SETTINGS and PING can.
    pub const fn is_ack(&self) -> bool {
        matches!(self.kind, FrameKind::Settings | FrameKind::Ping) && self.flags & FLAG_ACK != 0
    }

    /// Says whether nothing follows on its stream.
    pub const fn ends_stream(&self) -> bool {
        matches!(self.kind, FrameKind::Data | FrameKind::Headers) && self.flags & FLAG_END_STREAM != 0
    }

    /// Says whether it ends a block of fields.
    pub const fn ends_head(&self) -> bool {
        matches!(self.kind, FrameKind::Headers | FrameKind::PushPromise | FrameKind::Continuation) && self.flags & FLAG_END_HEADERS != 0
    }
}

/// What has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// A frame; of its payload the rest may still be to come.
    Frame(Frame),
    /// One setting of a SETTINGS frame.
    Setting {
        /// Its identifier.
        id: u16,
        /// Its value.
        value: u32,
    },
}

/// Follows one direction.
#[derive(Debug, Default)]
pub struct Frames {
    /// Octets of the preface that are to come.
    preface: usize,
    /// Whether those that came are others.
    no_preface: bool,
    /// The head of a frame and what of its payload is of interest, or one setting.
    kept: [u8; HEAD + LEAD],
    filled: usize,
    /// Octets of the payload that are to come.
    rest: usize,
    /// Whether those are settings.
    settings: bool,
    kind: FrameKind,
    stream: u32,
    /// Whether a block of fields has begun and not ended.
    in_block: bool,
    seen: u64,
}

impl Frames {
    /// Follows what a server sends.
    pub fn of_server() -> Self {
        Self::default()
    }

    /// Follows what a client sends: its preface comes first.
    pub fn of_client() -> Self {
        Self { preface: PREFACE.len(), ..Self::default() }
    }

    /// Takes in the next octets, and tells of each frame and setting in them.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(Passed)) {
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
            // A head says more about how much is wanted.
            if self.filled == self.wanted() {
                each(if self.settings { self.setting() } else { self.frame() });
            }
        }
    }

    /// Says whether the client began with something else than its preface: nothing of what it sends are frames.
    pub fn has_no_preface(&self) -> bool {
        self.no_preface
    }

    /// Says whether the next octet begins a frame.
    pub fn is_between_frames(&self) -> bool {
        self.preface == 0 && self.filled == 0 && self.rest == 0
    }

    /// Says whether a frame of another stream may come next: between two frames, and in no block of fields (RFC 9113, section 4.3).
    pub fn may_be_interrupted(&self) -> bool {
        self.is_between_frames() && !self.in_block
    }

    /// Returns the number of the frame of which a part has come, unless it is DATA: the first frame is number 1.
    pub fn unfinished(&self) -> Option<u64> {
        if self.rest > 0 {
            return (self.kind != FrameKind::Data).then_some(self.seen);
        }
        (self.filled > 0).then_some(self.seen + 1)
    }

    /// Returns the stream whose DATA frame has begun and not ended, and how much of that is still to come.
    pub fn in_data(&self) -> Option<(u32, usize)> {
        (self.rest > 0 && self.kind == FrameKind::Data).then_some((self.stream, self.rest))
    }

    /// Returns how many frames were told, which is the number of the last one.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many octets are to be kept before there is something to tell, as far as is known by now.
    fn wanted(&self) -> usize {
        if self.settings {
            return SETTING;
        }
        if self.filled < HEAD {
            return HEAD;
        }
        let [a, b, c, kind, ..] = self.kept;
        let (kind, length) = (FrameKind::of(kind), length(a, b, c));
        HEAD + if kind == FrameKind::Headers && length <= LEAD { length } else { kind.lead().0.min(length) }
    }

    fn frame(&mut self) -> Passed {
        let [a, b, c, kind, flags, d, e, f, g, lead @ ..] = self.kept;
        let (kind, length) = (FrameKind::of(kind), length(a, b, c));
        let read = self.filled - HEAD;
        let (whole, at) = kind.lead();
        let number = match (read == whole && whole > 0, lead.get(at..).and_then(<[u8]>::first_chunk)) {
            (true, Some(&octets)) => u32::from_be_bytes(octets),
            (_, _) if kind == FrameKind::Headers => lead.get(..read).and_then(<[u8]>::last).copied().map_or(0, u32::from),
            (_, _) => 0,
        };
        // The first bit is reserved.
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        let frame = Frame { kind, flags, stream, length: u32::try_from(length).unwrap_or(u32::MAX), number };
        self.filled = 0;
        self.rest = length - read;
        self.settings = kind == FrameKind::Settings && self.rest >= SETTING;
        self.kind = kind;
        self.stream = stream;
        if matches!(kind, FrameKind::Headers | FrameKind::PushPromise | FrameKind::Continuation) {
            self.in_block = !frame.ends_head();
        }
        self.seen += 1;
        Passed::Frame(frame)
    }

    fn setting(&mut self) -> Passed {
        let [a, b, c, d, e, f, ..] = self.kept;
        self.filled = 0;
        self.rest -= SETTING;
        // What is left of a frame of a wrong length is passed over.
        self.settings = self.rest >= SETTING;
        Passed::Setting { id: u16::from_be_bytes([a, b]), value: u32::from_be_bytes([c, d, e, f]) }
    }
}

fn length(a: u8, b: u8, c: u8) -> usize {
    usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0)
}

/// Passes over as much as is left to pass over.
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

    fn passed(mut frames: Frames, pieces: &[&[u8]]) -> (Vec<Passed>, String) {
        let mut seen = Vec::new();
        for piece in pieces {
            frames.take(piece, |passed| seen.push(passed));
        }
        (seen, format!("{:?} {:?} {}", frames.is_between_frames(), frames.in_data(), frames.seen()))
    }

    #[test]
    fn another_preface_is_seen_with_its_first_wrong_octet() {
        let has_none = |pieces: &[&[u8]]| {
            let mut frames = Frames::of_client();
            pieces.iter().for_each(|piece| frames.take(piece, |_| {}));
            frames.has_no_preface()
        };

        for end in 0..=PREFACE.len() {
            assert!(!has_none(&[&PREFACE[..end], b"", &PREFACE[end..], b"anything"]), "{end}");
        }
        assert!(has_none(&[b"G"]) && has_none(&[&PREFACE[..23], b"\r"]) && has_none(&[b"PRI * HTTP/1"]));
        let mut server = Frames::of_server();
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
        let told = |kind, flags, stream, length, number| Passed::Frame(Frame { kind, flags, stream, length, number });

        let (seen, _) = passed(Frames::of_client(), &[&bytes]);

        assert_eq!(
            seen,
            [
                told(FrameKind::Settings, 0, 0, 12, 0),
                Passed::Setting { id: 4, value: 0 },
                Passed::Setting { id: 3, value: 100 },
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
        for wrong in [frame(3, 0, 1, &[1]), frame(8, 0, 1, &[]), frame(7, 0, 0, &[1; 7]), frame(4, 0, 0, &[1; 13]), frame(4, 0, 0, &[1; 5])]
        {
            let (seen, state) = passed(Frames::of_server(), &[&wrong, &ping]);

            let last = Passed::Frame(Frame { kind: FrameKind::Ping, flags: 0, stream: 0, length: 8, number: 0 });
            assert_eq!((seen.last(), state.as_str()), (Some(&last), "true None 2"), "{wrong:?}");
            let Some(Passed::Frame(first)) = seen.first() else { panic!("{seen:?}") };
            assert_eq!(first.number, 0);
        }
    }

    #[test]
    fn a_block_of_fields_may_not_be_interrupted() {
        let mut frames = Frames::of_server();
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
        let mut frames = Frames::of_server();
        frames.take(&frame(0, 0, 5, &[1; 100])[..50], |_| {});
        assert_eq!((frames.in_data(), frames.unfinished(), frames.is_between_frames()), (Some((5, 59)), None, false));
        frames.take(&[1; 59], |_| {});
        assert!(frames.is_between_frames());
        frames.take(&[0, 0], |_| {});
        assert_eq!((frames.in_data(), frames.unfinished()), (None, Some(2)));
        let mut frames = Frames::of_server();
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
            let new = || if client { Frames::of_client() } else { Frames::of_server() };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();

            prop_assert_eq!(passed(new(), &pieces), passed(new(), &[&bytes]));
        }
    }
}
