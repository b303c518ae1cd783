//! What an upstream says before its answer, and how much of that.

use std::time::Duration;

use pingora::{ErrorType, http::ResponseHeader};

use super::failed::Failed;
use crate::model::Tick;

/// How many bytes of interim answers (1xx) an upstream may send before the answer, counted as HTTP/1.1 writes them. More than a large
/// page's early hints, and all of them together have the bound of one head.
const INTERIM_BYTES: usize = 64 * 1024;
/// For how many times `first_byte` they may put the answer off, once the request has come.
const INTERIM_TIMES: u32 = 10;

/// What an upstream has said before its answer.
#[derive(Default)]
pub(super) struct Interim {
    bytes: usize,
    /// Since when it is waited for the answer behind them.
    since: Option<Tick>,
}

impl Interim {
    /// Says whether there was none.
    pub(super) fn is_none(&self) -> bool {
        self.bytes == 0
    }

    /// Counts one more. Says whether there may be more of them.
    pub(super) fn take(
        &mut self,
        response: &ResponseHeader,
        came: bool,
        now: Tick,
        first_byte: Duration,
    ) -> std::result::Result<(), Failed> {
        let fields: usize = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        self.bytes = self.bytes.saturating_add(fields).saturating_add(STATUS_LINE);
        let late = came && now.since(*self.since.get_or_insert(now)) > first_byte.saturating_mul(INTERIM_TIMES);
        if self.bytes > INTERIM_BYTES || late {
            return Err(Failed::new(ErrorType::InvalidHTTPHeader, false, "too many interim answers".to_owned()));
        }
        Ok(())
    }
}

/// `HTTP/1.1 103 Early Hints`, and an empty line.
const STATUS_LINE: usize = 28;
