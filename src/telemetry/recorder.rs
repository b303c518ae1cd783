//! The one way of an event into the access log and the metrics.

use std::sync::Arc;

use super::{AccessLog, Metrics, RefusalCount, RefusalSummary, event_line};
use crate::model::{
    ClientIp, Clock, ConnectionChange, ConnectionChanged, EdgeRefusal, Event, EventKind, EventSink, UnixTime,
};

/// Records what happens under one revision of the rules: access line and metrics are made here, and nowhere
/// else.
///
/// It never blocks: lines are queued, or dropped and counted.
#[derive(Clone)]
pub struct Recorder {
    revision: Box<str>,
    log: Arc<AccessLog>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
}

/// Refused connections that are alike, of all revisions.
#[derive(Default)]
struct Refusals {
    summary: RefusalSummary,
    /// Makes a number of what sets refusals apart; nobody can choose texts with the same one.
    groups: ahash::RandomState,
}

impl Recorder {
    /// Records under a revision.
    pub fn new(revision: &str, log: Arc<AccessLog>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { revision: revision.into(), log, metrics, refusals: Arc::default(), clock }
    }

    /// Returns the recorder of the next revision, whose lines may go elsewhere.
    #[must_use]
    pub fn next(&self, revision: &str, log: Arc<AccessLog>) -> Self {
        Self { revision: revision.into(), log, ..self.clone() }
    }

    /// Returns where its lines go.
    pub fn log(&self) -> &Arc<AccessLog> {
        &self.log
    }

    /// Hands an event to the access log and the metrics.
    pub fn record(&self, event: &Event<'_>) {
        if self.has_line(event) {
            event_line::write(&self.log, event);
        }
        self.metrics.count(event);
    }

    /// Writes how many connections were refused in a minute that is over, beside those that have a line.
    pub fn write_refusals(&self) {
        self.write_counts(&self.refusals.summary.roll_over(self.clock.tick()));
    }

    /// Writes how many connections were refused up to now: the process ends.
    pub fn write_last_refusals(&self) {
        self.write_counts(&self.refusals.summary.close());
    }

    fn write_counts(&self, refused: &[RefusalCount]) {
        for count in refused {
            event_line::write_count(&self.log, self.clock.now(), &self.revision, count);
        }
    }

    /// Says whether an event has its own line, if its kind has one: refused connections that are alike have
    /// one together.
    fn has_line(&self, event: &Event<'_>) -> bool {
        let EventKind::Connection(ConnectionChanged { listener, change }) = event.what else { return true };
        let ConnectionChange::Refused { peer, refusal, detail, .. } = *change else { return true };
        // Whose certificate it is, and why it is refused, are facts of their own.
        let by_detail = refusal == EdgeRefusal::ClientCertificate;
        let group = if by_detail { self.refusals.groups.hash_one(detail) } else { 0 };
        let client = ClientIp::from(peer.ip());
        let now = self.clock.tick();
        let noted = self.refusals.summary.note_grouped(listener, refusal.code(), client, group, now);
        self.write_counts(&noted.sums);
        noted.alone
    }
}

impl EventSink for Recorder {
    fn emit(&self, what: EventKind<'_>) {
        self.emit_at(self.clock.now(), what);
    }

    fn emit_at(&self, time: UnixTime, what: EventKind<'_>) {
        self.record(&Event { time, revision: &self.revision, what });
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("revision", &self.revision).finish_non_exhaustive()
    }
}
