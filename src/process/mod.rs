//! What the process is made of below its rules: sockets that listen, work that blocks and its bounds, the
//! lock under which rules change, and the service manager.

mod blocking;
pub(crate) mod descriptors;
mod inherited;
mod listeners;
mod policy_changes;
mod reload_lock;
mod service_manager;

pub(crate) use blocking::{Blocking, BlockingError, BlockingWork, Repeated, RereadError};
pub(crate) use inherited::{InheritedSocket, InheritedSockets};
pub use listeners::BindError;
pub(crate) use listeners::{Added, Listeners, bind_all, ipv6_mode};
pub(crate) use policy_changes::{PolicyChanges, PolicySubscriber};
pub(crate) use reload_lock::ReloadLock;
pub(crate) use service_manager::Notifier;
