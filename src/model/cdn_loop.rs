//! The field in which proxies name themselves, so that loops are found (RFC 8586).

use http::HeaderName;

/// The field.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// octroi's name in it. Every node has the same: a loop is a loop whichever of them it passes.
pub const CDN_ID: &str = "octroi";
