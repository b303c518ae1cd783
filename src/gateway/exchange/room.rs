//! Room for one more exchange: its share of what all have together, and how long it waits for that.

use std::{pin::pin, sync::Arc, time::Duration};

use http::HeaderMap;
use pingora::{Error, ErrorType};
use tokio::time::{Instant, timeout_at};

use super::failed::Failed;
use crate::{
    gateway::{
        proxy::{Context, Gateway},
        share::{MOST_MEMORY, MOST_WAITING, Owner, Share, Shares, Short},
        shared::{Shared, Snapshot},
    },
    model::{Deny, Reason},
    state::Descriptor,
};

/// How often who waits looks again for exchanges that make room: some rest long enough only then.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A head that is not counted: those of browsers and common clients are smaller, and whatever else a request has is more.
const SMALL_HEAD: usize = 4 * 1024;
/// How many exchanges one who waits may have ended at a time.
pub(super) const WANTED: usize = 32;

impl Gateway {
    /// Takes a share of the connections to servers that carry one exchange at a time, and waits for it as long as connecting may take.
    pub(super) async fn room_for_connection(&self, ctx: &mut Context, within: Duration) -> Result<Share, Failed> {
        let shares = &self.shared.scarce.connections;
        let Some(owner) = ctx.permit.as_ref().map(|permit| shares.owner_of(permit)) else {
            return Err(Failed::new(ErrorType::InternalError, false, "no permit".to_owned()));
        };
        let most = self.shared.scarce.descriptors.most_servers();
        let taken = match shares.take(owner, 1, most, self.shared.clock.tick()) {
            Ok(share) => Ok(share),
            // Boxed: it is seldom.
            Err(_) => Box::pin(wait(&self.shared, shares, owner, most, within)).await,
        };
        match taken {
            Ok(share) => {
                ctx.holds(shares.number());
                Ok(share)
            }
            Err(short) => Err(refused(short, "the connections to servers")),
        }
    }

    /// Takes memory for a large head, which is there twice for as long as its exchange: as it came, and as it leaves. A client makes one of
    /// a few octets (RFC 7541, section 6.1), and a hundred at once over each connection.
    pub(super) fn room_for_head(&self, ctx: &mut Context, headers: &HeaderMap) -> Result<Option<Share>, Box<Error>> {
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes <= SMALL_HEAD {
            return Ok(None);
        }
        let memory = &self.shared.scarce.memory;
        let Some(owner) = ctx.permit.as_ref().map(|permit| memory.owner_of(permit)) else { return Ok(None) };
        match memory.take(owner, bytes.saturating_mul(2), MOST_MEMORY, self.shared.clock.tick()) {
            Ok(share) => Ok(Some(share)),
            Err(short) => {
                ctx.deny = Some(no_memory(short));
                Err(Failed::new(ErrorType::HTTPStatus(503), false, "no room".to_owned()).error)
            }
        }
    }

    /// Takes a descriptor for one more connection to a server. One that rests makes room.
    pub(super) fn descriptor(&self, snapshot: Option<&Snapshot>) -> Option<Descriptor> {
        loop {
            let taken = self.shared.scarce.descriptors.server();
            if taken.is_some() || !snapshot.is_some_and(Snapshot::close_one_at_rest) {
                return taken;
            }
        }
    }
}

/// Refuses a request for whose head there is no memory. That is octroi's own, whatever the upstream does.
fn no_memory(short: Short) -> Deny {
    Deny::new(Reason::MemoryShort, format!("of the memory for heads and answers that are kept, {}", short.as_str()))
}

/// Refuses an exchange for which no connection can be opened.
pub(super) fn no_descriptor() -> Failed {
    refused(Short::All, "the connections that the limit of open files allows")
}

async fn wait(shared: &Shared, shares: &Arc<Shares>, owner: Owner, most: usize, within: Duration) -> Result<Share, Short> {
    let by = Instant::now() + within;
    // As many as may wait, wait.
    let _waiting = shared.scarce.waiting.take(owner, 1, MOST_WAITING, shared.clock.tick())?;
    loop {
        let mut freed = pin!(shares.freed());
        // Before the look: what becomes free behind it is not missed.
        freed.as_mut().enable();
        let now = shared.clock.tick();
        let short = match shares.take(owner, 1, most, now) {
            Ok(share) => return Ok(share),
            Err(short) => short,
        };
        shared.standing.relieve(shares.number(), WANTED, now);
        let look_again = by.min(Instant::now() + LOOK_AGAIN);
        if timeout_at(look_again, freed).await.is_err() && look_again == by {
            return Err(short);
        }
    }
}

/// Refuses an exchange that there is no room for.
pub(super) fn refused(short: Short, what: &str) -> Failed {
    let reason = match short {
        Short::All => Reason::UpstreamBusy,
        Short::Client | Short::Tenant => Reason::UpstreamShare,
    };
    let deny = Deny::new(reason, format!("of {what}, {}, and none became free in time", short.as_str()));
    Failed { deny: Some(deny), ..Failed::new(ErrorType::HTTPStatus(503), false, "no room".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_memory_is_told_so_and_who_finds_no_place_as_before() {
        let reasons = |short: Short| {
            let place = refused(short, "the places").deny.map(|deny| deny.reason);
            (no_memory(short).reason, place)
        };

        assert_eq!(reasons(Short::All), (Reason::MemoryShort, Some(Reason::UpstreamBusy)));
        for short in [Short::Client, Short::Tenant] {
            assert_eq!(reasons(short), (Reason::MemoryShort, Some(Reason::UpstreamShare)));
        }
        let detail = no_memory(Short::Client).detail;
        assert!(detail.starts_with("of the memory for heads and answers that are kept, the client, or its IPv6 /48,"), "{detail}");
    }
}
