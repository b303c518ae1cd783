//! The queue in front of standard error: logging never waits for the reader.
//!
//! In `octroi run 2>&1 | reader`, a stopped reader would block every thread that logs: a reload, the
//! shutdown, or with one thread the whole process. So lines are queued here and written by one thread. Where
//! the queue or a disk is full, lines are dropped and counted, and a line that says how many and why is
//! written next. If a full disk cut a line off, a line feed is written first.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing_subscriber::fmt::{
    MakeWriter,
    format::Writer as Text,
    time::{FormatTime, SystemTime},
};

/// The capacity of the queue in lines.
const QUEUE_LINES: usize = 4096;

/// The capacity of the queue in bytes: the errors of a large configuration are one line.
const QUEUE_BYTES: usize = 4 << 20;

/// How long the shutdown waits for the queued lines.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the note about dropped lines is retried while nothing else is logged.
const RETRY: Duration = Duration::from_secs(3);

/// How long the writer pauses where a non-blocking descriptor accepts nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// The cause that is given for dropped lines where no write failed.
const UNREAD: &str = "nobody read it in time";

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The process log. Clones share the queue.
#[derive(Clone, Debug)]
pub struct ProcessLog {
    queue: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes in the queue.
    bytes: AtomicUsize,
    /// Lines that were dropped.
    dropped: AtomicU64,
    /// How many of them a note in the log has reported.
    told: AtomicU64,
    /// The error of the last failed write, until the note about it is written. Threads that log never take
    /// this lock.
    error: Mutex<Option<String>>,
}

impl Shared {
    fn failed(&self, error: Option<&io::Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
    }

    fn why(&self) -> String {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(|| UNREAD.to_owned())
    }
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Drop the sender once all earlier lines are written.
    Flush(Sender<()>),
}

impl ProcessLog {
    /// Starts the thread that writes to standard error.
    pub(crate) fn to_stderr(format: Format) -> io::Result<Self> {
        Self::begin(io::stderr().as_fd().try_clone_to_owned()?, QUEUE_LINES, format)
    }

    fn begin(out: OwnedFd, lines: usize, format: Format) -> io::Result<Self> {
        let (queue, waiting) = bounded(lines);
        let shared = Arc::<Shared>::default();
        let writer =
            Writer { out: File::from(out), waiting, shared: Arc::clone(&shared), format, is_torn: false };
        std::thread::Builder::new().name("own-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { queue, shared })
    }

    /// Queues text as it is, with its line end. Never waits.
    pub fn say(&self, text: &[u8]) {
        let after = self.shared.bytes.fetch_add(text.len(), Ordering::Relaxed).saturating_add(text.len());
        if after > QUEUE_BYTES || self.queue.try_send(Message::Line(text.to_vec())).is_err() {
            self.shared.bytes.fetch_sub(text.len(), Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Returns what is wrong while there are dropped lines that no note in the log has reported.
    pub fn trouble(&self) -> Option<String> {
        let lost = self.dropped().saturating_sub(self.shared.told.load(Ordering::Relaxed));
        (lost > 0).then(|| {
            format!(
                "octroi's own log: standard error takes nothing: {}; {lost} lines lost",
                self.shared.why()
            )
        })
    }

    /// Waits until the queued lines are written, up to a limit. Returns whether they were.
    pub fn flush(&self, within: Duration) -> bool {
        let (written, done) = bounded::<()>(0);
        // A queue that stays full for so long has no reader.
        if self.queue.send_timeout(Message::Flush(written), within).is_err() {
            return false;
        }
        // Nothing is ever sent on this channel.
        matches!(done.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }
}

impl<'a> MakeWriter<'a> for ProcessLog {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// The formatter writes each line in one call.
impl Write for &ProcessLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer {
    out: File,
    waiting: Receiver<Message>,
    shared: Arc<Shared>,
    format: Format,
    /// Whether the last line was written in part only.
    is_torn: bool,
}

impl Writer {
    /// Writes until every sender is gone.
    fn run(mut self) {
        loop {
            let message = if self.lost() > 0 {
                self.waiting.recv_timeout(RETRY)
            } else {
                self.waiting.recv().map_err(RecvTimeoutError::from)
            };
            match message {
                Err(RecvTimeoutError::Disconnected) => break,
                // Lines that a full disk dropped are reported as soon as there is room, not with the next
                // line.
                Err(RecvTimeoutError::Timeout) => self.tell_of_the_lost(),
                Ok(Message::Line(line)) => {
                    let written = self.put(&line);
                    self.shared.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    if !written {
                        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    } else if self.waiting.is_empty() {
                        self.tell_of_the_lost();
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.tell_of_the_lost();
                    drop(done);
                }
            }
        }
    }

    fn lost(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed).saturating_sub(self.shared.told.load(Ordering::Relaxed))
    }

    fn tell_of_the_lost(&mut self) {
        let (dropped, lost) = (self.shared.dropped.load(Ordering::Relaxed), self.lost());
        if lost > 0 && self.put(note(self.format, lost, &self.shared.why()).as_bytes()) {
            self.shared.told.store(dropped, Ordering::Relaxed);
            self.shared.failed(None);
        }
    }

    /// Writes the whole line, however long the reader takes. An error (a closed pipe, a full disk) drops the
    /// line.
    fn put(&mut self, line: &[u8]) -> bool {
        if self.is_torn {
            if !self.put_bytes(b"\n") {
                return false;
            }
            self.is_torn = false;
        }
        self.put_bytes(line)
    }

    fn put_bytes(&mut self, mut rest: &[u8]) -> bool {
        let whole = rest.len();
        let error = loop {
            if rest.is_empty() {
                return true;
            }
            match self.out.write(rest) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the descriptor made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(error) => break error,
            }
        };
        self.is_torn |= rest.len() < whole;
        self.shared.failed(Some(&error));
        false
    }
}

/// Formats the note about dropped lines.
fn note(format: Format, lost: u64, why: &str) -> String {
    match format {
        Format::Text => format!("octroi: {lost} lines of this log were lost: {why}\n"),
        Format::Json => {
            let mut timestamp = String::new();
            // If the time cannot be formatted, the line goes out without it.
            let _ = SystemTime.format_time(&mut Text::new(&mut timestamp));
            let message = "lines of this log were lost";
            let (event, target) = ("log_lines_lost", "octroi");
            let line = serde_json::json!({
                "timestamp": timestamp, "level": "WARN", "message": message, "event": event, "lines": lost, "error": why, "target": target
            });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe(lines: usize) -> (io::PipeReader, ProcessLog) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, ProcessLog::begin(writer.into(), lines, Format::Text).unwrap())
    }

    #[test]
    fn lines_come_in_order_and_are_there_behind_a_flush() {
        let (mut reader, log) = pipe(8);

        log.say(b"one\n");
        log.say(b"two\n");

        assert!(log.flush(Duration::from_secs(20)));
        let mut read = [0; 8];
        reader.read_exact(&mut read).unwrap();
        assert_eq!((&read, log.dropped()), (b"one\ntwo\n", 0));
    }

    #[test]
    fn a_reader_that_stopped_costs_lines_and_no_time_and_is_told_how_many() {
        let (mut reader, log) = pipe(4);
        let line = [&[b'x'; 4095][..], b"\n"].concat();

        // The pipe takes 64 KiB, the queue four lines, the writer one.
        while log.flush(Duration::from_millis(20)) {
            log.say(&line);
        }
        while log.dropped() < 3 {
            log.say(&line);
        }
        let dropped = log.dropped();
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();

        let told = |line: &str| {
            let count = line
                .strip_prefix("octroi: ")?
                .strip_suffix(" lines of this log were lost: nobody read it in time")?;
            count.parse::<u64>().ok()
        };
        assert_eq!(text.lines().filter_map(told).sum::<u64>(), dropped);
        assert!(text.lines().all(|line| line.len() == 4095 || told(line).is_some()), "no line is torn");
    }

    #[test]
    fn few_large_lines_are_too_much_as_well() {
        let (_reader, log) = pipe(QUEUE_LINES);
        let line = vec![b'x'; QUEUE_BYTES / 4];

        (0..4).for_each(|_| log.say(&line));
        assert_eq!(log.dropped(), 0);
        log.say(&line);

        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn a_reader_that_went_away_loses_lines_and_ends_nothing() {
        let (reader, log) = pipe(8);
        drop(reader);

        log.say(b"one\n");

        assert!(log.flush(Duration::from_secs(20)));
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn behind_a_line_that_was_cut_off_the_note_has_a_line_of_its_own_and_says_why() {
        for format in [Format::Text, Format::Json] {
            let told = note(format, 7, "No space left on device");
            assert!(told.ends_with('\n') && told.lines().count() == 1, "{told}");
        }
        let object: serde_json::Value =
            serde_json::from_str(&note(Format::Json, 7, "it is \"full\"")).unwrap();
        assert_eq!(
            (&object["lines"], &object["error"], &object["level"]),
            (&7.into(), &"it is \"full\"".into(), &"WARN".into())
        );
        assert!(object["timestamp"].as_str().unwrap().contains('T'), "{object}");

        let (mut reader, out) = io::pipe().unwrap();
        let (_, waiting) = bounded(1);
        let shared = Arc::<Shared>::default();
        let out = File::from(OwnedFd::from(out));
        let mut writer =
            Writer { out, waiting, shared: Arc::clone(&shared), format: Format::Text, is_torn: false };
        assert!(writer.put_bytes(b"INFO half a li"));
        writer.is_torn = true;
        shared.dropped.store(2, Ordering::Relaxed);
        shared.failed(Some(&io::Error::from_raw_os_error(28)));
        writer.tell_of_the_lost();
        // What is lost next is lost for another reason.
        shared.dropped.store(3, Ordering::Relaxed);
        writer.tell_of_the_lost();
        drop(writer);

        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "INFO half a li");
        assert!(
            lines[1].starts_with("octroi: 2 lines of this log were lost: ")
                && lines[1].to_lowercase().contains("space"),
            "{text}"
        );
        assert_eq!(lines[2], "octroi: 1 lines of this log were lost: nobody read it in time");
    }
}
