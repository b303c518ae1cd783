//! What a command line names may be a pipe: `octroi check <(sops -d octroi.yaml)`. It is read to its end,
//! within a deadline.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    time::{ClockId, clock_gettime},
};

use super::{Contents, contents, open_any, too_large, within};

/// How long the writer of a pipe may take for all of it.
pub const PIPE_WAIT: Duration = Duration::from_secs(10);

/// Reads what the command line names, at most `max` bytes: a regular file, or a pipe, which gets ten seconds.
pub fn read_named(path: &Path, max: u64) -> io::Result<Contents> {
    read_within(path, max, PIPE_WAIT)
}

pub(super) fn read_within(path: &Path, max: u64, wait: Duration) -> io::Result<Contents> {
    let neither = || io::Error::other("it is neither a file nor a pipe");
    let file = match open_any(path) {
        Ok(file) => File::from(file),
        Err(Errno::NXIO) => return Err(neither()),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_file() {
        return contents(file, &metadata, max);
    }
    if !kind.is_fifo() {
        return Err(neither());
    }
    Ok(Contents { bytes: drain(&file, max, wait)?, mode: metadata.mode() })
}

/// Reads standard input, at most `max` bytes. A pipe has as long as one that is named; a person at a terminal
/// takes as long as it takes.
pub fn read_standard_input(max: u64) -> io::Result<Vec<u8>> {
    read_input(File::from(io::stdin().as_fd().try_clone_to_owned()?), max, PIPE_WAIT)
}

pub(super) fn read_input(file: File, max: u64, wait: Duration) -> io::Result<Vec<u8>> {
    if !file.is_terminal() && !file.metadata()?.is_file() {
        return drain(&file, max, wait);
    }
    let mut bytes = Vec::new();
    within(file, max, &mut bytes)?;
    Ok(bytes)
}

/// Reads until the writer has closed. A pipe that nobody has opened for writing yet is waited for, too.
fn drain(mut file: &File, max: u64, wait: Duration) -> io::Result<Vec<u8>> {
    let end = now().saturating_add(wait);
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let left = end.saturating_sub(now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nothing more came out of this pipe in time",
                ));
            }
            Ok(_) => {}
            Err(Errno::INTR) => continue,
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
