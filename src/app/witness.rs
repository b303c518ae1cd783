//! Writes down what happens at the doors.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    admin::{AdminCall, Caller},
    checks::hygiene,
    edge::{EarlyCause, EdgeRefusal, Http2Error, Http2Refusal, TlsState, Witness},
    gateway::{Refusal, Shared, early_line, owner_of_head, reset_of},
    model::{BanCause, ClientIp, Connection, Cut, Decision, Deny, Host, HttpVersion, ListenerName, Reason, TlsFacts, UnixTime},
    policy::{AcmeChallenge, ListenerKind, Policy},
    telemetry::{AccessLine, Event, Metrics, Sum, Tally},
};

/// Counts and logs for edge.
pub(super) struct Clerk {
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<Tally>,
    /// Makes a number of what sets refusals apart; nobody can choose texts with the same one.
    pub(super) apart: ahash::RandomState,
}

impl Witness for Clerk {
    fn connection_opened(&self, listener: &ListenerName) {
        self.shared.metrics.connection_opened(listener);
    }

    fn connection_closed(&self, listener: &ListenerName) {
        self.shared.metrics.connection_closed(listener);
    }

    fn refused(&self, listener: &ListenerName, peer: SocketAddr, refusal: EdgeRefusal, detail: &str) {
        if is_of_handshake(refusal) {
            self.shared.metrics.handshake_failed(listener, refusal.code());
        } else {
            self.shared.metrics.connection_refused(listener, refusal.code());
        }
        let source = ClientIp::from(peer.ip());
        // Whose certificate it is, and why it is refused, are facts of their own.
        let apart = if refusal == EdgeRefusal::ClientCertificate { self.apart.hash_one(detail) } else { 0 };
        let noted = self.tally.note_apart(listener, refusal.code(), source, apart, self.shared.clock.tick());
        write_sums(&self.shared, &noted.sums);
        if noted.alone {
            // Only where it is written: a client that is banned comes as often as it likes.
            let banned = (refusal == EdgeRefusal::Banned).then(|| self.ban_of(source)).flatten();
            let detail = banned.as_deref().unwrap_or(detail);
            let snapshot = self.shared.snapshot.load();
            snapshot.log.write(&AccessLine {
                peer: Some(peer.ip()),
                detail: Some(detail).filter(|detail| !detail.is_empty()),
                ..refused_line(&self.shared, &snapshot.policy.revision, listener, refusal.code())
            });
        }
    }

    fn is_banned(&self, client: ClientIp) -> bool {
        let bans = &self.shared.bans;
        bans.may_be_any() && bans.is_banned(client.prefix(), self.shared.clock.tick())
    }

    fn handshake(&self, listener: &ListenerName, tls: &TlsFacts, took: Duration) {
        self.shared.metrics.handshake(listener, tls, took);
    }

    fn proven(&self, listener: &ListenerName, peer: SocketAddr, host: &Host) {
        self.shared.metrics.acme_challenge(AcmeChallenge::TlsAlpn01);
        let snapshot = self.shared.snapshot.load();
        snapshot.log.write(&AccessLine {
            event: Event::Connection,
            time: self.shared.clock.now(),
            listener: Some(listener.as_str()),
            peer: Some(peer.ip()),
            host: Some(host.as_str().as_bytes()),
            decision: Some("allow"),
            reason: Some("acme_challenge"),
            revision: Some(&snapshot.policy.revision),
            ..AccessLine::default()
        });
    }

    fn early_refusal(&self, connection: &Connection, head: &[u8], cause: EarlyCause) -> Vec<u8> {
        let snapshot = self.shared.snapshot.load();
        let deny = match cause {
            EarlyCause::HeadTimeout => late(connection),
            EarlyCause::HeadTooLarge => Deny::new(Reason::HeadTooLarge, "the head has no end within the limit"),
            // The library says only that it is bad; our own lint says why.
            EarlyCause::Library(status) => hygiene::lint(head, &snapshot.policy.limits).err().unwrap_or_else(|| by_status(status)),
        };
        let id = self.shared.request_id();
        let now = self.shared.clock.now();
        let facts = connection.facts();
        let (host, owner) = owner_of_head(head, facts, &snapshot.policy).unzip();
        let owner = owner.flatten();
        let tenant = owner.as_ref().map(|tenant| &tenant.name);
        snapshot.log.write(&early_line(facts, now, &id, head, (host.as_ref(), tenant), &deny, &snapshot.policy.revision));
        self.shared.metrics.request(tenant, deny.reason.status(), Decision::Deny(deny.reason), now.since(facts.accepted));
        self.hold_against(connection, &deny);
        let tls = facts.tls();
        let named = || tls.and_then(|tls| tls.sni.as_ref()).and_then(|sni| snapshot.policy.tenants.owning(sni));
        let realm = owner.as_ref().or_else(named);
        Refusal::early(deny.reason, id, head, &snapshot.policy.limits, tls.is_some(), realm.map(|realm| &*realm.response_headers))
            .to_http1()
    }

    fn stream_reset(&self, connection: &Connection, error: Http2Error) {
        self.hold_against(connection, &Deny::new(Reason::Protocol, "").honest(!error.is_offence_of_a_stream()));
    }

    fn http2_refused(&self, connection: &Connection, refusal: Http2Refusal) {
        let deny = match refusal {
            Http2Refusal::Stream(number, error) => {
                // It was held against its client when it happened.
                reset_of(number, error)
            }
            // Also where they differ only in how they are written.
            Http2Refusal::Authority(number) => {
                let detail = format!("stream {number}: the authority is missing or malformed, or Host names another one");
                Deny::new(Reason::Protocol, detail).honest(true)
            }
            Http2Refusal::Connection(error) => {
                // The library has bounds of its own, of what we cannot see.
                let reason = if error == Http2Error::Calm { Reason::H2Abuse } else { Reason::Protocol };
                let detail = format!("the connection was ended: {}", error.as_str());
                Deny::new(reason, detail).honest(!error.is_offence_of_a_connection())
            }
            Http2Refusal::Fields => {
                Deny::new(Reason::Protocol, format!("the connection was ended: {}", Http2Error::Protocol.as_str())).honest(true)
            }
            Http2Refusal::HeadTimeout => late(connection),
            Http2Refusal::Abuse(abuse) => {
                let limit = abuse.limit(&connection.deadlines().http2);
                Deny::new(Reason::H2Abuse, format!("more than {limit} `{}`", abuse.key())).honest(!abuse.is_offence())
            }
        };
        let snapshot = self.shared.snapshot.load();
        let id = self.shared.request_id();
        let line = early_line(connection.facts(), self.shared.clock.now(), &id, &[], (None, None), &deny, &snapshot.policy.revision);
        self.hold_against(connection, &deny);
        // The client gets a frame, mostly no status; the counter's is that of the same thing over HTTP/1.
        let event = if matches!(refusal, Http2Refusal::Abuse(_) | Http2Refusal::Connection(_) | Http2Refusal::Fields) {
            Event::Connection
        } else {
            Event::Request
        };
        let status = matches!(refusal, Http2Refusal::Authority(_)).then(|| deny.reason.status());
        snapshot.log.write(&AccessLine { event, status, version: Some(HttpVersion::Http2), ..line });
        self.shared.metrics.request(None, deny.reason.status(), Decision::Deny(deny.reason), Duration::ZERO);
    }

    fn cut(&self, connection: &Connection, cut: Cut) {
        self.shared.metrics.connection_cut(&connection.facts().listener, cut);
    }
}

/// Says whether a handshake failed; otherwise none was begun.
const fn is_of_handshake(refusal: EdgeRefusal) -> bool {
    match refusal {
        EdgeRefusal::TlsTimeout
        | EdgeRefusal::TlsProtocol
        | EdgeRefusal::TlsIncompatible
        | EdgeRefusal::TlsAlpn
        | EdgeRefusal::TlsAborted
        | EdgeRefusal::NoSni
        | EdgeRefusal::UnknownSni
        | EdgeRefusal::ClientCertificate
        | EdgeRefusal::PlainHttp => true,
        EdgeRefusal::CapListener
        | EdgeRefusal::CapProcess
        | EdgeRefusal::Denied
        | EdgeRefusal::Banned
        | EdgeRefusal::CapClient
        | EdgeRefusal::HandshakeRate
        | EdgeRefusal::ProxyProtocol
        | EdgeRefusal::ProxyUntrusted => false,
    }
}

/// Takes a policy over into the metrics, its listeners with every reason why a connection of theirs may be refused.
pub(super) fn policy(metrics: &Metrics, policy: &Policy, now: UnixTime) {
    metrics.policy_in_force(policy, now);
    for listener in &policy.listeners {
        let codes = |of_handshake| {
            EdgeRefusal::ALL.iter().filter(move |refusal| is_of_handshake(**refusal) == of_handshake).map(|refusal| refusal.code())
        };
        let has_tls = listener.kind == ListenerKind::Tls;
        metrics.listener(&listener.name, codes(false), codes(true).filter(move |_| has_tls));
    }
}

impl Clerk {
    /// Says why a client is banned, and until when.
    fn ban_of(&self, client: ClientIp) -> Option<String> {
        let ban = self.shared.bans.find(client.prefix(), self.shared.clock.tick())?;
        let until = self.shared.clock.now().plus(ban.left);
        Some(match ban.cause {
            BanCause::Protocol(offence) => format!("until {until}: broke the protocol, last by {offence}"),
            BanCause::Operator(None) => format!("until {until}: by an operator"),
            BanCause::Operator(Some(note)) => format!("until {until}: by an operator: {note}"),
        })
    }

    /// Counts a refused request towards a ban, if that is what it was refused for.
    fn hold_against(&self, connection: &Connection, deny: &Deny) {
        if deny.is_offence() {
            self.shared.offended(&connection.facts().listener, connection.facts().source_ip(), deny.reason.code());
        }
    }
}

/// Writes the sums of refused connections.
pub(super) fn write_sums(shared: &Shared, sums: &[Sum]) {
    if sums.is_empty() {
        return;
    }
    let snapshot = shared.snapshot.load();
    for sum in sums {
        let line = refused_line(shared, &snapshot.policy.revision, &sum.listener, sum.reason);
        snapshot.log.write(&AccessLine { peer: sum.client, count: Some(sum.count), ..line });
    }
}

fn refused_line<'a>(shared: &Shared, revision: &'a str, listener: &'a ListenerName, reason: &'a str) -> AccessLine<'a> {
    AccessLine {
        event: Event::Connection,
        time: shared.clock.now(),
        listener: Some(listener.as_str()),
        decision: Some("deny"),
        reason: Some(reason),
        revision: Some(revision),
        ..AccessLine::default()
    }
}

/// Tells the metrics which certificates are in use and when they end, what is wrong with their chains, and their OCSP answers.
pub(super) fn certificates(metrics: &Metrics, tls: &TlsState, now: UnixTime) {
    let in_use = tls.certificate_expiries();
    let files: Vec<String> = in_use.iter().map(|one| one.file.display().to_string()).collect();
    let each = in_use.iter().zip(&files);
    metrics.certificates(each.map(|(one, file)| (one.name.as_str(), file.as_str(), one.not_after, one.chain_faults(now).len())));
    metrics.certificates_ended(in_use.iter().filter(|one| one.has_ended(now)).count());
    metrics.staples(in_use.iter().filter_map(|one| Some((one.name.as_str(), one.staple_until?))));
}

/// Writes the access line of an admin call, with its principal.
pub(super) fn admin_call(shared: &Shared, call: &AdminCall<'_>) {
    let snapshot = shared.snapshot.load();
    let peer = match call.caller {
        Caller::Remote(peer) => Some(peer.ip()),
        Caller::Local { .. } => None,
    };
    snapshot.log.write(&AccessLine {
        event: Event::Admin,
        time: call.time,
        listener: Some(if peer.is_some() { "admin" } else { "control" }),
        peer,
        method: call.method.map(str::as_bytes),
        path: call.path.map(str::as_bytes),
        status: Some(call.status),
        decision: Some(if call.reason.is_some() { "deny" } else { "allow" }),
        reason: call.reason,
        duration: Some(call.duration),
        principal: call.principal,
        revision: Some(&snapshot.policy.revision),
        detail: call.detail,
        ..AccessLine::default()
    });
    shared.metrics.admin_request(call.status);
}

/// What the library refused and our lint finds nothing wrong with: nobody can tell whose doing it was.
fn by_status(status: u16) -> Deny {
    let reason = if status == 405 { Reason::MethodUnknown } else { Reason::Protocol };
    Deny::new(reason, format!("the HTTP library answered {status}")).honest(true)
}

fn late(connection: &Connection) -> Deny {
    Deny::new(Reason::TimeoutHead, "the head was not complete in time").honest(!connection.head_is_dripped())
}
