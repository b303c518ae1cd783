//! Is this a CA's request to validate a host of ours?

use std::sync::Arc;

use super::hygiene::Clean;
use crate::model::{ChallengeAnswer, Deny, Reason, RequestView, Transport, Verdict};

/// The path of the challenge (RFC 8555, section 8.3).
const PLACE: &str = "/.well-known/acme-challenge/";

/// Returns the requested token, for a request in clear text, as a CA sends it, to the path of a token.
pub fn key<'a>(view: &RequestView<'_>, clean: &'a Clean<'_>) -> Option<&'a str> {
    let token = clean.target.strip_prefix(PLACE)?;
    let plain = matches!(view.connection.transport, Transport::Plain);
    (plain && matches!(clean.method, "GET" | "HEAD")).then_some(token)
}

/// Returns what the CA must read. While a host is being validated, nothing else answers at that path.
pub fn check(answer: ChallengeAnswer) -> Verdict<Option<Arc<str>>> {
    match answer {
        ChallengeAnswer::None => Ok(None),
        ChallengeAnswer::Answer(text) => Ok(Some(text)),
        ChallengeAnswer::OtherToken => {
            Err(Deny::new(Reason::RouteNone, "not a token of the challenge that runs for this host"))
        }
    }
}
