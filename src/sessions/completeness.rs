//! The time since which the journal is complete, what a loss means, and how a loss ends.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::StoreError;
use crate::{
    append_log::{Beginning, Loss, Mark, Past},
    model::UnixTime,
};

/// How far back the clock must be set before it counts as having been ahead.
const SET_BACK: Duration = Duration::from_secs(60);

/// Since when the journal knows who was ended. Readers never wait.
pub(super) struct Completeness {
    /// The two times of [`Beginning`], in milliseconds; a loss of 0 is none.
    began: AtomicU64,
    lost: AtomicU64,
    /// Whether other nodes were asked, where there are any.
    was_agreed: AtomicBool,
    inner: Mutex<Inner>,
    /// Why the mark could not be written the last time.
    trouble: Mutex<Option<StoreError>>,
}

struct Inner {
    past: Past,
    accepted: Option<UnixTime>,
    /// Whether this process keeps the mark.
    is_kept: bool,
    /// The latest time that a caller passed in.
    latest: UnixTime,
}

/// How the journal was found when its mark was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is whole.
    Whole,
    /// It has no mark, and counts as whole: probably an earlier version wrote it.
    Unmarked,
    /// There is neither a journal nor a mark: probably a first start.
    First,
    /// It does not match its mark.
    Lost {
        /// What is wrong.
        why: &'static str,
    },
    /// An earlier start found a loss that no operator has accepted.
    StillLost,
    /// An operator accepts sessions from before the loss with this start.
    Accepted,
}

/// What came of an agreement with the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Whether it may change what a lookup answers.
    pub(super) is_change: bool,
    /// Whether a loss is over.
    pub(super) is_recovery: bool,
}

impl Completeness {
    pub(super) fn new(past: Past, now: UnixTime) -> Self {
        let beginning = past.beginning(now);
        let accepted = if let Past::Whole(mark) = &past { mark.accepted } else { None };
        Self {
            began: AtomicU64::new(beginning.began.as_millis()),
            lost: AtomicU64::new(beginning.lost.map_or(0, UnixTime::as_millis)),
            was_agreed: AtomicBool::new(false),
            inner: Mutex::new(Inner { past, accepted, is_kept: false, latest: now }),
            trouble: Mutex::default(),
        }
    }

    /// Keeps the mark from now on. `accept` is an operator's word that sessions from before a loss count.
    pub(super) fn begin(&self, accept: bool, now: UnixTime) -> Begun {
        let mut inner = self.inner();
        inner.is_kept = true;
        let is_lost = match &inner.past {
            Past::First | Past::Lost { .. } => true,
            Past::Unmarked => false,
            Past::Whole(_) => self.beginning().lost.is_some(),
        };
        if accept && is_lost {
            inner.accepted = Some(now);
            self.set(Beginning::default());
        }
        match &inner.past {
            _ if accept && is_lost => Begun::Accepted,
            Past::First => Begun::First,
            Past::Lost { loss, .. } => Begun::Lost { why: reason(*loss) },
            Past::Whole(_) if is_lost => Begun::StillLost,
            Past::Unmarked => Begun::Unmarked,
            Past::Whole(_) => Begun::Whole,
        }
    }

    /// Writes into a mark what is known; says whether this process keeps it.
    pub(super) fn fill(&self, mark: &mut Mark) {
        let inner = self.inner();
        (mark.beginning, mark.accepted, mark.seen) = (self.beginning(), inner.accepted, inner.latest);
    }

    /// Says whether this process keeps the mark.
    pub(super) fn is_kept(&self) -> bool {
        self.inner().is_kept
    }

    /// Takes in the time. A clock that was ahead when a loss was found, and was set back, keeps nobody out
    /// who signs in from now on.
    pub(super) fn tick(&self, now: UnixTime) {
        let mut inner = self.inner();
        let was_ahead = now.plus(SET_BACK) < inner.latest;
        inner.latest = now;
        if was_ahead {
            let Beginning { began, lost } = self.beginning();
            self.set(Beginning { began: began.min(now), lost: lost.map(|lost| lost.min(now)) });
        }
    }

    /// Takes over since when all nodes together know who was ended: what they know is known here now.
    pub(super) fn agree(&self, theirs: Beginning) -> Agreed {
        let own = self.beginning();
        let is_first = !self.was_agreed.swap(true, Ordering::Relaxed);
        let is_earlier = theirs.began < own.began;
        if is_earlier {
            self.set(theirs);
        }
        Agreed {
            is_change: is_earlier || is_first,
            is_recovery: is_earlier && own.lost.is_some() && theirs.lost.is_none(),
        }
    }

    /// Says whether the other nodes were asked.
    pub(super) fn has_agreed(&self) -> bool {
        self.was_agreed.load(Ordering::Relaxed)
    }

    /// Returns since when it is known who was ended.
    pub(super) fn beginning(&self) -> Beginning {
        let lost =
            Some(self.lost.load(Ordering::Relaxed)).filter(|lost| *lost > 0).map(UnixTime::from_millis);
        Beginning { began: UnixTime::from_millis(self.began.load(Ordering::Relaxed)), lost }
    }

    /// Says whether the mark tells of more than the journal held when it was opened.
    pub(super) fn has_lost_records(&self) -> bool {
        matches!(self.inner().past, Past::Lost { .. })
    }

    /// Returns why the mark could not be written the last time.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why the mark could not be written, or that it was.
    pub(super) fn set_trouble(&self, trouble: Option<StoreError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn set(&self, beginning: Beginning) {
        self.began.store(beginning.began.as_millis(), Ordering::Relaxed);
        self.lost.store(beginning.lost.map_or(0, UnixTime::as_millis), Ordering::Relaxed);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether a journal would know had somebody ended a session of a sign-in. A session of the app's is
/// only unknown where a journal is known to have been lost, because an app is older than its gateway.
pub(super) fn covers(beginning: Beginning, auth_time: UnixTime, is_foreign: bool) -> bool {
    // Apps write whole seconds: who signs in within the second of the loss, behind it, is not turned away.
    if is_foreign {
        beginning.lost.is_none_or(|lost| auth_time.as_secs() >= lost.as_secs())
    } else {
        auth_time >= beginning.began
    }
}

/// Says what is wrong with a journal that counts as lost.
pub(super) const fn reason(loss: Loss) -> &'static str {
    match loss {
        Loss::MarkUnreadable => "revocations.began cannot be read",
        Loss::Gone => "revocations.journal is gone",
        Loss::Shorter => "revocations.journal is shorter than it was",
        Loss::Replaced => "revocations.journal is another file than it was",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn who_signed_in_before_is_not_known_of() {
        let first = Beginning { began: at(100), lost: None };
        let lost = Beginning { began: at(100), lost: Some(at(100)) };

        assert_eq!([99, 100].map(|time| covers(first, at(time), false)), [false, true]);
        assert!(covers(first, at(1), true), "an app is older than its gateway");
        assert_eq!([99, 100].map(|time| covers(lost, at(time), true)), [false, true]);
        assert!(covers(Beginning::default(), UnixTime::default(), false));
    }
}
