//! The protocol between nodes, over the Redis that they share.
//!
//! [`Replication`] shares a ledger's revocations with the other nodes, and counts the sessions that users
//! have on all of them.

mod announce;
mod clock_offset;
mod compare;
mod entry;
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod message;
mod node;
mod nodes;
mod outbox;
mod publish;
mod replication;
mod script;
mod session_script;
mod session_sync;
mod sessions;
mod sync_loop;

pub use identity::NodeIdentity;
pub use node::{Replication, SyncObserver, SyncStatus};
pub use replication::Inboxes;
