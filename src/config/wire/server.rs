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
        /// How long open requests may continue after a stop begins. Default: 30s.
        drain: Option<Spanned<Duration>>,
        /// How long octroi still accepts connections after a stop begins, while `/readyz` already reports
        /// that it is stopping: the time a load balancer needs to take it out. `drain` begins afterwards.
        /// Default: 0s.
        drain_delay: Option<Spanned<Duration>>,
        /// How long octroi distrusts a wall clock that jumped by more than 30 seconds. Until then sessions
        /// are judged by the earlier time, and nobody can sign in. Default: 10m.
        clock_hold: Option<Spanned<Wait>>,
        /// The folder for state that must survive a restart. Default: `$STATE_DIRECTORY`, else
        /// /var/lib/octroi.
        state_dir: Option<Spanned<FilePath>>,
        /// Proxies whose forwarding header is trusted. Default: none.
        trusted_proxies: Vec<Spanned<Range>>,
        /// The one forwarding header that is read: `x-forwarded-for` (default) or `forwarded`.
        client_ip_header: Option<Spanned<ClientIpHeader>>,
    }

    /// Automatic bans: a banned client is refused before the TLS handshake.
    BansWire "bans" {
        /// The number of offences that causes a ban. Default: 20.
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
        /// How long a client may read nothing of the answer. Default: 30s.
        write_stall: Option<Spanned<Wait>>,
        /// How fast a client must read the answer, on average over each `write_stall` in which octroi waits
        /// for it; `0B/s` means no bound. Default: 1KiB/s.
        write_min_rate: Option<Spanned<Throughput>>,
        /// Bounds of HTTP/2.
        http2: Option<Http2Wire>,
    }

    /// Bounds of an HTTP/2 connection. Counts are per ten seconds; exceeding one ends the connection
    /// (`h2_abuse`).
    Http2Wire "http2" {
        /// Concurrent streams. Default: 100.
        streams: Option<Spanned<NonZeroU32>>,
        /// The receive window of one stream: how much of one body may wait to be forwarded. Default: 64KiB.
        stream_window: Option<Spanned<Size>>,
        /// The receive window of a connection: the same for all its bodies together. Default: 256KiB.
        connection_window: Option<Spanned<Size>>,
        /// How much of one answer is buffered until the client reads it. Default: 64KiB.
        send_buffer: Option<Spanned<Size>>,
        /// RST_STREAM frames from the client. Default: 200.
        resets: Option<Spanned<NonZeroU32>>,
        /// Streams that break the protocol. Default: 100.
        errors: Option<Spanned<NonZeroU32>>,
        /// SETTINGS frames. Default: 50.
        settings: Option<Spanned<NonZeroU32>>,
        /// PING frames that do not accompany an answer. Default: 100.
        pings: Option<Spanned<NonZeroU32>>,
        /// PRIORITY and GOAWAY frames, and frames of unknown types. Default: 200.
        priorities: Option<Spanned<NonZeroU32>>,
        /// WINDOW_UPDATE frames beyond ten per DATA frame of the answers. Default: 1000.
        window_updates: Option<Spanned<NonZeroU32>>,
        /// Empty DATA frames. Default: 100.
        empty_data: Option<Spanned<NonZeroU32>>,
        /// CONTINUATION frames. Default: 100.
        continuations: Option<Spanned<NonZeroU32>>,
        /// Requests of a client that gives no stream a window for its answer, not only of ten seconds.
        /// Default: 50.
        starved: Option<Spanned<NonZeroU32>>,
    }

    /// Bounds of a request.
    RequestLimitsWire "request_limits" {
        /// How large a body may be. Default: 10MiB.
        body_bytes: Option<Spanned<Size>>,
        /// How fast a body must arrive, on average after ten seconds; `0B/s` means no bound. Default: 1KiB/s.
        body_min_rate: Option<Spanned<Throughput>>,
        /// How long a WebSocket may be silent. Default: 5m.
        websocket_idle: Option<Spanned<Wait>>,
    }
}
