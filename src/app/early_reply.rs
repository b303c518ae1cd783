//! What is answered, and recorded, where no request has begun.

use std::sync::Arc;

use crate::{
    checks::hygiene,
    edge::{EarlyCause, EarlyReply, Http2Error, Http2Refusal},
    gateway::{Shared, reset_of},
    model::{Connection, Deny, EventKind, EventSink, HttpVersion, Reason, RequestEnded},
    pipeline::{owner, refusal::Refusal},
};

/// Answers and records for the listeners.
pub(super) struct EarlyRefusals(pub(super) Arc<Shared>);

impl EarlyReply for EarlyRefusals {
    fn reply(&self, connection: &Connection, head: &[u8], cause: EarlyCause) -> Vec<u8> {
        let snapshot = self.0.snapshot.load();
        let policy = &snapshot.policy;
        let deny = match cause {
            EarlyCause::HeadTimeout => late(connection),
            EarlyCause::HeadTooLarge => {
                Deny::new(Reason::HeadTooLarge, "the head has no end within the limit")
            }
            // The library says only that it is bad; our own lint says why.
            EarlyCause::Library(status) => {
                hygiene::lint(head, &policy.limits).err().unwrap_or_else(|| by_status(status))
            }
        };
        let (id, now, facts) = (self.0.request_id(), self.0.clock.now(), connection.facts());
        let (host, owner) = owner::of_head(head, facts, policy).unzip();
        let owner = owner.flatten();
        let mut words = head
            .split(|&byte| byte == b'\r' || byte == b'\n')
            .next()
            .unwrap_or(&[])
            .split(|&byte| byte == b' ');
        let request = RequestEnded {
            method: words.next().filter(|word| !word.is_empty()),
            target: words.next(),
            host: host.as_ref().map(|host| host.as_str().as_bytes()),
            tenant: owner.as_ref().map(|tenant| &tenant.name),
            status: Some(deny.reason.status()),
            duration: now.since(facts.accepted),
            ..RequestEnded::early(&id, facts, &deny)
        };
        snapshot.recorder.emit_at(now, EventKind::Request(&request));
        self.count_offence(connection, &deny);
        let tls = facts.tls();
        let named = || tls.and_then(|tls| tls.sni.as_ref()).and_then(|sni| policy.tenants.owning(sni));
        let realm = owner.as_ref().or_else(named);
        let words = realm.map(|realm| &*realm.response_headers);
        Refusal::early(deny.reason, id, head, &policy.limits, tls.is_some(), words).to_http1()
    }

    fn http2_ended(&self, connection: &Connection, refusal: Http2Refusal) {
        let deny = http2_deny(connection, refusal);
        let ends_connection =
            matches!(refusal, Http2Refusal::Abuse(_) | Http2Refusal::Connection(_) | Http2Refusal::Fields);
        let id = self.0.request_id();
        // The client gets a frame, and but for this one no status.
        let status = matches!(refusal, Http2Refusal::Authority(_)).then(|| deny.reason.status());
        let request = RequestEnded {
            ends_connection,
            status,
            version: Some(HttpVersion::Http2),
            ..RequestEnded::early(&id, connection.facts(), &deny)
        };
        self.0.emit(EventKind::Request(&request));
        self.count_offence(connection, &deny);
    }
}

impl EarlyRefusals {
    /// Counts a refused request towards a ban, if that is what it was refused for.
    fn count_offence(&self, connection: &Connection, deny: &Deny) {
        if deny.is_offence() {
            self.0.offended(connection.facts(), deny.reason.code());
        }
    }
}

fn http2_deny(connection: &Connection, refusal: Http2Refusal) -> Deny {
    match refusal {
        // It was held against its client when it happened.
        Http2Refusal::Stream(number, error) => reset_of(number, error),
        // Also where they differ only in how they are written.
        Http2Refusal::Authority(number) => {
            let detail =
                format!("stream {number}: the authority is missing or malformed, or Host names another one");
            Deny::new(Reason::Protocol, detail).honest(true)
        }
        Http2Refusal::Connection(error) => {
            // The library has bounds of its own, of what we cannot see.
            let reason = if error == Http2Error::Calm { Reason::H2Abuse } else { Reason::Protocol };
            Deny::new(reason, connection_ended(error)).honest(!error.is_offence_of_a_connection())
        }
        Http2Refusal::Fields => {
            Deny::new(Reason::Protocol, connection_ended(Http2Error::Protocol)).honest(true)
        }
        Http2Refusal::HeadTimeout => late(connection),
        Http2Refusal::Abuse(abuse) => {
            let limit = abuse.limit(&connection.deadlines().http2);
            let detail = format!("more than {limit} `{}`", abuse.key());
            Deny::new(Reason::H2Abuse, detail).honest(!abuse.is_offence())
        }
    }
}

fn connection_ended(error: Http2Error) -> String {
    format!("the connection was ended: {}", error.as_str())
}

/// What the library refused and our lint finds nothing wrong with: nobody can tell whose doing it was.
fn by_status(status: u16) -> Deny {
    let reason = if status == 405 { Reason::MethodUnknown } else { Reason::Protocol };
    Deny::new(reason, format!("the HTTP library answered {status}")).honest(true)
}

fn late(connection: &Connection) -> Deny {
    Deny::new(Reason::TimeoutHead, "the head was not complete in time").honest(!connection.head_is_dripped())
}
