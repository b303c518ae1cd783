//! The revocation journal at a start: alone, or after a predecessor.

use std::{sync::Arc, time::Duration};

use super::{
    included::{self, TenantIncludes},
    redis,
    start::RunError,
};
use crate::{
    hand_over::Joining,
    model::{Clock, LostRevocations, Tick, UnixTime, error_chain},
    policy::Policy,
    sessions::{Begun, SessionLedger, StoreError},
    upkeep::journal,
};

/// What the journal is compared with when it is opened.
pub(super) struct StartJournal {
    policy: Arc<Policy>,
    included: TenantIncludes,
    /// Whether sessions from before a lost journal count, by an operator's word.
    accepts_old_sessions: bool,
    started: UnixTime,
}

/// The journal that a predecessor closed, open here.
pub(super) struct TakenJournal {
    pub(super) journal: Arc<SessionLedger>,
    /// Until when what the predecessor knew of other nodes holds here.
    pub(super) fresh_until: Option<Tick>,
}

impl StartJournal {
    /// Judges the state directory before anything is written there.
    pub(super) fn new(
        policy: Arc<Policy>,
        included: TenantIncludes,
        accepts_old_sessions: bool,
        started: UnixTime,
    ) -> Result<Self, StoreError> {
        judge_folder(&policy)?;
        Ok(Self { policy, included, accepts_old_sessions, started })
    }

    /// Opens the journal where no predecessor has it, notes which tenants there are, and begins to keep the
    /// mark.
    pub(super) fn open_alone(&mut self) -> Result<Arc<SessionLedger>, StoreError> {
        let journal = open(&self.policy, self.started)?;
        self.included.compare(&self.policy, &journal);
        included::settle(&self.policy, &journal, self.included.is_confirmed(), self.started)?;
        self.begin_mark(&journal)?;
        Ok(journal)
    }

    /// Says that all is bound, and opens the journal once the predecessor has closed it: it cannot write it
    /// from then on.
    pub(super) fn take_over(
        &mut self,
        joining: &Joining,
        clock: &dyn Clock,
    ) -> Result<TakenJournal, RunError> {
        let fresh_until = redis::fresh_until(&self.policy, &joining.bound()?, clock.tick());
        let journal = open(&self.policy, self.started)?;
        self.included.compare(&self.policy, &journal);
        // The predecessor serves them, and goes on.
        if let Some(why) = self.included.refuse_to_succeed(&self.policy, &journal) {
            return Err(RunError::Removal(why));
        }
        Ok(TakenJournal { journal, fresh_until })
    }

    /// Does what [`StartJournal::take_over`] put off: notes which tenants there are, and begins to keep the
    /// mark. Now nothing can go back to the predecessor, which may be from a version that keeps no mark.
    pub(super) fn finish_take_over(&self, journal: &SessionLedger, confirmed: bool) {
        if let Err(error) = included::settle(&self.policy, journal, confirmed, self.started) {
            tracing::error!(error = %error_chain(&error), "which tenants there are would not survive a restart; it is written with the next revocation");
        }
        if let Err(error) = self.begin_mark(journal) {
            tracing::error!(error = %error_chain(&error), "what the revocation journal holds cannot be marked");
        }
    }

    /// Takes out what the tenants were read from.
    pub(super) fn take_included(&mut self) -> TenantIncludes {
        std::mem::replace(&mut self.included, TenantIncludes::at_start(Vec::new()))
    }

    fn begin_mark(&self, journal: &SessionLedger) -> Result<(), StoreError> {
        begin_mark(journal, self.accepts_old_sessions, self.policy.longest_session(), self.started)
    }
}

/// Judges the state directory before anything is written there.
fn judge_folder(policy: &Policy) -> Result<(), StoreError> {
    if let Some(owner) = SessionLedger::judge_folder(&policy.state_dir)? {
        tracing::warn!(
            event = "state_dir_owner",
            path = %policy.state_dir.display(),
            owner,
            "the state directory belongs to another user, who may put a journal and a control socket of their own there; it is octroi's user's, 0700"
        );
    }
    Ok(())
}

/// Begins to keep the mark beside the journal, and tells of a loss.
fn begin_mark(
    journal: &SessionLedger,
    accept: bool,
    longest: Duration,
    now: UnixTime,
) -> Result<(), StoreError> {
    let refused = "sessions from before are refused (401 `revocation_lost`), for whether somebody ended them is not known; from `until` on none of \
                   them can live, and all is well by itself; `octroi run --accept-old-sessions` takes them before";
    let begun = journal.begin_mark(accept, now)?;
    let lost = journal.beginning().lost.and_then(|found| LostRevocations::of(found, longest, now));
    let until = lost.map_or(now, |lost| lost.until);
    match begun {
        Begun::Whole if accept => {
            tracing::warn!("`--accept-old-sessions` does nothing: no revocation is lost; take it out again")
        }
        Begun::Whole => {}
        Begun::Unmarked => tracing::warn!(
            event = "revocations_unmarked",
            "the revocation journal has no mark beside it and counts as whole; that is so once behind an octroi that kept none: otherwise somebody \
             took `revocations.began` away, and sessions that were ended may count again"
        ),
        Begun::First => tracing::info!(event = "revocations_begin", "the revocation journal begins now"),
        Begun::Lost { why } => tracing::error!(event = "revocations_lost", why, %until, "{refused}"),
        Begun::StillLost if lost.is_none() => {
            tracing::info!(event = "revocations_lost_over", "{}", journal::LOSS_OVER)
        }
        Begun::StillLost => {
            tracing::error!(event = "revocations_lost", why = "an earlier start found that", %until, "{refused}")
        }
        Begun::Accepted => {
            tracing::warn!(
                event = "revocations_accepted",
                "sessions from before the loss count, by an operator's word; take `--accept-old-sessions` out again"
            );
        }
    }
    Ok(())
}

/// Opens the journal.
fn open(policy: &Policy, now: UnixTime) -> Result<Arc<SessionLedger>, StoreError> {
    let journal = Arc::new(SessionLedger::open(&policy.state_dir, now)?);
    if let Some(torn) = journal.torn() {
        // A write that a crash cut short was answered to nobody. Where the mark says that more was there,
        // somebody cut what was whole.
        let means = if journal.has_lost_records() {
            "the journal had been longer, so what is missing was said to be done"
        } else {
            "as behind a crash in the middle of a write: a revocation that was being written then, and that nobody was told to be done, is not \
             in force"
        };
        tracing::warn!(
            offset = torn.offset,
            bytes = torn.bytes,
            revocations = journal.len(),
            "the end of the revocation journal was cut short and is taken off: {means}"
        );
    }
    Ok(journal)
}
