//! Why Redis did not do what was asked.

use std::time::Duration;

/// Why Redis did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedisFault {
    /// There is no connection. Nothing was sent.
    #[error("Redis is away")]
    Away,
    /// No answer in time. Whether it was done is not known.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection broke. Whether it was done is not known.
    #[error("the connection to Redis broke: {0}")]
    Broken(#[source] redis::RedisError),
    /// It holds more than is read.
    #[error("octroi:ended has more than {0} entries; something else writes there")]
    TooMuch(usize),
    /// It said no.
    #[error("Redis refuses: {0}")]
    Refused(#[source] redis::RedisError),
}

impl RedisFault {
    /// Tells a broken connection from an answer that says no.
    pub(super) fn of(error: redis::RedisError) -> Self {
        if error.is_unrecoverable_error() || error.is_io_error() { Self::Broken(error) } else { Self::Refused(error) }
    }

    /// Returns the label that metrics use.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Late(_) => "timeout",
            Self::Broken(_) => "broken",
            Self::Refused(_) | Self::TooMuch(_) => "refused",
        }
    }
}
