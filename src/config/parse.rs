//! Text to type, for every kind of scalar.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use serde_json::{Value, json};

use crate::model::{
    Host, HostError, HostPattern, ListenerName, QuotaName, Range, RangeError, TenantName, UpstreamName,
};

/// What is wrong with a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScalarError {
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) hint: Option<String>,
}

impl ScalarError {
    /// Says what is wrong.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Says what would be right.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A type that is written as one scalar.
pub(super) trait Scalar: Sized {
    /// Whether it says where a file lies. What a variable stands for there is no part of the revision: what
    /// the file holds is.
    const IS_PATH: bool = false;

    /// Reads the text.
    fn parse(text: &str) -> Result<Self, ScalarError>;
    /// Says in JSON Schema what may be written, references (`${…}`) aside.
    fn schema() -> Value;
}

/// A path of a file, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

/// A role: `[A-Za-z0-9._:-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleName(pub(super) Box<str>);

/// A name that anything may have: visible ASCII, 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label(pub(super) String);

impl Scalar for bool {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(ScalarError::new(format!("neither `true` nor `false`: `{text}`"))),
        }
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

macro_rules! number {
    ($($type:ty: $low:expr, $high:expr;)*) => { $(
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, ScalarError> {
                let wrong = || ScalarError::new(format!("not a whole number from {} to {}: `{text}`", $low, $high));
                let number = digits(text).filter(|number| ($low..=$high).contains(number)).ok_or_else(wrong)?;
                Self::try_from(number).map_err(|_| wrong())
            }

            fn schema() -> Value {
                json!({"type": "integer", "minimum": $low, "maximum": $high})
            }
        }
    )* };
}

number! {
    u8: 0_u64, 255_u64;
    u16: 1_u64, 65_535_u64;
    u32: 0_u64, 4_294_967_295_u64;
    usize: 1_u64, 1_000_000_000_u64;
}

impl Scalar for NonZeroU32 {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let number = digits(text).and_then(|number| u32::try_from(number).ok()).and_then(Self::new);
        number.ok_or_else(|| ScalarError::new(format!("not a whole number from 1 to {}: `{text}`", u32::MAX)))
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
    }
}

impl Scalar for String {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        Ok(text.to_owned())
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for FilePath {
    const IS_PATH: bool = true;

    fn parse(text: &str) -> Result<Self, ScalarError> {
        if text.is_empty() {
            Err(ScalarError::new("a path must not be empty"))
        } else {
            Ok(Self(PathBuf::from(text)))
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

impl Scalar for Label {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(ScalarError::new(format!("not a name: `{text}`"))
            .hint("a name has 1 to 64 visible ASCII characters"))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[!-~]{1,64}$"})
    }
}

impl Scalar for RoleName {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.into()));
        }
        Err(ScalarError::new(format!("not a role: `{text}`"))
            .hint("a role has 1 to 64 letters, digits, `.`, `_`, `:` or `-`"))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"})
    }
}

impl Scalar for SocketAddr {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        text.parse().map_err(|_| {
            ScalarError::new(format!("not an address with a port: `{text}`"))
                .hint("write `127.0.0.1:8443` or `[::1]:8443`; names are not looked up")
        })
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for Range {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        text.parse().map_err(|error| match error {
            RangeError::Syntax(text) => ScalarError::new(format!("not an address range: `{text}`"))
                .hint("write an address, `192.0.2.7`, or a range, `192.0.2.0/24` or `2001:db8::/32`"),
            RangeError::Prefix { text, family, max } => {
                ScalarError::new(format!("not an address range: `{text}`"))
                    .hint(format!("the prefix of an {family} range is 0 to {max}"))
            }
            RangeError::HostBits { text, range } => {
                let address = text.split('/').next().unwrap_or_default();
                ScalarError::new(format!("`{text}` has bits set after the prefix"))
                    .hint(format!("the range is `{range}`; one address is `{address}`"))
            }
            RangeError::Mapped(text) => ScalarError::new(format!(
                "`{text}` is an IPv4-mapped range that would match every IPv4 address"
            ))
            .hint("write the IPv4 range itself"),
            RangeError::Zone(text) => ScalarError::new(format!("`{text}` names an interface (`%`)"))
                .hint("a range has none; leave it out"),
        })
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"})
    }
}

fn host_error(text: &str, error: &HostError) -> ScalarError {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split(['/', ':']).next().unwrap_or(bare);
    let hint = match bare.parse::<HostPattern>() {
        Ok(_) if bare != text => format!("a host stands here without scheme, port and path: `{bare}`"),
        Err(error) if bare != text => error.to_string(),
        Ok(_) | Err(_) => error.to_string(),
    };
    ScalarError::new(format!("not a host name: `{text}`")).hint(hint)
}

impl Scalar for Host {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        text.parse().map_err(|error| host_error(text, &error))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[A-Za-z0-9.-]{1,253}$"})
    }
}

impl Scalar for HostPattern {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        text.parse().map_err(|error| host_error(text, &error))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9.-]{1,253}$"})
    }
}

macro_rules! name {
    ($($type:ty),*) => { $(
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, ScalarError> {
                text.parse().map_err(|error: crate::model::NameError| ScalarError::new(format!("not a name: `{text}`")).hint(error.to_string()))
            }

            fn schema() -> Value {
                json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
            }
        }
    )* };
}

name! { TenantName, UpstreamName, QuotaName, ListenerName }

/// Reads decimal digits and nothing else: no sign, no `_`.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_bounds() {
        assert_eq!(u16::parse("65535"), Ok(65_535));
        for text in ["0", "65536", "1_000", "+1", "0x10", "1e3", ""] {
            assert!(u16::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_true_and_false_are_truth_values() {
        assert_eq!(bool::parse("true"), Ok(true));
        for text in ["no", "yes", "on", "True", "1", ""] {
            assert!(bool::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_says_what_would_be_right() {
        let hint = |text: &str| Range::parse(text).unwrap_err().hint.unwrap();

        assert_eq!(hint("10.0.0.0/33"), "the prefix of an IPv4 range is 0 to 32");
        assert_eq!(hint("192.0.2.7/24"), "the range is `192.0.2.0/24`; one address is `192.0.2.7`");
    }
}
