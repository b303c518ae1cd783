//! Bounds the interim answers (1xx) of a server.

use std::time::Duration;

use super::{failure::Failure, head::Head};
use crate::model::Tick;

/// How many bytes of interim answers (1xx) a server may send before the answer, counted as HTTP/1.1 writes
/// them. More than the early hints of a large page, and together no more than one head may have.
const INTERIM_BYTES: usize = 64 * 1024;
/// For how many times `first_byte` they may delay the answer, once the request is complete.
const INTERIM_TIMES: u32 = 10;
/// `HTTP/1.1 103 Early Hints`, and an empty line.
const STATUS_LINE: usize = 28;

/// The interim answers of one exchange.
#[derive(Default)]
pub(super) struct Interim {
    bytes: usize,
    /// Since when the final answer is awaited.
    since: Option<Tick>,
}

impl Interim {
    /// Returns whether there was none.
    pub(super) fn is_none(&self) -> bool {
        self.bytes == 0
    }

    /// Counts an interim answer. `came` says whether the whole request has come. Fails where there are too
    /// many, or for too long.
    pub(super) fn take(
        &mut self,
        head: &Head,
        came: bool,
        now: Tick,
        first_byte: Duration,
    ) -> Result<(), Failure> {
        let fields: usize =
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        self.bytes = self.bytes.saturating_add(fields).saturating_add(STATUS_LINE);
        let late =
            came && now.since(*self.since.get_or_insert(now)) > first_byte.saturating_mul(INTERIM_TIMES);
        if self.bytes > INTERIM_BYTES || late {
            return Err(Failure::protocol("too many interim answers"));
        }
        Ok(())
    }
}
