//! What is told of certificates by ACME: in `octroi status`, and as metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::{AcmeStatus, AcmeTrouble, UnixTime};

/// How many troubles are told in full.
const TOLD: usize = 20;

/// Where each certificate stands.
#[derive(Debug, Default)]
pub(in crate::app) struct Board {
    entries: Mutex<BTreeMap<Box<str>, Standing>>,
    /// A policy came into force.
    pub(in crate::app) policy_changed: Notify,
}

/// Where one certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// When the one in use ends; nothing if there is none.
    pub(super) not_after: Option<UnixTime>,
    /// When it is ordered next.
    pub(super) due: UnixTime,
    /// What went wrong the last time.
    pub(super) error: Option<String>,
}

impl Board {
    /// Writes down where a certificate stands.
    pub(super) fn note(&self, id: &str, standing: Standing) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into(), standing);
    }

    /// Forgets those that are wanted no more.
    pub(super) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| wanted(id));
    }

    /// Returns how many are missing now, and when the next order is due.
    pub(in crate::app) fn summary(&self, now: UnixTime) -> (usize, Option<UnixTime>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (entries.values().filter(|standing| standing.is_missing(now)).count(), entries.values().map(|standing| standing.due).min())
    }

    /// Tells where all of them stand; nothing if none is wanted.
    pub(in crate::app) fn status(&self, now: UnixTime) -> Option<AcmeStatus> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let troubled = entries.iter().filter(|(_, standing)| standing.is_missing(now) || standing.error.is_some());
        let troubles = troubled.take(TOLD).map(|(id, standing)| AcmeTrouble {
            certificate: id.to_string(),
            missing: standing.is_missing(now),
            error: standing.error.clone(),
            next: standing.due,
        });
        let status = AcmeStatus {
            wanted: entries.len(),
            missing: entries.values().filter(|standing| standing.is_missing(now)).count(),
            failing: entries.values().filter(|standing| standing.error.is_some()).count(),
            next: entries.values().map(|standing| standing.due).min()?,
            troubles: troubles.collect(),
        };
        Some(status)
    }
}

impl Standing {
    fn is_missing(&self, now: UnixTime) -> bool {
        self.not_after.is_none_or(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_fails_is_told_and_the_list_is_bounded() {
        let board = Board::default();
        let at = UnixTime::from_secs;
        assert_eq!(board.status(at(0)), None);
        board.note("tenants/fine", Standing { not_after: Some(at(900)), due: at(600), error: None });
        board.note("tenants/late", Standing { not_after: Some(at(900)), due: at(300), error: Some("down".to_owned()) });
        board.note("tenants/new", Standing { not_after: None, due: at(200), error: None });

        let status = board.status(at(100)).unwrap();
        assert_eq!((status.wanted, status.missing, status.failing, status.next), (3, 1, 1, at(200)));
        assert_eq!(status.troubles.iter().map(|one| &*one.certificate).collect::<Vec<_>>(), ["tenants/late", "tenants/new"]);
        assert_eq!(board.summary(at(901)), (3, Some(at(200))));

        for number in 0..100 {
            board.note(&format!("hosts/{number}"), Standing { not_after: None, due: at(1), error: None });
        }
        let status = board.status(at(100)).unwrap();
        assert_eq!((status.missing, status.troubles.len()), (101, TOLD));
        board.retain(|id| id == "tenants/fine");
        assert_eq!(board.summary(at(100)), (0, Some(at(600))));
    }
}
