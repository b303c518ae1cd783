//! Is the token the newest of its session?

use crate::{
    model::{Deny, Reason, Verdict},
    session::{Claims, REUSE_GRACE, Turn},
};

/// Refuses a token that should be nobody's any more: a newer one of the same session has been in use for longer than requests take.
pub fn check(turn: Turn, claims: &Claims) -> Verdict {
    match turn {
        Turn::Same | Turn::Newer | Turn::Late => Ok(()),
        Turn::Reused => {
            let detail = format!(
                "generation {} of the session came back more than {} s after a newer one was presented",
                claims.generation,
                REUSE_GRACE.as_secs()
            );
            Err(Deny::new(Reason::SessionReuse, detail))
        }
    }
}
