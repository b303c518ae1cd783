//! The real program on free ports, a real upstream that remembers what it got, and curl.

#![allow(dead_code, unused_imports, clippy::as_conversions, reason = "every test file uses its own part")]

pub mod apps;
pub mod client;
pub mod frames;
pub mod http2_client;
pub mod http2_server;
pub mod pebble;
pub mod pki;
pub mod program;
pub mod redis;
pub mod upstream;
pub mod wait;

pub use client::{Curl, raw_tls};
pub use program::Octroi;
pub use upstream::Upstream;
pub use wait::eventually;
