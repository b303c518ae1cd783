//! The Redis client: one connection for commands and messages, which reconnects by itself.
//!
//! [`Redis::call`] answers within the deadline, or fails at once where there is no connection: a request may
//! wait for it. [`Redis::subscribe`] receives what others publish. [`Link::run`] keeps the
//! connection; one task runs it.
//!
//! Redis is not trusted. Its answers are bounded before they are held in memory (`bounds`), and messages wait
//! in a bounded queue whose overflow is reported.

mod bounds;
mod client;
mod connection;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod inbox;
mod link;

pub use client::Redis;
pub use connection::RedisObserver;
pub use error::{RedisFault, ServerFault};
pub use inbox::Inbox;
pub use link::Link;
