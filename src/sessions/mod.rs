//! The sessions of users: which there are, which were ended, and the journal that keeps both across restarts.
//!
//! [`RevocationStore`] is what the pipeline asks. [`SessionLedger`] answers for one node, [`JournalSnapshot`]
//! for a command beside it.

#[cfg(feature = "gateway")]
mod admission;
#[cfg(test)]
mod blocking;
#[cfg(feature = "gateway")]
mod change_notifier;
#[cfg(feature = "gateway")]
mod commit;
#[cfg(feature = "gateway")]
mod commit_queue;
#[cfg(feature = "gateway")]
mod completeness;
#[cfg(feature = "gateway")]
mod epoch;
#[cfg(feature = "gateway")]
mod epochs;
#[cfg(feature = "gateway")]
mod error;
mod grant_record;
#[cfg(feature = "gateway")]
mod grant_request;
#[cfg(feature = "gateway")]
mod journal;
#[cfg(feature = "gateway")]
mod journal_mark;
#[cfg(feature = "gateway")]
mod ledger;
#[cfg(feature = "gateway")]
mod lookup;
#[cfg(feature = "gateway")]
mod missing_tenants;
#[cfg(feature = "gateway")]
mod peers;
#[cfg(feature = "gateway")]
mod pending_writes;
#[cfg(feature = "gateway")]
mod presence;
#[cfg(feature = "gateway")]
mod record;
#[cfg(feature = "gateway")]
mod registry;
#[cfg(feature = "gateway")]
mod renewals;
#[cfg(feature = "gateway")]
mod replicate;
#[cfg(feature = "gateway")]
mod revocation_index;
#[cfg(feature = "gateway")]
mod session_list;
#[cfg(feature = "gateway")]
mod snapshot;
#[cfg(feature = "gateway")]
mod state_dir;
mod store;
#[cfg(feature = "gateway")]
mod under_way;
#[cfg(feature = "gateway")]
mod write;
#[cfg(feature = "gateway")]
mod writer;
#[cfg(feature = "gateway")]
mod writer_hand_over;

#[cfg(feature = "gateway")]
pub use completeness::Begun;
#[cfg(feature = "gateway")]
pub use error::StoreError;
pub use grant_record::{GrantLimits, GrantRecord};
#[cfg(feature = "gateway")]
pub use grant_request::GrantRequest;
#[cfg(feature = "gateway")]
pub use journal::{DEFAULT_BOUND, SessionLedger, Unkept};
#[cfg(feature = "gateway")]
pub use peers::AckReport;
#[cfg(feature = "gateway")]
pub use registry::{MOST_KNOWN, MOST_OF_TENANT};
#[cfg(feature = "gateway")]
pub use renewals::Renewals;
#[cfg(feature = "gateway")]
pub use session_list::{ListError, LocalSession, RemoteSession};
#[cfg(feature = "gateway")]
pub use snapshot::JournalSnapshot;
pub use store::{RevocationStore, SessionRef};
#[cfg(feature = "gateway")]
pub use writer::{Follower, RemoteWriter};

#[cfg(feature = "gateway")]
pub(crate) use {
    peers::{AckLevel, CLOCKS_DIFFER, Merge, Peers, ends, is_now},
    record::Record,
    registry::TOLD_EVERY,
    revocation_index::{RevocationIndex, TenantCounts},
};

#[cfg(feature = "gateway")]
pub use crate::append_log::{AppendLogError, Beginning, Torn};
