//! The session token.
mod key;
pub use key::{MasterKey, Ring};
