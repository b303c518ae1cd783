//! Bytes as the standards define them: parsers and writers, without I/O, clock or policy.
//!
//! Ground floor: it imports no other room. Every parser takes bytes that strangers sent, so each is total and
//! does bounded work. Times are seconds since 1970.

pub mod chunk;
pub mod client_hello;
pub mod http1;
pub mod http2;
pub mod ocsp;
pub mod proxy_protocol;
pub mod token;
pub mod websocket;
