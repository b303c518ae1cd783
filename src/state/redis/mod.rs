//! Redis: one connection for commands and messages, kept up by itself.
//!
//! [`Redis::call`] asks and has its answer within the deadline, or fails at once where nobody is there: whoever waits has a request in
//! hand. [`Redis::subscribe`] hears what others publish. [`Link::run`] keeps the connection; one task has it.
//!
//! What Redis sends is not trusted. Its answers are bounded before they are held in memory (`bounds`), and messages wait in a bounded
//! queue, whose overflow is told of.

mod bounds;
mod error;
mod inbox;
mod link;

pub use error::RedisFault;
pub use inbox::Inbox;
pub use link::{Link, Redis, RedisWitness};
