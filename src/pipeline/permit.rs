//! What the pipeline returns: the proof that a request passed, and the facts about it.

use std::{borrow::Cow, sync::Arc};

use http::Method;

use super::{QuotaState, Session};
use crate::{
    checks::{origin::Sender, sign_in::Callback},
    model::{
        ClientCertificate, ClientIp, Deny, Host, Mode, Presented, QuotaName, QuotaOutcomes, QuotaVerdict,
        Scheme,
    },
    policy::{Quota, RequestLimits, Route, RouteAccess, Tenant},
    quota::Limit,
    session::Replaced,
    store::{Challenges, KeySets, QuotaKey},
};

/// The stores that the pipeline uses.
#[derive(Debug)]
pub struct Stores<'a, Q, R> {
    /// Counts charges against quotas.
    pub quotas: &'a Q,
    /// Knows which sessions were ended.
    pub revocations: &'a R,
    /// The running ACME challenges.
    pub challenges: &'a Challenges,
    /// The keys that issuers publish.
    pub key_sets: &'a KeySets,
}

// Not derived: a derive would require `Q: Clone` and `R: Clone`.
impl<Q, R> Clone for Stores<'_, Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Stores<'_, Q, R> {}

/// The facts that became known about a request, whether it passed or not. Answers and logs are made from
/// them; they prove nothing.
#[derive(Clone, Debug, Default)]
pub struct RequestFacts {
    /// The client.
    pub client: Option<ClientIp>,
    /// The scheme that the client used.
    pub scheme: Option<Scheme>,
    /// The host that was asked for.
    pub host: Option<Host>,
    /// The tenant that owns the host.
    pub realm: Option<Arc<Tenant>>,
    /// The session's tenant, where it is another one.
    pub member: Option<Arc<Tenant>>,
    /// The rule for the path as asked.
    pub route: Option<Arc<Route>>,
    /// The rules that also judge, because an app may read the path otherwise.
    pub alternates: Vec<Arc<Route>>,
    /// The session, once its token was opened and its clocks hold. It may still be refused: only
    /// [`Permit::session`] proves it.
    pub session: Option<Arc<Session>>,
    /// Whether the answer clears the cookie.
    pub clear_cookie: bool,
    /// Why a session that was presented counts as none, on a public route or in observe mode.
    pub session_fault: Option<Deny>,
    /// The session whose old token was presented again: it must be ended.
    pub reused: Option<Arc<Session>>,
    /// The quotas that were charged and are enforced, the tightest first.
    pub quotas: Vec<QuotaState>,
    /// Every quota that was charged, with its verdict.
    pub quota_outcomes: AskedQuotas,
    /// The charges for a failure, until it is known whether it was one.
    pub(super) charged: Vec<(QuotaKey, Limit)>,
    /// Whether the session that was presented is ignored, because another site sent the request and only the
    /// mark of a sign-in let it in.
    pub set_aside: bool,
    /// Whether it comes back from a sign-in that is unknown here.
    pub sign_in_lost: bool,
}

impl RequestFacts {
    /// Returns every rule that judges the request.
    pub fn rules(&self) -> impl Iterator<Item = &Route> + Clone {
        self.route.iter().chain(&self.alternates).map(|route| &**route)
    }
}

/// The quotas that were charged, each with its verdict.
#[derive(Clone, Debug, Default)]
pub struct AskedQuotas(pub(super) Vec<(Arc<Quota>, QuotaVerdict)>);

impl QuotaOutcomes for AskedQuotas {
    fn for_each(&self, see: &mut dyn FnMut(&QuotaName, QuotaVerdict)) {
        self.0.iter().for_each(|(quota, verdict)| see(&quota.name, *verdict));
    }
}

/// Where a request may go.
#[derive(Debug)]
pub enum Disposition {
    /// To the upstream.
    Permit(Permit),
    /// To this URL, because the listener only redirects to HTTPS.
    Redirect(String),
    /// Nowhere: a CA validates the host, and this is the answer.
    Challenge(Arc<str>),
}

/// The proof that a request passed every check. Choosing an upstream needs one, and only the pipeline makes
/// them. Whatever revalidates a long exchange holds it too.
#[derive(Clone, Debug)]
pub struct Permit(Arc<Parts>);

/// What a permit holds.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) realm: Arc<Tenant>,
    pub(super) acting: Arc<Tenant>,
    pub(super) route: Arc<Route>,
    pub(super) alternates: Vec<(Arc<Route>, Sender)>,
    pub(super) method: Method,
    pub(super) session: Option<Arc<Session>>,
    pub(super) client: ClientIp,
    pub(super) certificate: Option<Presented>,
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    pub(super) public_port: u16,
    pub(super) target: String,
    pub(super) limits: RequestLimits,
    pub(super) charged: Vec<(QuotaKey, Limit)>,
    pub(super) websocket: bool,
    pub(super) safe: bool,
    pub(super) part: Option<&'static str>,
    pub(super) sender: Sender,
    pub(super) on_session_end: OnSessionEnd,
    pub(super) granted: bool,
    pub(super) callback: Option<Callback>,
}

/// The effect of the end of its session on an exchange under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSessionEnd {
    /// As for a new request: the exchange ends where a rule needs a session, and continues without it
    /// elsewhere.
    AsNew,
    /// The app has the whole request, and may end the session in its answer, which is waited for. Otherwise
    /// as for a new request.
    AwaitsAnswer,
    /// The exchange ends, whatever the rules say.
    Ends,
    /// None, because its own answer has ended the session. Everything else that ends an exchange still does.
    Nothing,
}

impl Permit {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the effect of the end of its session.
    pub fn on_session_end(&self) -> OnSessionEnd {
        self.0.on_session_end
    }

    /// Sets the effect of the end of its session from now on.
    pub fn set_on_session_end(&mut self, effect: OnSessionEnd) {
        if self.0.on_session_end != effect {
            Arc::make_mut(&mut self.0).on_session_end = effect;
        }
    }

    /// Returns the permit of the same request without its session, which none of its rules needs.
    #[must_use]
    pub fn without_session(&self) -> Self {
        let acting = Arc::clone(&self.0.realm);
        Self::new(Parts { session: None, acting, ..Parts::clone(&self.0) })
    }

    /// Returns the permit of an exchange whose answer has begun a session: from now on it ends with that one.
    #[must_use]
    pub fn granted(&self, session: Arc<Session>, tenant: Arc<Tenant>) -> Self {
        let on_session_end = OnSessionEnd::AsNew;
        Self::new(Parts {
            session: Some(session),
            acting: tenant,
            on_session_end,
            granted: true,
            ..Parts::clone(&self.0)
        })
    }

    /// Says whether the session began in the answer.
    pub(super) fn is_granted(&self) -> bool {
        self.0.granted
    }

    /// Says whether the exchange may outlive its session because its answer may be a sign-out: a rule needs a
    /// session, and the app may end it there.
    pub fn may_sign_out(&self) -> bool {
        let public = |route: &Arc<Route>| route.access == RouteAccess::Public;
        let mut rules = self.rules();
        self.0.route.revoke
            && self.0.session.is_some()
            && self.0.realm.mode == Mode::Enforce
            && !rules.clone().all(public)
            && rules.all(|route| public(route) || route.revoke)
    }

    /// Says whether the app may begin or end sessions with its answer.
    pub fn may_change_sessions(&self) -> bool {
        self.0.route.grant.is_allowed() || self.0.route.revoke
    }

    /// Returns how it is known that the request loads a part of a page, if it does.
    pub(super) fn part(&self) -> Option<&'static str> {
        self.0.part
    }

    pub(super) fn callback(&self) -> Option<&Callback> {
        self.0.callback.as_ref()
    }

    /// Says whether a page of another site sent the request.
    pub fn is_foreign(&self) -> bool {
        self.0.sender.foreign().is_some()
    }

    /// Returns the name of the cookie that marks the sign-in from which the request comes back.
    pub fn sign_in(&self) -> Option<&str> {
        match self.0.callback.as_ref()? {
            Callback::Begun { mark, .. } => Some(mark),
            Callback::Unknown(_) => None,
        }
    }

    /// Returns the session that the sign-in replaces, where the request that comes back from it could not
    /// present that session.
    pub fn replaces(&self) -> Option<&Replaced> {
        match self.0.callback.as_ref()? {
            Callback::Begun { replaces, .. } => replaces.as_deref(),
            Callback::Unknown(_) => None,
        }
    }

    /// Returns the realm: the tenant that owns the host.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.0.realm
    }

    /// Returns the tenant in whose name the request acts: the session's, otherwise the realm.
    pub fn acting_tenant(&self) -> &Arc<Tenant> {
        &self.0.acting
    }

    /// Returns the rule.
    pub fn route(&self) -> &Arc<Route> {
        &self.0.route
    }

    /// Returns every rule that let the request through, the one for the path as asked first.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Arc<Route>> + Clone {
        std::iter::once(&self.0.route).chain(self.0.alternates.iter().map(|(route, _)| route))
    }

    /// Returns the same rules, each with the sender of the request as that rule knows it.
    pub(super) fn rules_with_sender(&self) -> impl Iterator<Item = (Sender, &Route)> {
        std::iter::once((self.0.sender, &*self.0.route))
            .chain(self.0.alternates.iter().map(|(route, sender)| (*sender, &**route)))
    }

    pub(super) fn method(&self) -> &str {
        self.0.method.as_str()
    }

    /// Returns the valid session; `None` means anonymous.
    pub fn session(&self) -> Option<&Session> {
        self.0.session.as_deref()
    }

    /// Returns the client.
    pub fn client(&self) -> ClientIp {
        self.0.client
    }

    /// Returns the client's certificate, where the tenant in whose name the request acts accepts it.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        let presented = self.0.certificate.as_ref()?;
        presented.is_accepted_by(&self.0.acting.name).then_some(&*presented.certificate)
    }

    /// Returns the host that was asked for.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Returns the scheme that the client used.
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// Returns the host, with the port that was asked for unless it is the scheme's default. Apps compare it
    /// with `Origin`, and make redirects from it.
    pub fn authority(&self) -> Cow<'_, str> {
        let host = self.0.host.as_str();
        self.0.port.map_or(Cow::Borrowed(host), |port| Cow::Owned(format!("{host}:{port}")))
    }

    /// Returns the port that the client sees: the one that it asked for, otherwise the scheme's default.
    pub fn public_port(&self) -> u16 {
        self.0.public_port
    }

    /// Returns the path and query to forward: as received, with `//` merged where the route says so.
    pub fn path_and_query(&self) -> &str {
        &self.0.target
    }

    /// Returns the limits of the request.
    pub fn limits(&self) -> RequestLimits {
        self.0.limits
    }

    /// Says whether the request may be a sign-in: one of its rules may grant a session.
    pub fn is_sign_in(&self) -> bool {
        self.rules().any(|route| route.grant.is_allowed())
    }

    /// Returns the charges that are given back if the request turns out to be no failure.
    pub fn charged_failures(&self) -> &[(QuotaKey, Limit)] {
        &self.0.charged
    }

    /// Says whether the method is safe (RFC 9110, section 9.2.1).
    pub fn is_safe(&self) -> bool {
        self.0.safe
    }

    /// Says whether the request is a WebSocket handshake that the route allows.
    pub fn websocket(&self) -> bool {
        self.0.websocket
    }
}
