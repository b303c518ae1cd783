//! JA4: the fingerprint of a TLS client, computed from its ClientHello as received.
//!
//! Clients that use the same TLS library in the same way have the same fingerprint, whatever their address.
//! It is only logged: anybody can send any ClientHello, so no decision depends on it.
//!
//! JA4: FoxIO, "JA4: TLS Client Fingerprinting", version 1. ClientHello: RFC 8446, section 4.1.2, and RFC
//! 5246, section 7.4.1.2.

use sha2::{Digest, Sha256};

/// How many bytes of a connection's beginning are kept for the fingerprint: rustls accepts no longer
/// ClientHello.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// What JA4 prints for an empty list.
const NOTHING: &str = "000000000000";

/// Returns the JA4 fingerprint of the ClientHello that these TLS records begin with, or `None` where they
/// contain no complete one.
///
/// Total. The work is linear in the input, except for sorting at most 32,767 numbers.
pub fn ja4(records: &[u8]) -> Option<String> {
    let message = message(records)?;
    Some(Hello::read(&message)?.fingerprint())
}

/// Assembles the first handshake message, which several records may carry (RFC 8446, section 5.1).
fn message(mut records: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut record = Reader(records);
        if record.u8()? != RECORD_HANDSHAKE {
            return None;
        }
        record.u16()?;
        message.extend_from_slice(record.vec16()?.0);
        records = record.0;
        let mut head = Reader(&message);
        if let (Some(kind), Some(high), Some(low)) = (head.u8(), head.u8(), head.u16()) {
            let length = (usize::from(high) << 16) | usize::from(low);
            if kind != CLIENT_HELLO || length > MAX_HELLO_BYTES {
                return None;
            }
            if let Some(body) = head.0.get(..length) {
                return Some(body.to_vec());
            }
        }
    }
}

/// What the fingerprint is computed from.
#[derive(Debug, Default)]
struct Hello {
    version: u16,
    suites: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    alpn: Option<(u8, u8)>,
}

impl Hello {
    fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        let mut hello = Self { version: reader.u16()?, ..Self::default() };
        reader.take(32)?;
        reader.vec8()?;
        hello.suites = reader.vec16()?.numbers()?;
        reader.vec8()?;
        // A ClientHello of TLS 1.2 may end here.
        if reader.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = reader.vec16()?;
        while !extensions.0.is_empty() {
            let (kind, mut body) = (extensions.u16()?, extensions.vec16()?);
            if is_grease(kind) {
                continue;
            }
            hello.extensions.push(kind);
            match kind {
                SIGNATURE_ALGORITHMS => hello.signatures = body.vec16()?.numbers()?,
                ALPN => {
                    hello.alpn =
                        body.vec16()?.vec8().and_then(|name| Some((*name.0.first()?, *name.0.last()?)))
                }
                SUPPORTED_VERSIONS => hello.version = body.vec8()?.numbers()?.into_iter().max()?,
                _ => {}
            }
        }
        Some(hello)
    }

    fn fingerprint(mut self) -> String {
        let version = match self.version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let named = if self.extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
        let (suites, extensions) = (self.suites.len().min(99), self.extensions.len().min(99));
        let (first, last) = ends(self.alpn);
        self.suites.sort_unstable();
        self.extensions.retain(|kind| *kind != SERVER_NAME && *kind != ALPN);
        self.extensions.sort_unstable();
        let mut kinds = list(&self.extensions);
        if !self.signatures.is_empty() {
            // Not sorted: their order is the client's preference.
            kinds = [kinds, list(&self.signatures)].join("_");
        }
        let kinds = if self.extensions.is_empty() { NOTHING.to_owned() } else { short_digest(&kinds) };
        let suites_digest =
            if self.suites.is_empty() { NOTHING.to_owned() } else { short_digest(&list(&self.suites)) };
        format!("t{version}{named}{suites:02}{extensions:02}{first}{last}_{suites_digest}_{kinds}")
    }
}

/// Returns the first and the last character of the first ALPN value, or of its hexadecimal form where it is
/// not alphanumeric.
fn ends(alpn: Option<(u8, u8)>) -> (char, char) {
    match alpn {
        None => ('0', '0'),
        Some((first, last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            (char::from(first), char::from(last))
        }
        Some((first, last)) => (hex_digit(first >> 4), hex_digit(last & 15)),
    }
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn short_digest(text: &str) -> String {
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Says whether a value is GREASE, which clients add so that servers tolerate unknown values: 0x0a0a, 0x1a1a
/// … 0xfafa (RFC 8701).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 15 == 10
}

/// The rest of the input.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn vec8(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?;
        self.take(usize::from(length)).map(Reader)
    }

    fn vec16(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Reader)
    }

    /// Reads all of it as numbers without GREASE.
    fn numbers(mut self) -> Option<Vec<u16>> {
        let mut numbers = Vec::with_capacity(self.0.len() / 2);
        while !self.0.is_empty() {
            let number = self.u16()?;
            if !is_grease(number) {
                numbers.push(number);
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vec16(bytes: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(bytes);
        out
    }

    fn numbers(list: &[u16]) -> Vec<u8> {
        list.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn hello(suites: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend(vec16(&numbers(suites)));
        body.extend([1, 0]);
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, body)| [kind.to_be_bytes().to_vec(), vec16(body)].concat())
            .collect();
        body.extend(vec16(&extensions));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO], &length[1..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|piece| [&[22, 3, 1][..], &vec16(piece)].concat()).collect()
    }

    /// The example of the specification: a browser's hello, GREASE and order undone.
    fn example() -> Vec<u8> {
        let suites = [
            0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
            0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
        let alpn = [vec![2], b"h2".to_vec(), vec![8], b"http/1.1".to_vec()].concat();
        let plain = [
            0x001b, 0x0033, 0x4469, 0x0017, 0x002d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a,
            0x0015,
        ];
        let mut extensions: Vec<(u16, Vec<u8>)> = vec![(0x1a1a, vec![]), (SERVER_NAME, vec![0; 9])];
        extensions.extend(plain.iter().map(|kind| {
            let body = if *kind == SUPPORTED_VERSIONS { vec![6, 0x3a, 0x3a, 3, 4, 3, 3] } else { Vec::new() };
            (*kind, body)
        }));
        extensions.push((ALPN, vec16(&alpn)));
        extensions.push((SIGNATURE_ALGORITHMS, vec16(&numbers(&signatures))));
        hello(&suites, &extensions)
    }

    #[test]
    fn the_example_of_the_specification_has_its_fingerprint() {
        assert_eq!(ja4(&records(&example(), 16_384)).unwrap(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn it_does_not_matter_how_the_hello_is_spread_over_records() {
        let message = example();
        let whole = ja4(&records(&message, 16_384));

        assert!([1, 3, 4, 5, 100].into_iter().all(|size| ja4(&records(&message, size)) == whole));
    }

    #[test]
    fn a_bare_hello_has_one_too() {
        assert_eq!(ja4(&records(&hello(&[], &[]), 99)).unwrap(), "t12i000000_000000000000_000000000000");
        let odd = hello(&[0x1301], &[(ALPN, vec16(&[2, 0x30, 0xab]))]);
        assert_eq!(&ja4(&records(&odd, 99)).unwrap()[..10], "t12i01013b");
    }

    #[test]
    fn what_is_cut_short_anywhere_has_none() {
        let all = records(&example(), 60);

        assert!((0..all.len()).all(|end| ja4(&all[..end]).is_none()));
        assert!(ja4(b"GET / HTTP/1.1\r\n\r\n").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(at in 0_usize..400, change in proptest::collection::vec(0_u8.., 0..6)) {
            let mut bytes = records(&example(), 120);
            for (place, byte) in bytes.iter_mut().skip(at).zip(&change) {
                *place = *byte;
            }
            let read = ja4(&bytes);
            proptest::prop_assert!(read.is_none_or(|print| print.len() == 36 && print.is_ascii()));
        }
    }
}
