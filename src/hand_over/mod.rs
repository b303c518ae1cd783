//! Hand-over to a successor: sockets, the revocation journal, and what is said until the predecessor has
//! drained.
//!
//! A successor (`octroi run --upgrade`) connects to `upgrade.sock` in the state directory, prepares
//! everything that needs no socket, and waits. QUIT or `octroi upgrade` at the predecessor begins the rest;
//! the latter starts a successor where none waits.
//!
//! ```text
//! successor                predecessor
//! HELLO                →
//!                      ←   WELCOME, or REFUSED
//! READY, or REFUSED    →
//!                              … QUIT or `octroi upgrade` …
//!                      ←   SOCKET     a descriptor, as often as there are sockets
//!                      ←   SOCKETS    their number
//! BOUND, or REFUSED    →       what the predecessor does not have is bound now
//!                      ←   JOURNAL    admin listeners pause, the journal is settled and closed;
//!                                     how long what other nodes ended is known
//! TAKEN, or REFUSED    →       the journal is open
//!                      ←   GO         what is ended here is sent there from now on
//! SERVES               →       connections are accepted
//!                          stops accepting, and drains
//! FOLLOW               →       a change of the journal, before whoever asked for it is answered
//!                      ←   FOLLOWED
//!                      ←   WRITE      a change that the predecessor asks for, a session to count,
//!                                     or notes of sessions
//! WRITTEN              →
//!                      ←   CONNECTIONS, now and then, until it ends
//! ```
//!
//! Up to SERVES every failure, of either side, leaves the predecessor serving as if nothing had happened: it
//! opens the journal again. A connection that the successor took before it failed is lost with it. From
//! SERVES on, the link is what keeps the predecessor's knowledge of ended sessions whole: where it breaks,
//! the predecessor believes no session any more.

mod channel;
mod message;
mod predecessor;
mod predecessor_link;
mod redis_name;
mod rendezvous;
mod state;
mod successor;
mod successor_link;

use std::{io, time::Duration};

pub(crate) use predecessor::{HandOver, hand_over, tell_connections};
pub(crate) use redis_name::redis_name;
pub(crate) use rendezvous::{bind_upgrade_socket, receive_successors, remove_upgrade_socket};
pub use state::Launch;
pub(crate) use state::{AdminHandles, HandOverDeps, HandOverState};
pub(crate) use successor::{InheritedState, Joining};

use crate::model::UPGRADE_SOCKET as SOCKET;

/// The version of what is said here, and of the records of the journal that are sent. Another version's
/// successor is refused before anything is handed over, and has to be started anew: so whoever adds a message
/// or a record, or a field of one, counts on.
const VERSION: u16 = 2;

/// How long one step of the other side may take that only needs the processor.
const STEP: Duration = Duration::from_secs(10);

/// How long the other side may take to load and judge a configuration: seconds for 100,000 tenants, on a busy
/// machine more.
const PREPARING: Duration = Duration::from_secs(180);

/// How long the successor may take to open the journal: a million records take seconds.
const OPENING: Duration = Duration::from_secs(60);

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Nobody is there to take over from.
    #[error("no octroi answers at {path}: there is nothing to take over; start it without `--upgrade`")]
    NoPredecessor {
        /// The hand-over socket.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The predecessor is somebody else's.
    #[error("the process at {path} belongs to user {uid}, who is neither root nor this one")]
    UntrustedPeer {
        /// The hand-over socket.
        path: String,
        /// Whose it is.
        uid: u32,
    },
    /// The other side does not want to.
    #[error("{0}")]
    Refused(String),
    /// The other side ended, or no longer wants to.
    #[error("the {who} (process {pid}) ended the hand-over while it {doing}")]
    Ended {
        /// `predecessor` or `successor`.
        who: &'static str,
        /// Its process.
        pid: u32,
        /// What it was doing.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The other side said something else than what comes next.
    #[error("the {who} (process {pid}) said what nobody expected while it {doing}")]
    Unexpected {
        /// `predecessor` or `successor`.
        who: &'static str,
        /// Its process.
        pid: u32,
        /// What it was doing.
        doing: &'static str,
    },
    /// The state directories of the two differ.
    #[error("server.state_dir is not the predecessor's; only a restart can change it")]
    StateDir,
}
