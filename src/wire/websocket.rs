//! Where the frames of a WebSocket end: only between two of them can another one be put (RFC 6455, section
//! 5.2).

/// A Close frame: the last frame, two octets of payload, not masked, and status 1008: a policy was violated
/// (RFC 6455, sections 5.5.1 and 7.4.1).
pub const CLOSE_POLICY: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];

/// The longest head of a frame: two octets, eight of a length, four of a mask.
const HEAD: usize = 14;
/// The opcode of a Close frame.
const CLOSE: u8 = 8;

/// Follows what one side sends. Only the heads of frames are looked at.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD],
    filled: usize,
    /// Octets of the payload that are to come.
    rest: u64,
    closed: bool,
}

impl Frames {
    /// Takes in the next octets.
    pub fn take(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            self.rest -= u64::try_from(skipped).unwrap_or(0);
            let Some((&octet, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else { return };
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.filled) {
                *place = octet;
            }
            self.filled += 1;
            if let Some(length) = self.length() {
                let [first, ..] = self.head;
                self.closed |= first & 0x0f == CLOSE;
                (self.rest, self.filled) = (length, 0);
            }
        }
    }

    /// Says whether a frame may be put here: the next octet begins one, and none said that it is the last.
    pub const fn may_close(&self) -> bool {
        self.filled == 0 && self.rest == 0 && !self.closed
    }

    /// Returns how long the payload is, once the head is whole.
    fn length(&self) -> Option<u64> {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.head;
        let (octets, length) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([a, b]))),
            127 => (8, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            length => (0, u64::from(length)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        (self.filled >= 2 && self.filled == 2 + octets + mask).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..126 => bytes.push(mask | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(u64::try_from(payload).unwrap().to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0x88, if masked { payload + 4 } else { payload }));
        bytes
    }

    #[test]
    fn a_frame_ends_where_its_length_says() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let bytes = frame(2, payload, masked);
                let mut frames = Frames::default();

                frames.take(&bytes[..bytes.len() - 1]);
                assert!(!frames.may_close(), "{payload}");
                frames.take(&bytes[bytes.len() - 1..]);
                assert!(frames.may_close(), "{payload}");
            }
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut frames = Frames::default();

        frames.take(&[frame(1, 5, false), frame(8, 2, false)].concat());

        assert!(!frames.may_close());
    }

    proptest! {
        #[test]
        fn any_octets_cut_anywhere_end_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..300) {
            let (mut once, mut twice) = (Frames::default(), Frames::default());
            let (front, back) = bytes.split_at(at.min(bytes.len()));

            once.take(&bytes);
            twice.take(front);
            twice.take(back);

            prop_assert_eq!(format!("{once:?}"), format!("{twice:?}"));
        }
    }
}
