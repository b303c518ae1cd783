//! Which counters an event moves.

use super::table::Metrics;
use crate::{
    model::{
        BanCause, ConnectionChange, ConnectionChanged, Event, EventKind, NodeChanged, PolicyChanged, Reason,
        RequestEnded, SessionEvent, Stage, UnixTime, UpstreamAttempted, UpstreamOutcome,
    },
    policy::AcmeChallenge,
};

impl Metrics {
    /// Counts an event.
    pub(in crate::telemetry) fn count(&self, event: &Event<'_>) {
        match event.what {
            EventKind::Request(request) => self.count_request(request),
            EventKind::Connection(connection) => self.count_connection(connection),
            EventKind::Session(session) => self.session(session.change),
            EventKind::Operator(call) => self.admin_request(call.status),
            EventKind::Policy(PolicyChanged::Loaded) => self.reload_succeeded(),
            EventKind::Policy(PolicyChanged::Refused) => self.reload_failed(),
            EventKind::Node(node) => self.count_node(node, event.time),
        }
    }

    fn count_request(&self, request: &RequestEnded<'_>) {
        let RequestEnded { deny, tenant, counts, .. } = *request;
        if let Some(deny) = deny.filter(|_| request.ended_under_way) {
            self.exchange_ended(deny.reason);
        }
        // Over HTTP/2, a client that is refused early may get a frame and no status. It counts with the
        // status that HTTP/1 has for the same refusal.
        let status = request.status.or(deny.map(|deny| deny.reason.status())).unwrap_or_default();
        self.request(tenant, status, request.decision, request.duration);
        if request.is_challenge {
            self.acme_challenge(AcmeChallenge::Http01);
        }
        for step in request.steps.iter().filter(|step| step.observed) {
            if let Some(deny) = &step.deny {
                self.observed(tenant, deny.reason);
            }
        }
        request.quotas.for_each(&mut |quota, verdict| self.quota(quota, verdict));
        let fault = session_fault(request);
        if request.session_held || fault.is_some() {
            self.session_check(fault);
        }
        if let Some(upstream) = &request.upstream {
            self.count_upstream(upstream, request);
        }
        counts.headers_dropped().for_each(|(reason, count)| self.headers_dropped(reason, count));
        counts.app_cookies().for_each(|(fate, count)| self.app_cookies(fate, count));
        self.sessions(SessionEvent::CookieLookalike, counts.cookie_lookalikes);
        self.sessions(SessionEvent::CookieCleared, counts.cookies_cleared);
    }

    fn count_upstream(&self, upstream: &UpstreamOutcome<'_>, request: &RequestEnded<'_>) {
        let failed = request.deny.map(|deny| deny.reason).filter(|reason| reason.stage() == Stage::Upstream);
        let Some(UpstreamAttempted { status, duration, tries, .. }) = upstream.attempt else {
            // The request was refused before a server was chosen, or needed none.
            if let Some(reason) = failed {
                self.with_upstream(upstream.name, |series| series.error(reason));
            }
            return;
        };
        self.with_upstream(upstream.name, |series| {
            match (status, duration, failed) {
                (Some(status), Some(took), _) => series.answer(status, took),
                (_, _, Some(reason)) => series.error(reason),
                (_, _, None) => {}
            }
            (1..tries).for_each(|_| series.retry());
        });
    }
}

impl Metrics {
    fn count_connection(&self, connection: &ConnectionChanged<'_>) {
        let listener = connection.listener;
        match connection.change {
            ConnectionChange::Opened => self.connection_opened(listener),
            ConnectionChange::Closed => self.connection_closed(listener),
            ConnectionChange::Refused { refusal, .. } if refusal.is_of_handshake() => {
                self.handshake_failed(listener, refusal.code())
            }
            ConnectionChange::Refused { refusal, .. } => self.connection_refused(listener, refusal.code()),
            ConnectionChange::Secured { tls, took } => self.handshake(listener, tls, took),
            ConnectionChange::HostProven { .. } => self.acme_challenge(AcmeChallenge::TlsAlpn01),
            ConnectionChange::Cut(cut) => self.connection_cut(listener, cut),
        }
    }

    fn count_node(&self, node: NodeChanged<'_>, now: UnixTime) {
        match node {
            NodeChanged::Banned { cause: BanCause::Protocol(_), .. } => self.ban("protocol"),
            NodeChanged::Banned { cause: BanCause::Operator(_), .. } => self.ban("operator"),
            NodeChanged::RevocationWritten(result) => self.revocation_write(result),
            NodeChanged::ClockStepped => self.clock_stepped(),
            NodeChanged::CertificatesRenewed { count } => self.certificates_renewed(count),
            NodeChanged::CertificateRefused => self.certificate_refused(),
            NodeChanged::CertificateOrdered(result) => self.acme_order(result, now),
            NodeChanged::KeySetFetched { set, result } => self.key_set_fetch(set, result),
        }
    }
}

/// Returns why the presented session is invalid. A missing session, or a revocation check without an answer,
/// is not a fault of the session.
fn session_fault(request: &RequestEnded<'_>) -> Option<Reason> {
    let refused = request.deny.map(|deny| deny.reason).filter(|reason| {
        matches!(reason.stage(), Stage::Session | Stage::Revocation)
            && !matches!(
                reason,
                Reason::SessionMissing | Reason::RevocationStale | Reason::RevocationUnavailable
            )
    });
    request.session_fault.map(|fault| fault.reason).or(refused)
}
