//! Has the session been revoked, or replaced by a renewed token?

use crate::{
    checks::{
        reuse, revocation,
        session::{Session, Source},
    },
    model::{ClientIp, UnixTime, Verdict},
    policy::{OnStale, Policy},
    sessions::{RevocationStore, SessionRef},
};

/// Judges whether somebody ended a session. A foreign one knows no epoch: it is of the one in which its user
/// signed in.
pub(super) fn ended<R: RevocationStore>(
    session: &Session,
    revocations: &R,
    on_stale: OnStale,
    now: UnixTime,
) -> Verdict {
    let claims = &session.claims;
    let epoch = match session.source {
        Source::Octroi { .. } => claims.epoch,
        Source::Foreign { .. } => revocations.epoch_of(&claims.tenant, claims.auth_time, now),
    };
    let answer = revocations.lookup(
        SessionRef {
            tenant: &claims.tenant,
            user: &claims.user,
            id: &claims.id,
            auth_time: claims.auth_time,
            epoch,
        },
        now,
    );
    revocation::check(answer, revocations.epoch(&claims.tenant, now), epoch, claims, on_stale)?;
    // Behind what is known for certain.
    let is_foreign = matches!(session.source, Source::Foreign { .. });
    revocation::remembered(revocations.remembers(claims.auth_time, is_foreign))
}

/// The rule for sessions while what other nodes ended is not known.
pub(super) fn on_stale(policy: &Policy) -> OnStale {
    policy.sessions.as_ref().map_or(OnStale::Deny, |sessions| sessions.revocation.on_stale)
}

/// Judges whether the token is the newest of its session, and takes it for presented. Only those in our
/// cookie are ever renewed.
pub(super) fn newest<R: RevocationStore>(
    session: &Session,
    client: ClientIp,
    revocations: &R,
    now: UnixTime,
) -> Verdict {
    if !session.is_in_our_cookie() {
        return Ok(());
    }
    reuse::check(revocations.present(&session.claims, client.prefix(), now), &session.claims)
}
