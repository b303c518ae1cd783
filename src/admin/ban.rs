//! Bans, as operators add and lift them.

use std::time::Duration;

use super::{
    refusal::{Refusal, bad, control_refusal, refusal},
    session::NOTE_BYTES,
    wire::{ClientBody, LiftBanBody, MakeBanBody},
};
use crate::{
    config,
    model::{BanRequest, ClientPrefix, Control, Range},
};

/// The longest ban. Bans are kept in memory; a permanent one belongs in a listener's `deny`.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Bans a client. Returns the answer, and a description for the log.
pub(super) fn make(control: &dyn Control, body: &MakeBanBody) -> Result<(ClientBody, String), Refusal> {
    let (client, named) = client(&body.client)?;
    let lasts =
        config::duration(&body.r#for).filter(|lasts| (Duration::from_secs(1)..=LONGEST).contains(lasts));
    let lasts = lasts.ok_or_else(|| bad("`for` is a duration from 1s to 30d, like `10m`"))?;
    if body.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES) {
        return Err(bad("`note` has at most 256 bytes"));
    }
    control.ban(BanRequest { client, named, lasts, note: body.note.clone() }).map_err(control_refusal)?;
    let note = body.note.as_ref().map(|note| format!(" note={note}")).unwrap_or_default();
    Ok((
        ClientBody { client: client.to_string() },
        format!("banned client={client} for={}{note}", body.r#for),
    ))
}

/// Lifts a ban.
pub(super) fn lift(control: &dyn Control, body: &LiftBanBody) -> Result<(ClientBody, String), Refusal> {
    let (client, _) = client(&body.client)?;
    if !control.unban(client) {
        return Err(refusal(404, "unknown", &format!("{client} is not banned")));
    }
    Ok((ClientBody { client: client.to_string() }, format!("lifted the ban of client={client}")))
}

fn client(text: &str) -> Result<(ClientPrefix, Range), Refusal> {
    let range = text
        .parse::<Range>()
        .map_err(|_| bad("`client` is an IPv4 address, an IPv6 address or an IPv6 /64"))?;
    let wide = "a ban is of one client: an IPv4 address or an IPv6 /64; ranges stand in a listener's `deny`";
    ClientPrefix::try_from(range).map(|client| (client, range)).map_err(|_| bad(wide))
}

#[cfg(test)]
mod tests {
    use crate::admin::{
        Caller,
        fixture::{ALICE, OWN_UID, VERA, ask, bench},
        phase::Phase,
    };

    #[tokio::test]
    async fn viewers_list_and_operators_change() {
        let bench = bench(OWN_UID);
        let remote = Caller::Remote("192.0.2.7:5000".parse().unwrap());
        let call = async |token: &str, line: &str, body: &str| {
            let length = body.len();
            let head = format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            );
            let told = ask(
                |stream| bench.api.serve(stream, remote, Phase::default()),
                &format!("{head}Content-Length: {length}\r\n\r\n{body}"),
            )
            .await;
            (told.status, told.json())
        };
        let wish = r#"{"client":"2001:db8:1::7","for":"10m","note":"scanner"}"#;

        let (status, body) = call(VERA, "GET /v1/bans", "").await;
        assert_eq!(
            (status, &body["bans"][0]["client"], &body["bans"][0]["reason"]),
            (200, &"2001:db8::/64".into(), &"framing_te".into())
        );
        assert_eq!(call(VERA, "POST /v1/bans", wish).await.0, 403);
        assert_eq!(call(VERA, "POST /v1/bans/remove", r#"{"client":"2001:db8:1::"}"#).await.0, 403);
        assert_eq!(
            call(ALICE, "POST /v1/bans", wish).await,
            (200, serde_json::json!({"client": "2001:db8:1::/64"}))
        );
        assert_eq!(call(ALICE, "POST /v1/bans/remove", r#"{"client":"2001:db8:1::/64"}"#).await.0, 200);
        assert_eq!(call(ALICE, "POST /v1/bans/remove", r#"{"client":"2001:db8:1::/64"}"#).await.0, 404);
        assert_eq!(call(ALICE, "DELETE /v1/bans", "").await.0, 405);
        assert_eq!(call(ALICE, "GET /v1/bans/remove", "").await.0, 405);
        let long = format!(r#"{{"client":"192.0.2.7","for":"10m","note":"{}"}}"#, "x".repeat(257));
        for body in [
            r#"{"client":"192.0.2.0/24","for":"10m"}"#,
            r#"{"client":"nobody","for":"10m"}"#,
            r#"{"client":"192.0.2.7"}"#,
            r#"{"client":"192.0.2.7","for":"0s"}"#,
            r#"{"client":"192.0.2.7","for":"31d"}"#,
            r#"{"client":"192.0.2.7","for":"10m","why":"x"}"#,
            &long,
        ] {
            assert_eq!(call(ALICE, "POST /v1/bans", body).await.0, 400, "{body}");
        }
    }
}
