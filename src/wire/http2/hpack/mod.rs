//! HPACK: decompresses field blocks (RFC 7541).

mod decoder;
mod huffman;
mod table;

pub use decoder::{Decoded, Decoder, HpackError};
