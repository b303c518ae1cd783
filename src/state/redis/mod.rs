//! Redis: one connection for commands and messages, kept up by itself.
//!
//! [`Redis::call`] asks and has its answer within the deadline, or fails at once where nobody is there: whoever waits has a request in
//! hand. [`Redis::subscribe`] hears what others publish. [`Link::run`] keeps the connection; one task has it.
//!
//! [`Sharing`] shares a journal's revocations with other nodes over it, and counts the sessions that users have on all of them.
//!
//! What Redis sends is not trusted. Its answers are bounded before they are held in memory (`bounds`), and messages wait in a bounded
//! queue, whose overflow is told of.

mod announce;
mod beat;
mod bounds;
mod compare;
mod entry;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod inbox;
mod link;
mod message;
mod node;
mod nodes;
mod round;
mod script;
mod session_script;
mod sessions;
mod sharing;
mod telling;
mod untold;

pub use error::{RedisFault, Unfit};
pub use inbox::Inbox;
pub use link::{Link, Redis, RedisWitness};
pub use node::Sharer;
pub use sessions::Elsewhere;
pub use sharing::{Inboxes, Sharing, SharingWitness, Standing};
