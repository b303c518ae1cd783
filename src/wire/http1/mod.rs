//! HTTP/1.1 (RFC 9112): where a request ends, as its octets come.

mod head;
mod incoming;

pub use incoming::{Incoming, Malformed, Progress};
