//! Does a CA ask whether the host is ours?

use std::sync::Arc;

use super::hygiene::Clean;
use crate::model::{ChallengeAnswer, Deny, Reason, RequestView, Transport, Verdict};

/// Where a CA looks (RFC 8555, section 8.3).
const PLACE: &str = "/.well-known/acme-challenge/";

/// Returns the token that is asked for: over a connection in clear text, as a CA comes, and at the place of a token.
pub fn key<'a>(view: &RequestView<'_>, clean: &'a Clean<'_>) -> Option<&'a str> {
    let token = clean.target.strip_prefix(PLACE)?;
    let plain = matches!(view.connection.transport, Transport::Plain);
    (plain && matches!(clean.method, "GET" | "HEAD")).then_some(token)
}

/// Says what the CA is to read. While a host is being proven, nobody else answers at that place for it.
pub fn check(answer: ChallengeAnswer) -> Verdict<Option<Arc<str>>> {
    match answer {
        ChallengeAnswer::None => Ok(None),
        ChallengeAnswer::Answer(text) => Ok(Some(text)),
        ChallengeAnswer::OtherToken => Err(Deny::new(Reason::RouteNone, "not a token of the challenge that runs for this host")),
    }
}
