//! Has the session been revoked?

use crate::{
    model::{Deny, Reason, RevocationAnswer, Verdict},
    policy::OnStale,
    session::Claims,
};

/// Refuses a session whose revocation may have been lost.
pub fn remembered(is_remembered: bool) -> Verdict {
    if is_remembered {
        return Ok(());
    }
    Err(Deny::new(
        Reason::RevocationLost,
        "the user signed in before the revocation journal began, or before it was lost",
    ))
}

/// Checks the revocation store's answer, its epoch of the tenant, and the epoch of the session.
///
/// A session of a later epoch than the store's is refused too: the store has lost its data, including
/// revocations. `on_stale` is the rule for a session that may have been ended on another node.
pub fn check(
    answer: RevocationAnswer,
    known: u32,
    epoch: u32,
    claims: &Claims,
    on_stale: OnStale,
) -> Verdict {
    let revoked = |detail: String| Err(Deny::new(Reason::SessionRevoked, detail));
    match answer {
        RevocationAnswer::Live | RevocationAnswer::Stale if epoch > known => revoked(format!(
            "the session is of epoch {epoch} of tenant `{}`, the journal knows only {known}",
            claims.tenant
        )),
        RevocationAnswer::Live => Ok(()),
        RevocationAnswer::Stale => match on_stale {
            OnStale::Allow => Ok(()),
            OnStale::Deny => Err(Deny::new(
                Reason::RevocationStale,
                "what other nodes revoked has not been heard of for too long",
            )),
        },
        // No rule lets it pass: a session that may have been ended counts as ended.
        RevocationAnswer::Unavailable => Err(Deny::new(
            Reason::RevocationUnavailable,
            "this process handed over, and its successor no longer says who was revoked",
        )),
        RevocationAnswer::Session => revoked("the session was revoked".to_owned()),
        RevocationAnswer::User(at) => revoked(format!("sessions of this user from before {at} were revoked")),
        RevocationAnswer::Tenant { epoch: current } => revoked(format!(
            "the session is of epoch {epoch} of tenant `{}`, which is in epoch {current}",
            claims.tenant
        )),
    }
}
