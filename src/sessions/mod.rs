//! The sessions of users: which there are, which were ended, and the journal that keeps both across restarts.
//!
//! [`RevocationStore`] is what the pipeline asks. [`SessionLedger`] answers for one node, [`JournalSnapshot`]
//! for a command beside it.

mod admission;
#[cfg(test)]
mod blocking;
mod change_notifier;
mod commit;
mod commit_queue;
mod completeness;
mod epoch;
mod epochs;
mod error;
mod grant_record;
mod grant_request;
mod journal;
mod journal_mark;
#[cfg(feature = "gateway")]
mod ledger;
mod lookup;
mod missing_tenants;
#[cfg_attr(
    not(feature = "gateway"),
    allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
)]
mod peers;
mod pending_writes;
mod presence;
mod record;
mod registry;
mod renewals;
#[cfg_attr(
    not(feature = "gateway"),
    allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
)]
mod replicate;
#[cfg_attr(
    not(feature = "gateway"),
    allow(dead_code, reason = "other nodes are reached over a network, which is the gateway's")
)]
mod revocation_index;
mod snapshot;
mod state_dir;
mod store;
mod write;
mod writer;
mod writer_hand_over;

pub use completeness::Begun;
pub use error::StoreError;
pub use grant_record::{GrantLimits, GrantRecord};
pub use grant_request::GrantRequest;
pub use journal::{DEFAULT_BOUND, SessionLedger, Unkept};
pub use peers::AckReport;
pub use presence::LocalSession;
pub use registry::{MOST_KNOWN, MOST_OF_TENANT};
pub use renewals::Renewals;
pub use snapshot::JournalSnapshot;
pub use store::{RevocationStore, SessionRef};
pub use writer::{Follower, RemoteWriter};

#[cfg(feature = "gateway")]
pub(crate) use {
    peers::{AckLevel, CLOCKS_DIFFER, Merge, Peers, ends, is_now},
    record::Record,
    registry::TOLD_EVERY,
    revocation_index::{RevocationIndex, TenantCounts},
};

pub use crate::append_log::{AppendLogError, Beginning, Torn};
