//! The process and its bounds.

use std::time::Duration;

use crate::{
    config::{
        parse::FilePath,
        reader::At,
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
    /// The process: threads, state, whom it believes.
    ServerWire "server" {
        /// Worker threads. Default: the number of cores.
        threads: Option<At<usize>>,
        /// How long open requests may go on once octroi is told to stop. Default: 30s.
        drain: Option<At<Duration>>,
        /// Where octroi keeps what must survive it. Default: `$STATE_DIRECTORY`, else /var/lib/octroi.
        state_dir: Option<At<FilePath>>,
        /// Peers whose forwarding header is believed. Default: none.
        trusted_proxies: Vec<At<Range>>,
        /// The one forwarding header that is read: `x-forwarded-for` (default) or `forwarded`.
        client_ip_header: Option<At<ClientIpHeader>>,
    }

    /// When clients that break the protocol are refused before the handshake for a while.
    BansWire "bans" {
        /// The offence that brings the ban. Default: 20.
        after: Option<At<u16>>,
        /// For how long an offence counts, up to 1d. Default: 1m.
        within: Option<At<Wait>>,
        /// How long the ban lasts, up to 30d. Default: 10m.
        r#for: Option<At<Wait>>,
    }

    /// Bounds of a connection, before any tenant is known.
    LimitsWire "limits" {
        /// How long a TLS handshake may take. Default: 5s.
        handshake_timeout: Option<At<Wait>>,
        /// How long a request head may take. Default: 10s.
        header_timeout: Option<At<Wait>>,
        /// How large a request head may be. Default: 32KiB.
        header_bytes: Option<At<Size>>,
        /// How many fields a request head may have. Default: 100.
        header_count: Option<At<usize>>,
        /// How large one field may be, name and value. Default: 16KiB.
        field_bytes: Option<At<Size>>,
        /// How long a path may be. Default: 8KiB.
        path_bytes: Option<At<Size>>,
        /// How long a request target may be, path and query. Default: 16KiB.
        uri_bytes: Option<At<Size>>,
        /// How long a kept-alive connection may wait for its next request. Default: 60s.
        idle_timeout: Option<At<Wait>>,
        /// How long a client may take none of the answer. Default: 30s.
        write_stall: Option<At<Wait>>,
    }

    /// Bounds of a request.
    RequestLimitsWire "request_limits" {
        /// How large a body may be. Default: 10MiB.
        body_bytes: Option<At<Size>>,
        /// How fast a body must come, on average after ten seconds; `0B/s` is no bound. Default: 1KiB/s.
        body_min_rate: Option<At<Throughput>>,
        /// How long a WebSocket may be silent. Default: 5m.
        websocket_idle: Option<At<Wait>>,
    }
}
