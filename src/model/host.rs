//! Host names in one form: lower case, no port, no trailing dot.

use std::{fmt, str::FromStr};

/// Why a text is not a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is empty.
    #[error("the host is empty")]
    Empty,
    /// A byte that host names do not contain.
    #[error(
        "a host name has only letters, digits, `-` and `.`; international names are written as A-labels (`xn--…`)"
    )]
    Octet,
    /// An empty label, one over 63 characters, or a name over 253.
    #[error("a label of a host name has 1 to 63 characters, the name at most 253")]
    Length,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// An address where a name belongs: tenants are never found by address.
    #[error("an IP address is not a host name")]
    Address,
    /// A wildcard that does not replace exactly the first label.
    #[error("a wildcard stands for one whole label at the front: `*.example.com`")]
    Wildcard,
}

/// A canonical host name: ASCII, lower case, no port, no trailing dot, never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Box<str>);

impl Host {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the value of a Host field or `:authority`: a name and perhaps a port.
    pub fn parse_authority(text: &str) -> Result<(Self, Option<u16>), HostError> {
        let Some((name, digits)) = text.split_once(':') else { return Ok((text.parse()?, None)) };
        if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostError::Port);
        }
        let port: u16 = digits.parse().map_err(|_| HostError::Port)?;
        if port == 0 {
            return Err(HostError::Port);
        }
        Ok((name.parse()?, Some(port)))
    }

    /// Returns what follows the first label: `example.com` of `www.example.com`.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) {
            return Err(HostError::Octet);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(HostError::Length);
        }
        // Some parsers read a name whose last label is a number as an address (WHATWG URL, section 3.5).
        if name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(HostError::Address);
        }
        Ok(Self(name.to_ascii_lowercase().into_boxed_str()))
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The scheme that a client used: over TLS, terminated here or in front of us, or in clear text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    #[default]
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the default port of the scheme.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Says whether the client's connection is encrypted.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Https)
    }

    /// Reads the scheme that a proxy reports for its client. Some report the scheme of a WebSocket.
    pub fn said(text: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| text.eq_ignore_ascii_case(name);
        if is(b"https") || is(b"wss") {
            Some(Self::Https)
        } else if is(b"http") || is(b"ws") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

/// An entry of a tenant's `hosts`: one host, or every host one label below a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(Host),
    /// `*.name`: exactly one label in front of this name; never two labels, never the name itself.
    Wildcard(Host),
}

impl HostPattern {
    /// Says whether the pattern matches a host.
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Exact(own) => own == host,
            Self::Wildcard(parent) => host.parent() == Some(parent.as_str()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            Some(rest) if rest.contains('*') => Err(HostError::Wildcard),
            Some(rest) => rest.parse().map(Self::Wildcard),
            None if text.contains('*') => Err(HostError::Wildcard),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_form() {
        let parse = |text: &str| text.parse::<Host>().map(|host| host.as_str().to_owned());

        assert_eq!(parse("ACME.Example.Test."), Ok("acme.example.test".into()));
        assert_eq!(parse(""), Err(HostError::Empty));
        assert_eq!(parse("."), Err(HostError::Length));
        assert_eq!(parse("a..b"), Err(HostError::Length));
        assert_eq!(parse("a.b.."), Err(HostError::Length));
        assert_eq!(parse("a_b.test"), Err(HostError::Octet));
        assert_eq!(parse("a.test/foo"), Err(HostError::Octet));
        assert_eq!(parse("bücher.test"), Err(HostError::Octet));
        assert_eq!(parse("192.0.2.1"), Err(HostError::Address));
        assert_eq!(parse("[2001:db8::1]"), Err(HostError::Octet));
        assert_eq!(parse(&"a".repeat(63)), Ok("a".repeat(63)));
        assert_eq!(parse(&"a".repeat(64)), Err(HostError::Length));
    }

    #[test]
    fn an_authority_is_a_name_and_perhaps_a_port() {
        let parse =
            |text: &str| Host::parse_authority(text).map(|(host, port)| (host.as_str().to_owned(), port));

        assert_eq!(parse("a.test"), Ok(("a.test".into(), None)));
        assert_eq!(parse("a.test:8443"), Ok(("a.test".into(), Some(8443))));
        assert_eq!(parse("a.test:"), Err(HostError::Port));
        assert_eq!(parse("a.test:0"), Err(HostError::Port));
        assert_eq!(parse("a.test:65536"), Err(HostError::Port));
        assert_eq!(parse("a.test:+80"), Err(HostError::Port));
        assert_eq!(parse("user@a.test"), Err(HostError::Octet));
        assert_eq!(parse("a.test,b.test"), Err(HostError::Octet));
    }

    #[test]
    fn a_wildcard_is_one_label_at_the_front() {
        assert!(matches!("*.example.test".parse(), Ok(HostPattern::Wildcard(_))));
        assert_eq!("a*.example.test".parse::<HostPattern>(), Err(HostError::Wildcard));
        assert_eq!("*.*.test".parse::<HostPattern>(), Err(HostError::Wildcard));
        assert_eq!("*".parse::<HostPattern>(), Err(HostError::Wildcard));
    }
}
