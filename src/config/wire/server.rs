//! The process and its bounds.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    config::{
        parse::FilePath,
        reader::Spanned,
        shape::{wire, words},
        unit::{Size, Throughput, Wait},
    },
    model::Range,
    policy::ClientIpHeader,
};

words! {
    ClientIpHeader, "forwarding header" { "x-forwarded-for" => ClientIpHeader::XForwardedFor, "forwarded" => ClientIpHeader::Forwarded, }
}

wire! {
    /// The process: threads, state directory, trusted proxies.
    ServerWire "server" {
        /// Worker threads. Default: the number of cores.
        threads: Option<Spanned<usize>>,
        /// How long open requests may go on once octroi is told to stop. Default: 30s.
        drain: Option<Spanned<Duration>>,
        /// How long octroi goes on taking connections once it is told to stop, while `/readyz` says already
        /// that it ends: as long as the balancer in front needs to look away. `drain` begins behind it.
        /// Default: 0s.
        drain_delay: Option<Spanned<Duration>>,
        /// How long a wall clock that was set by more than 30 seconds is not believed: until then sessions
        /// are judged by the time before, and nobody signs in. Default: 10m.
        clock_hold: Option<Spanned<Wait>>,
        /// Where octroi keeps what must survive it. Default: `$STATE_DIRECTORY`, else /var/lib/octroi.
        state_dir: Option<Spanned<FilePath>>,
        /// Proxies whose forwarding header is trusted. Default: none.
        trusted_proxies: Vec<Spanned<Range>>,
        /// The one forwarding header that is read: `x-forwarded-for` (default) or `forwarded`.
        client_ip_header: Option<Spanned<ClientIpHeader>>,
    }

    /// When clients that break the protocol are refused before the handshake for a while.
    BansWire "bans" {
        /// The offence that brings the ban. Default: 20.
        after: Option<Spanned<u16>>,
        /// For how long an offence counts, up to 1d. Default: 1m.
        within: Option<Spanned<Wait>>,
        /// How long the ban lasts, up to 30d. Default: 10m.
        r#for: Option<Spanned<Wait>>,
    }

    /// Bounds of a connection, before any tenant is known.
    LimitsWire "limits" {
        /// How long a TLS handshake may take. Default: 5s.
        handshake_timeout: Option<Spanned<Wait>>,
        /// How long a request head may take. Default: 10s.
        header_timeout: Option<Spanned<Wait>>,
        /// How large a request head may be. Default: 32KiB.
        header_bytes: Option<Spanned<Size>>,
        /// How many fields a request head may have. Default: 100.
        header_count: Option<Spanned<usize>>,
        /// How large one field may be, name and value. Default: 16KiB.
        field_bytes: Option<Spanned<Size>>,
        /// How long a path may be. Default: 8KiB.
        path_bytes: Option<Spanned<Size>>,
        /// How long a request target may be, path and query. Default: 16KiB.
        uri_bytes: Option<Spanned<Size>>,
        /// How long a kept-alive connection may wait for its next request. Default: 60s.
        idle_timeout: Option<Spanned<Wait>>,
        /// How long a client may take none of the answer. Default: 30s.
        write_stall: Option<Spanned<Wait>>,
        /// How fast a client must take the answer, on average over each `write_stall` in which octroi waits
        /// for it; `0B/s` is no bound. Default: 1KiB/s.
        write_min_rate: Option<Spanned<Throughput>>,
        /// Bounds of HTTP/2.
        http2: Option<Http2Wire>,
    }

    /// Bounds of an HTTP/2 connection. Counts are of ten seconds; who exceeds one is sent away (`h2_abuse`).
    Http2Wire "http2" {
        /// Streams at once. Default: 100.
        streams: Option<Spanned<NonZeroU32>>,
        /// How much of one body may be on its way and not passed on. Default: 64KiB.
        stream_window: Option<Spanned<Size>>,
        /// The same for all bodies of a connection. Default: 256KiB.
        connection_window: Option<Spanned<Size>>,
        /// How much of one answer is kept until the client takes it. Default: 64KiB.
        send_buffer: Option<Spanned<Size>>,
        /// RST_STREAM of the client. Default: 200.
        resets: Option<Spanned<NonZeroU32>>,
        /// Streams that break the protocol. Default: 100.
        errors: Option<Spanned<NonZeroU32>>,
        /// SETTINGS. Default: 50.
        settings: Option<Spanned<NonZeroU32>>,
        /// PING that do not come with an answer. Default: 100.
        pings: Option<Spanned<NonZeroU32>>,
        /// PRIORITY, GOAWAY and frames of unknown types. Default: 200.
        priorities: Option<Spanned<NonZeroU32>>,
        /// WINDOW_UPDATE beyond ten per DATA frame of the answers. Default: 1000.
        window_updates: Option<Spanned<NonZeroU32>>,
        /// Empty DATA. Default: 100.
        empty_data: Option<Spanned<NonZeroU32>>,
        /// CONTINUATION. Default: 100.
        continuations: Option<Spanned<NonZeroU32>>,
        /// Requests of a client that gives no stream a window for its answer, whenever they came. Default:
        /// 50.
        starved: Option<Spanned<NonZeroU32>>,
    }

    /// Bounds of a request.
    RequestLimitsWire "request_limits" {
        /// How large a body may be. Default: 10MiB.
        body_bytes: Option<Spanned<Size>>,
        /// How fast a body must come, on average after ten seconds; `0B/s` is no bound. Default: 1KiB/s.
        body_min_rate: Option<Spanned<Throughput>>,
        /// How long a WebSocket may be silent. Default: 5m.
        websocket_idle: Option<Spanned<Wait>>,
    }
}
