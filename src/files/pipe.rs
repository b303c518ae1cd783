//! What a command line names may be a pipe: `octroi check <(sops -d octroi.yaml)`. It is read to its end, within a deadline.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};

use super::{Contents, contents, open_any, too_large};

/// How long the writer of a pipe may take for all of it.
pub const PIPE_WAIT: Duration = Duration::from_secs(10);

/// Reads what the command line names, at most `max` bytes: a regular file, or a pipe, which gets ten seconds.
pub fn read_named(path: &Path, max: u64) -> io::Result<Contents> {
    read_within(path, max, PIPE_WAIT)
}

pub(super) fn read_within(path: &Path, max: u64, wait: Duration) -> io::Result<Contents> {
    let file = open_any(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_file() {
        return contents(file, &metadata, max);
    }
    if !kind.is_fifo() {
        return Err(io::Error::other("it is neither a file nor a pipe"));
    }
    Ok(Contents { bytes: drain(&file, max, wait)?, mode: metadata.mode() })
}

/// Reads until the writer has closed. A pipe that nobody has opened for writing yet is waited for, too.
fn drain(mut file: &File, max: u64, wait: Duration) -> io::Result<Vec<u8>> {
    let end = now().saturating_add(wait);
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let left = end.saturating_sub(now());
        let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more came out of this pipe in time")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
            return Err(too_large(max));
        }
    }
}

/// The time since some moment that stays the same.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
