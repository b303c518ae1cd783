//! Version 2: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_HEADER_BYTES, Parsed};

/// The first bytes of a version 2 header.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the fixed part: signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;

/// Reads a version 2 header (section 2.2). TLVs after the addresses are skipped.
///
/// Headers over [`MAX_HEADER_BYTES`] are malformed: the length field allows 64 KiB.
pub(super) fn parse(input: &[u8]) -> Parsed {
    let Some(&[command, family, high, low]) =
        input.get(SIGNATURE.len()..FIXED_BYTES).and_then(|rest| rest.first_chunk::<4>())
    else {
        // A wrong octet is reported before the rest arrives.
        return match input.get(SIGNATURE.len()) {
            Some(command) if !matches!(command, 0x20 | 0x21) => {
                Parsed::Malformed("the version is not 2 or the command is unknown")
            }
            _ => Parsed::NeedMore,
        };
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let bytes = FIXED_BYTES + length;
    if bytes > MAX_HEADER_BYTES {
        return Parsed::Malformed("the header is longer than 536 bytes");
    }
    // The shortest address block of each family (section 2.2). Datagram protocols cannot be proxied over TCP.
    let least = match (command, family) {
        // LOCAL: the sender connected on its own behalf, and the family is ignored.
        (0x20, _) | (0x21, 0x00) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x21, 0x31) => 216,
        (0x21, _) => return Parsed::Malformed("the family or protocol is unknown"),
        (_, _) => return Parsed::Malformed("the version is not 2 or the command is unknown"),
    };
    if length < least {
        return Parsed::Malformed("the address block is too short");
    }
    let Some(block) = input.get(FIXED_BYTES..bytes) else { return Parsed::NeedMore };
    let source = match (command, family) {
        (0x21, 0x11) => inet(block),
        (0x21, 0x21) => inet6(block),
        (_, _) => None,
    };
    Parsed::Header { source, bytes }
}

fn inet(block: &[u8]) -> Option<SocketAddr> {
    let from = Ipv4Addr::from(*block.first_chunk::<4>()?);
    let port = u16::from_be_bytes(*block.get(8..)?.first_chunk::<2>()?);
    Some(SocketAddr::new(IpAddr::V4(from), port))
}

fn inet6(block: &[u8]) -> Option<SocketAddr> {
    let from = Ipv6Addr::from(*block.first_chunk::<16>()?);
    let port = u16::from_be_bytes(*block.get(32..)?.first_chunk::<2>()?);
    Some(SocketAddr::new(IpAddr::V6(from), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy_protocol::parse;

    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(block);
        bytes
    }

    const INET: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0x01, 0xbb];

    #[test]
    fn an_inet_block_names_the_source() {
        let bytes = header(0x21, 0x11, INET);

        assert_eq!(
            parse(&bytes),
            Parsed::Header { source: Some("192.0.2.1:4660".parse().unwrap()), bytes: 28 }
        );
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Parsed::NeedMore, "{cut}");
        }
    }

    #[test]
    fn an_inet6_block_with_tlvs_names_the_source() {
        let mut block = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        block.extend_from_slice(&[0; 16]);
        block.extend_from_slice(&[0, 7, 1, 0xbb]);
        block.extend_from_slice(&[0x01, 0, 2, b'h', b'2']);

        assert_eq!(
            parse(&header(0x21, 0x21, &block)),
            Parsed::Header { source: Some("[2001:db8::1]:7".parse().unwrap()), bytes: 57 }
        );
    }

    #[test]
    fn a_sender_that_speaks_for_itself_names_nobody() {
        assert_eq!(parse(&header(0x20, 0x11, INET)), Parsed::Header { source: None, bytes: 28 });
        assert_eq!(parse(&header(0x20, 0x00, b"")), Parsed::Header { source: None, bytes: 16 });
        assert_eq!(parse(&header(0x21, 0x00, b"")), Parsed::Header { source: None, bytes: 16 });
        assert_eq!(parse(&header(0x21, 0x31, &[0; 216])), Parsed::Header { source: None, bytes: 232 });
    }

    #[test]
    fn version_command_family_and_length_are_exact() {
        for bytes in [
            header(0x11, 0x11, INET),
            header(0x22, 0x11, INET),
            header(0x21, 0x12, INET),
            header(0x21, 0x41, INET),
            header(0x21, 0x11, &INET[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x11, &[0; 521]),
        ] {
            assert!(matches!(parse(&bytes), Parsed::Malformed(_)), "{bytes:?}");
        }
        assert!(matches!(parse(&header(0x21, 0x11, &[0; 520])), Parsed::Header { bytes: 536, .. }));
        assert!(matches!(parse(&header(0x31, 0x11, INET)[..13]), Parsed::Malformed(_)));
    }
}
