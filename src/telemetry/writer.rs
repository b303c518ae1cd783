//! The thread that writes access lines.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, tick};

use super::sink::{Failure, Sink};
use crate::model::UnixTime;

/// The shortest interval between two reports of failing sinks.
const SILENCE: Duration = Duration::from_secs(60);

/// How often reopening or rotating a file is retried.
const RETRY: Duration = Duration::from_secs(3);

/// A larger buffer is not reused.
const RECYCLED_BYTES: usize = 8 * 1024;

/// How long the writer pauses after a flush that wrote lines: an eighth of the time in which 100,000 lines
/// per second fill the queue.
const PAUSE: Duration = Duration::from_millis(10);

/// A message to the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// A line.
    Line {
        /// The line, with its line feed.
        text: Vec<u8>,
        /// Its time, which is the writer's clock.
        time: UnixTime,
        /// The generation of sinks that it is for.
        generation: u64,
    },
    /// The generation has changed.
    Wake,
}

/// State shared by the writer and the threads that log.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines dropped by this log and by those before it: a log that a reload replaced may still drop some.
    pub(super) dropped: Arc<AtomicU64>,
    /// Counts requests to reopen or replace the sinks. Each line carries the count, so that the order is
    /// kept even if the queue has no room for a message.
    pub(super) generation: AtomicU64,
    /// The sinks to switch to.
    pub(super) next: Mutex<Option<Vec<Sink>>>,
    /// What fails at the moment, if anything does.
    pub(super) trouble: Mutex<Option<String>>,
    /// Whether the writer stops once the queue is empty.
    pub(super) closing: AtomicBool,
}

/// The writer, which runs in its own thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) sinks: Vec<Sink>,
    pub(super) queue: Receiver<Message>,
    pub(super) spare: Sender<Vec<u8>>,
    pub(super) seen: u64,
    pub(super) failure_reporter: FailureReporter,
    /// The retry timer; none while nothing fails.
    pub(super) retries: Option<Receiver<Instant>>,
}

impl Writer {
    /// Writes lines until closing. Flushes whenever the queue is empty.
    ///
    /// Under load it polls the queue instead of blocking on it: waking the writer for each line would cost
    /// the serving thread several microseconds, and so would one write per line.
    pub(super) fn run(mut self) {
        let mut busy = false;
        loop {
            self.retry();
            // Read before the queue, so that lines queued before closing are still written.
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
                    let Some(message) = self.next() else { continue };
                    message
                }
            };
            match message {
                Ok(Message::Line { text, time, generation }) => {
                    busy = true;
                    self.failure_reporter.now = time;
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

    /// Reopens or switches the sinks up to a generation.
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
            None => self.reopen(),
        }
    }

    /// Reopens the files and logs the result: whoever rotated them relies on the old files being finished.
    fn reopen(&mut self) {
        self.asked(Sink::reopen, true);
        if !self.sinks.iter().any(Sink::is_file) {
            tracing::info!("no access log goes to a file: none is opened again");
        }
        let opened: Vec<String> = self
            .sinks
            .iter()
            .filter(|sink| sink.is_file() && !sink.is_left_behind())
            .map(Sink::name)
            .collect();
        if !opened.is_empty() {
            tracing::info!(event = "access_log_reopened", files = %opened.join(" "), "access logs are opened again");
        }
    }

    fn each(&mut self, act: impl FnMut(&mut Sink) -> Result<(), Failure>) {
        self.asked(act, false);
    }

    /// Calls a function on each sink, and reports failures. `by_somebody` marks an operator's request, whose
    /// failure is always reported.
    fn asked(&mut self, mut act: impl FnMut(&mut Sink) -> Result<(), Failure>, by_somebody: bool) {
        for sink in &mut self.sinks {
            let Err(failure) = act(sink) else { continue };
            self.shared.dropped.fetch_add(failure.lost, Ordering::Relaxed);
            let file = sink.name();
            self.failure_reporter.say(
                &failure,
                &file,
                by_somebody && sink.is_left_behind(),
                self.shared.dropped.load(Ordering::Relaxed),
            );
            let meanwhile = if sink.is_left_behind() {
                " (lines go on to the file that is open, and it is tried on)"
            } else {
                ""
            };
            let trouble = format!("{} {file}: {}{meanwhile}", failure.act, failure.error);
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
            if self.retries.is_none() {
                self.retries = Some(tick(RETRY));
            }
        }
    }

    /// Retries what failed, when the timer is due.
    fn retry(&mut self) {
        if self.retries.as_ref().is_some_and(|due| due.try_recv().is_ok()) {
            self.each(Sink::retry);
        }
    }

    /// Waits for a message; while something fails, no longer than until the next retry.
    fn next(&self) -> Option<Result<Message, RecvTimeoutError>> {
        if self.retries.is_none() {
            return Some(self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected));
        }
        match self.queue.recv_timeout(RETRY) {
            Err(RecvTimeoutError::Timeout) => None,
            outcome => Some(outcome),
        }
    }

    /// Logs how many lines were dropped, once the sinks work again: the report at the beginning of the
    /// failure could not know the total.
    fn settle(&mut self) {
        if self.failure_reporter.is_failing {
            if self.sinks.iter().any(Sink::is_failing) {
                return;
            }
            self.failure_reporter.is_failing = false;
            self.retries = None;
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lost = dropped.saturating_sub(self.failure_reporter.told);
        if std::mem::take(&mut self.failure_reporter.is_said) {
            self.failure_reporter.told = dropped;
            tracing::warn!(
                event = "access_log_back",
                lost,
                "the access log works again; so many lines were lost"
            );
        } else if lost > 0 && self.failure_reporter.is_due() {
            self.failure_reporter.told = dropped;
            tracing::warn!(
                event = "access_lines_lost",
                lost,
                "access lines were lost: they came faster than they could be written"
            );
        }
    }

    /// Logs how many lines these sinks dropped, before they are replaced.
    fn conclude(&mut self) {
        self.settle();
        if std::mem::take(&mut self.failure_reporter.is_failing) {
            self.retries = None;
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            let lost = dropped.saturating_sub(self.failure_reporter.told);
            self.failure_reporter.told = dropped;
            self.failure_reporter.is_said = false;
            *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::warn!(
                event = "access_lines_lost",
                lost,
                "an access log that failed is left; so many lines were lost"
            );
        }
    }

    fn recycle(&self, mut text: Vec<u8>) {
        if text.capacity() <= RECYCLED_BYTES {
            text.clear();
            // An error means that there are enough spare buffers.
            let _ = self.spare.try_send(text);
        }
    }
}

/// Logs that a sink fails, at a limited rate.
#[derive(Debug, Default)]
pub(super) struct FailureReporter {
    now: UnixTime,
    last: Option<UnixTime>,
    /// How many dropped lines have been reported.
    told: u64,
    /// Whether something fails, and whether that was logged.
    is_failing: bool,
    is_said: bool,
}

impl FailureReporter {
    /// Starts with so many dropped lines already reported.
    pub(super) fn after(told: u64) -> Self {
        Self { told, ..Self::default() }
    }

    /// Logs a failure: at once where an operator asked to reopen the file, otherwise at most once a minute.
    fn say(&mut self, failure: &Failure, file: &str, is_left_behind: bool, dropped: u64) {
        self.is_failing = true;
        let is_due = self.is_due();
        if is_left_behind {
            self.is_said = true;
            tracing::error!(
                event = "access_log_not_reopened",
                file,
                error = %failure.error,
                "the access log cannot be opened again; its lines go on to the file that is open, and it is tried every few seconds"
            );
        } else if is_due {
            self.is_said = true;
            tracing::error!(error = %failure.error, act = failure.act, file, dropped, "the access log fails");
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
        let mut failure_reporter =
            FailureReporter { now: UnixTime::from_secs(100), ..FailureReporter::default() };

        assert!(failure_reporter.is_due());
        assert!(!failure_reporter.is_due());
        failure_reporter.now = UnixTime::from_secs(159);
        assert!(!failure_reporter.is_due());
        failure_reporter.now = UnixTime::from_secs(160);
        assert!(failure_reporter.is_due());
    }
}
