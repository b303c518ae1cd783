//! How the ledger answers the pipeline.

use std::sync::atomic::Ordering;

use super::{RevocationStore, SessionLedger, SessionRef};
use crate::{
    model::{ClientPrefix, RevocationAnswer, TenantName, UnixTime},
    session::{Claims, TokenOrder},
};

impl RevocationStore for SessionLedger {
    fn lookup(&self, session: SessionRef<'_>, now: UnixTime) -> RevocationAnswer {
        if self.lost_writer.load(Ordering::Relaxed) {
            return RevocationAnswer::Unavailable;
        }
        let answer = self.index.lookup(session, now);
        if answer == RevocationAnswer::Live && !self.is_fresh(now) { RevocationAnswer::Stale } else { answer }
    }

    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.index.epoch(tenant, now)
    }

    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.index.epoch_of(tenant, auth_time, now)
    }

    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        self.knows_of(auth_time, is_foreign)
    }

    fn present(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> TokenOrder {
        self.take_token(claims, client, now)
    }
}
