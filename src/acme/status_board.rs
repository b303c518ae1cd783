//! The status of certificates by ACME: for `octroi status`, and for metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::model::{AcmeStatus, AcmeTrouble, UnixTime};

/// How many troubles are listed in full.
const TOLD: usize = 20;

/// The status of each certificate.
#[derive(Debug, Default)]
pub(crate) struct AcmeStatusBoard {
    entries: Mutex<BTreeMap<Box<str>, CertificateStatus>>,
}

/// The status of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateStatus {
    /// When the one in use ends; nothing if there is none.
    pub(super) not_after: Option<UnixTime>,
    /// When it is ordered next.
    pub(super) due: UnixTime,
    /// What went wrong the last time.
    pub(super) error: Option<String>,
}

impl AcmeStatusBoard {
    /// Notes the status of a certificate.
    pub(super) fn note(&self, id: &str, status: CertificateStatus) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into(), status);
    }

    /// Forgets certificates that are no longer wanted.
    pub(super) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| wanted(id));
    }

    /// Returns how many are missing now, of how many the last order failed, and when the next one is due.
    pub(crate) fn summary(&self, now: UnixTime) -> (usize, usize, Option<UnixTime>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = entries.values().filter(|status| status.is_missing(now)).count();
        let failing = entries.values().filter(|status| status.error.is_some()).count();
        (missing, failing, entries.values().map(|status| status.due).min())
    }

    /// Returns the status of all of them; `None` if none is wanted.
    pub(crate) fn status(&self, now: UnixTime) -> Option<AcmeStatus> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let troubled = entries.iter().filter(|(_, status)| status.is_missing(now) || status.error.is_some());
        let troubles = troubled.take(TOLD).map(|(id, status)| AcmeTrouble {
            certificate: id.to_string(),
            missing: status.is_missing(now),
            error: status.error.clone(),
            next: status.due,
        });
        let status = AcmeStatus {
            wanted: entries.len(),
            missing: entries.values().filter(|status| status.is_missing(now)).count(),
            failing: entries.values().filter(|status| status.error.is_some()).count(),
            next: entries.values().map(|status| status.due).min()?,
            troubles: troubles.collect(),
        };
        Some(status)
    }
}

impl CertificateStatus {
    fn is_missing(&self, now: UnixTime) -> bool {
        self.not_after.is_none_or(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_fails_is_told_and_the_list_is_bounded() {
        let board = AcmeStatusBoard::default();
        let at = UnixTime::from_secs;
        assert_eq!(board.status(at(0)), None);
        board.note("tenants/fine", CertificateStatus { not_after: Some(at(900)), due: at(600), error: None });
        board.note(
            "tenants/late",
            CertificateStatus { not_after: Some(at(900)), due: at(300), error: Some("down".to_owned()) },
        );
        board.note("tenants/new", CertificateStatus { not_after: None, due: at(200), error: None });

        let status = board.status(at(100)).unwrap();
        assert_eq!((status.wanted, status.missing, status.failing, status.next), (3, 1, 1, at(200)));
        assert_eq!(
            status.troubles.iter().map(|one| &*one.certificate).collect::<Vec<_>>(),
            ["tenants/late", "tenants/new"]
        );
        assert_eq!(board.summary(at(901)), (3, 1, Some(at(200))));

        for number in 0..100 {
            board.note(
                &format!("hosts/{number}"),
                CertificateStatus { not_after: None, due: at(1), error: None },
            );
        }
        let status = board.status(at(100)).unwrap();
        assert_eq!((status.missing, status.troubles.len()), (101, TOLD));
        board.retain(|id| id == "tenants/fine");
        assert_eq!(board.summary(at(100)), (0, 0, Some(at(600))));
    }
}
