//! Text to type, for every kind of scalar.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use crate::model::{Host, HostError, HostPattern, ListenerName, QuotaName, Range, RangeError, TenantName, UnixTime, UpstreamName};

/// What is wrong with a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) hint: Option<String>,
}

impl Wrong {
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
    /// Reads the text.
    fn parse(text: &str) -> Result<Self, Wrong>;
    /// Says in JSON Schema what may be written, references (`${…}`) aside.
    fn schema() -> Value;
}

/// A span of time that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait(pub(super) Duration);

/// A number of bytes that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throughput(pub(super) u64);

/// So many in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// How many.
    pub(super) count: NonZeroU32,
    /// In how long.
    pub(super) period: Duration,
}

/// The end of a day, UTC: an entry counts through the day it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LastDay(pub(super) UnixTime);

/// A path of a file, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

/// A role: `[A-Za-z0-9._:-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleName(pub(super) Box<str>);

/// A name that anything may have: visible ASCII, 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label(pub(super) String);

const DURATION: &str = "a duration has a number and a unit: `500ms`, `30s`, `5m`, `12h` or `180d`";
const SIZE: &str = "a size has a number and a unit: `512B`, `32KiB`, `10MiB` or `1GiB`";
const RATE: &str = "a rate has a number and a period: `50/s`, `10/m`, `100/h` or `1000/d`";

impl Scalar for Duration {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("not a duration: `{text}`")).hint(DURATION);
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        // A hundred years are longer than anything that is waited for, and leave room to add.
        match number.checked_mul(millis).filter(|millis| *millis <= 100 * 366 * 86_400_000) {
            Some(millis) => Ok(Self::from_millis(millis)),
            None => Err(Wrong::new(format!("`{text}` is longer than a hundred years"))),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"})
    }
}

impl Scalar for Wait {
    fn parse(text: &str) -> Result<Self, Wrong> {
        match Duration::parse(text)? {
            Duration::ZERO => Err(Wrong::new("a duration of zero would never let anything happen")),
            duration => Ok(Self(duration)),
        }
    }

    fn schema() -> Value {
        Duration::schema()
    }
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

impl Scalar for Size {
    fn parse(text: &str) -> Result<Self, Wrong> {
        match bytes(text) {
            Some(0) => Err(Wrong::new("a size of zero would let nothing pass")),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(Wrong::new(format!("not a size: `{text}`")).hint(SIZE)),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+([KMGT]i)?B$"})
    }
}

impl Scalar for Throughput {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let rate = text.strip_suffix("/s").and_then(bytes);
        rate.map(Self).ok_or_else(|| Wrong::new(format!("not bytes per second: `{text}`")).hint("write `1KiB/s`; `0B/s` is no bound"))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+([KMGT]i)?B/s$"})
    }
}

impl Scalar for Rate {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("not a rate: `{text}`")).hint(RATE);
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let count = digits(count).and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new).ok_or_else(wrong)?;
        Ok(Self { count, period: Duration::from_secs(seconds) })
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+/[smhd]$"})
    }
}

impl Scalar for LastDay {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            Wrong::new(format!("not a date: `{text}`"))
                .hint("a date is a year, month and day, `2027-06-30`; the entry counts through that day, UTC")
        };
        let well_formed =
            text.len() == 10 && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
        let date: Date = Some(text).filter(|_| well_formed).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let midnight = date.tomorrow().ok().and_then(|next| next.to_zoned_datetime(TimeZone::UTC).ok()).ok_or_else(wrong)?;
        let millis = u64::try_from(midnight.timestamp().as_millisecond()).map_err(|_| wrong())?;
        Ok(Self(UnixTime::from_millis(millis)))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "date"})
    }
}

impl Scalar for bool {
    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Wrong::new(format!("neither `true` nor `false`: `{text}`"))),
        }
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

macro_rules! number {
    ($($type:ty: $low:expr, $high:expr;)*) => { $(
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, Wrong> {
                let wrong = || Wrong::new(format!("not a whole number from {} to {}: `{text}`", $low, $high));
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
    fn parse(text: &str) -> Result<Self, Wrong> {
        let number = digits(text).and_then(|number| u32::try_from(number).ok()).and_then(Self::new);
        number.ok_or_else(|| Wrong::new(format!("not a whole number from 1 to {}: `{text}`", u32::MAX)))
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
    }
}

impl Scalar for String {
    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for FilePath {
    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() { Err(Wrong::new("a path must not be empty")) } else { Ok(Self(PathBuf::from(text))) }
    }

    fn schema() -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

impl Scalar for Label {
    fn parse(text: &str) -> Result<Self, Wrong> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Wrong::new(format!("not a name: `{text}`")).hint("a name has 1 to 64 visible ASCII characters"))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[!-~]{1,64}$"})
    }
}

impl Scalar for RoleName {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.into()));
        }
        Err(Wrong::new(format!("not a role: `{text}`")).hint("a role has 1 to 64 letters, digits, `.`, `_`, `:` or `-`"))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"})
    }
}

impl Scalar for SocketAddr {
    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| {
            Wrong::new(format!("not an address with a port: `{text}`"))
                .hint("write `127.0.0.1:8443` or `[::1]:8443`; names are not looked up")
        })
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for Range {
    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error| match error {
            RangeError::Syntax(text) => Wrong::new(format!("not an address range: `{text}`"))
                .hint("write an address, `192.0.2.7`, or a range, `192.0.2.0/24` or `2001:db8::/32`"),
            RangeError::Prefix { text, family, max } => {
                Wrong::new(format!("not an address range: `{text}`")).hint(format!("the prefix of an {family} range is 0 to {max}"))
            }
            RangeError::HostBits { text, range } => {
                let address = text.split('/').next().unwrap_or_default();
                Wrong::new(format!("`{text}` has bits set after the prefix"))
                    .hint(format!("the range is `{range}`; one address is `{address}`"))
            }
            RangeError::Mapped(text) => Wrong::new(format!("`{text}` is an IPv4-mapped range that would match every IPv4 address"))
                .hint("write the IPv4 range itself"),
            RangeError::Zone(text) => Wrong::new(format!("`{text}` names an interface (`%`)")).hint("a range has none; leave it out"),
        })
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"})
    }
}

fn host_error(text: &str, error: &HostError) -> Wrong {
    Wrong::new(format!("not a host name: `{text}`")).hint(error.to_string())
}

impl Scalar for Host {
    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error| host_error(text, &error))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[A-Za-z0-9.-]{1,253}$"})
    }
}

impl Scalar for HostPattern {
    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error| host_error(text, &error))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9.-]{1,253}$"})
    }
}

macro_rules! name {
    ($($type:ty),*) => { $(
        impl Scalar for $type {
            fn parse(text: &str) -> Result<Self, Wrong> {
                text.parse().map_err(|error: crate::model::NameError| Wrong::new(format!("not a name: `{text}`")).hint(error.to_string()))
            }

            fn schema() -> Value {
                json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
            }
        }
    )* };
}

name! { TenantName, UpstreamName, QuotaName, ListenerName }

/// Reads decimal digits and nothing else: no sign, no `_`.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// Splits `30s` into 30 and `s`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((digits(number)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(Duration::parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Duration::parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(Duration::parse("180d"), Ok(Duration::from_secs(180 * 86_400)));
        assert_eq!(Duration::parse("0s"), Ok(Duration::ZERO));
        for text in ["30", "s", "30 s", "-1s", "1.5h", "1y", "", "+1s", "99999999999d"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        assert!(Wait::parse("0s").is_err());
    }

    #[test]
    fn sizes_and_rates_have_units() {
        assert_eq!(Size::parse("32KiB"), Ok(Size(32_768)));
        assert_eq!(Throughput::parse("1KiB/s"), Ok(Throughput(1024)));
        assert_eq!(Rate::parse("10/m"), Ok(Rate { count: NonZeroU32::new(10).unwrap(), period: Duration::from_secs(60) }));
        assert!(Size::parse("32KB").is_err());
        assert!(Size::parse("0B").is_err());
        assert!(Size::parse("99999999999TiB").is_err());
        assert!(Throughput::parse("1KiB").is_err());
        for text in ["10", "0/s", "10/y", "10/", "/s", "-1/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_counts_through_its_day() {
        // 2027-07-01T00:00:00Z.
        assert_eq!(LastDay::parse("2027-06-30"), Ok(LastDay(UnixTime::from_secs(1_814_400_000))));
        for text in ["2027-02-30", "2027-6-30", "30.06.2027", "20270630", "1969-12-30", "2027-06-30T00:00:00Z"] {
            assert!(LastDay::parse(text).is_err(), "{text}");
        }
    }

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
