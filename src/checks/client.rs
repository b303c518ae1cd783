//! Which client address? That of the connection, or the one that trusted proxies report.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use http::HeaderName;

use crate::{
    model::{ClientIp, Deny, Reason, RequestView, Scheme, Transport, Verdict},
    policy::{ClientIpHeader, IpSet, Listener, Policy},
};

/// The client of a request, and its listener.
#[derive(Clone, Copy, Debug)]
pub struct Client<'p> {
    /// The address.
    pub ip: ClientIp,
    /// The listener that accepted the connection.
    pub listener: &'p Arc<Listener>,
    /// The scheme that the client used. What a trusted proxy reports about it counts only where
    /// `tls_in_front` is set.
    pub scheme: Scheme,
}

/// Determines the client address: ranges, quotas, sessions, logs and the upstream all get this one.
///
/// The forwarding header is read from right to left, as long as the author of an element is trusted. An
/// element that is not an address refuses the request and never ends the walk: the address of the proxy
/// itself may well be on an allow list.
pub fn check<'p>(view: &RequestView<'_>, policy: &'p Policy) -> Verdict<Client<'p>> {
    let listener = listener(view, policy)?;
    let source = view.connection.source_ip();
    let trusted = listener.trusted_proxies.as_ref().unwrap_or(&policy.trusted_proxies);
    let (ip, said) = if trusted.contains(source) {
        walk(view, source, trusted, policy.client_ip_header)?
    } else {
        (source, None)
    };
    let scheme = match view.connection.transport {
        Transport::Tls(_) => Scheme::Https,
        // A proxy that reports no valid scheme has terminated no TLS.
        Transport::Plain => said.filter(|_| listener.tls_in_front).unwrap_or_default(),
    };
    Ok(Client { ip, listener, scheme })
}

/// Finds the listener that accepted the connection in the current rules. A listener that a reload removed
/// serves nobody any more.
fn listener<'p>(view: &RequestView<'_>, policy: &'p Policy) -> Verdict<&'p Arc<Listener>> {
    let found = policy.listeners.iter().find(|listener| listener.name == view.connection.listener);
    found.ok_or_else(|| {
        Deny::new(Reason::HostUnknown, format!("no listener `{}` any more", view.connection.listener))
    })
}

/// Describes where the address comes from.
pub fn explain(view: &RequestView<'_>, client: ClientIp) -> String {
    let source = view.connection.source_ip();
    if client != source {
        format!("{client}, according to the forwarding header of {source}, a trusted proxy")
    } else if view.connection.peer == view.connection.source {
        format!("{client}, who connected")
    } else {
        format!("{client}, according to the PROXY header of {}", view.connection.peer.ip())
    }
}

/// Finds the client in the forwarding header, and the scheme that it used, if that is reported.
fn walk(
    view: &RequestView<'_>,
    source: ClientIp,
    trusted: &IpSet,
    header: ClientIpHeader,
) -> Verdict<(ClientIp, Option<Scheme>)> {
    let name = match header {
        ClientIpHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        ClientIpHeader::Forwarded => http::header::FORWARDED,
    };
    let mut chain = Chain::default();
    for line in view.headers.get_all(&name) {
        chain.split(line.as_bytes(), header == ClientIpHeader::Forwarded)?;
    }
    let mut client = source;
    let mut scheme = match header {
        ClientIpHeader::XForwardedFor => nearest_proto(view),
        ClientIpHeader::Forwarded => None,
    };
    for element in chain.right_to_left() {
        let read = match header {
            ClientIpHeader::XForwardedFor => address(element).map(|addr| (addr, scheme)),
            // The scheme of the hop that names the client: a proxy in front of ours may have used another
            // one.
            ClientIpHeader::Forwarded => forwarded(element),
        };
        let Some((addr, proto)) = read else {
            let shown = String::from_utf8_lossy(element.get(..element.len().min(64)).unwrap_or_default())
                .into_owned();
            return Err(Deny::new(Reason::XffMalformed, format!("`{shown}` in {name} is not an address")));
        };
        (client, scheme) = (ClientIp::from(addr), proto);
        if !trusted.contains(client) {
            break;
        }
    }
    Ok((client, scheme))
}

/// Reads `X-Forwarded-Proto`. Proxies replace it; where they append, the last element is from the one next to
/// us.
fn nearest_proto(view: &RequestView<'_>) -> Option<Scheme> {
    let line = view.headers.get_all("x-forwarded-proto").iter().next_back()?;
    Scheme::said(line.as_bytes().rsplit(|&byte| byte == b',').next()?.trim_ascii())
}

/// The elements of a list field, in order. Bounded, so that nothing is allocated.
#[derive(Default)]
struct Chain<'a> {
    elements: [&'a [u8]; MAX_ELEMENTS],
    len: usize,
}

impl<'a> Chain<'a> {
    /// Splits one line at its commas, except those within quoted strings, where the field has such strings
    /// (RFC 7239).
    fn split(&mut self, line: &'a [u8], quotes: bool) -> Verdict {
        let (mut rest, mut at, mut quoted) = (line, 0, false);
        loop {
            match rest.get(at) {
                Some(b'"') if quotes => quoted = !quoted,
                Some(b',') if !quoted => {
                    let (element, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
                    self.push(element)?;
                    (rest, at) = (after.get(1..).unwrap_or_default(), 0);
                    continue;
                }
                Some(_) => {}
                None => return self.push(rest),
            }
            at += 1;
        }
    }

    fn push(&mut self, element: &'a [u8]) -> Verdict {
        let element = element.trim_ascii();
        if element.is_empty() {
            return Ok(());
        }
        let Some(place) = self.elements.get_mut(self.len) else {
            return Err(Deny::new(Reason::XffTooLong, format!("more than {MAX_ELEMENTS} elements")));
        };
        *place = element;
        self.len += 1;
        Ok(())
    }

    fn right_to_left(&self) -> impl Iterator<Item = &'a [u8]> {
        self.elements.iter().take(self.len).rev().copied()
    }
}

/// Reads an IPv4 address in four decimal parts, or an IPv6 address without a zone, perhaps with a port.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (addr, after) = bracketed.split_once(']')?;
        let port_is_one = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return addr.parse::<Ipv6Addr>().ok().filter(|_| port_is_one).map(IpAddr::V6);
    }
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some((addr, port)) if addr.contains('.') && is_port(port) => {
            addr.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        Some(_) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    }
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Reads the one `for` of a `Forwarded` element, and its `proto`. `unknown` and obfuscated identifiers are
/// not addresses.
fn forwarded(element: &[u8]) -> Option<(IpAddr, Option<Scheme>)> {
    let mut found = None;
    let mut protos = 0;
    let mut scheme = None;
    let mut rest = std::str::from_utf8(element).ok()?;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, quoted, after) = match after.strip_prefix('"') {
            // A backslash would escape a quote. No address has one.
            Some(open) => open
                .split_once('"')
                .filter(|(value, _)| !value.contains('\\'))
                .map(|(value, after)| (value, true, after))?,
            None => after.find(';').map_or((after, false, ""), |end| {
                (after.get(..end).unwrap_or(""), false, after.get(end..).unwrap_or(""))
            }),
        };
        let (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        if name.eq_ignore_ascii_case("proto") {
            // A parameter that occurs twice is invalid (RFC 7239, section 4).
            protos += 1;
            scheme = Scheme::said(value.as_bytes()).filter(|_| protos == 1);
        }
        if name.eq_ignore_ascii_case("for") {
            // A colon is not a token character, so a port and IPv6 must be quoted, and IPv6 must be in
            // brackets (RFC 7239, section 6).
            let well_formed = if quoted {
                !value.contains(':') || value.contains(['[', '.'])
            } else {
                !value.contains([':', '['])
            };
            if found.is_some() || !well_formed {
                return None;
            }
            found = Some(address(value.as_bytes())?);
        }
        rest = match after.trim_matches([' ', '\t']) {
            "" => return found.map(|addr| (addr, scheme)),
            more => more.strip_prefix(';')?,
        };
    }
}

/// The longest chain of proxies that is read.
const MAX_ELEMENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_element_is_an_address_and_perhaps_a_port() {
        assert_eq!(address(b"192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(address(b"192.0.2.1:443"), ip("192.0.2.1"));
        assert_eq!(address(b"2001:db8::1"), ip("2001:db8::1"));
        assert_eq!(address(b"[2001:db8::1]"), ip("2001:db8::1"));
        assert_eq!(address(b"[2001:db8::1]:443"), ip("2001:db8::1"));
        assert_eq!(address(b"::ffff:192.0.2.1"), ip("::ffff:192.0.2.1"));
    }

    #[test]
    fn what_some_readers_take_for_an_address_is_none() {
        let bad: [&[u8]; 16] = [
            b"127.1",
            b"2130706433",
            b"0x7f.0.0.1",
            b"192.0.2.01",
            b"192.0.2.256",
            b"192.0.2.1:",
            b"192.0.2.1:65536",
            b"192.0.2.1:+80",
            b"fe80::1%eth0",
            b"[fe80::1%1]",
            b"[192.0.2.1]",
            b"[2001:db8::1]443",
            b"unknown",
            b"_hidden",
            b"\"192.0.2.1\"",
            b"192.0.2.1 192.0.2.2",
        ];
        for element in bad {
            assert_eq!(address(element), None, "{}", String::from_utf8_lossy(element));
        }
    }

    #[test]
    fn a_forwarded_element_names_its_client_once() {
        let said = |addr: &str, scheme| Some((addr.parse().unwrap(), scheme));
        assert_eq!(forwarded(b"for=192.0.2.1"), said("192.0.2.1", None));
        assert_eq!(
            forwarded(b"proto=https;For=192.0.2.1; by=\"_x;y\""),
            said("192.0.2.1", Some(Scheme::Https))
        );
        assert_eq!(forwarded(b"for=\"192.0.2.1:80\""), said("192.0.2.1", None));
        assert_eq!(
            forwarded(b"for=\"[2001:db8::1]:80\";Proto=\"HTTP\""),
            said("2001:db8::1", Some(Scheme::Http))
        );
        assert_eq!(forwarded(b"for=192.0.2.1;proto=gopher"), said("192.0.2.1", None));
        assert_eq!(forwarded(b"proto=https;for=192.0.2.1;proto=https"), said("192.0.2.1", None));
        let bad: [&[u8]; 11] = [
            b"192.0.2.1",
            b"proto=https",
            b"for=unknown",
            b"for=\"_x\"",
            b"for=192.0.2.1:80",
            b"for=[2001:db8::1]",
            b"for=\"2001:db8::1\"",
            b"for=192.0.2.1;for=192.0.2.2",
            b"for=\"192.0.2.1",
            b"for=\"192.0.2.1\"x",
            b"for=\"192.0.2.1\\\"\"",
        ];
        for element in bad {
            assert_eq!(forwarded(element), None, "{}", String::from_utf8_lossy(element));
        }
    }

    #[test]
    fn a_comma_in_quotes_does_not_split() {
        let mut chain = Chain::default();

        chain.split(b"by=\"a,b\";for=192.0.2.1, ,for=192.0.2.2", true).unwrap();

        assert_eq!(
            chain.right_to_left().collect::<Vec<_>>(),
            [&b"for=192.0.2.2"[..], b"by=\"a,b\";for=192.0.2.1"]
        );
    }

    #[test]
    fn a_chain_has_at_most_32_elements() {
        let line = |count| vec!["192.0.2.1"; count].join(",").into_bytes();

        assert_eq!(Chain::default().split(&line(32), false), Ok(()));
        assert_eq!(
            Chain::default().split(&line(33), false).map_err(|deny| deny.reason),
            Err(Reason::XffTooLong)
        );
    }
}
