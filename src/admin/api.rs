//! The admin API: its calls, who may make them, and its answers.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ban,
    caller::{self, Caller},
    endpoint::Endpoint,
    exchange::{Answer, Fault, Head, NO_STORE},
    phase::Phase,
    refusal::{Refusal, bad, control_refusal, fault_refusal, refusal},
    session,
    wire::{
        BansBody, ErrorBody, ErrorDetail, KeyBody, KeysBody, ReloadBody, ReloadedBody, StatusBody,
        UpgradeBody, UpgradedBody,
    },
};
use crate::{
    model::{Clock, Control, EventKind, EventSink, OperatorActed, Principal, ReloadReport, ReloadRequest},
    policy::Policy,
};

/// What the API needs from the rooms above.
pub struct AdminDeps {
    /// What the calls act on.
    pub control: Arc<dyn Control>,
    /// Returns the policy in force, for its principals.
    pub policy: Box<dyn Fn() -> Arc<Policy> + Send + Sync>,
    /// The clock by which principals expire.
    pub clock: Arc<dyn Clock>,
    /// Records every call, before it is answered.
    pub events: Arc<dyn EventSink>,
    /// The user that octroi runs as.
    pub own_uid: u32,
}

/// The admin API, over any stream.
pub struct Api {
    deps: AdminDeps,
}

/// The outcome of a call.
struct Outcome {
    answer: Answer,
    principal: Option<String>,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl Api {
    /// Builds the API.
    pub fn new(deps: AdminDeps) -> Self {
        Self { deps }
    }

    /// Answers the one request of a connection.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        mut stream: S,
        caller: Caller,
        phase: Phase,
    ) {
        let (time, began) = (self.deps.clock.now(), self.deps.clock.tick());
        let mut head = Head::read(&mut stream).await;
        phase.works();
        let outcome = match &mut head {
            Ok(head) => self.answer(head, &mut stream, caller).await,
            Err(Fault::Gone) => return,
            Err(fault) => Outcome::refused(fault_refusal(*fault), None),
        };
        let head = head.ok();
        let call = OperatorActed {
            peer: match caller {
                Caller::Remote(peer) => Some(peer),
                Caller::Local { .. } => None,
            },
            principal: outcome.principal.as_deref(),
            method: head.as_ref().map(|head| head.method.as_str()),
            path: head.as_ref().map(|head| head.path.as_str()),
            status: outcome.answer.status,
            reason: outcome.reason,
            duration: self.deps.clock.tick().since(began),
            detail: outcome.detail.as_deref(),
        };
        self.deps.events.emit_at(time, EventKind::Operator(&call));
        phase.answered();
        outcome.answer.write(&mut stream, head.is_some_and(|head| head.method == "HEAD")).await;
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        head: &mut Head,
        stream: &mut S,
        caller: Caller,
    ) -> Outcome {
        let policy = (self.deps.policy)();
        let known =
            caller::identify(head, caller, policy.admin.as_ref(), self.deps.own_uid, self.deps.clock.now());
        drop(policy);
        let principal = match known {
            Ok(principal) => principal,
            Err(refused) => {
                let refusal = Refusal {
                    status: refused.status,
                    code: refused.code,
                    message: refused.message.to_owned(),
                };
                let mut outcome = Outcome::refused(refusal, None);
                if refused.status == 401 {
                    outcome.answer = outcome.answer.with("WWW-Authenticate", "Bearer");
                }
                return Outcome { detail: refused.detail, ..outcome };
            }
        };
        match self.call(head, stream, &principal).await {
            Ok((answer, detail)) => Outcome { answer, principal: Some(principal.name), reason: None, detail },
            Err(refusal) => Outcome::refused(refusal, Some(principal.name)),
        }
    }

    /// Carries out the call of an authenticated principal. Returns the answer, and a description for the
    /// log.
    async fn call<S>(
        &self,
        head: &mut Head,
        stream: &mut S,
        principal: &Principal,
    ) -> Result<(Answer, Option<String>), Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let endpoint = Endpoint::find(&head.path, &head.method)?;
        if !principal.may(endpoint.role()) {
            return Err(refusal(
                403,
                "role_missing",
                &format!("this call requires the role {}", endpoint.role().as_str()),
            ));
        }
        let control = &*self.deps.control;
        match endpoint {
            Endpoint::Status => Ok((json(200, &StatusBody::from(control.status())), None)),
            Endpoint::Tenant => Ok((json(200, &session::epoch(control, &head.path)?), None)),
            Endpoint::Reload => {
                let wish: ReloadBody = read_json(head, stream).await?;
                let wish = ReloadRequest { allow_removal: wish.allow_removal, dry_run: wish.dry_run };
                let ReloadReport { revision, warnings } =
                    control.reload(wish).await.map_err(control_refusal)?;
                let removal = if wish.allow_removal { " allow_removal=true" } else { "" };
                let done = if wish.dry_run { "would reload" } else { "reloaded" };
                let detail = format!("{done} revision={revision}{removal}");
                Ok((json(200, &ReloadedBody { revision, warnings }), Some(detail)))
            }
            Endpoint::Upgrade => {
                let wish: UpgradeBody = read_json(head, stream).await?;
                let report = control.upgrade(wish.start).await.map_err(control_refusal)?;
                let detail = format!("handed over to process {}", report.successor);
                let body = UpgradedBody {
                    predecessor: report.predecessor,
                    successor: report.successor,
                    took_ms: report.took.as_secs_f64() * 1000.0,
                };
                Ok((json(200, &body), Some(detail)))
            }
            Endpoint::Keys => {
                let keys = control.keys().into_iter().map(KeyBody::from).collect();
                Ok((json(200, &KeysBody { keys }), None))
            }
            Endpoint::Bans => Ok((json(200, &BansBody::new(control.bans(), self.deps.clock.now())), None)),
            Endpoint::Ban => {
                let (body, detail) = ban::make(control, &read_json(head, stream).await?)?;
                Ok((json(200, &body), Some(detail)))
            }
            Endpoint::Unban => {
                let (body, detail) = ban::lift(control, &read_json(head, stream).await?)?;
                Ok((json(200, &body), Some(detail)))
            }
            Endpoint::Sessions => {
                let (body, detail) = session::list(control, &read_json(head, stream).await?).await?;
                Ok((json(200, &body), Some(detail)))
            }
            Endpoint::Revoke => {
                let (body, detail) =
                    session::revoke(control, &read_json(head, stream).await?, self.deps.clock.now()).await?;
                Ok((json(200, &body), Some(detail)))
            }
        }
    }
}

impl Outcome {
    fn refused(refusal: Refusal, principal: Option<String>) -> Self {
        let error = ErrorDetail { code: refusal.code.to_owned(), message: refusal.message };
        Self {
            answer: json(refusal.status, &ErrorBody { error }),
            principal,
            reason: Some(refusal.code),
            detail: None,
        }
    }
}

/// Reads a JSON body. It requires the content type, because a web page cannot send that one without a CORS
/// preflight.
async fn read_json<T: DeserializeOwned, S>(head: &mut Head, stream: &mut S) -> Result<T, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let media = head.only("content-type").and_then(|text| text.split(';').next()).map(str::trim);
    if !media.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
        return Err(refusal(415, "not_json", "the Content-Type must be application/json"));
    }
    let body = head.read_body(stream).await.map_err(fault_refusal)?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    // serde's message would quote the body, which may hold secrets.
    serde_json::from_slice(body).map_err(|_| bad("the body is not the JSON object that this call expects"))
}

fn json(status: u16, body: &impl Serialize) -> Answer {
    // Strings and numbers always serialise.
    let mut body = serde_json::to_vec(body).unwrap_or_default();
    body.push(b'\n');
    Answer { status, content_type: "application/json", cache: NO_STORE, fields: Vec::new(), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::{
            exchange::BODY_BYTES,
            fixture::{ALICE, OLD, OWN, OWN_UID, REMOTE, VERA, bench, call, get, post, refused},
        },
        model::ControlError,
    };

    fn with_token(token: &str) -> String {
        format!("Authorization: Bearer {token}\r\n")
    }

    #[tokio::test]
    async fn a_status_is_told_in_json() {
        let bench = bench(OWN_UID);

        let told = call(&bench, OWN, &get("/v1/status", "")).await;

        let status: StatusBody = serde_json::from_str(&told.body).unwrap();
        assert_eq!(told.status, 200);
        assert!(
            told.head.contains("Content-Type: application/json\r\n")
                && told.head.contains("Cache-Control: no-store\r\n")
        );
        assert_eq!(
            (status.revision.as_str(), status.started.as_str(), status.tenants),
            ("0123456789abcdef", "2026-11-23T21:40:00Z", 3)
        );
        let seen = (Some(format!("local:{OWN_UID}")), Some("GET /v1/status".to_owned()), 200, None, None);
        assert_eq!(*bench.calls.lock().unwrap(), [seen]);
    }

    #[tokio::test]
    async fn the_socket_serves_root_and_our_own_user_only() {
        let bench = bench(OWN_UID);

        assert_eq!(call(&bench, Caller::Local { uid: 0 }, &get("/v1/status", "")).await.status, 200);
        assert_eq!(
            refused(&bench, Caller::Local { uid: 1 }, &get("/v1/status", "")).await,
            (403, "forbidden".to_owned())
        );
        assert_eq!(bench.calls.lock().unwrap()[1].4.as_deref(), Some("local:1"));
    }

    #[tokio::test]
    async fn a_token_is_needed_over_tcp() {
        let bench = bench(OWN_UID);
        let unauthorized = (401, "unauthorized".to_owned());

        assert_eq!(call(&bench, REMOTE, &get("/v1/status", &with_token(VERA))).await.status, 200);
        for fields in [
            String::new(),
            with_token("nobody"),
            with_token(""),
            with_token(&VERA[1..]),
            with_token(OLD),
            format!("Authorization: Basic {VERA}\r\n"),
            format!("{}{}", with_token(VERA), with_token(VERA)),
        ] {
            assert_eq!(refused(&bench, REMOTE, &get("/v1/status", &fields)).await, unauthorized, "{fields}");
        }
        let told = call(&bench, REMOTE, &get("/nowhere", "")).await;
        assert_eq!(told.status, 401);
        assert!(told.head.contains("WWW-Authenticate: Bearer\r\n"));
        assert!(
            bench
                .calls
                .lock()
                .unwrap()
                .iter()
                .any(|seen| seen.4.as_deref() == Some("the token of old has expired"))
        );
    }

    #[tokio::test]
    async fn a_role_is_needed_to_change_anything() {
        let bench = bench(OWN_UID);
        let reload = |token| {
            post("/v1/reload", "").replace("Content-Type", &format!("{}Content-Type", with_token(token)))
        };

        assert_eq!(refused(&bench, REMOTE, &reload(VERA)).await, (403, "role_missing".to_owned()));
        let told = call(&bench, REMOTE, &reload(ALICE)).await;

        assert_eq!((told.status, told.json()["revision"].as_str()), (200, Some("fedcba9876543210")));
        assert_eq!(bench.calls.lock().unwrap()[0].0.as_deref(), Some("vera"));
        assert_eq!(bench.calls.lock().unwrap()[1].0.as_deref(), Some("alice"));
    }

    #[tokio::test]
    async fn an_upgrade_is_for_operators_and_tells_both_processes() {
        let bench = bench(OWN_UID);
        let upgrade = |token| {
            post("/v1/upgrade", "{}").replace("Content-Type", &format!("{}Content-Type", with_token(token)))
        };

        assert_eq!(refused(&bench, REMOTE, &upgrade(VERA)).await, (403, "role_missing".to_owned()));
        assert_eq!(
            refused(&bench, OWN, &get("/v1/upgrade", "")).await,
            (405, "method_not_allowed".to_owned())
        );
        let told = call(&bench, REMOTE, &upgrade(ALICE)).await;
        assert_eq!(told.json(), serde_json::json!({"predecessor": 7, "successor": 8, "took_ms": 41.2}));
        let told = call(&bench, OWN, &post("/v1/upgrade", r#"{"start":false}"#)).await;
        assert_eq!(told.json()["successor"].as_u64(), Some(9));
    }

    #[tokio::test]
    async fn an_unknown_host_is_misdirected() {
        let bench = bench(OWN_UID);
        let to = |host: &str| get("/v1/status", &with_token(VERA)).replace("localhost:9901", host);

        assert_eq!(refused(&bench, REMOTE, &to("rebound.example")).await, (421, "host_unknown".to_owned()));
        assert_eq!(
            refused(&bench, REMOTE, &to("localhost\r\nHost: localhost")).await,
            (400, "host_missing".to_owned())
        );
        for host in ["LOCALHOST", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost:1"] {
            assert_eq!(call(&bench, REMOTE, &to(host)).await.status, 200, "{host}");
        }
        for host in [
            "[localhost]",
            "[localhost]x",
            "[::1]x",
            "[::1]9901",
            "[::1",
            "::1",
            "localhost:",
            "localhost:+1",
            "localhost:1:2",
            "localhost:65536",
        ] {
            assert_eq!(refused(&bench, REMOTE, &to(host)).await, (421, "host_unknown".to_owned()), "{host}");
        }
    }

    #[tokio::test]
    async fn pages_are_refused() {
        let bench = bench(OWN_UID);
        let cross_site = (403, "cross_site".to_owned());
        let get = |field: &str| get("/v1/status", &format!("{}{field}\r\n", with_token(VERA)));

        assert_eq!(refused(&bench, REMOTE, &get("Origin: http://localhost:9901")).await, cross_site);
        assert_eq!(refused(&bench, REMOTE, &get("Origin: null")).await, cross_site);
        assert_eq!(refused(&bench, REMOTE, &get("Sec-Fetch-Site: cross-site")).await, cross_site);
        assert_eq!(
            refused(&bench, REMOTE, &get("Sec-Fetch-Site: none\r\nSec-Fetch-Site: same-site")).await,
            cross_site
        );
        assert_eq!(call(&bench, REMOTE, &get("Sec-Fetch-Site: same-origin")).await.status, 200);
    }

    #[tokio::test]
    async fn what_the_control_says_no_to_has_its_own_status() {
        let bench = bench(OWN_UID);
        let table = [
            (
                ControlError::Config("octroi.yaml:3:1: unknown key".to_owned()),
                422,
                "config_invalid",
                "octroi.yaml:3:1: unknown key",
            ),
            (
                ControlError::Upgrade("no successor waits".to_owned()),
                409,
                "not_upgraded",
                "no successor waits",
            ),
            (ControlError::Unknown("acme".to_owned()), 404, "unknown", "the policy has no such tenant"),
            (
                ControlError::Unavailable("the journal is full".to_owned()),
                503,
                "unavailable",
                "the journal is full",
            ),
            (
                ControlError::HandedOver,
                503,
                "handed_over",
                "another process serves by now: this one handed over meanwhile, and its successor read the configuration when it began",
            ),
        ];

        for (error, status, code, message) in table {
            *bench.control.fails.lock().unwrap() = Some(error);

            let told = call(&bench, OWN, &post("/v1/reload", "{}")).await;

            assert_eq!(
                (told.status, told.code().as_str(), told.json()["error"]["message"].as_str()),
                (status, code, Some(message))
            );
        }
    }

    #[tokio::test]
    async fn other_paths_methods_and_types_are_refused() {
        let bench = bench(OWN_UID);
        let form = post("/v1/reload", "{}").replace("application/json", "text/plain");

        assert_eq!(refused(&bench, OWN, &get("/v2/status", "")).await, (404, "not_found".to_owned()));
        assert_eq!(
            refused(&bench, OWN, &get("/v1/reload", "")).await,
            (405, "method_not_allowed".to_owned())
        );
        assert_eq!(
            refused(&bench, OWN, &post("/v1/status", "")).await,
            (405, "method_not_allowed".to_owned())
        );
        assert_eq!(refused(&bench, OWN, &form).await, (415, "not_json".to_owned()));
        assert_eq!(
            refused(&bench, OWN, &post("/v1/reload", &" ".repeat(BODY_BYTES + 1))).await,
            (413, "body_too_large".to_owned())
        );
        assert_eq!(refused(&bench, OWN, "nonsense\r\n\r\n").await, (400, "malformed".to_owned()));
        assert_eq!(call(&bench, OWN, &post("/v1/reload", "")).await.status, 200);
    }
}
