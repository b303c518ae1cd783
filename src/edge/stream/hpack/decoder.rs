//! Reads a block of fields, frame by frame.
//!
//! Work is bounded by the octets that come: what is not whole yet is looked at again only as far as its lengths stand, and a string that no
//! head has room for is passed over and never kept.

use std::mem;

use super::{
    huffman,
    table::{Entry, Table},
};

/// A string that is longer than this, in its code, is larger than any table that we allow, whatever it decodes to.
const LEAST_STRING: usize = 16 * 1024;
/// A number has no more octets than this: the largest is then below 2^28 + 2^7, as everywhere else (RFC 7541, section 7.4).
const MOST_NUMBER: usize = 5;
/// What is kept between two blocks of what one needed.
const KEPT: usize = 512;

/// What stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::stream) enum Found<'a> {
    /// A field: its name and its value.
    Field(&'a [u8], &'a [u8]),
    /// A field whose value is too long, by its name; or whose name is.
    TooLong(Option<&'a [u8]>),
}

/// Nobody can say what the block means, nor any that follows (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge::stream) struct Broken;

/// The state of one direction.
#[derive(Debug)]
pub(in crate::edge::stream) struct Decoder {
    table: Table,
    longest: usize,
    /// What came of a field that is not whole.
    rest: Vec<u8>,
    passing: Option<Passing>,
    /// Whether the block has had a field: the size of the table stands before the first one (RFC 7541, section 4.2).
    begun: bool,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A field with a string that is too long.
#[derive(Clone, Copy, Debug)]
struct Passing {
    /// Octets of the string in hand that are to come.
    octets: usize,
    /// Whether a value comes behind it.
    value: bool,
    /// Whether the table would get it.
    indexed: bool,
}

/// The beginning of a string.
#[derive(Clone, Copy, Debug)]
struct Text {
    /// How many octets its length has.
    lead: usize,
    length: usize,
    huffman: bool,
}

impl Decoder {
    /// Begins a connection whose client may have a table of so many octets, and strings as long as a head.
    pub(in crate::edge::stream) fn new(table: usize, longest: usize) -> Self {
        Self {
            table: Table::new(table),
            longest: longest.max(LEAST_STRING),
            rest: Vec::new(),
            passing: None,
            begun: false,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads what one frame has of the block; `last` says that nothing follows.
    pub(in crate::edge::stream) fn read(&mut self, bytes: &[u8], last: bool, mut each: impl FnMut(Found<'_>)) -> Result<(), Broken> {
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
        self.begun = false;
        for kept in [&mut self.name, &mut self.value] {
            kept.clear();
            kept.shrink_to(KEPT);
        }
        if held.is_empty() && self.passing.is_none() { Ok(()) } else { Err(Broken) }
    }

    /// Reads the fields that are whole. Returns how many octets they have.
    fn fields(&mut self, bytes: &[u8], each: &mut impl FnMut(Found<'_>)) -> Result<usize, Broken> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let used = match self.passing {
                Some(passing) => self.pass(passing, rest)?,
                None => self.field(rest, each)?,
            };
            match used {
                Some(used) => at += used,
                None => return Ok(at),
            }
        }
    }

    /// Passes over a part of what is too long. Nothing where more has to come first.
    fn pass(&mut self, passing: Passing, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let some = passing.octets.min(bytes.len());
        let octets = passing.octets - some;
        if octets > 0 {
            self.passing = Some(Passing { octets, ..passing });
            return Ok(Some(some).filter(|some| *some > 0));
        }
        if passing.value {
            let value = text(bytes.get(some..).unwrap_or_default())?;
            self.passing =
                Some(value.map_or(Passing { octets, ..passing }, |value| Passing { octets: value.length, value: false, ..passing }));
            return Ok(value.map(|value| some + value.lead).or(Some(some).filter(|some| *some > 0)));
        }
        if passing.indexed {
            self.table.clear();
        }
        self.passing = None;
        Ok(Some(some))
    }

    /// Reads one field. Returns how many octets it has, nothing where it is not whole.
    fn field(&mut self, bytes: &[u8], each: &mut impl FnMut(Found<'_>)) -> Result<Option<usize>, Broken> {
        // RFC 7541, section 6.
        let prefix = match bytes.first() {
            None => return Ok(None),
            Some(0x80..) => 7,
            Some(0x40..) => 6,
            Some(0x20..) => 5,
            Some(_) => 4,
        };
        let Some((index, lead)) = number(bytes, prefix)? else { return Ok(None) };
        match prefix {
            7 => {
                self.begun = true;
                let (name, value) = self.table.get(index).ok_or(Broken)?;
                each(Found::Field(name, value));
                Ok(Some(lead))
            }
            5 => {
                self.table.resize(index).filter(|()| !self.begun).ok_or(Broken)?;
                Ok(Some(lead))
            }
            _ => self.literal(bytes, (index, lead), prefix == 6, each),
        }
    }

    fn literal(
        &mut self,
        bytes: &[u8],
        (index, lead): (usize, usize),
        indexed: bool,
        each: &mut impl FnMut(Found<'_>),
    ) -> Result<Option<usize>, Broken> {
        let mut at = lead;
        // What is not whole yet costs no more than its lengths.
        let next = |at: usize| text(bytes.get(at..).unwrap_or_default());
        let named = match index {
            0 => {
                let Some(name) = next(at)? else { return Ok(None) };
                at += name.lead;
                if name.length > self.longest {
                    self.begun = true;
                    self.passing = Some(Passing { octets: name.length, value: true, indexed });
                    each(Found::TooLong(None));
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
            None => table.get(index).ok_or(Broken)?.0,
        };
        if too_long {
            each(Found::TooLong(Some(name)));
            self.passing = Some(Passing { octets: value.length, value: false, indexed });
            return Ok(Some(at));
        }
        let value = value.read(bytes, begin, value_space)?;
        each(Found::Field(name, value));
        if indexed {
            // Copied first: the name may be that of an entry which goes now.
            let entry = Entry::new(name, value);
            table.insert(entry);
        }
        Ok(Some(at))
    }
}

impl Text {
    /// Returns the string, which begins there and is whole.
    fn read<'a>(self, bytes: &'a [u8], begin: usize, space: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
        let raw = bytes.get(begin..begin + self.length).ok_or(Broken)?;
        if !self.huffman {
            return Ok(raw);
        }
        space.clear();
        huffman::decode(raw, space).ok_or(Broken)?;
        Ok(space)
    }
}

/// Reads the length of a string (RFC 7541, section 5.2). Nothing where it is not whole.
fn text(bytes: &[u8]) -> Result<Option<Text>, Broken> {
    let huffman = bytes.first().is_some_and(|first| first & 0x80 != 0);
    Ok(number(bytes, 7)?.map(|(length, lead)| Text { lead, length, huffman }))
}

/// Reads a number whose first octet has so many bits of it (RFC 7541, section 5.1), and how many octets it has. Nothing where it is not
/// whole.
fn number(bytes: &[u8], prefix: u32) -> Result<Option<(usize, usize)>, Broken> {
    let mask = u8::MAX >> (8 - prefix);
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Ok(Some((value, 1)));
    }
    let mut shift = 0;
    for (octets, octet) in (2..=MOST_NUMBER).zip(rest) {
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(Some((value, octets)));
        }
        shift += 7;
    }
    if rest.len() >= MOST_NUMBER - 1 { Err(Broken) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    /// Reads blocks, each in frames of so many octets.
    fn read(blocks: &[&[u8]], octets: usize) -> Result<Vec<Fields>, Broken> {
        let mut decoder = Decoder::new(4096, 0);
        let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let mut all = Vec::new();
        for block in blocks {
            let mut fields = Fields::new();
            let mut each = |found: Found<'_>| match found {
                Found::Field(name, value) => fields.push((shown(name), shown(value))),
                Found::TooLong(name) => fields.push((name.map(shown).unwrap_or_default(), "too long".to_owned())),
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
        let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
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
        let blocks: [&[u8]; 14] = [
            // Index 0 and one that is not there, as a field and as a name; numbers without an end; a table that grows, or changes late.
            b"\x80",
            b"\xbe",
            b"\x7e\x01a",
            b"\xff\x80\x80\x80\x80\x01",
            b"\x7f\xff\xff\xff\xff\x0f",
            b"\x3f\xe2\x1f",
            b"\x82\x20",
            // It ends within a field.
            b"\x40",
            b"\x40\x01",
            b"\x40\x01a",
            b"\x40\x01a\x05bcde",
            b"\x00\x7f",
            // No code: in a name and in a value.
            b"\x00\x81\xff\x00",
            b"\x00\x01a\x81\xff",
        ];
        for block in blocks {
            for octets in [1, 100] {
                assert_eq!(read(&[b"\x82", block], octets), Err(Broken), "{block:x?}");
            }
        }
        // The largest table that we allow, and a size twice before the first field (RFC 7541, section 4.2).
        assert_eq!(read(&[b"\x3f\xe1\x1f\x82", b"\x20\x3f\xe1\x1f\x82"], 100), Ok(vec![owned(&[(":method", "GET")]); 2]));
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
        for (length, too_long) in [(LEAST_STRING, false), (LEAST_STRING + 1, true)] {
            let value = "v".repeat(length);
            let with_value = [&b"\x40\x01a\x011\x41"[..], &number(length), value.as_bytes(), b"\x82"].concat();
            let with_name = [&b"\x40\x01a\x011\x40"[..], &number(length), value.as_bytes(), b"\x02vv\x82"].concat();
            for octets in [1000, 100_000] {
                let fields = read(&[&with_value], octets).unwrap().remove(0);
                assert_eq!((fields[1].1 == "too long", &*fields[2].0), (too_long, ":method"));
                let fields = read(&[&with_name], octets).unwrap().remove(0);
                assert_eq!((fields[1].0.is_empty(), &*fields[2].0), (too_long, ":method"));
                // Either is larger than the table.
                assert_eq!(read(&[&with_value, b"\xbe"], octets), Err(Broken));
                assert_eq!(read(&[&with_name, b"\xbe"], octets), Err(Broken));
            }
        }
        // Without the table it stays.
        let aside = [&b"\x40\x01a\x011\x01"[..], &number(LEAST_STRING + 1), &[b'v'; LEAST_STRING + 1]].concat();
        assert_eq!(read(&[&aside, b"\xbe"], 5000).unwrap()[1], owned(&[("a", "1")]));
    }

    #[test]
    fn a_name_of_the_table_outlives_its_entry() {
        let mut decoder = Decoder::new(34 + 36, 0);
        let mut fields = Vec::new();
        let mut each = |found: Found<'_>| {
            if let Found::Field(name, value) = found {
                fields.push((name.to_vec(), value.len()));
            }
        };
        decoder.read(b"\x40\x01a\x011\x7e\x25", false, &mut each).unwrap();
        decoder.read(&[b'x'; 37], false, &mut each).unwrap();
        decoder.read(b"\xbe", true, &mut each).unwrap();
        assert_eq!(fields, [(b"a".to_vec(), 1), (b"a".to_vec(), 37), (b"a".to_vec(), 37)]);
    }
}
