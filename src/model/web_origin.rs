//! The origin of a web page, as browsers serialise it (RFC 6454, section 6.2): scheme, host, and the port
//! where it is not the default one.

use std::{fmt, str::FromStr};

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebOriginError {
    /// `null`, which stands for pages of any site.
    #[error("`null` is what browsers say of pages that have no origin, whoever made them")]
    Null,
    /// A wildcard.
    #[error("an origin has no wildcard: each is written out")]
    Wildcard,
    /// No scheme.
    #[error("an origin begins with a scheme: `https://`")]
    Scheme,
    /// More than an origin.
    #[error("an origin ends behind its host and port, without a slash")]
    Path,
    /// A host that browsers do not serialise.
    #[error("the host has characters that no host has")]
    Host,
    /// An invalid port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// An origin in canonical form: lower case, without a default port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebOrigin(Box<str>);

impl WebOrigin {
    /// Returns the text that browsers send.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether its pages were loaded in clear text over the network, where others can change them.
    pub fn is_clear_text(&self) -> bool {
        let Some(rest) = self.0.strip_prefix("http://") else { return false };
        let host = rest.split_once(':').map_or(rest, |(host, _)| host);
        !(host == "localhost"
            || host.ends_with(".localhost")
            || host.starts_with("127.")
            || rest.starts_with("[::1]"))
    }
}

impl FromStr for WebOrigin {
    type Err = WebOriginError;

    fn from_str(text: &str) -> Result<Self, WebOriginError> {
        if text == "null" {
            return Err(WebOriginError::Null);
        }
        if text.contains('*') {
            return Err(WebOriginError::Wildcard);
        }
        let (scheme, rest) = text.split_once("://").ok_or(WebOriginError::Scheme)?;
        // RFC 3986, section 3.1. Packaged apps have schemes of their own: `capacitor://localhost`.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(fits) {
            return Err(WebOriginError::Scheme);
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(WebOriginError::Path);
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, after)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| WebOriginError::Host)?;
                let host = rest.get(..address.len().saturating_add(2)).ok_or(WebOriginError::Host)?;
                (
                    host,
                    if after.is_empty() {
                        None
                    } else {
                        Some(after.strip_prefix(':').ok_or(WebOriginError::Host)?)
                    },
                )
            }
            None if rest.starts_with('[') => return Err(WebOriginError::Host),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > 255 || !(host.starts_with('[') || host.bytes().all(is_host)) {
            return Err(WebOriginError::Host);
        }
        let port = match port {
            None => None,
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse::<u16>().ok().filter(|port| *port > 0).ok_or(WebOriginError::Port)?)
            }
            Some(_) => return Err(WebOriginError::Port),
        };
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let own = match &*scheme {
            "https" | "wss" => Some(443),
            "http" | "ws" => Some(80),
            _ => None,
        };
        Ok(Self(match port.filter(|port| Some(*port) != own) {
            None => format!("{scheme}://{host}").into(),
            Some(port) => format!("{scheme}://{host}:{port}").into(),
        }))
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_form() {
        for (text, form) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("https://app.example.com:8443", "https://app.example.com:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTP://192.0.2.1:80", "http://192.0.2.1"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(text.parse::<WebOrigin>().map(|origin| origin.to_string()).as_deref(), Ok(form));
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_none() {
        use WebOriginError::{Host, Null, Path, Port, Scheme, Wildcard};
        for (text, error) in [
            ("null", Null),
            ("*", Wildcard),
            ("https://*.example.com", Wildcard),
            ("app.example.com", Scheme),
            ("//app.example.com", Scheme),
            ("1https://a", Scheme),
            ("https://a/", Path),
            ("https://a?b", Path),
            ("https://user@a", Path),
            ("https://", Host),
            ("https://:443", Host),
            ("https://a b", Host),
            ("https://é.test", Host),
            ("https://[::1", Host),
            ("https://[::1]443", Host),
            ("https://[nonsense]", Host),
            ("https://a:", Port),
            ("https://a:0", Port),
            ("https://a:65536", Port),
            ("https://a:+443", Port),
        ] {
            assert_eq!(text.parse::<WebOrigin>(), Err(error), "{text}");
        }
    }

    #[test]
    fn clear_text_of_this_machine_is_none_on_the_network() {
        let clear = |text: &str| text.parse::<WebOrigin>().unwrap().is_clear_text();

        assert!(clear("http://app.example.com") && clear("http://192.0.2.1:8080"));
        assert!(
            !clear("https://app.example.com")
                && !clear("http://localhost:3000")
                && !clear("http://127.0.0.1")
                && !clear("http://[::1]:80")
        );
    }
}
