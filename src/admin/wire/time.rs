//! Times, as they are written.

use crate::model::UnixTime;

/// Writes a time as RFC 3339 in UTC.
pub fn write_time(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_millis()).ok();
    millis
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| "never".to_owned(), |time| time.to_string())
}

/// Reads an RFC 3339 time, of any offset. Times before 1970 are none.
pub fn read_time(text: &str) -> Option<UnixTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(UnixTime::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset() {
        assert_eq!(read_time("2026-11-23T17:00:00-05:00"), Some(UnixTime::from_secs(1_795_471_200)));
        assert_eq!(write_time(UnixTime::from_secs(1_795_471_200)), "2026-11-23T22:00:00Z");
        assert_eq!(read_time("2026-11-23"), None);
        assert_eq!(read_time("1969-12-31T23:59:59Z"), None);
    }
}
