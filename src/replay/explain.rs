//! The explanation of one decision.

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use serde::Serialize;

use super::{DescribeError, Described, Request};
use crate::{
    model::{
        ClientIp, Deny, QuotaAnswer, Reason, RequestView, Step, Tick, Trail, UnixTime, Verdict, printable,
    },
    pipeline::{Disposition, RequestFacts, Stores, judge},
    policy::Policy,
    quota::Limit,
    sessions::RevocationStore,
    store::{ChargeAnswers, QuotaCharge, QuotaKey, QuotaStore},
};

/// A decision, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The revision of the policy that judged.
    pub revision: String,
    /// The request.
    pub request: Asked,
    /// The steps in the order in which they were taken.
    pub steps: Vec<Told>,
    /// The outcome: `allow`, `deny` or `redirect`.
    pub decision: &'static str,
    /// The refusal, if there was one.
    pub refusal: Option<Refusal>,
    /// What observe mode let pass: the `would` of the access line.
    pub would: Option<&'static str>,
    /// What the client would receive.
    pub client_gets: String,
    /// What the running octroi was asked, or why it was not; empty if it was not tried.
    pub running: String,
    /// The client whose ban would close the connection: the peer, unless it is a trusted proxy.
    #[serde(skip)]
    pub bannable: Option<ClientIp>,
}

impl Explained {
    /// Records that the running octroi has banned the client: the connection closes before any of the
    /// request is read, so there are no steps.
    pub fn refuse_banned(&mut self, detail: String) {
        let text = detail.clone();
        self.steps = vec![Told {
            stage: "connection",
            outcome: Outcome::Deny,
            text,
            reason: Some("banned"),
            rule: None,
        }];
        self.decision = "deny";
        self.would = None;
        self.client_gets = "nothing: the connection is closed".to_owned();
        let meaning = "The client is banned for a while.";
        self.refusal = Some(Refusal { reason: "banned", meaning, detail, status: 0, rule: None });
    }
}

/// The request, and what the steps found out about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The host.
    pub host: Option<String>,
    /// The decided client address.
    pub client: Option<String>,
    /// The tenant that owns the host.
    pub tenant: Option<String>,
    /// The session's tenant, if it is another.
    pub member: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// The session's user.
    pub user: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The check.
    pub stage: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// What it found.
    pub text: String,
    /// The reason code, if it found something against the request.
    pub reason: Option<&'static str>,
    /// The position of the deciding rule: `file:line`.
    pub rule: Option<String>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It let the request pass.
    Pass,
    /// It would have refused, but observe mode let the request pass.
    WouldDeny,
    /// It refused.
    Deny,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason code.
    pub reason: &'static str,
    /// What the reason means in general.
    pub meaning: &'static str,
    /// The facts of this request.
    pub detail: String,
    /// The HTTP status; 0 if the connection closes without an answer.
    pub status: u16,
    /// The position of the deciding rule.
    pub rule: Option<String>,
}

/// Explains how the policy decides a described request.
///
/// Quotas are only read: nothing is charged, and the answer is what a first request would get now.
pub fn explain<Q: QuotaStore, R: RevocationStore>(
    described: &Described,
    policy: &Policy,
    stores: Stores<'_, Q, R>,
    now: UnixTime,
    tick: Tick,
) -> Result<Explained, DescribeError> {
    let request = Request::new(described, policy)?;
    let view = request.view(now, tick);
    let (mut facts, mut trail) = (RequestFacts::default(), Trail::full());
    let peeking = Stores {
        quotas: &Peek(stores.quotas),
        revocations: stores.revocations,
        challenges: stores.challenges,
        key_sets: stores.key_sets,
    };
    let verdict = at_once(judge(&view, policy, peeking, &mut facts, &mut trail));
    Ok(Explained {
        revision: policy.revision.clone(),
        request: asked(&view, &facts),
        // A step that passed without a note had nothing to check.
        steps: trail
            .steps()
            .iter()
            .filter(|step| step.deny.is_some() || step.note.is_some())
            .map(|step| told(step, policy))
            .collect(),
        decision: match &verdict {
            Ok(Disposition::Permit(_)) => "allow",
            Ok(Disposition::Redirect(_)) => "redirect",
            Ok(Disposition::Challenge(_)) => "allow",
            Err(_) => "deny",
        },
        client_gets: client_gets(&view, &verdict, &facts, policy),
        running: String::new(),
        bannable: Some(ClientIp::from(view.connection.source.ip()))
            .filter(|ip| !policy.is_own_proxy(&view.connection.listener, *ip, view.connection.is_peer())),
        refusal: verdict.err().map(|deny| refusal(&deny, policy)),
        would: trail.would().map(|deny| deny.reason.code()),
    })
}

/// A quota store that is only read.
struct Peek<'a, Q>(&'a Q);

impl<Q: QuotaStore> QuotaStore for Peek<'_, Q> {
    fn take(&self, charges: &[QuotaCharge], tick: Tick) -> impl Future<Output = ChargeAnswers> + Send {
        std::future::ready(ChargeAnswers::in_order(charges, |key, limit| self.0.peek(key, limit, tick)))
    }

    fn give_back(&self, _key: &QuotaKey, _limit: Limit, _tick: Tick) {}

    fn peek(&self, key: &QuotaKey, limit: Limit, tick: Tick) -> QuotaAnswer {
        self.0.peek(key, limit, tick)
    }
}

/// Runs a judgement to its end without a runtime. It could only wait for the quota store, and [`Peek`] never
/// waits.
fn at_once<T>(judgement: impl Future<Output = Verdict<T>>) -> Verdict<T> {
    match pin!(judgement).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => {
            Err(Deny::new(Reason::Internal, "a store that is only looked at made the judgement wait"))
        }
    }
}

fn asked(view: &RequestView<'_>, facts: &RequestFacts) -> Asked {
    let target = String::from_utf8_lossy(view.target);
    Asked {
        method: view.method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        host: facts.host.as_ref().map(ToString::to_string),
        client: facts.client.as_ref().map(ToString::to_string),
        tenant: facts.realm.as_ref().map(|tenant| tenant.name.to_string()),
        member: facts.member.as_ref().map(|tenant| tenant.name.to_string()),
        route: facts.route.as_ref().map(|route| route.id.as_str().to_owned()),
        user: facts.session.as_ref().map(|session| session.claims.user.to_string()),
    }
}

fn told(step: &Step, policy: &Policy) -> Told {
    let stage = step.stage.as_str();
    if let Some(deny) = &step.deny {
        let outcome = if step.observed { Outcome::WouldDeny } else { Outcome::Deny };
        let rule = deny.rule.map(|origin| policy.locate(origin).to_string());
        return Told {
            stage,
            outcome,
            text: deny.detail.clone().into_owned(),
            reason: Some(deny.reason.code()),
            rule,
        };
    }
    let (text, rule) = match &step.note {
        Some((text, origin)) => {
            (text.clone().into_owned(), origin.map(|origin| policy.locate(origin).to_string()))
        }
        None => (String::new(), None),
    };
    Told { stage, outcome: Outcome::Pass, text, reason: None, rule }
}

fn refusal(deny: &Deny, policy: &Policy) -> Refusal {
    Refusal {
        reason: deny.reason.code(),
        meaning: deny.reason.meaning(),
        detail: deny.detail.clone().into_owned(),
        status: deny.reason.status(),
        rule: deny.rule.map(|origin| policy.locate(origin).to_string()),
    }
}

/// Describes what the client would receive. A refusal reveals no rules, tenants or keys.
fn client_gets(
    view: &RequestView<'_>,
    verdict: &Verdict<Disposition>,
    facts: &RequestFacts,
    policy: &Policy,
) -> String {
    match verdict {
        Ok(Disposition::Redirect(location)) => format!("308 to {location}"),
        Ok(Disposition::Challenge(_)) => "200: what proves the host to a CA".to_owned(),
        Ok(Disposition::Permit(permit)) => {
            let upstream = &permit.tenant().upstream.name;
            let cookie = if facts.clear_cookie { ", and the session cookie taken away" } else { "" };
            format!(
                "what upstream `{upstream}` answers to {}{cookie}",
                permit.path_and_query().split('?').next().unwrap_or_default()
            )
        }
        Err(deny) => {
            let status = deny.reason.status();
            let words = http::StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("");
            let login = policy
                .sessions
                .as_ref()
                .and_then(|sessions| sessions.login_url.as_deref())
                .filter(|_| status == 401);
            let login = login.and_then(|url| match view.method {
                // A redirect from the login page to itself would loop.
                "GET" if view.target.split(|&byte| byte == b'?').next() != Some(url.as_bytes()) => {
                    Some(format!("; a browser that asks for a page: 303 to {url}"))
                }
                "POST" => Some(format!("; a browser that sends a form: 303 to {url}")),
                _ => None,
            });
            let login = login.unwrap_or_default();
            let retry = deny.retry_after.map_or_else(String::new, |wait| {
                format!("; Retry-After: {}", wait.as_millis().div_ceil(1000))
            });
            format!("{status} {words}: a fixed text and the request id{retry}{login}")
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { method, path, host, .. } = &self.request;
        writeln!(
            f,
            "{method} {}{path}, judged by revision {}",
            host.as_deref().unwrap_or("?"),
            self.revision,
            path = printable(path),
            method = printable(method)
        )?;
        for step in &self.steps {
            let mark = match step.outcome {
                Outcome::Pass => "pass",
                Outcome::WouldDeny => "would deny",
                Outcome::Deny => "deny",
            };
            write!(f, "  {:<13} {mark:<10} {}", step.stage, printable(&step.text))?;
            if let Some(reason) = step.reason {
                write!(f, " [{reason}]")?;
            }
            match &step.rule {
                Some(rule) => writeln!(f, " ({rule})")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "decision: {}", self.decision)?;
        if let Some(refusal) = &self.refusal {
            writeln!(f, "reason:   {} ({})", refusal.reason, refusal.meaning)?;
            writeln!(f, "runbook:  docs/runbooks/reasons.md#{}", refusal.reason)?;
        }
        writeln!(f, "client:   {}", self.client_gets)?;
        if self.running.is_empty() { Ok(()) } else { writeln!(f, "running:  {}", printable(&self.running)) }
    }
}
