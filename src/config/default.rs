//! What holds where nothing is written, each with the reason for the number.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

use super::tree::Bounds;
use crate::model::Http2Limits;
use crate::policy::{BanRules, Limits, RequestLimits, UpstreamTimeouts};

/// Bounds of a connection.
pub(super) const LIMITS: Limits = Limits {
    // A handshake is two round trips; five seconds are ten times what a phone on a bad line needs.
    handshake_timeout: Duration::from_secs(5),
    // From its first byte to its last, so that a byte a second holds no connection.
    header_timeout: Duration::from_secs(10),
    // Twice the largest head of a browser with a full jar of cookies.
    header_bytes: 32 << 10,
    // Browsers send 15 to 30.
    header_count: 100,
    // A Cookie field of 4 KiB per cookie (RFC 6265, section 6.1) four times over.
    field_bytes: 16 << 10,
    // RFC 9110, section 4.1 asks for at least 8000 octets.
    path_bytes: 8 << 10,
    // Path and query together.
    uri_bytes: 16 << 10,
    // Browsers close theirs after one to five minutes; a minute keeps what is worth keeping.
    idle_timeout: Duration::from_secs(60),
    // A client that reads nothing for so long is gone or hostile.
    write_stall: Duration::from_secs(30),
    // As for bodies: slower than the slowest mobile line (GPRS: 4 KiB/s).
    write_min_rate: 1 << 10,
    http2: HTTP2,
};

/// Bounds of an HTTP/2 connection. Counts are of ten seconds.
const HTTP2: Http2Limits = Http2Limits {
    // RFC 9113, section 6.5.2 recommends no fewer than 100.
    streams: 100,
    // One upload at 5 MiB/s over a line of 13 ms; the standard's first window.
    stream_window: 64 << 10,
    // Four uploads: one whose upstream takes nothing must not stop the others.
    connection_window: 256 << 10,
    // As much as is read from an upstream at once; a hundred answers that nobody takes are 6.4 MiB.
    send_buffer: 64 << 10,
    // A page of pictures that is left early cancels some tens; the attack, thousands (CVE-2023-44487).
    resets: 200,
    // Browsers break nothing; the attack, thousands (CVE-2025-8671).
    errors: 100,
    // Once at the start; gRPC clients some more while they measure the line.
    settings: 50,
    // Keep-alive sends one every ten seconds at the most; measuring comes with answers and is not counted.
    pings: 100,
    // Older browsers send five at the start and one per request that changes its urgency.
    priorities: 200,
    // Ten per DATA frame of ours are free; these are for clients that open their windows before they ask.
    window_updates: 1000,
    // A flush without data, by careless clients.
    empty_data: 100,
    // A head of 32 KiB takes three.
    continuations: 100,
    // No client in use gives its streams no window at all; half of what may be open at once.
    starved: 50,
};

/// Bans of clients that keep breaking the protocol.
pub(super) const BANS: BanRules = BanRules {
    // A client that is merely broken makes a handful of tries a minute; a scanner makes hundreds.
    after: match NonZeroU16::new(20) {
        Some(after) => after,
        None => NonZeroU16::MIN,
    },
    // As long as a scan takes to show itself, and no longer than an accident is remembered.
    within: Duration::from_secs(60),
    // Long enough to spoil a scan, short enough for the office that shares the address.
    lasts: Duration::from_secs(600),
};

/// Bounds of a request.
pub(super) const REQUEST_LIMITS: RequestLimits = RequestLimits {
    // Documents and pictures pass; backups and films are for the routes that say so.
    body_bytes: 10 << 20,
    // Slower than the slowest mobile line (GPRS: 4 KiB/s).
    body_min_rate: 1 << 10,
    // Servers ping every 20 to 60 seconds.
    websocket_idle: Duration::from_secs(300),
};

/// Deadlines towards an upstream.
pub(super) const UPSTREAM_TIMEOUTS: UpstreamTimeouts = UpstreamTimeouts {
    // One lost SYN is sent again after one second, a second one after three.
    connect: Duration::from_secs(3),
    // Longer than a page may take, shorter than people wait.
    first_byte: Duration::from_secs(30),
    // As for the first byte.
    between_bytes: Duration::from_secs(30),
};

/// A hundred times what a command on the same network needs, and not so long that a sign-out seems dead.
pub(super) const REDIS_TIMEOUT: Duration = Duration::from_millis(200);

/// What may be written for it.
pub(super) const REDIS_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(5)..=Duration::from_secs(5);

/// Long enough for a restart of Redis, short enough for an employee who has left.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(30);

/// What may be written for it.
pub(super) const STALE_AFTERS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(3600);

/// A URL without a port means 6379, where Redis listens.
pub(super) const REDIS_PORT: u16 = 6379;

/// A server may take no connection, and a pooled one may have died unseen. Only what is safe to repeat is
/// tried again, with at most 64 KiB of its body, and for a tenth of all requests at most, behind a burst of a
/// hundred.
pub(super) const RETRIES: u8 = 1;

/// What Kubernetes grants, too.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// Long enough for somebody who set the clock wrongly to notice, short enough for a morning's sign-ins.
pub(super) const CLOCK_HOLD: Duration = Duration::from_secs(600);

/// The FHS place for what a service must not lose.
pub(super) const STATE_DIR: &str = "/var/lib/octroi";

/// Returns where state is kept where the configuration does not say it: the service manager's directory, else
/// ours. It may name several with colons between them; the first counts.
pub(super) fn state_dir(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let given = env("STATE_DIRECTORY").unwrap_or_default();
    let first = given.split(':').next().unwrap_or_default();
    PathBuf::from(if first.is_empty() { STATE_DIR } else { first })
}

/// About 300 MiB of buffers at the worst.
pub(super) const MAX_CONNECTIONS: usize = 10_000;

/// An office behind one address, not an attack.
pub(super) const MAX_CONNECTIONS_PER_CLIENT: usize = 256;

/// `__Host-` keeps other hosts of the parent domain from setting it (RFC 6265bis).
pub(super) const COOKIE: &str = "__Host-octroi";

/// NIST SP 800-63B, AAL2.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);

/// NIST SP 800-63B, AAL2; beyond 24h `octroi check` warns.
pub(super) const ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

/// Beyond this a session's life is warned of (ASVS 7.1.1).
pub(super) const LONG_ABSOLUTE: Duration = Duration::from_secs(24 * 3600);

/// About as long as the issuer's own caches hold its keys.
pub(super) const KEY_SET_REFRESH: Duration = Duration::from_secs(600);
/// More often is a load that nobody else puts on an issuer.
pub(super) const MIN_KEY_SET_REFRESH: Duration = Duration::from_secs(60);
/// Less often, and a key that was withdrawn would count for too long.
pub(super) const MAX_KEY_SET_REFRESH: Duration = Duration::from_secs(24 * 3600);
/// An issuer's bad day signs nobody out, and a key that it withdrew while it could not be asked counts no
/// longer than that.
pub(super) const KEY_SET_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Not a node's name, because an app must not care which node asks it.
pub(super) const ASSERTION_ISSUER: &str = "octroi";

/// Flask's own default.
pub(super) const FLASK_COOKIE: &str = "session";
/// Flask's own default.
pub(super) const FLASK_SALT: &str = "cookie-session";
/// Flask's own default, `PERMANENT_SESSION_LIFETIME`.
pub(super) const FLASK_MAX_AGE: Duration = Duration::from_secs(31 * 24 * 3600);

/// Django's own default.
pub(super) const DJANGO_COOKIE: &str = "sessionid";
/// The salt of Django's `signed_cookies` backend.
pub(super) const DJANGO_SALT: &str = "django.contrib.sessions.backends.signed_cookies";
/// Django's own default, `SESSION_COOKIE_AGE`.
pub(super) const DJANGO_MAX_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Cookies of Express end with the browser, and nothing in them says when, so they live as long as octroi's
/// own.
pub(super) const EXPRESS_MAX_AGE: Duration = ABSOLUTE;

/// 100,000 tenants with ten ranges each take 25 MiB.
pub(super) const FILE_BYTES: u64 = 512 << 20;

/// More than anybody keeps by hand, fewer than exhaust the memory.
pub(super) const FILES: usize = 10_000;

/// How much one file may hold.
pub(super) const BOUNDS: Bounds = Bounds {
    // 100,000 tenants with ten ranges each are 3 million.
    nodes: 50_000_000,
    // What a list that many tenants share comes to; what only a bomb comes to.
    repeated: 100_000,
    // The contract needs eight.
    depth: 32,
};

/// Before a revocation list ends, somebody is told: time for one working day's errand.
pub(super) const CRL_NOTICE: Duration = Duration::from_secs(86_400);

/// How far the clock of a CA may be ahead of ours.
pub(super) const CRL_SKEW: Duration = Duration::from_secs(300);

/// Doubled each time, five failures take half an hour: a public CA accepts five per host and hour.
pub(super) const ACME_RETRY: Duration = Duration::from_secs(60);
