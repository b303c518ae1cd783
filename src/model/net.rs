//! Addresses and ranges in one canonical form, so that they can be compared.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// The client address of a request: ranges, quotas, sessions and logs all use this one.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) becomes IPv4 here, once. Other embeddings
/// (`64:ff9b::/96`, 6to4, Teredo) stay IPv6: they identify a translator, not the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// Returns the address.
    pub const fn addr(self) -> IpAddr {
        self.0
    }

    /// Returns the key of per-client tables: an IPv4 address or an IPv6 /64, which one host controls alone.
    pub fn prefix(self) -> ClientPrefix {
        match self.0 {
            IpAddr::V4(v4) => ClientPrefix(u128::from(u32::from(v4)) | (0xffff << 32)),
            IpAddr::V6(v6) => ClientPrefix(u128::from(v6) & !u128::from(u64::MAX)),
        }
    }
}

impl From<IpAddr> for ClientIp {
    fn from(addr: IpAddr) -> Self {
        Self(addr.to_canonical())
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends an address as `Display` writes it. The standard library takes over a thousand instructions for an
/// IPv4 address, and each request has three.
pub fn append_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        out.extend_from_slice(address.to_string().as_bytes());
        return;
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// An IPv4 address or an IPv6 /64, as one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPrefix(pub u128);

impl ClientPrefix {
    /// Returns its first address; an IPv4 client has no other.
    pub fn first(self) -> ClientIp {
        ClientIp::from(IpAddr::V6(Ipv6Addr::from(self.0)))
    }
}

/// The IPv6 /48 that contains a /64, as a number that no [`ClientPrefix`] has.
///
/// One customer of a network commonly controls a whole /48: 65,536 of what counts as a client. So all clients
/// of a /48 together may have at most [`SITE_TIMES`] as much as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientSite(u128);

/// How many times the bound of one client applies to all clients of a /48 together.
pub const SITE_TIMES: u32 = 8;

impl ClientSite {
    /// Returns the key of tables that also hold clients.
    pub const fn number(self) -> u128 {
        self.0
    }
}

impl ClientPrefix {
    /// Returns the /48 of an IPv6 client. IPv4 has no counterpart: the neighbours of an address belong to
    /// other people.
    pub fn site(self) -> Option<ClientSite> {
        // The lower half of an IPv6 /64 is zero, that of an IPv4 address is not; this bit tells a /48 from
        // its first /64.
        let is_ipv6 = self.0 & u128::from(u64::MAX) == 0;
        is_ipv6.then_some(ClientSite((self.0 >> 80 << 80) | 48))
    }
}

impl fmt::Display for ClientPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first().addr() {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// The range is not one client: neither an IPv4 address nor an IPv6 /64, nor an address in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client is an IPv4 address, an IPv6 address or an IPv6 /64")]
pub struct NoClient;

impl TryFrom<Range> for ClientPrefix {
    type Error = NoClient;

    /// An IPv6 address stands for its /64.
    fn try_from(range: Range) -> Result<Self, NoClient> {
        match (range.first(), range.prefix_len()) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 64 | 128) => Ok(ClientIp::from(range.first()).prefix()),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => Err(NoClient),
        }
    }
}

/// Why a text is not an address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither an address nor an address with a prefix.
    #[error("not an address range: `{0}`")]
    Syntax(String),
    /// The prefix is longer than the address.
    #[error("not an address range: `{text}`; the prefix of an {family} range is 0 to {max}")]
    Prefix {
        /// The text as written.
        text: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The longest prefix of that family.
        max: u8,
    },
    /// Bits after the prefix are set, so either the range or the prefix is wrong.
    #[error("`{text}` has bits set after the prefix; the range is `{range}`")]
    HostBits {
        /// The text as written.
        text: String,
        /// The range that the prefix selects.
        range: Range,
    },
    /// An IPv4-mapped range that reaches beyond the mapped block (CVE-2026-92395).
    #[error(
        "`{0}` is an IPv4-mapped range with a prefix under 96, which would match every IPv4 address; write the IPv4 range"
    )]
    Mapped(String),
    /// A zone identifier, which names an interface of one machine.
    #[error("`{0}` names an interface (`%`); a range has none")]
    Zone(String),
}

/// An address range without host bits; an IPv4-mapped range becomes IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range(IpNet);

impl Range {
    /// Returns the first address.
    pub fn first(&self) -> IpAddr {
        self.0.network()
    }

    /// Returns the last address.
    pub fn last(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// Returns the length of the prefix.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Says whether the address lies in the range.
    pub fn contains(&self, client: ClientIp) -> bool {
        self.0.contains(&client.addr())
    }

    /// Says whether the range is a whole family: `0.0.0.0/0` or `::/0`.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if text.contains('%') {
            return Err(RangeError::Zone(text.to_owned()));
        }
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| RangeError::Syntax(text.to_owned()))?;
        let (family, max) = if addr.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
        let prefix = match prefix {
            None => max,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|&prefix| prefix <= max && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| RangeError::Prefix { text: text.to_owned(), family, max })?,
        };
        let (addr, prefix) = match addr {
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(_) if prefix < 96 => return Err(RangeError::Mapped(text.to_owned())),
                Some(v4) => (IpAddr::V4(v4), prefix - 96),
                None => (addr, prefix),
            },
            IpAddr::V4(_) => (addr, prefix),
        };
        let net = IpNet::new(addr, prefix).map_err(|_| RangeError::Syntax(text.to_owned()))?;
        let range = Self(net.trunc());
        if net.addr() != net.network() {
            return Err(RangeError::HostBits { text: text.to_owned(), range });
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<String, RangeError> {
        text.parse::<Range>().map(|range| range.to_string())
    }

    #[test]
    fn an_address_is_appended_as_it_is_displayed() {
        let some = (0..=255_u8)
            .flat_map(|octet| [[octet; 4], [octet, 0, 255 - octet, 9], [10, octet, 100, 99]])
            .map(IpAddr::from);
        let others =
            ["::", "::1", "2001:db8::7", "::ffff:192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
        for address in some.chain(others) {
            let mut out = b"x".to_vec();
            append_address(&mut out, address);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{address}"));
        }
    }

    #[test]
    fn a_mapped_address_is_folded_once() {
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();

        assert_eq!(ClientIp::from(mapped).addr(), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn other_embeddings_stay_ipv6() {
        let nat64: IpAddr = "64:ff9b::192.0.2.1".parse().unwrap();

        assert!(ClientIp::from(nat64).addr().is_ipv6());
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_64() {
        let a = ClientIp::from("2001:db8::1".parse::<IpAddr>().unwrap());
        let b = ClientIp::from("2001:db8::ffff:1".parse::<IpAddr>().unwrap());
        let c = ClientIp::from("2001:db8:0:1::1".parse::<IpAddr>().unwrap());

        assert_eq!(a.prefix(), b.prefix());
        assert_ne!(a.prefix(), c.prefix());
    }

    #[test]
    fn a_site_is_a_48_and_no_client() {
        let client = |text: &str| ClientIp::from(text.parse::<IpAddr>().unwrap()).prefix();
        let (first, last, other) =
            (client("2001:db8:7::1"), client("2001:db8:7:ffff::1"), client("2001:db8:8::1"));

        assert_eq!(first.site(), last.site());
        assert_ne!(first.site(), other.site());
        assert_ne!(first.site().map(ClientSite::number), Some(first.0));
        assert_eq!(client("192.0.2.7").site(), None);
        assert_eq!(client("::ffff:192.0.2.7").site(), None);
    }

    #[test]
    fn a_client_is_named_by_its_address_or_64() {
        let client = |text: &str| {
            ClientPrefix::try_from(text.parse::<Range>().unwrap()).map(|client| client.to_string())
        };

        assert_eq!(client("192.0.2.7"), Ok("192.0.2.7".to_owned()));
        assert_eq!(client("::ffff:192.0.2.7"), Ok("192.0.2.7".to_owned()));
        assert_eq!(client("2001:db8:1:2:3::4"), Ok("2001:db8:1:2::/64".to_owned()));
        assert_eq!(client("2001:db8:1:2::/64"), Ok("2001:db8:1:2::/64".to_owned()));
        assert_eq!(client("::/64"), Ok("::/64".to_owned()));
        assert_eq!(client("192.0.2.0/24"), Err(NoClient));
        assert_eq!(client("2001:db8::/48"), Err(NoClient));
        assert_eq!(client("2001:db8::/65"), Err(NoClient));
    }

    #[test]
    fn ranges_say_what_is_wrong_with_them() {
        assert_eq!(range("192.0.2.0/24"), Ok("192.0.2.0/24".into()));
        assert_eq!(range("192.0.2.7"), Ok("192.0.2.7/32".into()));
        assert_eq!(range("::ffff:192.0.2.0/120"), Ok("192.0.2.0/24".into()));
        assert_eq!(range("::ffff:10.0.0.0/8"), Err(RangeError::Mapped("::ffff:10.0.0.0/8".into())));
        assert_eq!(
            range("10.0.0.0/33"),
            Err(RangeError::Prefix { text: "10.0.0.0/33".into(), family: "IPv4", max: 32 })
        );
        assert!(matches!(range("192.0.2.1/24"), Err(RangeError::HostBits { .. })));
        assert_eq!(range("fe80::1%eth0"), Err(RangeError::Zone("fe80::1%eth0".into())));
        assert_eq!(range("10.0.0.256"), Err(RangeError::Syntax("10.0.0.256".into())));
        assert!(matches!(range("192.0.2.0/+8"), Err(RangeError::Prefix { .. })));
    }
}
