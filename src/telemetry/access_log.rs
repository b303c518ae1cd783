//! The access log: lines are formatted by the thread that serves the request, queued, and written by one
//! writer thread.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    line::AccessLine,
    sink::Sink,
    writer::{FailureReporter, Message, Shared, Writer},
};
use crate::policy;

/// The capacity of the queue in lines: 80 ms at 100,000 requests per second, about 5 MiB.
const QUEUE_LINES: usize = 8192;

/// How many empty buffers are kept for reuse.
const SPARE_BUFFERS: usize = 512;

/// The initial size of a buffer: a line of usual length.
const LINE_BYTES: usize = 768;

/// Why access lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be opened for appending.
    #[error("cannot open the access log {}", path.display())]
    Open {
        /// The file; `stdout` for standard output.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the access log's thread")]
    Thread(#[source] io::Error),
}

/// The access log. Writing never blocks: when the queue is full or a sink fails, lines are dropped and
/// counted.
#[derive(Debug)]
pub struct AccessLog {
    /// The name of this node, which is in every line.
    node: Box<str>,
    shared: Arc<Shared>,
    queue: Sender<Message>,
    spare: Receiver<Vec<u8>>,
    done: Receiver<()>,
    silent: AtomicBool,
}

impl AccessLog {
    /// Opens all sinks, or none, and starts the writer.
    pub fn open(sinks: &[policy::AccessLog], node: &str) -> Result<Self, LogError> {
        Self::with_queue(sinks, node, QUEUE_LINES, Arc::default())
    }

    /// Opens the log that replaces another, and shares its count of dropped lines.
    pub fn open_behind(before: &Self, sinks: &[policy::AccessLog], node: &str) -> Result<Self, LogError> {
        Self::with_queue(sinks, node, QUEUE_LINES, Arc::clone(&before.shared.dropped))
    }

    fn with_queue(
        rules: &[policy::AccessLog],
        node: &str,
        lines: usize,
        dropped: Arc<AtomicU64>,
    ) -> Result<Self, LogError> {
        let sinks = open_all(rules)?;
        let failure_reporter = FailureReporter::after(dropped.load(Ordering::Relaxed));
        let shared = Arc::new(Shared { dropped, ..Shared::default() });
        let (queue, receiver) = bounded(lines);
        let (give_back, spare) = bounded(SPARE_BUFFERS);
        let (ended, done) = bounded::<()>(0);
        let writer = Writer {
            shared: Arc::clone(&shared),
            sinks,
            queue: receiver,
            spare: give_back,
            seen: 0,
            failure_reporter,
            retries: None,
        };
        let work = move || {
            writer.run();
            drop(ended);
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(work).map_err(LogError::Thread)?;
        Ok(Self { node: node.into(), shared, queue, spare, done, silent: AtomicBool::new(rules.is_empty()) })
    }

    /// Formats a line into a reused buffer and queues it.
    pub(super) fn write(&self, line: &AccessLine<'_>) {
        if self.silent.load(Ordering::Relaxed) {
            return;
        }
        if self.queue.is_full() || self.shared.closing.load(Ordering::Relaxed) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut text = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(LINE_BYTES));
        line.append_json(&mut text, &self.node);
        let generation = self.shared.generation.load(Ordering::Acquire);
        if self.queue.try_send(Message::Line { text, time: line.time, generation }).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reopens the files by name: lines written from now on go there.
    pub fn reopen(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        // If the queue is full, the writer is awake, and the next line carries the new generation.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Switches to other sinks: opens all of them, or changes nothing.
    pub fn replace(&self, sinks: &[policy::AccessLog]) -> Result<(), LogError> {
        let opened = open_all(sinks)?;
        *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        self.reopen();
        self.silent.store(sinks.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns how many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Returns what is wrong while lines are being dropped or a file cannot be reopened or rotated.
    pub fn trouble(&self) -> Option<String> {
        let failing = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failing = failing
            .or_else(|| self.queue.is_full().then(|| "lines come faster than they are written".to_owned()))?;
        Some(format!("access log: {failing}; {} lines lost since the start", self.dropped()))
    }

    /// Writes the queued lines and stops the writer; later lines are dropped. Blocks up to the deadline and
    /// returns whether everything was written by then.
    pub fn close(&self, deadline: Duration) -> bool {
        self.shared.closing.store(true, Ordering::Release);
        let _ = self.queue.try_send(Message::Wake);
        // Nothing is ever sent on this channel: it closes when the writer stops.
        matches!(self.done.recv_timeout(deadline), Err(RecvTimeoutError::Disconnected))
    }
}

/// A log that a reload replaced stops by itself, once its queued lines are written. Drop does not wait for
/// the writer, because the last policy that holds the log may be dropped by a thread that serves requests.
impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

fn open_all(rules: &[policy::AccessLog]) -> Result<Vec<Sink>, LogError> {
    rules
        .iter()
        .map(|rule| Sink::open(rule).map_err(|source| LogError::Open { path: name(rule), source }))
        .collect()
}

fn name(rule: &policy::AccessLog) -> PathBuf {
    match &rule.to {
        policy::LogTarget::Stdout => PathBuf::from("stdout"),
        policy::LogTarget::File { path, .. } => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

    use super::*;
    use crate::policy::{LogFormat, LogTarget};

    const LONG: Duration = Duration::from_secs(20);

    fn file(path: &Path) -> policy::AccessLog {
        policy::AccessLog {
            to: LogTarget::File { path: path.to_owned(), rotate: None },
            format: LogFormat::Json,
        }
    }

    fn write(log: &AccessLog, status: u16) {
        log.write(&AccessLine { status: Some(status), ..AccessLine::default() });
    }

    /// The statuses of a file's lines, each of which must be one object.
    fn statuses(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn lines_are_written_in_order_by_the_time_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::open(&[file(&path)], "edge-1").unwrap();

        (100..1100).for_each(|status| write(&log, status));

        assert!(log.close(LONG));
        assert!(statuses(&path).into_iter().eq(100..1100));
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn lines_after_reopening_go_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.old"));
        let log = AccessLog::open(&[file(&path)], "edge-1").unwrap();

        (200..300).for_each(|status| write(&log, status));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        (300..400).for_each(|status| write(&log, status));

        assert!(log.close(LONG));
        assert!(statuses(&moved).into_iter().eq(200..300));
        assert!(statuses(&path).into_iter().eq(300..400));
    }

    #[test]
    fn other_sinks_take_over_between_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.log"), dir.path().join("b.log"));
        let log = AccessLog::open(&[file(&first)], "edge-1").unwrap();

        write(&log, 200);
        assert!(log.replace(&[file(&dir.path().join("missing/c.log"))]).is_err());
        write(&log, 201);
        log.replace(&[file(&second)]).unwrap();
        write(&log, 202);

        assert!(log.close(LONG));
        assert_eq!((statuses(&first), statuses(&second)), (vec![200, 201], vec![202]));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        crate::files::make_named_pipe(&fifo);
        // Somebody holds the pipe open, never reads it, and it is full: the writer blocks.
        let nonblocking = 0o4000;
        let mut pipe =
            std::fs::OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(&fifo).unwrap();
        while pipe.write(&[0; 4096]).is_ok() {}
        let log = AccessLog::with_queue(&[file(&fifo)], "edge-1", 4, Arc::default()).unwrap();

        while log.dropped() == 0 {
            write(&log, 200);
        }

        assert!(!log.close(Duration::from_millis(10)), "the writer tries for a second");
        assert!(log.close(LONG), "and no longer");
    }

    #[test]
    fn a_failing_disk_drops_and_counts() {
        let log = AccessLog::open(&[file(Path::new("/dev/full"))], "edge-1").unwrap();

        write(&log, 200);
        write(&log, 201);

        let trouble = (0..2000).find_map(|_| {
            log.trouble().or_else(|| {
                std::thread::sleep(Duration::from_millis(10));
                None
            })
        });
        assert!(trouble.is_some_and(|text| text.starts_with("access log: writing /dev/full: No space left")));
        assert!(log.close(LONG));
        assert_eq!((log.dropped(), log.trouble()), (2, None));
        write(&log, 202);
        assert_eq!(log.dropped(), 3);
    }

    #[test]
    fn without_sinks_nothing_is_written_or_lost() {
        let log = AccessLog::open(&[], "edge-1").unwrap();

        write(&log, 200);

        assert!(log.close(LONG));
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let refused = AccessLog::open(&[file(Path::new("/nowhere/access.log"))], "edge-1");

        assert_eq!(refused.unwrap_err().to_string(), "cannot open the access log /nowhere/access.log");
    }
}
