//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Parsed;

/// The first bytes of a version 1 header.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line, including CR LF (section 2.1).
const MAX_LINE_BYTES: usize = 107;

/// Reads a version 1 header: `PROXY TCP4 <source> <destination> <port> <port>` CR LF, single spaces.
pub(super) fn parse(input: &[u8]) -> Parsed {
    let window = input.get(..MAX_LINE_BYTES).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if input.len() >= MAX_LINE_BYTES {
            Parsed::Malformed("the line is longer than 107 bytes")
        } else {
            Parsed::NeedMore
        };
    };
    let Some(line) = window.get(..end).and_then(|line| line.strip_suffix(b"\r")) else {
        return Parsed::Malformed("the line does not end in CR LF");
    };
    match line.strip_prefix(SIGNATURE).and_then(|rest| std::str::from_utf8(rest).ok()).map(source) {
        Some(Ok(source)) => Parsed::Header { source, bytes: end + 1 },
        Some(Err(why)) => Parsed::Malformed(why),
        None => Parsed::Malformed("the line is not text"),
    }
}

fn source(text: &str) -> Result<Option<SocketAddr>, &'static str> {
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        // The receiver must ignore what follows (section 2.1).
        return Ok(None);
    }
    let (Some(from), Some(to), Some(from_port), Some(to_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the line does not have two addresses and two ports");
    };
    let addr = |text: &str| -> Option<IpAddr> {
        match family {
            // Rust's parser refuses leading zeros and anything but four decimal numbers.
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    if !matches!(family, Some("TCP4" | "TCP6")) {
        return Err("the family is not TCP4, TCP6 or UNKNOWN");
    }
    let (Some(from), Some(_)) = (addr(from), addr(to)) else {
        return Err("an address is not one of the family");
    };
    let (Some(from_port), Some(_)) = (port(from_port), port(to_port)) else {
        return Err("a port is not a number from 0 to 65535");
    };
    Ok(Some(SocketAddr::new(from, from_port)))
}

/// Reads a port: digits only, no leading zero.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0"
        || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy_protocol::parse;

    fn source_of(line: &str) -> Option<Option<SocketAddr>> {
        match parse(line.as_bytes()) {
            Parsed::Header { source, bytes } => {
                assert_eq!(bytes, line.len());
                Some(source)
            }
            Parsed::NeedMore | Parsed::Malformed(_) => None,
        }
    }

    #[test]
    fn a_line_names_the_source() {
        assert_eq!(
            source_of("PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n"),
            Some(Some("192.0.2.1:5".parse().unwrap()))
        );
        assert_eq!(
            source_of("PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n"),
            Some(Some("192.0.2.1:0".parse().unwrap()))
        );
        assert_eq!(
            source_of("PROXY TCP6 2001:db8::1 ::1 5 443\r\n"),
            Some(Some("[2001:db8::1]:5".parse().unwrap()))
        );
        assert_eq!(source_of("PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(source_of("PROXY UNKNOWN whatever it says\r\n"), Some(None));
    }

    #[test]
    fn anything_but_the_exact_form_is_malformed() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 5 443\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 5 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 5 443 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 05 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 5 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 5\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 5 443\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 5 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 5 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 5 443\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 5 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 5 443\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 5 443\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 5 443\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWN\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Parsed::Malformed(_)), "{line:?}");
        }
    }

    #[test]
    fn a_line_is_at_most_107_bytes() {
        let line = |fill: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(fill - 16));

        assert_eq!(source_of(&line(107)), Some(None));
        assert!(matches!(parse(line(108).as_bytes()), Parsed::Malformed(_)));
        assert_eq!(parse(&line(107).as_bytes()[..106]), Parsed::NeedMore);
    }
}
