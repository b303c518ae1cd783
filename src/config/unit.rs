//! Values with units: times, sizes, rates, days.

use std::{num::NonZeroU32, time::Duration};

use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::parse::{Scalar, ScalarError, digits};
use crate::model::UnixTime;

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

/// Reads a duration that is not zero, as the configuration writes it: `10m`.
pub fn duration(text: &str) -> Option<Duration> {
    Wait::parse(text).ok().map(|Wait(duration)| duration)
}

const DURATION: &str = "a duration has a number and a unit: `500ms`, `30s`, `5m`, `12h` or `180d`";
const SIZE: &str = "a size has a number and a unit: `512B`, `32KiB`, `10MiB` or `1GiB`";
const RATE: &str = "a rate has a number and a period: `50/s`, `10/m`, `100/h` or `1000/d`";

impl Scalar for Duration {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = || ScalarError::new(format!("not a duration: `{text}`")).hint(DURATION);
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
            None => Err(ScalarError::new(format!("`{text}` is longer than a hundred years"))),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"})
    }
}

impl Scalar for Wait {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        match Duration::parse(text)? {
            Duration::ZERO => Err(ScalarError::new("a duration of zero would never let anything happen")),
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
    fn parse(text: &str) -> Result<Self, ScalarError> {
        match bytes(text) {
            Some(0) => Err(ScalarError::new("a size of zero would let nothing pass")),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(ScalarError::new(format!("not a size: `{text}`")).hint(SIZE)),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+([KMGT]i)?B$"})
    }
}

impl Scalar for Throughput {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let rate = text.strip_suffix("/s").and_then(bytes);
        rate.map(Self).ok_or_else(|| {
            ScalarError::new(format!("not bytes per second: `{text}`"))
                .hint("write `1KiB/s`; `0B/s` is no bound")
        })
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+([KMGT]i)?B/s$"})
    }
}

impl Scalar for Rate {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = || ScalarError::new(format!("not a rate: `{text}`")).hint(RATE);
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let count = digits(count)
            .and_then(|count| u32::try_from(count).ok())
            .and_then(NonZeroU32::new)
            .ok_or_else(wrong)?;
        Ok(Self { count, period: Duration::from_secs(seconds) })
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+/[smhd]$"})
    }
}

impl Scalar for LastDay {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let wrong = || {
            ScalarError::new(format!("not a date: `{text}`"))
                .hint("a date is a year, month and day, `2027-06-30`; the entry counts through that day, UTC")
        };
        let well_formed = text.len() == 10
            && text
                .bytes()
                .enumerate()
                .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
        let date: Date =
            Some(text).filter(|_| well_formed).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let midnight = date
            .tomorrow()
            .ok()
            .and_then(|next| next.to_zoned_datetime(TimeZone::UTC).ok())
            .ok_or_else(wrong)?;
        let millis = u64::try_from(midnight.timestamp().as_millisecond()).map_err(|_| wrong())?;
        Ok(Self(UnixTime::from_millis(millis)))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "date"})
    }
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
        assert_eq!(
            Rate::parse("10/m"),
            Ok(Rate { count: NonZeroU32::new(10).unwrap(), period: Duration::from_secs(60) })
        );
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
        for text in
            ["2027-02-30", "2027-6-30", "30.06.2027", "20270630", "1969-12-30", "2027-06-30T00:00:00Z"]
        {
            assert!(LastDay::parse(text).is_err(), "{text}");
        }
    }
}
