//! Where a block of compressed fields stands: at the end of one, or within it (RFC 7541, section 6). Nothing is decompressed.

/// Follows the representations of one block.
#[derive(Debug, Default)]
pub(super) struct Fields {
    state: State,
    /// How many strings of the representation in hand are to come.
    strings: u8,
    /// Whether the string in hand is Huffman code.
    huffman: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two representations.
    #[default]
    Between,
    /// Further octets of an index or a table size (RFC 7541, section 5.1).
    Number,
    /// The first octet of a string's length.
    Length,
    /// Further octets of it.
    LengthRest { value: usize, shift: u32 },
    /// So many octets of a string are to come.
    Text(usize),
}

/// The prefix of a string's length, all ones.
const LENGTH_PREFIX: u8 = 0x7f;
/// No length of this library's has more octets.
const MOST_SHIFT: u32 = 28;

impl Fields {
    /// Says whether every field that has begun has ended.
    pub(super) fn are_whole(&self) -> bool {
        self.state == State::Between
    }

    /// Takes in what comes next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((&octet, rest)) = bytes.split_first() {
            if let State::Text(left) = self.state {
                let some = left.min(bytes.len());
                bytes = bytes.get(some..).unwrap_or_default();
                self.text(left - some);
                continue;
            }
            bytes = rest;
            if self.state == State::Length {
                self.huffman = octet & 0x80 != 0;
            }
            match self.state {
                State::Between => self.begins(octet),
                State::Number if octet & 0x80 != 0 => {}
                State::Number => self.next_string(),
                State::Length if octet & LENGTH_PREFIX == LENGTH_PREFIX => {
                    self.state = State::LengthRest { value: usize::from(LENGTH_PREFIX), shift: 0 };
                }
                State::Length => self.text(usize::from(octet & LENGTH_PREFIX)),
                State::LengthRest { value, shift } => {
                    let more = if shift > MOST_SHIFT { usize::MAX } else { usize::from(octet & 0x7f) << shift };
                    let value = value.saturating_add(more);
                    match octet & 0x80 {
                        0 => self.text(value),
                        _ => self.state = State::LengthRest { value, shift: shift.saturating_add(7) },
                    }
                }
                State::Text(_) => {}
            }
        }
    }

    /// Returns so many octets that make a block which ends within a field the error that it is, whatever decompresses it.
    ///
    /// A string that they would just fill is filled with what is no text: NUL is in no field, and no code has so many ones (RFC 7541, section
    /// 5.2). Everything else ends in index 0, which is none (section 6.1), in a number without an end, or too early.
    pub(super) fn spoil(&self, octets: usize) -> Vec<u8> {
        match self.state {
            State::Text(left) if left >= octets => vec![if self.huffman { 0xff } else { 0 }; octets],
            State::Between | State::Number | State::Length | State::LengthRest { .. } | State::Text(_) => vec![0x80; octets],
        }
    }

    fn begins(&mut self, octet: u8) {
        // The bits of the index, and whether strings follow.
        let (prefix, literal) = match octet {
            0x80.. => (0x7f, false),
            0x40.. => (0x3f, true),
            // The size of the table.
            0x20.. => (0x1f, false),
            _ => (0x0f, true),
        };
        let index = octet & prefix;
        self.strings = match (literal, index) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        };
        match index == prefix {
            true => self.state = State::Number,
            false => self.next_string(),
        }
    }

    fn text(&mut self, left: usize) {
        if left > 0 {
            self.state = State::Text(left);
            return;
        }
        self.strings = self.strings.saturating_sub(1);
        self.next_string();
    }

    fn next_string(&mut self) {
        self.state = if self.strings == 0 { State::Between } else { State::Length };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_whole_where_its_last_field_ends() {
        let long = [b"\x00\x01a\x7f\x81\x01".as_slice(), &[b'b'; 256]].concat();
        let fields: [&[u8]; 9] = [
            b"\x82",
            b"\xff\x80\x01",
            b"\x3f\xe1\x1f",
            b"\x20",
            b"\x44\x01/",
            b"\x40\x01a\x82bb",
            b"\x0f\x05\x00",
            b"\x10\x01a\x00",
            &long,
        ];
        for first in fields {
            for second in fields {
                let block = [first, second].concat();
                for end in 0..=block.len() {
                    let mut fields = Fields::default();
                    // In one piece and octet by octet.
                    if end % 2 == 0 {
                        fields.follow(&block[..end]);
                    } else {
                        block[..end].chunks(1).for_each(|octet| fields.follow(octet));
                    }
                    let whole = [0, first.len(), block.len()].contains(&end);
                    assert_eq!(fields.are_whole(), whole, "{block:x?} {end}");
                }
            }
        }
    }

    #[test]
    fn what_is_spoilt_is_refused_by_the_library_s_decoder() {
        // A whole request in front of each, so that nothing else is wrong with it.
        let request = b"\x82\x87\x84\x41\x06a.test";
        let parts: [&[u8]; 12] = [
            b"\x10",
            b"\x10\x04x-sw",
            b"\x10\x04x-sw\x93",
            b"\x10\x04x-sw\x13",
            b"\x10\x04x-sw\xa3",
            b"\x10\x04x-sw\x23",
            b"\x40\x9b",
            b"\x40\x1b",
            b"\x7f",
            b"\xff\x80",
            b"\x10\x7f\x80",
            b"\x04\x7f",
        ];
        for part in parts {
            for octets in [19, 35] {
                let mut fields = Fields::default();
                fields.follow(&[&request[..], part].concat());
                assert!(!fields.are_whole());
                let block = [&request[..], part, &fields.spoil(octets)].concat();
                assert!(!is_taken(&block), "{part:x?} {octets}");
            }
        }
        assert!(is_taken(request));
    }

    /// Whether h2, which the library is built on, takes a request with this block.
    fn is_taken(block: &[u8]) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let length = u32::try_from(block.len()).unwrap().to_be_bytes();
            let said =
                [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &length[1..], &[1, 5, 0, 0, 0, 1], block].concat();
            client.write_all(&said).await.unwrap();
            let refused = async {
                loop {
                    let mut head = [0; 9];
                    client.read_exact(&mut head).await.unwrap();
                    client.read_exact(&mut vec![0; usize::from(head[1]) << 8 | usize::from(head[2])]).await.unwrap();
                    // RST_STREAM or GOAWAY.
                    if matches!(head[3], 3 | 7) {
                        return;
                    }
                }
            };
            let mut connection = h2::server::handshake(server).await.unwrap();
            let accepted = async {
                match connection.accept().await {
                    Some(Ok(_)) => true,
                    Some(Err(_)) | None => false,
                }
            };
            tokio::select! {
                () = refused => false,
                taken = accepted => taken,
            }
        })
    }
}
