//! The thread that writes access lines.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::sink::{Failure, Sink};
use crate::model::UnixTime;

/// How long nothing more is said of sinks that fail.
const SILENCE: Duration = Duration::from_secs(60);

/// A buffer that grew beyond this is not used again.
const RECYCLED_BYTES: usize = 8 * 1024;

/// How long the writer rests after a flush in which there were lines. A tenth of what the queue holds at 100,000 lines per second.
const PAUSE: Duration = Duration::from_millis(10);

/// What comes through the queue.
#[derive(Debug)]
pub(super) enum Message {
    /// A line.
    Line {
        /// The line, with its line feed.
        text: Vec<u8>,
        /// Its time, from which the writer knows what time it is.
        time: UnixTime,
        /// How many changes had been asked for when it was written.
        generation: u64,
    },
    /// Something was asked for.
    Wake,
}

/// What the writer and those who write share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines that were lost, of this log and of those before it: one that a reload replaced may still lose some.
    pub(super) dropped: Arc<AtomicU64>,
    /// How often reopening or another set of sinks was asked for. Lines carry the count, so that order is kept
    /// without a place in a queue that may be full.
    pub(super) generation: AtomicU64,
    /// Sinks to go on with.
    pub(super) next: Mutex<Option<Vec<Sink>>>,
    /// What fails, while something does.
    pub(super) trouble: Mutex<Option<String>>,
    /// Whether the writer shall end once the queue is empty.
    pub(super) closing: AtomicBool,
}

/// The writer: it lives in its thread until it is told to end.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) sinks: Vec<Sink>,
    pub(super) queue: Receiver<Message>,
    pub(super) spare: Sender<Vec<u8>>,
    pub(super) seen: u64,
    pub(super) complaint: Complaint,
}

impl Writer {
    /// Writes lines until closing. Flushes whenever the queue is empty.
    ///
    /// While lines come, it looks for them from time to time instead of waiting for each: waking a thread costs whoever wakes it
    /// several microseconds, and so does a write per line.
    pub(super) fn run(mut self) {
        let mut busy = false;
        loop {
            // Asked before the queue: what was queued before closing is then seen.
            let closing = self.shared.closing.load(Ordering::Acquire);
            let message = match self.queue.try_recv() {
                Ok(message) => Ok(message),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.each(Sink::flush);
                    self.settle();
                    if closing {
                        break;
                    }
                    if std::mem::take(&mut busy) {
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                    self.queue.recv()
                }
            };
            match message {
                Ok(Message::Line { text, time, generation }) => {
                    busy = true;
                    self.complaint.now = time;
                    self.follow(generation);
                    self.each(|sink| sink.add(&text));
                    self.recycle(text);
                }
                Ok(Message::Wake) => self.follow(self.shared.generation.load(Ordering::Acquire)),
                Err(_) => break,
            }
        }
        self.each(Sink::flush);
        self.conclude();
    }

    /// Does what was asked for up to a generation.
    fn follow(&mut self, generation: u64) {
        if generation <= self.seen {
            return;
        }
        self.seen = generation;
        let next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        match next {
            Some(sinks) => {
                self.each(Sink::flush);
                self.conclude();
                self.sinks = sinks;
            }
            None => self.each(Sink::reopen),
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Sink) -> Result<(), Failure>) {
        for sink in &mut self.sinks {
            if let Err(failure) = act(sink) {
                self.shared.dropped.fetch_add(failure.lost, Ordering::Relaxed);
                self.complaint.say(&failure, self.shared.dropped.load(Ordering::Relaxed));
                let trouble = format!("{} {}: {}", failure.act, sink.name(), failure.error);
                *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
            }
        }
    }

    /// Says how many lines were lost, once none is any more: what was said when it began to fail is less than that.
    fn settle(&mut self) {
        if self.complaint.is_failing {
            if self.sinks.iter().any(Sink::is_failing) {
                return;
            }
            self.complaint.is_failing = false;
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lost = dropped.saturating_sub(self.complaint.told);
        if std::mem::take(&mut self.complaint.is_said) {
            self.complaint.told = dropped;
            tracing::warn!(event = "access_log_back", lost, "the access log works again; so many lines were lost");
        } else if lost > 0 && self.complaint.is_due() {
            self.complaint.told = dropped;
            tracing::warn!(event = "access_lines_lost", lost, "access lines were lost: they came faster than they could be written");
        }
    }

    /// Says what these sinks lost, before they are left.
    fn conclude(&mut self) {
        self.settle();
        if std::mem::take(&mut self.complaint.is_failing) {
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            let lost = dropped.saturating_sub(self.complaint.told);
            self.complaint.told = dropped;
            self.complaint.is_said = false;
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::warn!(event = "access_lines_lost", lost, "an access log that failed is left; so many lines were lost");
        }
    }

    fn recycle(&self, mut text: Vec<u8>) {
        if text.capacity() <= RECYCLED_BYTES {
            text.clear();
            // Full: there are enough.
            let _ = self.spare.try_send(text);
        }
    }
}

/// Says that a sink fails, but not for every line.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    now: UnixTime,
    last: Option<UnixTime>,
    /// How many lost lines were told of, when they were lost no more.
    told: u64,
    /// Whether something fails, and whether that was said.
    is_failing: bool,
    is_said: bool,
}

impl Complaint {
    /// Begins where so many lines were lost and told of already.
    pub(super) fn after(told: u64) -> Self {
        Self { told, ..Self::default() }
    }

    fn say(&mut self, failure: &Failure, dropped: u64) {
        self.is_failing = true;
        if self.is_due() {
            self.is_said = true;
            tracing::error!(error = %failure.error, act = failure.act, dropped, "the access log fails");
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| self.now.since(last) >= SILENCE || self.now < last);
        if due {
            self.last = Some(self.now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_sink_is_spoken_of_once_a_minute() {
        let mut complaint = Complaint { now: UnixTime::from_secs(100), ..Complaint::default() };

        assert!(complaint.is_due());
        assert!(!complaint.is_due());
        complaint.now = UnixTime::from_secs(159);
        assert!(!complaint.is_due());
        complaint.now = UnixTime::from_secs(160);
        assert!(complaint.is_due());
    }
}
