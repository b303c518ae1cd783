//! The fuzz targets: for every parser of bytes from outside, what must hold of it whatever the bytes are.
//!
//! A target is a function from bytes to nothing that panics where a rule is broken. `bin/` hands each to libFuzzer (`make fuzz`);
//! `tests/fuzz.rs` runs all of them over their seeds and over small changes of these, so that `cargo test` notices a target that no
//! longer compiles or holds. Seeds are made here, from the vectors of the tests. An input that once broke a rule becomes a seed.

pub mod answer;
pub mod chunk;
pub mod client;
pub mod client_hello;
pub mod config;
pub mod cookie;
pub mod deny_file;
pub mod exchange;
pub mod foreign;
pub mod frames;
pub mod grant;
pub mod heads;
pub mod host;
pub mod hygiene;
pub mod input;
pub mod key_set;
pub mod ocsp;
pub mod path;
pub mod proxy_protocol;
pub mod redis;
pub mod token;

use std::path::Path;

/// One target.
pub struct Target {
    /// Its name, which is that of its binary, of its module and of its folder in `corpus/`.
    pub name: &'static str,
    /// Judges one input.
    pub run: fn(&[u8]),
    /// Makes the seeds; the path is the repository's.
    pub seeds: fn(&Path) -> Vec<Vec<u8>>,
}

/// Every target.
pub const ALL: &[Target] = &[
    Target { name: "answer", run: answer::run, seeds: answer::seeds },
    Target { name: "chunk", run: chunk::run, seeds: chunk::seeds },
    Target { name: "client", run: client::run, seeds: client::seeds },
    Target { name: "client_hello", run: client_hello::run, seeds: client_hello::seeds },
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "cookie", run: cookie::run, seeds: cookie::seeds },
    Target { name: "deny_file", run: deny_file::run, seeds: deny_file::seeds },
    Target { name: "exchange", run: exchange::run, seeds: exchange::seeds },
    Target { name: "foreign", run: foreign::run, seeds: foreign::seeds },
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "grant", run: grant::run, seeds: grant::seeds },
    Target { name: "heads", run: heads::run, seeds: heads::seeds },
    Target { name: "host", run: host::run, seeds: host::seeds },
    Target { name: "hygiene", run: hygiene::run, seeds: hygiene::seeds },
    Target { name: "key_set", run: key_set::run, seeds: key_set::seeds },
    Target { name: "ocsp", run: ocsp::run, seeds: ocsp::seeds },
    Target { name: "path", run: path::run, seeds: path::seeds },
    Target { name: "proxy_protocol", run: proxy_protocol::run, seeds: proxy_protocol::seeds },
    Target { name: "redis", run: redis::run, seeds: redis::seeds },
    Target { name: "token", run: token::run, seeds: token::seeds },
];
