//! Keys that issuers publish.

use std::sync::Arc;

use async_trait::async_trait;

use super::change::{Adopted, Change, Part, Prepared, Refused};
use crate::{
    gateway::Shared,
    model::EventSink,
    process::Blocking,
    upkeep::key_sets::{prefetch, retain_named},
};

/// Fetches the sets that are new to the policy, so that no token is refused when it comes into force. A set
/// that does not come in time is fetched later; that is no reason to refuse.
pub(in crate::app) struct KeySetsPart<'a> {
    pub(in crate::app) shared: &'a Arc<Shared>,
    pub(in crate::app) trust: &'a Blocking,
}

/// Forgets sets that the policy in force does not name when it is dropped before adoption.
struct PreparedKeySets<'a> {
    shared: &'a Shared,
    is_adopted: bool,
}

#[async_trait]
impl Part for KeySetsPart<'_> {
    async fn prepare<'part>(&'part self, change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        let shared = self.shared;
        let prepared = PreparedKeySets { shared, is_adopted: false };
        let events: Arc<dyn EventSink> = self.shared.clone();
        prefetch(&shared.key_sets, self.trust, &events, &shared.clock, change.next()).await;
        Ok(Box::new(prepared))
    }
}

impl Prepared for PreparedKeySets<'_> {
    fn adopt(mut self: Box<Self>, _adopted: &mut Adopted) {
        self.is_adopted = true;
    }
}

impl Drop for PreparedKeySets<'_> {
    fn drop(&mut self) {
        if !self.is_adopted {
            retain_named(self.shared);
        }
    }
}
