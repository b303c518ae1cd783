//! The sessions of a user, as operators list and revoke them.

use super::{
    endpoint::TENANT_PATH,
    refusal::{Refusal, bad, control_refusal},
    wire::{ListSessionsBody, RevokeBody, RevokedBody, SessionsBody, TenantBody, read_time, write_time},
};
use crate::model::{
    Control, ControlError, Revocation, RevocationTarget, SessionId, TenantName, UnixTime, UserId,
};

/// The longest note, in bytes.
pub(super) const NOTE_BYTES: usize = 256;

/// Returns the epoch of the tenant that a path names.
pub(super) fn epoch(control: &dyn Control, path: &str) -> Result<TenantBody, Refusal> {
    let name = path.strip_prefix(TENANT_PATH).and_then(|name| name.parse::<TenantName>().ok());
    let found =
        name.and_then(|name| control.epoch(&name).map(|epoch| TenantBody { name: name.to_string(), epoch }));
    found.ok_or_else(|| control_refusal(ControlError::Unknown(String::new())))
}

/// Lists the sessions of a user. Returns the answer, and a description for the log.
pub(super) async fn list(
    control: &dyn Control,
    whose: &ListSessionsBody,
) -> Result<(SessionsBody, String), Refusal> {
    let tenant = whose.tenant.parse::<TenantName>().map_err(|_| bad("`tenant` is not a tenant's name"))?;
    let user =
        whose.user.parse::<UserId>().map_err(|_| bad("`user` is 1 to 256 visible ASCII characters"))?;
    let known = control.sessions(&tenant, &user).await.map_err(control_refusal)?;
    let detail = format!("listed sessions tenant={tenant} user={user} count={}", known.sessions.len());
    Ok((SessionsBody::from(known), detail))
}

/// Revokes sessions, and waits until the revocation is in force.
pub(super) async fn revoke(
    control: &dyn Control,
    body: &RevokeBody,
    now: UnixTime,
) -> Result<(RevokedBody, String), Refusal> {
    let (wish, detail) = read_revocation(body, now)?;
    let report = control.revoke(wish).await.map_err(control_refusal)?;
    Ok((RevokedBody::from(report), detail))
}

/// Reads a request, and describes it for the log, which never holds a session's identifier.
fn read_revocation(body: &RevokeBody, now: UnixTime) -> Result<(Revocation, String), Refusal> {
    let tenant = body
        .tenant
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| bad("`tenant` is not a tenant's name"))?;
    let user = body
        .user
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| bad("`user` is 1 to 256 visible ASCII characters"))?;
    let whose = match (&body.session, tenant, user) {
        (Some(hex), None, None) => RevocationTarget::Session(
            SessionId::from_hex(hex).ok_or_else(|| bad("`session` is 32 hexadecimal digits"))?,
        ),
        (None, Some(tenant), Some(user)) => RevocationTarget::User(tenant, user),
        (None, Some(tenant), None) => RevocationTarget::Tenant(tenant),
        _ => return Err(bad("name a `session`, or a `tenant`, or a `tenant` and a `user`")),
    };
    let at = body
        .at
        .as_deref()
        .map(|text| read_time(text).ok_or_else(|| bad("`at` is not an RFC 3339 time")))
        .transpose()?;
    if at.is_some_and(|at| at < now) {
        return Err(bad("`at` lies in the past; leave it out for now"));
    }
    if body.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES) {
        return Err(bad("`note` has at most 256 bytes"));
    }
    let mut detail = match &whose {
        RevocationTarget::Session(_) => "revoked one session".to_owned(),
        RevocationTarget::User(tenant, user) => format!("revoked tenant={tenant} user={user}"),
        RevocationTarget::Tenant(tenant) => format!("revoked tenant={tenant}"),
    };
    if let Some(at) = at {
        detail.push_str(&format!(" at={}", write_time(at)));
    }
    if let Some(note) = &body.note {
        detail.push_str(&format!(" note={note}"));
    }
    Ok((Revocation { whose, at, note: body.note.clone() }, detail))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::fixture::{NOW, OWN, OWN_UID, bench, call, get, post, refused};

    #[tokio::test]
    async fn a_tenant_s_epoch_is_told() {
        let bench = bench(OWN_UID);

        assert_eq!(
            call(&bench, OWN, &get("/v1/tenants/acme", "")).await.json(),
            serde_json::json!({"name": "acme", "epoch": 3})
        );
        for path in ["/v1/tenants/globex", "/v1/tenants/", "/v1/tenants/a/b", "/v1/tenants/%61cme"] {
            assert_eq!(refused(&bench, OWN, &get(path, "")).await, (404, "unknown".to_owned()), "{path}");
        }
    }

    #[tokio::test]
    async fn revocations_name_a_session_a_user_or_a_tenant() {
        let bench = bench(OWN_UID);
        let hex = "ab".repeat(16);

        let told = call(
            &bench,
            OWN,
            &post("/v1/sessions/revoke", &format!(r#"{{"session":"{hex}","note":"left"}}"#)),
        )
        .await;
        assert_eq!(
            (told.status, told.json()["nodes"].as_u64(), told.json()["took_ms"].as_f64()),
            (200, Some(1), Some(0.412))
        );
        let user = r#"{"tenant":"acme","user":"u_812","at":"2027-01-01T00:00:00Z"}"#;
        assert_eq!(
            call(&bench, OWN, &post("/v1/sessions/revoke", user)).await.json()["at"].as_str(),
            Some("2027-01-01T00:00:00Z")
        );
        assert_eq!(call(&bench, OWN, &post("/v1/sessions/revoke", r#"{"tenant":"acme"}"#)).await.status, 200);

        let (acme, user) = ("acme".parse().unwrap(), "u_812".parse().unwrap());
        let expected = [
            Revocation {
                whose: RevocationTarget::Session(SessionId::new([0xab; 16])),
                at: None,
                note: Some("left".to_owned()),
            },
            Revocation {
                whose: RevocationTarget::User(acme, user),
                at: Some(UnixTime::from_secs(1_798_761_600)),
                note: None,
            },
            Revocation { whose: RevocationTarget::Tenant("acme".parse().unwrap()), at: None, note: None },
        ];
        assert_eq!(*bench.control.revoked.lock().unwrap(), expected);
        let details: Vec<_> = bench.calls.lock().unwrap().iter().filter_map(|seen| seen.4.clone()).collect();
        assert_eq!(
            details,
            [
                "revoked one session note=left",
                "revoked tenant=acme user=u_812 at=2027-01-01T00:00:00Z",
                "revoked tenant=acme"
            ]
        );
    }

    #[tokio::test]
    async fn a_body_that_is_not_understood_changes_nothing_and_is_not_echoed() {
        let bench = bench(OWN_UID);
        let past = format!(r#"{{"tenant":"acme","at":"{}"}}"#, write_time(NOW.minus(Duration::from_secs(1))));
        let long = format!(r#"{{"tenant":"acme","note":"{}"}}"#, "n".repeat(NOTE_BYTES + 1));

        for body in [
            "",
            "{}",
            "[]",
            "<script>",
            r#"{"session":"<script>"}"#,
            r#"{"user":"u_812"}"#,
            r#"{"session":"00","tenant":"acme"}"#,
            r#"{"tenant":"<script>"}"#,
            r#"{"tenant":"acme","user":"a b"}"#,
            r#"{"tenant":"acme","tenant":"globex"}"#,
            r#"{"tenant":"acme","<script>":1}"#,
            r#"{"tenant":"acme","at":"<script>"}"#,
            &past,
            &long,
        ] {
            let told = call(&bench, OWN, &post("/v1/sessions/revoke", body)).await;

            assert_eq!((told.status, told.code().as_str()), (400, "body_invalid"), "{body}");
            assert!(!told.body.contains("script"));
        }
        assert!(bench.control.revoked.lock().unwrap().is_empty());
    }
}
