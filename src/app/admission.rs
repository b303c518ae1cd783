//! Who may connect: what the listeners ask of the bans.

use std::sync::Arc;

use crate::{
    edge::{AdmissionControl, Http2Error},
    gateway::Shared,
    model::{Ban, ClientIp, Connection, Reason},
};

/// Asks the bans in force.
pub(super) struct BanCheck(pub(super) Arc<Shared>);

impl AdmissionControl for BanCheck {
    fn is_banned(&self, client: ClientIp) -> bool {
        let bans = &self.0.bans;
        bans.may_be_any() && bans.is_banned(client.prefix(), self.0.clock.tick())
    }

    fn ban(&self, client: ClientIp) -> Option<Ban> {
        self.0.bans.find(client.prefix(), self.0.clock.tick())
    }

    fn stream_reset(&self, connection: &Connection, error: Http2Error) {
        if error.is_offence_of_a_stream() {
            self.0.offended(connection.facts(), Reason::Protocol.code());
        }
    }
}
