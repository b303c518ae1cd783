//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: the codes of one length are consecutive numbers. So the length of a code is found
//! by comparing it with the last code of each length, and its octet by its distance from the first. Most text
//! consists of octets with codes of at most eight bits: these are looked up in a table by the next eight
//! bits.

use std::sync::LazyLock;

/// The codes of one length, left-aligned in a 32-bit word.
#[derive(Clone, Copy)]
struct Row {
    /// The length of the codes.
    bits: u32,
    /// The first code.
    first: u32,
    /// The first word after the last code.
    end: u32,
    /// The index in [`OCTETS`] of the octet of the first code.
    at: u32,
}

/// Appends the decoded string to `text`. Returns `None` where the code is malformed: it contains EOS, or is
/// padded with anything but up to seven ones (RFC 7541, section 5.2).
///
/// The shortest code has 5 bits, so the string is at most 1.6 times as long as its code.
pub(super) fn decode(code: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let mut rest = code.iter();
    let (mut bits, mut have) = (0_u64, 0_u32);
    let short = &*SHORT;
    text.reserve(code.len() + code.len() / 2);
    loop {
        while have <= 56
            && let Some(&octet) = rest.next()
        {
            bits |= u64::from(octet) << (56 - have);
            have += 8;
        }
        while let Some(&(octet, length)) = short.get(usize::try_from(bits >> 56).ok()?)
            && length != 0
            && length <= have
        {
            text.push(octet);
            bits <<= length;
            have -= length;
        }
        if have <= 56 && !rest.as_slice().is_empty() {
            continue;
        }
        let word = u32::try_from(bits >> 32).ok()?;
        match ROWS.iter().find(|row| word < row.end).filter(|row| row.bits <= have) {
            Some(row) => {
                let index = row.at + ((word - row.first) >> (32 - row.bits));
                text.push(*OCTETS.get(usize::try_from(index).ok()?)?);
                bits <<= row.bits;
                have -= row.bits;
            }
            // Too few bits for a code: they can only be the padding of the last octet.
            None => return (have < 8 && bits.leading_ones() == have).then_some(()),
        }
    }
}

/// By the next eight bits: the octet whose code they begin with, and the length of that code; 0 where it is
/// longer than eight bits.
static SHORT: LazyLock<[(u8, u32); 256]> = LazyLock::new(|| {
    let mut all = [(0, 0); 256];
    for (first, short) in (0..=u8::MAX).zip(&mut all) {
        let word = u32::from(first) << 24;
        let row = ROWS.iter().find(|row| word < row.end).filter(|row| row.bits <= 8);
        let octet = row.and_then(|row| {
            OCTETS.get(usize::try_from(row.at + ((word - row.first) >> (32 - row.bits))).ok()?)
        });
        *short = octet.zip(row).map_or((0, 0), |(octet, row)| (*octet, row.bits));
    }
    all
});

/// The codes by length.
const ROWS: [Row; 21] = [
    Row { bits: 5, first: 0x00000000, end: 0x50000000, at: 0 },
    Row { bits: 6, first: 0x50000000, end: 0xb8000000, at: 10 },
    Row { bits: 7, first: 0xb8000000, end: 0xf8000000, at: 36 },
    Row { bits: 8, first: 0xf8000000, end: 0xfe000000, at: 68 },
    Row { bits: 10, first: 0xfe000000, end: 0xff400000, at: 74 },
    Row { bits: 11, first: 0xff400000, end: 0xffa00000, at: 79 },
    Row { bits: 12, first: 0xffa00000, end: 0xffc00000, at: 82 },
    Row { bits: 13, first: 0xffc00000, end: 0xfff00000, at: 84 },
    Row { bits: 14, first: 0xfff00000, end: 0xfff80000, at: 90 },
    Row { bits: 15, first: 0xfff80000, end: 0xfffe0000, at: 92 },
    Row { bits: 19, first: 0xfffe0000, end: 0xfffe6000, at: 95 },
    Row { bits: 20, first: 0xfffe6000, end: 0xfffee000, at: 98 },
    Row { bits: 21, first: 0xfffee000, end: 0xffff4800, at: 106 },
    Row { bits: 22, first: 0xffff4800, end: 0xffffb000, at: 119 },
    Row { bits: 23, first: 0xffffb000, end: 0xffffea00, at: 145 },
    Row { bits: 24, first: 0xffffea00, end: 0xfffff600, at: 174 },
    Row { bits: 25, first: 0xfffff600, end: 0xfffff800, at: 186 },
    Row { bits: 26, first: 0xfffff800, end: 0xfffffbc0, at: 190 },
    Row { bits: 27, first: 0xfffffbc0, end: 0xfffffe20, at: 205 },
    Row { bits: 28, first: 0xfffffe20, end: 0xfffffff0, at: 224 },
    Row { bits: 30, first: 0xfffffff0, end: 0xfffffffc, at: 253 },
];

/// The octets in the order of their codes. EOS, which is no octet, has the last code.
#[rustfmt::skip]
const OCTETS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108,
    109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107,
    113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60,
    96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129,
    132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1, 135,
    137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239,
    9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238,
    240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254, 2, 3, 4, 5, 6, 7,
    8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(code, &mut text).map(|()| text)
    }

    /// Encodes a text by the same table.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for octet in text {
            let index = u32::try_from(OCTETS.iter().position(|other| other == octet).unwrap()).unwrap();
            let row = ROWS.iter().rev().find(|row| row.at <= index).unwrap();
            let code = (row.first >> (32 - row.bits)) + (index - row.at);
            bits.push_str(&format!("{code:0length$b}", length = usize::try_from(row.bits).unwrap()));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|octet| u8::from_str_radix(std::str::from_utf8(octet).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7541, sections C.4 and C.6.
        for (code, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                "https://www.example.com",
            ),
            (b"", ""),
        ] {
            assert_eq!(decoded(code).as_deref(), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn every_octet_has_a_code_whatever_stands_beside_it() {
        for octet in 0..=u8::MAX {
            for text in [&[octet][..], &[octet, octet], &[b'0', octet, b'z'], &[octet; 9]] {
                assert_eq!(decoded(&encoded(text)).as_deref(), Some(text), "{text:?}");
            }
        }
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(decoded(&encoded(&all)), Some(all));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        // EOS; eight ones and more; a truncated code, padded with ones and with zeros.
        for code in
            [&b"\xff\xff\xff\xff"[..], b"\x07\xff", b"\xff", b"\xf8\xff\xff", b"\x00\x00", b"\xfe", b"\x18"]
        {
            assert_eq!(decoded(code), None, "{code:x?}");
        }
        assert_eq!(decoded(b"\x07").as_deref(), Some(&b"0"[..]));
        assert_eq!(decoded(b"\x1f").as_deref(), Some(&b"a"[..]));
    }
}
