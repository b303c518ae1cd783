//! One destination of access lines: a file with rotation, or standard output.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendFlags, send},
};

use crate::policy::{AccessLog, LogTarget, Rotation};

/// The size of the write buffer in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Owner writes, group reads (`threat-model.md` 2.9).
const FILE_MODE: u32 = 0o640;

/// Linux's `O_NONBLOCK`, which regular files ignore.
const NONBLOCK: i32 = 0o4000;
/// Linux's `O_NOCTTY`: a terminal does not become our controlling terminal.
const NOCTTY: i32 = 0o400;

/// How long, and how often, a write to a full pipe is retried. After that the buffered lines are dropped,
/// and later lines are dropped without waiting until the pipe is read again.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(10);

/// The size of one write to a blocking pipe: a pipe that polls as writable has room for so much (`PIPE_BUF`,
/// pipe(7)).
const PIECE: usize = 4096;

/// How to write without waiting for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A regular file, or a descriptor that we opened non-blocking.
    Plain,
    /// A socket: each write has a flag not to wait.
    Socket,
    /// A pipe or terminal that other processes share, so its mode must not change: it is polled before each
    /// write.
    Asked,
}

/// One sink, owned by the writer's thread.
#[derive(Debug)]
pub(super) struct Sink {
    out: File,
    way: Way,
    /// Whether the reader has missed the retry deadline.
    is_stalled: bool,
    path: Option<PathBuf>,
    rotate: Option<Rotation>,
    /// The file's size; tracked only where it rotates.
    size: u64,
    /// The size at which rotation is tried next.
    rotate_at: u64,
    pending: Vec<u8>,
    /// Whether `pending` begins with the rest of a partly written line.
    torn: bool,
    /// Whether the last lines could not be written.
    unwritten: bool,
    /// The operation on the file that failed and is being retried.
    undone: Option<&'static str>,
}

const WRITING: &str = "writing";
/// The file cannot be reopened: the open one stays in use.
pub(super) const OPENING: &str = "opening";
const ROTATING: &str = "rotating";

/// A failure of a sink.
#[derive(Debug)]
pub(super) struct Failure {
    /// How many whole lines were dropped.
    pub(super) lost: u64,
    /// What failed, as a phrase for the log.
    pub(super) act: &'static str,
    /// Why.
    pub(super) error: io::Error,
}

impl Sink {
    /// Opens a sink. A file is appended to.
    pub(super) fn open(rule: &AccessLog) -> io::Result<Self> {
        let ((out, way), path, rotate) = match &rule.to {
            // The descriptor itself: `Stdout` would flush at every line.
            LogTarget::Stdout => (standard(io::stdout().as_fd())?, None, None),
            LogTarget::File { path, rotate } => ((append_to(path)?, Way::Plain), Some(path.clone()), *rotate),
        };
        let size = if rotate.is_some() { out.metadata()?.len() } else { 0 };
        let rotate_at = rotate.map_or(u64::MAX, |rule| rule.size);
        let pending = Vec::with_capacity(BUFFER_BYTES);
        Ok(Self {
            out,
            way,
            is_stalled: false,
            path,
            rotate,
            size,
            rotate_at,
            pending,
            torn: false,
            unwritten: false,
            undone: None,
        })
    }

    /// Returns whether it writes to a file that can be renamed.
    pub(super) fn is_file(&self) -> bool {
        self.path.is_some()
    }

    /// Returns whether it fails: its last line was not written, or its file could not be reopened or
    /// rotated.
    pub(super) fn is_failing(&self) -> bool {
        self.unwritten || self.undone.is_some()
    }

    /// Returns its destination, for messages.
    pub(super) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string())
    }

    /// Buffers a line; writes when the buffer is full or the file must rotate.
    pub(super) fn add(&mut self, line: &[u8]) -> Result<(), Failure> {
        let after = self.size.saturating_add(length(&self.pending)).saturating_add(length(line));
        let mut outcome = Ok(());
        if after > self.rotate_at && after > length(line) {
            outcome = self.flush().and_then(|()| self.rotate());
        } else if self.pending.len() + line.len() > BUFFER_BYTES {
            outcome = self.flush();
        }
        self.pending.extend_from_slice(line);
        outcome
    }

    /// Writes the buffer. Lines that cannot be written are dropped, except the rest of a partly written
    /// line: it goes out first when the sink works again, so that every line stays whole.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let (mut written, mut waited) = (0, Duration::ZERO);
        while let Some(rest) = self.pending.get(written..).filter(|rest| !rest.is_empty()) {
            match write_some(&mut self.out, self.way, rest) {
                Ok(0) => return Err(self.give_up(written, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    self.is_stalled = false;
                    self.size = self.size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && waited < PATIENCE && !self.is_stalled =>
                {
                    std::thread::sleep(RETRY);
                    waited += RETRY;
                }
                Err(error) => {
                    self.is_stalled = error.kind() == io::ErrorKind::WouldBlock;
                    return Err(self.give_up(written, error));
                }
            }
        }
        self.pending.clear();
        self.torn = false;
        self.unwritten &= written == 0;
        Ok(())
    }

    fn give_up(&mut self, written: usize, error: io::Error) -> Failure {
        let whole = match written.checked_sub(1).and_then(|last| self.pending.get(last)) {
            Some(last) => *last == b'\n',
            None => !self.torn,
        };
        let rest = self.pending.get(written..).unwrap_or_default();
        let kept = if whole {
            0
        } else {
            rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1)
        };
        let lost = rest.iter().skip(kept).filter(|&&byte| byte == b'\n').count();
        self.pending.truncate(written + kept);
        self.pending.drain(..written);
        self.torn = !whole;
        self.unwritten = true;
        Failure { lost: u64::try_from(lost).unwrap_or(u64::MAX), act: WRITING, error }
    }

    /// Reopens the file by name, after it was renamed. If that fails, the old file stays in use and
    /// [`Sink::retry`] tries again.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        self.open_again().map_err(|failure| Failure {
            lost: flushed.as_ref().err().map_or(0, |before| before.lost),
            ..failure
        })?;
        flushed
    }

    /// Returns whether it still writes to a file that has been renamed.
    pub(super) fn is_left_behind(&self) -> bool {
        self.undone == Some(OPENING)
    }

    /// Retries the failed operation on the file itself. Whether the file can be written to, the next line
    /// shows.
    pub(super) fn retry(&mut self) -> Result<(), Failure> {
        match self.undone {
            Some(OPENING) => self.reopen(),
            Some(ROTATING) => self.flush().and_then(|()| self.rotate()),
            Some(_) | None => Ok(()),
        }
    }

    fn open_again(&mut self) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let out = append_to(path).map_err(|error| {
            self.undone = Some(OPENING);
            Failure { lost: 0, act: OPENING, error }
        })?;
        self.take(out);
        Ok(())
    }

    /// Rotates: the file becomes `path.1`, that one `path.2` and so on, and a new file is opened.
    fn rotate(&mut self) -> Result<(), Failure> {
        let (Some(path), Some(rule)) = (&self.path, self.rotate) else { return Ok(()) };
        // If this fails, the file goes on growing; rotation is tried again when it has grown by the same
        // amount, and by `retry`.
        self.rotate_at = self.size.saturating_add(rule.size);
        put_aside(path, rule.keep).map_err(|error| {
            self.undone = Some(ROTATING);
            Failure { lost: 0, act: ROTATING, error }
        })?;
        // Until that works, lines go to the rotated file.
        self.open_again()
    }

    /// Switches to another file.
    fn take(&mut self, out: File) {
        // The new file does not have the beginning of the partly written line.
        if self.torn {
            self.pending.clear();
            self.torn = false;
        }
        self.size =
            if self.rotate.is_some() { out.metadata().map_or(0, |metadata| metadata.len()) } else { 0 };
        self.rotate_at = self.rotate.map_or(u64::MAX, |rule| rule.size);
        // The next line shows whether it can be written to.
        self.undone = None;
        self.out = out;
    }
}

/// Opens standard output as a log without ever blocking in a write: a thread that waits for a reader that
/// never comes would leak at each reload. Other processes share the descriptor, so its mode is not changed.
fn standard(fd: BorrowedFd<'_>) -> io::Result<(File, Way)> {
    let out = File::from(fd.try_clone_to_owned()?);
    let kind = out.metadata()?.file_type();
    if kind.is_socket() {
        return Ok((out, Way::Socket));
    }
    if !kind.is_fifo() && !kind.is_char_device() {
        return Ok((out, Way::Plain));
    }
    // A separate open file description, where the system allows it: not for a pipe of another user, nor for
    // one without a reader.
    let mut options = OpenOptions::new();
    let own =
        options.write(true).custom_flags(NONBLOCK | NOCTTY).open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Ok(own.map_or((out, Way::Asked), |own| (own, Way::Plain)))
}

/// Writes as much as there is room for now.
fn write_some(out: &mut File, way: Way, bytes: &[u8]) -> io::Result<usize> {
    match way {
        Way::Plain => out.write(bytes),
        Way::Socket => Ok(send(&*out, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
        Way::Asked => {
            let mut asked = [PollFd::new(&*out, PollFlags::OUT)];
            if poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            out.write(bytes.get(..PIECE).unwrap_or(bytes))
        }
    }
}

/// Opens a file for appending. Never blocks, whatever the file is.
///
/// A named pipe is opened for reading too: then opening does not wait for a reader, lines stay in the pipe
/// while the reader restarts, and a pipe without a reader is full after 64 KiB.
fn append_to(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    if is_pipe {
        options.read(true).write(true)
    } else {
        options.append(true).create(true).mode(FILE_MODE)
    };
    options.custom_flags(NONBLOCK | NOCTTY).open(path)
}

/// Renames `path.N-1` to `path.N`, and so on down to `path` itself. If no old file is to be kept, the file
/// is removed.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        return unless_missing(std::fs::remove_file(path));
    }
    for number in (1..keep).rev() {
        unless_missing(std::fs::rename(numbered(path, number), numbered(path, number + 1)))?;
    }
    unless_missing(std::fs::rename(path, numbered(path, 1)))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn unless_missing(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Clock, SystemClock};
    use std::os::unix::fs::PermissionsExt;

    fn rule(path: &Path, rotate: Option<Rotation>) -> AccessLog {
        AccessLog { to: LogTarget::File { path: path.to_owned(), rotate }, format: Default::default() }
    }

    fn read(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_readable_by_its_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");

        Sink::open(&rule(&path, None)).unwrap();

        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    }

    #[test]
    fn a_full_file_is_put_aside_between_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = Sink::open(&rule(&path, Some(Rotation { size: 8, keep: 2 }))).unwrap();

        for line in ["aaa\n", "bbb\n", "ccc\n", "a line longer than a file\n", "ddd\n", "eee\n"] {
            sink.add(line.as_bytes()).unwrap();
        }
        sink.flush().unwrap();

        assert_eq!(read(&path), "ddd\neee\n");
        assert_eq!(read(dir.path().join("access.log.1")), "a line longer than a file\n");
        assert_eq!(read(dir.path().join("access.log.2")), "ccc\n");
        assert!(!dir.path().join("access.log.3").exists());
    }

    #[test]
    fn rotation_counts_what_an_earlier_process_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, "old old\n").unwrap();
        let mut sink = Sink::open(&rule(&path, Some(Rotation { size: 8, keep: 1 }))).unwrap();

        sink.add(b"new\n").unwrap();
        sink.flush().unwrap();

        assert_eq!(read(&path), "new\n");
        assert_eq!(read(dir.path().join("access.log.1")), "old old\n");
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_goes_on_growing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::create_dir_all(dir.path().join("access.log.1/not_empty")).unwrap();
        let mut sink = Sink::open(&rule(&path, Some(Rotation { size: 4, keep: 1 }))).unwrap();

        sink.add(b"aaa\n").unwrap();
        let failed = sink.add(b"bbb\n");
        sink.flush().unwrap();

        assert!(failed.is_err_and(|failure| failure.lost == 0 && failure.act == "rotating"));
        assert_eq!(read(&path), "aaa\nbbb\n");
    }

    #[test]
    fn a_renamed_file_is_left_on_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut sink = Sink::open(&rule(&path, None)).unwrap();

        sink.add(b"before\n").unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        sink.reopen().unwrap();
        sink.add(b"after\n").unwrap();
        sink.flush().unwrap();

        assert_eq!(read(dir.path().join("moved")), "before\n");
        assert_eq!(read(&path), "after\n");
    }

    #[test]
    fn what_cannot_be_opened_again_goes_on_where_it_was_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("moved"));
        let mut sink = Sink::open(&rule(&path, None)).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();

        assert!(sink.reopen().is_err_and(|failure| failure.lost == 0 && failure.act == OPENING));
        sink.add(b"meanwhile\n").unwrap();
        assert!(sink.retry().is_err() && sink.is_failing());
        assert_eq!(read(&moved), "meanwhile\n");
        std::fs::remove_dir(&path).unwrap();
        sink.retry().unwrap();
        sink.add(b"after\n").unwrap();
        sink.retry().unwrap();
        sink.flush().unwrap();

        assert_eq!(
            (read(&moved), read(&path), sink.is_failing()),
            ("meanwhile\n".into(), "after\n".into(), false)
        );
    }

    #[test]
    fn a_file_that_could_not_be_put_aside_is_tried_again_before_it_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        std::fs::create_dir_all(aside.join("not_empty")).unwrap();
        let mut sink = Sink::open(&rule(&path, Some(Rotation { size: 4, keep: 1 }))).unwrap();
        sink.add(b"aaa\n").unwrap();
        assert!(sink.add(b"bbb\n").is_err());
        assert!(sink.retry().is_err());

        std::fs::remove_dir_all(&aside).unwrap();
        sink.retry().unwrap();
        sink.add(b"ccc\n").unwrap();
        sink.flush().unwrap();

        assert_eq!(
            (read(&aside), read(&path), sink.is_failing()),
            ("aaa\nbbb\n".into(), "ccc\n".into(), false)
        );
    }

    #[test]
    fn a_failed_write_loses_whole_lines_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(&rule(&dir.path().join("access.log"), None)).unwrap();
        sink.pending.extend_from_slice(b"one\ntwo\nthree\n");

        // As if "one\ntw" had been written when the disk filled up.
        let failure = sink.give_up(6, io::ErrorKind::StorageFull.into());
        assert_eq!((failure.lost, sink.pending.as_slice(), sink.torn), (1, &b"o\n"[..], true));

        // Still full: the rest of the torn line stays, the line after it goes.
        sink.pending.extend_from_slice(b"four\n");
        let failure = sink.give_up(0, io::ErrorKind::StorageFull.into());
        assert_eq!((failure.lost, sink.pending.as_slice(), sink.torn), (1, &b"o\n"[..], true));

        sink.add(b"five\n").unwrap();
        sink.flush().unwrap();
        assert_eq!(read(dir.path().join("access.log")), "o\nfive\n");
    }

    /// A sink that writes to a descriptor as to standard output.
    fn to_standard(fd: BorrowedFd<'_>, way: Option<Way>) -> Sink {
        let (out, found) = standard(fd).unwrap();
        let sink = Sink::open(&rule(Path::new("/dev/null"), None)).unwrap();
        // As where the system gives no description of our own.
        let out = if way == Some(Way::Asked) { File::from(fd.try_clone_to_owned().unwrap()) } else { out };
        Sink { out, way: way.unwrap_or(found), path: None, ..sink }
    }

    #[test]
    fn nobody_waits_for_a_reader_of_standard_output_that_does_not_read() {
        use std::io::Read;
        let (mut pipe_reader, pipe) = io::pipe().unwrap();
        let (mut asked_reader, asked) = io::pipe().unwrap();
        let (mut socket_reader, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        let ways: [(&mut dyn Read, BorrowedFd<'_>, Option<Way>, Way); 3] = [
            (&mut pipe_reader, pipe.as_fd(), None, Way::Plain),
            (&mut asked_reader, asked.as_fd(), Some(Way::Asked), Way::Asked),
            (&mut socket_reader, socket.as_fd(), None, Way::Socket),
        ];
        for (reader, fd, way, expected) in ways {
            let mut sink = to_standard(fd, way);
            assert_eq!(sink.way, expected);
            let clock = SystemClock::new();
            let began = clock.tick();
            let (line, mut lost) = (vec![b'a'; 999].into_iter().chain([b'\n']).collect::<Vec<u8>>(), 0);
            for _ in 0..2000 {
                lost += sink.add(&line).map_or_else(|failure| failure.lost, |()| 0);
            }
            lost += sink.flush().map_or_else(|failure| failure.lost, |()| 0);
            assert!(lost > 0, "{expected:?}");
            assert!(
                clock.tick().since(began) < PATIENCE * 5,
                "{expected:?}: it is waited for once, not for each of thirty buffers"
            );

            // Once somebody reads, lines come whole again.
            let mut read = vec![0; 1 << 20];
            let mut count = reader.read(&mut read).unwrap();
            while sink.add(b"after\n").and_then(|()| sink.flush()).is_err() {
                count += reader.read(read.get_mut(count..).unwrap()).unwrap();
            }
            count += reader.read(read.get_mut(count..).unwrap()).unwrap();
            let text = String::from_utf8(read[..count].to_vec()).unwrap();
            assert!(text.lines().all(|line| line.len() == 999 || line == "after"), "{expected:?}");
        }
        // The descriptor of others waits as before.
        assert!(!rustix::fs::fcntl_getfl(&pipe).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    }

    #[test]
    fn standard_output_in_a_file_goes_on_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"before\n").unwrap();

        let mut sink = to_standard(file.as_fd(), None);
        sink.add(b"line\n").unwrap();
        sink.flush().unwrap();

        assert_eq!((sink.way, read(&path).as_str()), (Way::Plain, "before\nline\n"));
    }

    #[test]
    fn a_named_pipe_is_opened_at_once_and_loses_lines_only_while_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        crate::files::make_named_pipe(&path);
        let mut sink = Sink::open(&rule(&path, None)).unwrap();
        let line = [&[b'x'; 4095][..], b"\n"].concat();

        let failure = (0..64).find_map(|_| sink.add(&line).err()).unwrap();
        assert_eq!((failure.act, failure.error.kind()), ("writing", io::ErrorKind::WouldBlock));
        let mut reader = append_to(&path).unwrap();
        let mut read = [0; 65_536];
        while io::Read::read(&mut reader, &mut read).is_ok() {}
        sink.flush().unwrap();
        sink.add(b"later\n").unwrap();
        sink.flush().unwrap();

        let length = io::Read::read(&mut reader, &mut read).unwrap();
        assert!(read[..length].ends_with(b"later\n"), "{}", String::from_utf8_lossy(&read[..length]));
    }

    #[test]
    fn a_full_disk_loses_and_counts() {
        let mut sink = Sink::open(&rule(Path::new("/dev/full"), None)).unwrap();

        sink.add(b"one\n").unwrap();
        sink.add(b"two\n").unwrap();
        let failure = sink.flush().unwrap_err();

        assert_eq!((failure.lost, sink.pending.len()), (2, 0));
    }
}
