//! Is the token the newest one of its session?

use crate::{
    model::{Deny, Reason, Verdict},
    session::{Claims, REUSE_GRACE, TokenOrder},
};

/// Refuses a token that nobody should use any more: a newer one of the same session has been in use for
/// longer than requests take.
pub fn check(order: TokenOrder, claims: &Claims) -> Verdict {
    match order {
        TokenOrder::Same | TokenOrder::Newer | TokenOrder::Late => Ok(()),
        TokenOrder::Reused => {
            let detail = format!(
                "generation {} of the session came back more than {} s after a newer one was presented",
                claims.generation,
                REUSE_GRACE.as_secs()
            );
            Err(Deny::new(Reason::SessionReuse, detail))
        }
    }
}
