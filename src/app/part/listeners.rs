//! The listeners that tenants are served on.

use std::sync::Arc;

use async_trait::async_trait;

use super::change::{Adopted, Change, Part, Prepared, Refused};
use crate::{
    model::ControlError,
    policy::Policy,
    process::{Added, Listeners, descriptors},
    upkeep::DenyFiles,
};

/// Binds new listeners, closes those that are gone, and gives the others their rules.
pub(in crate::app) struct ListenersPart<'a> {
    pub(in crate::app) listeners: &'a Listeners,
    pub(in crate::app) deny_files: &'a DenyFiles,
}

struct PreparedListeners<'a> {
    part: &'a ListenersPart<'a>,
    policy: Arc<Policy>,
    /// Bound, and not accepting yet. Dropped, they are closed again.
    added: Added,
}

#[async_trait]
impl Part for ListenersPart<'_> {
    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let policy = Arc::clone(&change.policy);
        let bound = self.listeners.bind_new(&policy);
        let added = bound.map_err(|error| ControlError::Config(error.to_string()))?;
        Ok(Box::new(PreparedListeners { part: self, policy, added }))
    }
}

impl Prepared for PreparedListeners<'_> {
    fn adopt(self: Box<Self>, _adopted: &mut Adopted) {
        let Self { part, policy, added } = *self;
        descriptors::warn(part.listeners.descriptors(), &policy);
        part.listeners.settle(&policy, added);
        // The revision has read every file of denied ranges just now, and accepted it.
        part.deny_files.accept_all();
    }
}
