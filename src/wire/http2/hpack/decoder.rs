//! Decodes a field block, frame by frame.
//!
//! The octets that arrive bound the work: of an incomplete field only the lengths are read again, and a
//! string that is too long for any head is skipped, not stored.

use std::mem;

use super::{
    huffman,
    table::{Entry, Table},
};
use crate::wire::http2::field::{FieldKind, classify};

/// Every decoder accepts strings of up to this length. A longer one, even if Huffman-coded, is larger than
/// any dynamic table that we allow.
const MIN_STRING_LIMIT: usize = 16 * 1024;
/// The most octets of an integer, which is then below 2^28 + 2^7. Other implementations have the same limit
/// (RFC 7541, section 7.4).
const MAX_NUMBER_OCTETS: usize = 5;
/// How often a block may change the table size: to the smallest since the last block, then to the current one
/// (RFC 7541, section 4.2). No encoder sends more. An update costs the client one octet, and us as much work
/// as a field.
const MAX_SIZE_UPDATES: u8 = 2;
/// How much buffer capacity is kept from one block to the next.
const KEPT: usize = 512;

/// What the decoder reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A field: its name and its value.
    Field(&'a [u8], &'a [u8]),
    /// A field whose value is too long, with its name; or whose name is too long.
    TooLong(Option<&'a [u8]>),
}

/// The block is malformed. No later block can be decoded either (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HpackError;

/// The decompression state of one direction.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The longest string that is decoded.
    longest: usize,
    /// The beginning of a field that is not complete.
    rest: Vec<u8>,
    /// The string that is being skipped.
    skipped: Option<Skipped>,
    /// Whether the block has had a field. Size updates must precede the first one (RFC 7541, section 4.2).
    begun: bool,
    /// How many size updates the block has had.
    sizes: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A field with a string that is too long, of which the rest is skipped.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    /// Octets of the current string still expected.
    octets: usize,
    /// Whether the value follows: the current string is the name.
    value: bool,
    /// Whether the field would enter the table.
    indexed: bool,
}

/// An integer, and how many octets encode it.
#[derive(Clone, Copy, Debug)]
struct Integer {
    value: usize,
    octets: usize,
}

/// The header of a string literal.
#[derive(Clone, Copy, Debug)]
struct StringHeader {
    /// How many octets encode the length.
    lead: usize,
    length: usize,
    huffman: bool,
}

impl Decoder {
    /// Creates a decoder with a dynamic table of at most `table` octets, which accepts strings of up to
    /// `longest` octets at least.
    pub fn new(table: usize, longest: usize) -> Self {
        Self {
            table: Table::new(table),
            longest: longest.max(MIN_STRING_LIMIT),
            rest: Vec::new(),
            skipped: None,
            begun: false,
            sizes: 0,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Decodes the fragment of a block that one frame carries. `last` says that the block ends with it.
    pub fn read(
        &mut self,
        bytes: &[u8],
        last: bool,
        mut each: impl FnMut(Decoded<'_>),
    ) -> Result<(), HpackError> {
        let mut held = mem::take(&mut self.rest);
        if held.is_empty() {
            let used = self.fields(bytes, &mut each)?;
            held.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            held.extend_from_slice(bytes);
            let used = self.fields(&held, &mut each)?;
            held.drain(..used);
        }
        if !last {
            self.rest = held;
            return Ok(());
        }
        (self.begun, self.sizes) = (false, 0);
        for kept in [&mut self.name, &mut self.value] {
            kept.clear();
            kept.shrink_to(KEPT);
        }
        if held.is_empty() && self.skipped.is_none() { Ok(()) } else { Err(HpackError) }
    }

    /// Decodes a block that is complete in one frame, as long as `each` accepts every field. Returns whether
    /// it did.
    ///
    /// The caller must then call [`settle`](Self::settle), which commits or rolls back the changes of the
    /// table. Nothing is copied but what enters the table, and a field of the table is classified once, when
    /// it enters.
    pub fn scan(&mut self, bytes: &[u8], mut each: impl FnMut(FieldKind, &[u8], &[u8]) -> bool) -> bool {
        if !self.rest.is_empty() || self.skipped.is_some() || self.begun || self.sizes > 0 {
            return false;
        }
        self.table.begin();
        self.scan_fields(bytes, &mut each).is_some()
    }

    /// Ends a scan: keeps the changes of the table, or restores the table as it was.
    pub fn settle(&mut self, commit: bool) {
        if commit {
            self.table.commit()
        } else {
            self.table.roll_back()
        }
        for kept in [&mut self.name, &mut self.value] {
            if kept.capacity() > KEPT {
                kept.clear();
                kept.shrink_to(KEPT);
            }
        }
    }

    /// Decodes all fields. Returns `None` where `each` rejects one or the block is malformed.
    fn scan_fields(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(FieldKind, &[u8], &[u8]) -> bool,
    ) -> Option<()> {
        let (mut begun, mut sizes) = (false, 0);
        while let Some(&first) = bytes.first() {
            let prefix = prefix(first);
            let index = integer(bytes, prefix).ok()??;
            let used = match prefix {
                7 => {
                    let (name, value) = self.table.get(index.value)?;
                    each(self.table.kind(index.value)?, name, value).then_some(index.octets)?
                }
                5 if begun || sizes == MAX_SIZE_UPDATES => return None,
                5 => {
                    sizes += 1;
                    self.table.resize(index.value).map(|()| index.octets)?
                }
                _ => self.scan_literal(bytes, index, prefix == 6, each)?,
            };
            begun |= prefix != 5;
            bytes = bytes.get(used..)?;
        }
        Some(())
    }

    fn scan_literal(
        &mut self,
        bytes: &[u8],
        index: Integer,
        indexed: bool,
        each: &mut impl FnMut(FieldKind, &[u8], &[u8]) -> bool,
    ) -> Option<usize> {
        let Self { table, name: name_space, value: value_space, longest, .. } = self;
        let next = |at: usize| {
            let text = string_header(bytes.get(at..)?).ok()??;
            (text.length <= *longest).then_some((text, at + text.lead))
        };
        let (name, at) = match index.value {
            0 => {
                let (name, begin) = next(index.octets)?;
                (name.read(bytes, begin, name_space).ok()?, begin + name.length)
            }
            value => (table.get(value)?.0, index.octets),
        };
        let (value, begin) = next(at)?;
        let end = begin + value.length;
        let value = value.read(bytes, begin, value_space).ok()?;
        let kind = classify(name, value);
        if !each(kind, name, value) {
            return None;
        }
        if indexed {
            let entry = Entry::new(name, value, kind);
            table.insert(entry);
        }
        Some(end)
    }

    /// Decodes the fields that are complete. Returns how many octets they have.
    fn fields(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded<'_>)) -> Result<usize, HpackError> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let used = match self.skipped {
                Some(skipped) => self.skip(skipped, rest)?,
                None => self.field(rest, each)?,
            };
            match used {
                Some(used) => at += used,
                None => return Ok(at),
            }
        }
    }

    /// Skips a part of a string that is too long. Returns how many octets, or `None` where more must arrive
    /// first.
    fn skip(&mut self, skipped: Skipped, bytes: &[u8]) -> Result<Option<usize>, HpackError> {
        let some = skipped.octets.min(bytes.len());
        let octets = skipped.octets - some;
        if octets > 0 {
            self.skipped = Some(Skipped { octets, ..skipped });
            return Ok(Some(some).filter(|some| *some > 0));
        }
        if skipped.value {
            let value = string_header(bytes.get(some..).unwrap_or_default())?;
            self.skipped = Some(value.map_or(Skipped { octets, ..skipped }, |value| Skipped {
                octets: value.length,
                value: false,
                ..skipped
            }));
            return Ok(value.map(|value| some + value.lead).or(Some(some).filter(|some| *some > 0)));
        }
        if skipped.indexed {
            self.table.clear();
        }
        self.skipped = None;
        Ok(Some(some))
    }

    /// Decodes one field. Returns how many octets it has, or `None` where it is not complete.
    fn field(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Decoded<'_>),
    ) -> Result<Option<usize>, HpackError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let prefix = prefix(first);
        let Some(index) = integer(bytes, prefix)? else { return Ok(None) };
        match prefix {
            7 => {
                self.begun = true;
                let (name, value) = self.table.get(index.value).ok_or(HpackError)?;
                each(Decoded::Field(name, value));
                Ok(Some(index.octets))
            }
            5 if self.begun || self.sizes == MAX_SIZE_UPDATES => Err(HpackError),
            5 => {
                self.sizes += 1;
                self.table.resize(index.value).ok_or(HpackError)?;
                Ok(Some(index.octets))
            }
            _ => self.literal(bytes, index, prefix == 6, each),
        }
    }

    fn literal(
        &mut self,
        bytes: &[u8],
        index: Integer,
        indexed: bool,
        each: &mut impl FnMut(Decoded<'_>),
    ) -> Result<Option<usize>, HpackError> {
        let mut at = index.octets;
        // Of an incomplete field only the lengths are read.
        let next = |at: usize| string_header(bytes.get(at..).unwrap_or_default());
        let named = match index.value {
            0 => {
                let Some(name) = next(at)? else { return Ok(None) };
                at += name.lead;
                if name.length > self.longest {
                    self.begun = true;
                    self.skipped = Some(Skipped { octets: name.length, value: true, indexed });
                    each(Decoded::TooLong(None));
                    return Ok(Some(at));
                }
                let begin = at;
                at += name.length;
                Some((name, begin))
            }
            _ => None,
        };
        let Some(value) = next(at)? else { return Ok(None) };
        at += value.lead;
        let begin = at;
        let too_long = value.length > self.longest;
        at += if too_long { 0 } else { value.length };
        if at > bytes.len() {
            return Ok(None);
        }
        self.begun = true;
        let Self { table, name: name_space, value: value_space, .. } = self;
        let name = match named {
            Some((name, begin)) => name.read(bytes, begin, name_space)?,
            None => table.get(index.value).ok_or(HpackError)?.0,
        };
        if too_long {
            each(Decoded::TooLong(Some(name)));
            self.skipped = Some(Skipped { octets: value.length, value: false, indexed });
            return Ok(Some(at));
        }
        let value = value.read(bytes, begin, value_space)?;
        each(Decoded::Field(name, value));
        if indexed {
            // Copied first: the name may belong to an entry that is evicted now. The kind is not needed: no
            // block is scanned after one that was decoded this way.
            let entry = Entry::new(name, value, FieldKind::Invalid);
            table.insert(entry);
        }
        Ok(Some(at))
    }
}

impl StringHeader {
    /// Returns the string, which begins at `begin` and is complete.
    fn read<'a>(self, bytes: &'a [u8], begin: usize, space: &'a mut Vec<u8>) -> Result<&'a [u8], HpackError> {
        let raw = bytes.get(begin..begin + self.length).ok_or(HpackError)?;
        if !self.huffman {
            return Ok(raw);
        }
        space.clear();
        huffman::decode(raw, space).ok_or(HpackError)?;
        Ok(space)
    }
}

/// Returns how many bits of the first octet belong to an integer. Their number identifies the representation
/// (RFC 7541, section 6).
fn prefix(first: u8) -> u32 {
    match first {
        0x80.. => 7,
        0x40.. => 6,
        0x20.. => 5,
        _ => 4,
    }
}

/// Reads the header of a string (RFC 7541, section 5.2). Returns `None` where it is not complete.
fn string_header(bytes: &[u8]) -> Result<Option<StringHeader>, HpackError> {
    let huffman = bytes.first().is_some_and(|first| first & 0x80 != 0);
    Ok(integer(bytes, 7)?.map(|length| StringHeader { lead: length.octets, length: length.value, huffman }))
}

/// Reads an integer that begins in the last `prefix` bits of the first octet (RFC 7541, section 5.1). Returns
/// `None` where it is not complete.
fn integer(bytes: &[u8], prefix: u32) -> Result<Option<Integer>, HpackError> {
    let mask = u8::MAX >> (8 - prefix);
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Ok(Some(Integer { value, octets: 1 }));
    }
    let mut shift = 0;
    for (octets, octet) in (2..=MAX_NUMBER_OCTETS).zip(rest) {
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(Some(Integer { value, octets }));
        }
        shift += 7;
    }
    if rest.len() >= MAX_NUMBER_OCTETS - 1 { Err(HpackError) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    /// Reads blocks, each in frames of so many octets.
    fn read(blocks: &[&[u8]], octets: usize) -> Result<Vec<Fields>, HpackError> {
        let mut decoder = Decoder::new(4096, 0);
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let mut all = Vec::new();
        for block in blocks {
            let mut fields = Fields::new();
            let mut each = |found: Decoded<'_>| match found {
                Decoded::Field(name, value) => fields.push((shown(name), shown(value))),
                Decoded::TooLong(name) => {
                    fields.push((name.map(shown).unwrap_or_default(), "too long".to_owned()))
                }
            };
            for frame in block.chunks(octets) {
                decoder.read(frame, false, &mut each)?;
            }
            decoder.read(b"", true, &mut each)?;
            all.push(fields);
        }
        Ok(all)
    }

    fn owned(fields: &[(&str, &str)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read_however_they_are_cut() {
        // RFC 7541, sections C.3 and C.4.
        let plain: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x0fwww.example.com",
            b"\x82\x86\x84\xbe\x58\x08no-cache",
            b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
        ];
        let huffman: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        ];
        let first =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        let second = [&first[..], &[("cache-control", "no-cache")]].concat();
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        let expected = vec![owned(&first), owned(&second), owned(&third)];
        for octets in 1..40 {
            assert_eq!(read(&plain, octets).as_ref(), Ok(&expected), "{octets}");
            assert_eq!(read(&huffman, octets).as_ref(), Ok(&expected), "{octets}");
        }
    }

    #[test]
    fn what_nobody_can_read_is_broken() {
        let blocks: [&[u8]; 17] = [
            // Index 0 and one that does not exist, as a field and as a name; integers without an end; a table
            // that grows, or is resized late or more than twice.
            b"\x80",
            b"\xbe",
            b"\x7e\x01a",
            b"\xff\x80\x80\x80\x80\x01",
            b"\x7f\xff\xff\xff\xff\x0f",
            b"\x3f\xe2\x1f",
            b"\x82\x20",
            b"\x20\x20\x20",
            b"\x20\x3f\xe1\x1f\x20\x82",
            b"\x20\x3f\xe1\x1f\x82\x20",
            // It ends inside a field.
            b"\x40",
            b"\x40\x01",
            b"\x40\x01a",
            b"\x40\x01a\x05bcde",
            b"\x00\x7f",
            // Malformed Huffman code, in a name and in a value.
            b"\x00\x81\xff\x00",
            b"\x00\x01a\x81\xff",
        ];
        for block in blocks {
            for octets in [1, 100] {
                assert_eq!(read(&[b"\x82", block], octets), Err(HpackError), "{block:x?}");
            }
        }
        // The largest table that we allow, and two size updates before the first field (RFC 7541, section
        // 4.2).
        for octets in [1, 100] {
            let fields =
                read(&[b"\x3f\xe1\x1f\x82", b"\x20\x3f\xe1\x1f\x82", b"\x20\x3f\xe1\x1f\x82"], octets);
            assert_eq!(fields, Ok(vec![owned(&[(":method", "GET")]); 3]));
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_empties_the_table() {
        let number = |value: usize| {
            let rest = value - 127;
            [
                0x7f,
                u8::try_from(rest % 128 + 128).unwrap(),
                u8::try_from(rest / 128 % 128 + 128).unwrap(),
                u8::try_from(rest / 16384).unwrap(),
            ]
        };
        for (length, too_long) in [(MIN_STRING_LIMIT, false), (MIN_STRING_LIMIT + 1, true)] {
            let value = "v".repeat(length);
            let with_value =
                [&b"\x40\x01a\x011\x41"[..], &number(length), value.as_bytes(), b"\x82"].concat();
            let with_name =
                [&b"\x40\x01a\x011\x40"[..], &number(length), value.as_bytes(), b"\x02vv\x82"].concat();
            for octets in [1000, 100_000] {
                let fields = read(&[&with_value], octets).unwrap().remove(0);
                assert_eq!((fields[1].1 == "too long", &*fields[2].0), (too_long, ":method"));
                let fields = read(&[&with_name], octets).unwrap().remove(0);
                assert_eq!((fields[1].0.is_empty(), &*fields[2].0), (too_long, ":method"));
                // Either is larger than the table, and empties it.
                assert_eq!(read(&[&with_value, b"\xbe"], octets), Err(HpackError));
                assert_eq!(read(&[&with_name, b"\xbe"], octets), Err(HpackError));
            }
        }
        // A field that does not enter the table leaves it alone.
        let aside =
            [&b"\x40\x01a\x011\x01"[..], &number(MIN_STRING_LIMIT + 1), &[b'v'; MIN_STRING_LIMIT + 1]]
                .concat();
        assert_eq!(read(&[&aside, b"\xbe"], 5000).unwrap()[1], owned(&[("a", "1")]));
    }

    #[test]
    fn a_name_of_the_table_outlives_its_entry() {
        let mut decoder = Decoder::new(34 + 36, 0);
        let mut fields = Vec::new();
        let mut each = |found: Decoded<'_>| {
            if let Decoded::Field(name, value) = found {
                fields.push((name.to_vec(), value.len()));
            }
        };
        decoder.read(b"\x40\x01a\x011\x7e\x25", false, &mut each).unwrap();
        decoder.read(&[b'x'; 37], false, &mut each).unwrap();
        decoder.read(b"\xbe", true, &mut each).unwrap();
        assert_eq!(fields, [(b"a".to_vec(), 1), (b"a".to_vec(), 37), (b"a".to_vec(), 37)]);
    }
}
