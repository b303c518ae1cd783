//! The only path of an event to the access log and the metrics.

use std::sync::Arc;

use super::{AccessLog, Metrics, RefusalCount, RefusalSummary, event_line};
use crate::model::{
    ClientIp, Clock, ConnectionChange, ConnectionChanged, EdgeRefusal, Event, EventKind, EventSink, UnixTime,
};

/// Records events under one revision of the policy. Access lines and metrics are made here and nowhere else.
///
/// It never blocks: a line is queued, or dropped and counted.
#[derive(Clone)]
pub struct Recorder {
    revision: Box<str>,
    log: Arc<AccessLog>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
}

/// Summaries of similar refused connections, shared by all revisions.
#[derive(Default)]
struct Refusals {
    summary: RefusalSummary,
    /// Hashes what tells refusals apart. The hash is keyed, so clients cannot choose colliding texts.
    groups: ahash::RandomState,
}

impl Recorder {
    /// Creates a recorder for a revision.
    pub fn new(revision: &str, log: Arc<AccessLog>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { revision: revision.into(), log, metrics, refusals: Arc::default(), clock }
    }

    /// Returns the recorder of the next revision, which may have another access log.
    #[must_use]
    pub fn next(&self, revision: &str, log: Arc<AccessLog>) -> Self {
        Self { revision: revision.into(), log, ..self.clone() }
    }

    /// Returns its access log.
    pub fn log(&self) -> &Arc<AccessLog> {
        &self.log
    }

    /// Passes an event to the access log and the metrics.
    pub fn record(&self, event: &Event<'_>) {
        if self.has_line(event) {
            event_line::write(&self.log, event);
        }
        self.metrics.count(event);
    }

    /// Writes a summary of the connections that were refused in the last full minute without a line of their
    /// own.
    pub fn write_refusals(&self) {
        self.write_counts(&self.refusals.summary.roll_over(self.clock.tick()));
    }

    /// Writes the summary up to now, at the end of the process.
    pub fn write_last_refusals(&self) {
        self.write_counts(&self.refusals.summary.close());
    }

    fn write_counts(&self, refused: &[RefusalCount]) {
        for count in refused {
            event_line::write_count(&self.log, self.clock.now(), &self.revision, count);
        }
    }

    /// Returns whether an event gets its own line. Similar refused connections share one.
    fn has_line(&self, event: &Event<'_>) -> bool {
        let EventKind::Connection(ConnectionChanged { listener, change }) = event.what else { return true };
        let ConnectionChange::Refused { peer, refusal, detail, .. } = *change else { return true };
        // Refused client certificates are similar only where the detail (owner and reason) is the same.
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
