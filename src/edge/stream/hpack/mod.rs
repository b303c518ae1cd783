//! HPACK: what a block of compressed fields says (RFC 7541).

mod decoder;
mod huffman;
mod table;

pub(super) use decoder::{Decoder, Found};
