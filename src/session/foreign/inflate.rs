//! Packed payloads: zlib, bounded.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Most bytes that a payload may unpack to. A cookie holds 4 KiB, and JSON packs to a fourth of itself; zlib
/// could make a thousand times as much of it.
pub(super) const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// Unpacks; `None` where that is not zlib, or more than 16 KiB comes out.
///
/// Bytes behind the end of the stream are passed over: the signature covers them, so the app wrote them.
pub(super) fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    decompress_to_vec_zlib_with_limit(packed, MAX_PAYLOAD_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;

    use super::*;

    #[test]
    fn what_comes_out_is_bounded() {
        let packed = |bytes: usize| compress_to_vec_zlib(&vec![b'a'; bytes], 9);

        assert_eq!(inflate(&packed(MAX_PAYLOAD_BYTES)).map(|plain| plain.len()), Some(MAX_PAYLOAD_BYTES));
        assert_eq!(inflate(&packed(MAX_PAYLOAD_BYTES + 1)), None);
        assert_eq!(inflate(&packed(10_000_000)), None);
        assert_eq!(inflate(b"not zlib"), None);
        assert_eq!(inflate(b""), None);
    }
}
