//! Writes whole frames.

use super::frame_header::{END_HEADERS, FRAME_BYTES, FrameHeader, frame_type};

/// Writes RST_STREAM (RFC 9113, section 6.4).
pub fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    [&FrameHeader::encode(4, frame_type::RST_STREAM, 0, stream)[..], &code.to_be_bytes()].concat()
}

/// Writes WINDOW_UPDATE (RFC 9113, section 6.9); stream 0 is the connection.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    [&FrameHeader::encode(4, frame_type::WINDOW_UPDATE, 0, stream)[..], &increment.to_be_bytes()].concat()
}

/// Writes GOAWAY (RFC 9113, section 6.8).
pub fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    [&FrameHeader::encode(8, frame_type::GOAWAY, 0, 0)[..], &last_stream.to_be_bytes(), &code.to_be_bytes()]
        .concat()
}

/// Appends a DATA frame without padding (RFC 9113, section 6.1).
pub fn data_frame(out: &mut Vec<u8>, flags: u8, stream: u32, data: &[u8]) {
    out.extend_from_slice(&FrameHeader::encode(data.len(), frame_type::DATA, flags, stream));
    out.extend_from_slice(data);
}

/// Writes an interim response as one HEADERS frame, in literals that no dynamic table keeps (RFC 7541,
/// section 6.2.2). Returns `None` where it does not fit into one frame.
pub fn interim_frame<'a>(
    stream: u32,
    status: u16,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Option<Vec<u8>> {
    // `:status` is entry 8 of the static table.
    let mut block = vec![0x08];
    literal(&mut block, status.to_string().as_bytes());
    for (name, value) in fields {
        block.push(0);
        literal(&mut block, name.as_bytes());
        literal(&mut block, value);
        if block.len() > FRAME_BYTES {
            return None;
        }
    }
    Some([&FrameHeader::encode(block.len(), frame_type::HEADERS, END_HEADERS, stream)[..], &block].concat())
}

/// Appends a string without Huffman coding (RFC 7541, sections 5.1 and 5.2).
pub fn literal(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 127;
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    if text.len() < PREFIX {
        block.push(octet(text.len()));
    } else {
        block.push(octet(PREFIX));
        let mut rest = text.len() - PREFIX;
        while rest >= 128 {
            block.push(octet(rest % 128 + 128));
            rest /= 128;
        }
        block.push(octet(rest));
    }
    block.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interim_answer_is_one_frame_of_plain_literals() {
        let long = vec![b'a'; 300];
        let frame = interim_frame(5, 103, [("link", &b"</a>"[..]), ("x", &long)].into_iter()).unwrap();
        let block = [b"\x08\x03103\x00\x04link\x04</a>\x00\x01x\x7f\xad\x01".to_vec(), long].concat();
        assert_eq!(frame[..9], [0, 1, 66, 1, 4, 0, 0, 0, 5]);
        assert_eq!(frame[9..], block);
        assert_eq!(interim_frame(1, 103, [("x", &vec![b'a'; 16 * 1024][..])].into_iter()), None);
    }

    #[test]
    fn control_frames_are_those_of_the_standard() {
        assert_eq!(rst_stream(3, 8), [0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8]);
        assert_eq!(window_update(0, 4096), [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 16, 0]);
        assert_eq!(goaway(9, 11), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 11]);
    }
}
