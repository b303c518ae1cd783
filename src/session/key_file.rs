//! What a file of a key folder is called: its name says which key it holds and what the key is for.

use std::{fmt, str::FromStr};

use crate::model::UnixTime;

/// A key of a folder, by the name of its file.
///
/// | name | the key |
/// |---|---|
/// | `3.key` | opens, and mints if no file of this kind has a higher number |
/// | `3.from-20261124T180000Z.key` | opens; from that second on it is as `3.key` |
/// | `3.open.key` | only opens |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The number that tokens carry, 1 to 65535.
    pub id: u16,
    /// What the key is for.
    pub state: KeyState,
}

/// What a key of a folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Opening, and minting if it is the newest that may.
    Mint,
    /// The same from a time on, in whole seconds; until then only opening.
    MintFrom(UnixTime),
    /// Only opening.
    Open,
}

impl KeyFile {
    /// Says whether the key may mint.
    pub fn mints(self, now: UnixTime) -> bool {
        match self.state {
            KeyState::Mint => true,
            KeyState::MintFrom(from) => from <= now,
            KeyState::Open => false,
        }
    }
}

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key's file is called `N.key`, `N.open.key` or `N.from-YYYYMMDDTHHMMSSZ.key`, with N from 1 to 65535"
)]
pub struct KeyFileError;

impl FromStr for KeyFile {
    type Err = KeyFileError;

    fn from_str(name: &str) -> Result<Self, KeyFileError> {
        let stem = name.strip_suffix(".key").ok_or(KeyFileError)?;
        let (id, state) = match stem.split_once('.') {
            None => (stem, KeyState::Mint),
            Some((id, "open")) => (id, KeyState::Open),
            Some((id, rest)) => {
                (id, KeyState::MintFrom(rest.strip_prefix("from-").and_then(time).ok_or(KeyFileError)?))
            }
        };
        let file = Self { id: id.parse().map_err(|_| KeyFileError)?, state };
        // One name for one key: no `+3`, no `03`, no 31st of June.
        if file.id == 0 || file.to_string() != name { Err(KeyFileError) } else { Ok(file) }
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            KeyState::Mint => write!(f, "{}.key", self.id),
            KeyState::Open => write!(f, "{}.open.key", self.id),
            KeyState::MintFrom(from) => {
                let seconds = i64::try_from(from.as_secs())
                    .ok()
                    .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
                let time = seconds.unwrap_or(jiff::Timestamp::MAX).strftime(TIME);
                write!(f, "{}.from-{time}.key", self.id)
            }
        }
    }
}

/// ISO 8601 in its basic form: a colon in a file's name is a trap for scp and rsync.
const TIME: &str = "%Y%m%dT%H%M%SZ";

fn time(text: &str) -> Option<UnixTime> {
    let read = jiff::civil::DateTime::strptime(TIME, text).ok()?;
    let seconds = jiff::tz::TimeZone::UTC.to_timestamp(read).ok()?.as_second();
    u64::try_from(seconds).ok().map(UnixTime::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime::from_secs(1_795_521_600);

    #[test]
    fn a_name_says_number_and_state() {
        for (name, id, state) in [
            ("3.key", 3, KeyState::Mint),
            ("65535.open.key", 65_535, KeyState::Open),
            ("4.from-20261124T120000Z.key", 4, KeyState::MintFrom(NOON)),
        ] {
            assert_eq!(name.parse(), Ok(KeyFile { id, state }));
            assert_eq!(KeyFile { id, state }.to_string(), name);
        }
    }

    #[test]
    fn any_other_name_is_refused() {
        for name in [
            "",
            "key",
            ".key",
            "0.key",
            "03.key",
            "+3.key",
            "65536.key",
            "3.key~",
            "3.KEY",
            "3.opens.key",
            "3..key",
            "a.key",
            "3.from-.key",
            "3.from-20261131T120000Z.key",
            "3.from-20261124T1200Z.key",
            "3.from-20261124T120000.key",
            "3.open.open.key",
            " 3.key",
        ] {
            assert_eq!(name.parse::<KeyFile>(), Err(KeyFileError), "{name}");
        }
    }

    #[test]
    fn a_key_with_a_date_mints_from_that_second_on() {
        let key = KeyFile { id: 1, state: KeyState::MintFrom(NOON) };

        assert!(!key.mints(UnixTime::from_millis(NOON.as_millis() - 1)));
        assert!(key.mints(NOON));
    }
}
