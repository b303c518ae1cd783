//! What one request gathers on its way.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use super::{
    logged_request::LoggedRequest,
    shared::{Shared, Snapshot},
};
use crate::{
    model::{
        Connection, Decision, Deny, Http2Error, Malformed, Reason, RequestCounts, RequestId, Scheme, Tick,
        Trail, UnixTime, UserId,
    },
    pipeline::{Permit, RequestFacts},
    policy::Tenant,
    upstream::Registration,
};

/// The state of one request, from its head to its access line.
#[derive(Debug)]
pub struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) id: RequestId,
    pub(super) began: UnixTime,
    pub(super) tick: Tick,
    pub(super) connection: Option<Arc<Connection>>,
    /// The stream that it came on, over HTTP/2.
    pub(super) stream: Option<u32>,
    /// What is wrong with its head, over HTTP/2.
    pub(super) malformed: Option<Malformed>,
    /// Whether edge has written its line, because it did not begin in time.
    pub(super) logged_by_edge: bool,
    /// The error that its stream was reset with, where that happened before the request was forwarded or
    /// before it ended.
    pub(super) reset: Option<Http2Error>,
    pub(super) logged_request: Option<LoggedRequest>,
    /// Whether it reached the hook that writes its line.
    pub(super) ended_itself: bool,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) head: Option<Vec<u8>>,
    pub(super) facts: RequestFacts,
    pub(super) trail: Trail,
    pub(super) permit: Option<Permit>,
    pub(super) decision: Decision,
    pub(super) deny: Option<Deny>,
    pub(super) body_in: u64,
    /// The least rate of a body that is still to come, in octets per second.
    pub(super) body_rate: Option<u64>,
    /// How long the gateway waited for the client's body.
    pub(super) body_waited: Duration,
    /// How many octets of our own answer's body were left to the library, which sends them when it can.
    pub(super) left: usize,
    /// How many octets of the answer's body the client took.
    pub(super) body_out: u64,
    /// How long the gateway waited for the client to take the answer.
    pub(super) unread_for: Duration,
    /// Whether it is a gRPC call to servers that can answer one.
    pub(super) call: bool,
    /// Whether the answer has ended.
    pub(super) answered: bool,
    /// How long it took until its answer ended, where more of the request came after that.
    pub(super) took: Option<Duration>,
    pub(super) upstream: Option<UpstreamAttempt>,
    /// What happened several times within it.
    pub(super) counts: RequestCounts,
    /// Whom the answer granted a session to.
    pub(super) granted: Option<GrantedTo>,
    /// `Set-Cookie` values about sign-ins that began here.
    pub(super) sign_in_cookies: Vec<String>,
    /// What the upstream asked for in vain.
    pub(super) ignored: Option<String>,
    /// The name of the session in logs and towards the upstream.
    pub(super) session_hash: Option<String>,
    /// The `Set-Cookie` value for the session cookie, if the answer sets or clears it.
    pub(super) session_cookie: Option<String>,
    pub(super) websocket_key: Option<HeaderValue>,
    pub(super) upgraded: bool,
    /// Whether a CA asked, to validate a host.
    pub(super) challenge: bool,
    /// When the exchange was last revalidated.
    pub(super) revalidated: Tick,
    /// The count of changes at that time.
    pub(super) changes: u64,
    /// Whether its session has ended, and it goes on without.
    pub(super) without_session: bool,
    /// Whether it was ended while under way.
    pub(super) ended: bool,
    /// Its registration among the live exchanges.
    pub(super) registration: Option<Registration>,
    /// The number of the budget that it holds something of; 0 is none.
    pub(super) holding: usize,
}

impl Context {
    /// Begins a request. Boxed: the library keeps it in place three times over in the future of every
    /// connection, idle ones too.
    pub(super) fn begin(shared: &Arc<Shared>) -> Box<Self> {
        let tick = shared.clock.tick();
        Box::new(Self {
            shared: Arc::clone(shared),
            id: shared.request_id(),
            began: shared.clock.now(),
            tick,
            connection: None,
            stream: None,
            malformed: None,
            logged_by_edge: false,
            reset: None,
            logged_request: None,
            ended_itself: false,
            snapshot: None,
            head: None,
            facts: RequestFacts::default(),
            trail: Trail::brief(),
            permit: None,
            decision: Decision::Allow,
            deny: None,
            body_in: 0,
            body_rate: None,
            body_waited: Duration::ZERO,
            left: 0,
            body_out: 0,
            unread_for: Duration::ZERO,
            call: false,
            answered: false,
            took: None,
            upstream: None,
            counts: RequestCounts::default(),
            granted: None,
            sign_in_cookies: Vec::new(),
            ignored: None,
            session_hash: None,
            session_cookie: None,
            websocket_key: None,
            upgraded: false,
            challenge: false,
            revalidated: tick,
            changes: shared.live_exchanges.changes(),
            without_session: false,
            ended: false,
            registration: None,
            holding: 0,
        })
    }

    /// Notes that the request failed, and why. The first reason stays.
    ///
    /// A client that goes away was not refused, and a tunnel ends that way: the decision stays what it was.
    pub(super) fn fail(&mut self, deny: Deny) {
        let left = deny.reason == Reason::ClientClosed;
        if left && self.upgraded {
            return;
        }
        if !left && !matches!(self.decision, Decision::Deny(_)) {
            self.decision = Decision::Deny(deny.reason);
        }
        self.deny.get_or_insert(deny);
    }

    /// Notes which budget the exchange holds something of that others may wait for; 0 is none.
    pub(super) fn holds_budget(&mut self, number: usize) {
        self.holding = number;
        if let Some(registration) = &self.registration {
            registration.holds_budget(number);
        }
    }

    /// Returns the tenant whose settings apply to an answer of ours: the host's, else the one that the
    /// handshake named.
    pub(super) fn realm(&self) -> Option<Arc<Tenant>> {
        let named = || {
            let sni = self.connection.as_ref()?.facts().tls()?.sni.as_ref()?;
            self.snapshot.as_ref()?.policy.tenants.owning(sni).cloned()
        };
        self.facts.realm.clone().or_else(named)
    }

    /// Says whether the client came over TLS, as far as that is known.
    pub(super) fn is_secure(&self) -> bool {
        let over_tls =
            || self.connection.as_ref().is_some_and(|connection| connection.facts().tls().is_some());
        self.facts.scheme.map_or_else(over_tls, Scheme::is_secure)
    }

    /// Says whether the client's certificate is no longer accepted by any tenant, whatever the request is
    /// refused for.
    pub(super) fn has_refused_certificate(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.certificate_is_refused())
    }
}

/// Whom a grant made a session for.
#[derive(Clone, Debug)]
pub(super) struct GrantedTo {
    pub(super) tenant: Arc<Tenant>,
    pub(super) user: UserId,
    pub(super) hash: String,
}

/// What is known of the last attempt to have the upstream answer.
#[derive(Clone, Debug)]
pub(super) struct UpstreamAttempt {
    pub(super) server: Arc<str>,
    pub(super) tries: u32,
    pub(super) began: Tick,
    pub(super) first_byte: Option<Tick>,
    pub(super) status: Option<u16>,
}

impl UpstreamAttempt {
    /// Notes the status of an answer, and when the first one began.
    pub(super) fn answered(&mut self, status: u16, now: Tick) {
        self.first_byte.get_or_insert(now);
        self.status = Some(status);
    }
}
