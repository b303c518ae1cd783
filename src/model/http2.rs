//! The bounds of an HTTP/2 connection.

use crate::wire::http2::FIELD_OVERHEAD;

/// What one HTTP/2 connection may do. Counts are per ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Concurrent streams.
    pub streams: u32,
    /// How many bytes of one body may be received and not yet forwarded.
    pub stream_window: u32,
    /// The same for all bodies of a connection.
    pub connection_window: u32,
    /// How many bytes of one answer are buffered until the client reads them.
    pub send_buffer: u32,
    /// RST_STREAM frames from the client.
    pub resets: u32,
    /// Streams that we reset because the client broke the protocol.
    pub errors: u32,
    /// SETTINGS, including acknowledgements.
    pub settings: u32,
    /// PING, including acknowledgements, without an answer nearby.
    pub pings: u32,
    /// PRIORITY, GOAWAY, and extension frames.
    pub priorities: u32,
    /// WINDOW_UPDATE beyond ten per DATA frame of ours.
    pub window_updates: u32,
    /// Empty DATA that does not end its stream.
    pub empty_data: u32,
    /// CONTINUATION.
    pub continuations: u32,
    /// Requests by a client that opens no window for any answer.
    pub starved: u32,
}

/// A trusted proxy's connection may do as much as this many clients.
const CLIENTS_OF_A_PROXY: u32 = 100;

impl Http2Limits {
    /// Returns the bounds of a connection over which a trusted proxy sends the requests of many clients. What
    /// it holds at once does not grow: a proxy opens another connection.
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
    /// Bounds that tests reach quickly.
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

/// The size of the dynamic table that we offer a client (RFC 7541, section 4.2).
pub const FIELD_TABLE_BYTES: usize = 4 * 1024;
/// The pseudo-header fields of a request (RFC 9113, section 8.3.1).
const PSEUDO_FIELDS: usize = 4;
/// A DATA frame with fewer octets counts as small: the library's overhead for it is larger than the frame.
pub const SMALL_PIECE: usize = 256;

/// Returns how large a field list the library may accept, as the standard counts it.
///
/// It is larger than our own bounds, which count as in HTTP/1, so that we refuse a head beyond those
/// ourselves, with an answer and an access line.
pub const fn field_list_bytes(header_bytes: usize, header_count: usize) -> usize {
    header_bytes
        .saturating_mul(2)
        .saturating_add(header_count.saturating_add(PSEUDO_FIELDS).saturating_mul(FIELD_OVERHEAD))
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
    /// Too many PRIORITY, GOAWAY or extension frames.
    Priorities,
    /// Too many WINDOW_UPDATE.
    WindowUpdates,
    /// Too many empty DATA.
    EmptyData,
    /// Too many CONTINUATION.
    Continuations,
    /// Too many requests without a window for their answers.
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

    /// Says whether no web page and no correct client can be made to do this. A page can cancel requests,
    /// send empty pieces, make its browser prioritise streams and open windows, and send fields so long that
    /// they need a CONTINUATION.
    pub const fn is_offence(self) -> bool {
        match self {
            Self::Settings | Self::Pings | Self::Starved => true,
            Self::Resets
            | Self::Errors
            | Self::Priorities
            | Self::WindowUpdates
            | Self::EmptyData
            | Self::Continuations => false,
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

    /// Returns the bound that was exceeded.
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
