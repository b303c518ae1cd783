//! The names that back ends may read a cookie's or a parameter's name as.

use super::pair::trimmed;

/// What back ends may read a name as: of a cookie, or of a parameter.
pub(in crate::session) struct Readings<'a> {
    bare: &'a [u8],
    /// Decoded once, twice, and as .NET does; nothing where there is nothing to decode.
    decoded: [Option<Vec<u8>>; 3],
}

impl<'a> Readings<'a> {
    pub(in crate::session) fn of(name: &'a [u8]) -> Self {
        let decode = |name: &[u8]| {
            name.contains(&b'%').then(|| percent_encoding::percent_decode(name).collect::<Vec<u8>>())
        };
        let once = decode(name);
        let twice = once.as_deref().and_then(decode);
        Self { bare: name, decoded: [once, twice, without_percent_u(name)] }
    }

    /// Says whether any of them is what is asked for: as it is, without what some parsers trim, up to a NUL,
    /// which ends a name of C, and up to a bracket, behind which PHP reads the key of an array.
    pub(in crate::session) fn any(&self, is: impl Fn(&[u8]) -> bool) -> bool {
        let readings = std::iter::once(self.bare).chain(self.decoded.iter().flatten().map(Vec::as_slice));
        readings.into_iter().any(|name| {
            let name = trimmed(name, |byte| byte <= b' ' || byte == b'"' || byte >= 0x7f);
            let up_to = |end: u8| memchr::memchr(end, name).and_then(|at| name.get(..at)).is_some_and(&is);
            is(name) || up_to(0) || up_to(b'[')
        })
    }
}

/// Decodes `%u0041`, which no standard has and `HttpUtility.UrlDecode` of .NET reads, and every other escape.
/// Nothing comes back where there is none. What is no ASCII is no part of our names.
fn without_percent_u(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = name;
    while let Some((before, [_, _, after @ ..])) =
        rest.windows(2).position(|two| matches!(two, b"%u" | b"%U")).map(|at| rest.split_at(at))
    {
        out.extend(percent_encoding::percent_decode(before));
        let digits = after.split_first_chunk::<4>().and_then(|(four, _)| std::str::from_utf8(four).ok());
        let octet = digits.filter(|four| four.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match octet.and_then(|four| u16::from_str_radix(four, 16).ok()) {
            Some(code) => {
                out.push(u8::try_from(code).unwrap_or(u8::MAX));
                rest = after.get(4..).unwrap_or_default();
            }
            None => {
                out.extend_from_slice(b"%u");
                rest = after;
            }
        }
    }
    (rest.len() != name.len()).then(|| {
        out.extend(percent_encoding::percent_decode(rest));
        out
    })
}

/// Says whether two names are the same to somebody: in other letter case, or with what PHP turns into `_`.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let fold =
        |byte: &u8| if matches!(byte, b'.' | b' ' | b'+' | b'[') { b'_' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().map(fold).eq(other.iter().map(fold))
}
