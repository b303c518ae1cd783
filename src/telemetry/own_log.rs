//! The queue before standard error: who speaks never waits for who reads.
//!
//! `octroi run 2>&1 | reader` with a reader that stopped would hold whatever thread speaks next: a reload, the end, with one thread
//! everything. So lines are queued here and written by a thread of their own. Where the queue is full they are dropped and counted, and
//! the next line that goes out tells how many.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait at most.
const QUEUE_LINES: usize = 4096;

/// How many bytes wait at most, all lines together: the mistakes of a large configuration are one line.
const QUEUE_BYTES: usize = 4 << 20;

/// How long the end of the program waits for what is queued.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the writer rests where the other end takes nothing, and the descriptor does not wait by itself.
const PAUSE: Duration = Duration::from_millis(20);

/// octroi's own log. Clones share the queue.
#[derive(Clone, Debug)]
pub struct OwnLog {
    queue: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Lines that were lost.
    dropped: AtomicU64,
    /// How many of them the log itself told of.
    told: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Drop the sender once all before it is written.
    Flush(Sender<()>),
}

impl OwnLog {
    /// Begins to write to standard error.
    pub(super) fn to_stderr() -> io::Result<Self> {
        Self::begin(io::stderr().as_fd().try_clone_to_owned()?, QUEUE_LINES)
    }

    fn begin(out: OwnedFd, lines: usize) -> io::Result<Self> {
        let (queue, waiting) = bounded(lines);
        let shared = Arc::<Shared>::default();
        let writer = Writer { out: File::from(out), waiting, shared: Arc::clone(&shared) };
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

    /// Returns how many lines were lost since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Says what is wrong, as long as lines are lost that the log itself could not tell of.
    pub fn trouble(&self) -> Option<String> {
        let lost = self.dropped().saturating_sub(self.shared.told.load(Ordering::Relaxed));
        (lost > 0).then(|| format!("octroi's own log: standard error takes nothing; {lost} lines lost"))
    }

    /// Waits until what is queued is written, no longer than this. Says whether it was.
    pub fn flush(&self, within: Duration) -> bool {
        let (written, done) = bounded::<()>(0);
        // A queue that is full for so long is one that nobody reads.
        if self.queue.send_timeout(Message::Flush(written), within).is_err() {
            return false;
        }
        // Nothing is ever sent.
        matches!(done.recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }
}

impl<'a> MakeWriter<'a> for OwnLog {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// The formatter hands each line over in one piece.
impl Write for &OwnLog {
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
}

impl Writer {
    /// Writes until nobody can speak any more.
    fn run(mut self) {
        while let Ok(message) = self.waiting.recv() {
            match message {
                Message::Line(line) => {
                    let written = self.put(&line);
                    self.shared.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    if !written {
                        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    } else if self.waiting.is_empty() {
                        self.tell_of_the_lost();
                    }
                }
                Message::Flush(done) => {
                    self.tell_of_the_lost();
                    drop(done);
                }
            }
        }
    }

    fn tell_of_the_lost(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lost = dropped.saturating_sub(self.shared.told.load(Ordering::Relaxed));
        if lost > 0 && self.put(format!("octroi: {lost} lines of this log were lost: nobody read it in time\n").as_bytes()) {
            self.shared.told.store(dropped, Ordering::Relaxed);
        }
    }

    /// Writes all of it, however long the other end takes. An error (a reader that went away, a full disk) loses the line.
    fn put(&mut self, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return false,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the descriptor made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pipe(lines: usize) -> (io::PipeReader, OwnLog) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, OwnLog::begin(writer.into(), lines).unwrap())
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
            let count = line.strip_prefix("octroi: ")?.strip_suffix(" lines of this log were lost: nobody read it in time")?;
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
}
