//! The bounds of an HTTP/2 connection.

/// What one HTTP/2 connection may do. Counts are of ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams at once.
    pub streams: u32,
    /// How many bytes of one body may be on their way to us and not yet passed on.
    pub stream_window: u32,
    /// The same for all bodies of a connection.
    pub connection_window: u32,
    /// How many bytes of one answer are kept until the client takes them.
    pub send_buffer: u32,
    /// RST_STREAM of the client.
    pub resets: u32,
    /// Streams that we reset because the client broke the protocol.
    pub errors: u32,
    /// SETTINGS, acknowledgements too.
    pub settings: u32,
    /// PING, acknowledgements too, that do not come with an answer.
    pub pings: u32,
    /// PRIORITY, and frames of types that the standard does not name.
    pub priorities: u32,
    /// WINDOW_UPDATE beyond ten for each DATA frame of ours.
    pub window_updates: u32,
    /// DATA without an octet, that does not end its stream.
    pub empty_data: u32,
    /// CONTINUATION.
    pub continuations: u32,
    /// Requests by a client that gives none of its streams a window for the answer.
    pub starved: u32,
}

/// The connection of a trusted proxy may do what so many clients may do.
const CLIENTS_OF_A_PROXY: u32 = 100;

impl Http2Limits {
    /// Returns the bounds of a connection over which a trusted proxy sends the requests of many clients. What it holds at once stays:
    /// a proxy opens another connection.
    #[must_use]
    pub fn of_many_clients(self) -> Self {
        let times = |count: u32| count.saturating_mul(CLIENTS_OF_A_PROXY);
        Self {
            resets: times(self.resets),
            errors: times(self.errors),
            settings: times(self.settings),
            pings: times(self.pings),
            priorities: times(self.priorities),
            window_updates: times(self.window_updates),
            empty_data: times(self.empty_data),
            continuations: times(self.continuations),
            starved: times(self.starved),
            ..self
        }
    }
}

#[cfg(test)]
impl Http2Limits {
    /// Bounds that tests reach soon.
    pub(crate) const SMALL: Self = Self {
        streams: 100,
        stream_window: 65_536,
        connection_window: 262_144,
        send_buffer: 65_536,
        resets: 20,
        errors: 20,
        settings: 20,
        pings: 20,
        priorities: 20,
        window_updates: 20,
        empty_data: 20,
        continuations: 20,
        starved: 20,
    };
}

/// The most octets that everybody takes in one frame (RFC 9113, section 6.5.2): we ask for no more, and say no more.
pub const FRAME_BYTES: usize = 16 * 1024;
/// How many octets of fields a client may have us remember (RFC 7541, section 4.2).
pub const FIELD_TABLE_BYTES: usize = 4 * 1024;
/// The pseudo-fields of a request (RFC 9113, section 8.3.1).
const PSEUDO_FIELDS: usize = 4;
/// What the standard counts for a field beside its octets (RFC 9113, section 6.5.2).
pub const FIELD_OVERHEAD: usize = 32;

/// Returns how large a list of fields the library may read, as the standard counts it.
///
/// It lies behind our own bounds, which count as in HTTP/1: a head beyond those is still refused by us, with an answer and a line.
pub const fn field_list_bytes(header_bytes: usize, header_count: usize) -> usize {
    header_bytes.saturating_mul(2).saturating_add(header_count.saturating_add(PSEUDO_FIELDS).saturating_mul(FIELD_OVERHEAD))
}

/// Writes an interim answer as one HEADERS frame, of literals that no table keeps (RFC 7541, section 6.2.2). Nothing where it does not
/// fit into one.
pub fn interim_frame<'a>(stream: u32, status: u16, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Vec<u8>> {
    // `:status` is entry 8 of the static table.
    let mut block = vec![0x08];
    literal(&mut block, status.to_string().as_bytes());
    for (name, value) in fields {
        block.push(0);
        literal(&mut block, name.as_bytes());
        literal(&mut block, value);
        if block.len() > FRAME_BYTES {
            return None;
        }
    }
    let [_, length @ ..] = u32::try_from(block.len()).ok()?.to_be_bytes();
    // HEADERS, with END_HEADERS.
    Some([&length[..], &[1, 4], &stream.to_be_bytes(), &block].concat())
}

/// A text that is not compressed: its length in 7 bits and what does not fit into them (RFC 7541, sections 5.1 and 5.2), and itself.
pub fn literal(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 127;
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    if text.len() < PREFIX {
        block.push(octet(text.len()));
    } else {
        block.push(octet(PREFIX));
        let mut rest = text.len() - PREFIX;
        while rest >= 128 {
            block.push(octet(rest % 128 + 128));
            rest /= 128;
        }
        block.push(octet(rest));
    }
    block.extend_from_slice(text);
}

/// How an HTTP/2 client went beyond its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abuse {
    /// Too many RST_STREAM.
    Resets,
    /// Too many streams that break the protocol.
    Errors,
    /// Too many SETTINGS.
    Settings,
    /// Too many PING.
    Pings,
    /// Too many PRIORITY or unknown frames.
    Priorities,
    /// Too many WINDOW_UPDATE.
    WindowUpdates,
    /// Too many empty DATA.
    EmptyData,
    /// Too many CONTINUATION.
    Continuations,
    /// Too many requests whose answers have no window.
    Starved,
}

impl Abuse {
    /// Every abuse.
    pub const ALL: &'static [Self] = &[
        Self::Resets,
        Self::Errors,
        Self::Settings,
        Self::Pings,
        Self::Priorities,
        Self::WindowUpdates,
        Self::EmptyData,
        Self::Continuations,
        Self::Starved,
    ];

    /// Says whether no page and no correct client can be made to do so. A page cancels requests, sends empty pieces, makes its browser
    /// rank streams and give windows, and fields so long that they need a CONTINUATION.
    pub const fn is_offence(self) -> bool {
        match self {
            Self::Settings | Self::Pings | Self::Starved => true,
            Self::Resets | Self::Errors | Self::Priorities | Self::WindowUpdates | Self::EmptyData | Self::Continuations => false,
        }
    }

    /// Returns the key of `limits.http2` that was exceeded.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Errors => "errors",
            Self::Settings => "settings",
            Self::Pings => "pings",
            Self::Priorities => "priorities",
            Self::WindowUpdates => "window_updates",
            Self::EmptyData => "empty_data",
            Self::Continuations => "continuations",
            Self::Starved => "starved",
        }
    }

    /// Returns how many are allowed.
    pub const fn limit(self, limits: &Http2Limits) -> u32 {
        match self {
            Self::Resets => limits.resets,
            Self::Errors => limits.errors,
            Self::Settings => limits.settings,
            Self::Pings => limits.pings,
            Self::Priorities => limits.priorities,
            Self::WindowUpdates => limits.window_updates,
            Self::EmptyData => limits.empty_data,
            Self::Continuations => limits.continuations,
            Self::Starved => limits.starved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interim_answer_is_one_frame_of_plain_literals() {
        let long = vec![b'a'; 300];
        let frame = interim_frame(5, 103, [("link", &b"</a>"[..]), ("x", &long)].into_iter()).unwrap();

        let block = [b"\x08\x03103\x00\x04link\x04</a>\x00\x01x\x7f\xad\x01".to_vec(), long].concat();
        assert_eq!(frame[..9], [0, 1, 66, 1, 4, 0, 0, 0, 5]);
        assert_eq!(frame[9..], block);
        assert_eq!(interim_frame(1, 103, [("x", &vec![b'a'; 16 * 1024][..])].into_iter()), None);
    }
}
