//! Files that an operator names, and those that octroi keeps: opened without waiting for the other end of a
//! pipe, read within a bound.
//!
//! Opening a named pipe waits for its writer, for good. Whoever reads a configured path that way hangs
//! `check`, and later every reload, which wait for each other. So nothing else of this program opens a path
//! for reading (`tests/layers.rs`). Links are followed: Kubernetes and most renewers put them there. A file
//! system that hangs is not seen here; who reads in a running octroi has a deadline for it.

mod pipe;
mod write;

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};

pub use pipe::{PIPE_WAIT, read_named, read_standard_input};
pub use write::{create_new, open_folder, sync_folder};

/// How much of a file is digested at once.
const PIECE: usize = 64 << 10;

/// What a file held when it was read.
///
/// No `Debug`: it may be a secret, and the caller says so.
pub struct Contents {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// The permission bits, asked of the open file, so that nobody exchanges it in between.
    pub mode: u32,
}

impl Contents {
    /// Says whether any account of the machine may read or change it.
    pub const fn is_open_to_all(&self) -> bool {
        is_open_to_all(self.mode)
    }
}

/// Says whether any account of the machine may read or change a file of this mode.
pub const fn is_open_to_all(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// Reads a whole regular file of at most `max` bytes. What is no regular file is an error at once: a pipe, a
/// device, a socket, a folder.
pub fn read(path: &Path, max: u64) -> io::Result<Contents> {
    let (file, metadata) = open(path)?;
    contents(file, &metadata, max)
}

/// Reads a whole regular file of text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?.bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Digests a regular file (SHA-256) in bounded memory; what lies behind `max` bytes of it is not looked at.
pub fn digest(path: &Path, max: u64) -> io::Result<([u8; 32], Metadata)> {
    let (file, metadata) = open(path)?;
    let mut file = file.take(max);
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece)?;
        match piece.get(..count) {
            Some(read @ [_, ..]) => digest.update(read),
            Some([]) | None => return Ok((digest.finalize().into(), metadata)),
        }
    }
}

/// Opens a regular file for reading, without waiting.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    regular(open_any(path))
}

fn regular(opened: rustix::io::Result<OwnedFd>) -> io::Result<(File, Metadata)> {
    let not_regular = || io::Error::other("it is not a regular file");
    let file = match opened {
        Ok(file) => File::from(file),
        // A socket, a device without a driver, or a pipe that was to be written and has no reader (open(2)).
        Err(Errno::NXIO) => return Err(not_regular()),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    Ok((file, metadata))
}

/// Opens a regular file of our own for reading and writing, without waiting.
pub fn open_to_change(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(rustix::fs::open(path, flags, Mode::empty()))
}

/// Opens a regular file of our own for writing, without waiting; makes an empty one that only its owner may
/// read where there is none.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)).map(|(file, _)| file)
}

/// Says what lies at a path where it is no regular file: `a named pipe`.
pub fn kind(path: &Path) -> Option<&'static str> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a named pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Opens whatever lies there for reading, without waiting for its other end. A terminal does not become ours.
fn open_any(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Reads an open regular file. Room for its length is made once, so that a secret leaves no half of itself
/// behind in memory.
fn contents(file: File, metadata: &Metadata, max: u64) -> io::Result<Contents> {
    if metadata.len() > max {
        return Err(too_large(max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
    within(file, max, &mut bytes)?;
    Ok(Contents { bytes, mode: metadata.mode() })
}

/// Reads to the end, whatever length was told: a file may grow while it is read, and those of `/proc` have
/// none.
fn within(input: impl Read, max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    input.take(max.saturating_add(1)).read_to_end(bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(too_large(max));
    }
    Ok(())
}

fn too_large(max: u64) -> io::Error {
    let bound = match max {
        _ if max >= 1 << 20 && max.is_multiple_of(1 << 20) => format!("{} MiB", max >> 20),
        _ if max >= 1 << 10 && max.is_multiple_of(1 << 10) => format!("{} KiB", max >> 10),
        _ => format!("{max} bytes"),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {bound}"))
}

/// Says in plain words why a file cannot be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of IO errors are not a closed list")]
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "it may not be read by this account".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        // fcntl(2), F_SETLEASE: Samba takes them for its clients. Whoever has it was told just now to give it
        // back.
        io::ErrorKind::WouldBlock => "another program holds a lease on it; try again".into(),
        _ => error.to_string(),
    }
}

/// Makes a named pipe for a test.
///
/// It starts no `mkfifo`: a child that is forked beside a test that has a file locked keeps that lock until
/// it execs.
#[cfg(test)]
pub(crate) fn make_named_pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a named pipe");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        make_named_pipe(&path);
        path
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "12345678").unwrap();

        assert_eq!(read(&path, 8).unwrap().bytes, b"12345678");
        assert_eq!(read(&path, 7).map(|_| ()).unwrap_err().to_string(), "it is larger than 7 bytes");
        // A sparse file takes no room on the disk.
        File::create(&path).unwrap().set_len((4 << 20) + 1).unwrap();
        assert_eq!(read(&path, 4 << 20).map(|_| ()).unwrap_err().to_string(), "it is larger than 4 MiB");
        assert_eq!(read_text(&path, 1024).unwrap_err().to_string(), "it is larger than 1 KiB");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(pipe(folder.path()), &link).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();

        let [pipe, socket] = ["pipe", "socket"].map(|name| folder.path().join(name));
        for path in [&pipe, &link, &socket, folder.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
            let why = [read(path, 10).map(drop), open(path).map(drop), digest(path, 10).map(drop)];
            assert_eq!(
                why.map(|why| reason(&why.unwrap_err())),
                ["it is not a regular file"; 3],
                "{}",
                path.display()
            );
        }
        for path in [&pipe, &link, &socket, Path::new("/dev/null")] {
            for opened in [open_to_change(path).map(drop), open_or_make(path).map(drop)] {
                assert_eq!(reason(&opened.unwrap_err()), "it is not a regular file", "{}", path.display());
            }
        }
        assert_eq!([&pipe, &socket].map(|path| kind(path)), [Some("a named pipe"), Some("a socket")]);
        assert_eq!([folder.path(), Path::new("/dev/null")].map(kind), [Some("a folder"), Some("a device")]);
        assert_eq!(
            reason(&read(&folder.path().join("none"), 10).map(|_| ()).unwrap_err()),
            "it does not exist"
        );
    }

    #[test]
    fn a_link_is_followed_and_one_that_leads_nowhere_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink(&file, &link).unwrap();

        assert_eq!(reason(&read(&link, 4).map(drop).unwrap_err()), "it does not exist");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(read(&link, 4).unwrap().bytes, b"text");
        assert_eq!(read_named(&link, 4).unwrap().bytes, b"text");
    }

    #[test]
    fn who_may_read_a_file_is_asked_of_the_file_itself() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        std::fs::write(&file, "key").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();

        // The mode of a link says nothing: it is 0777.
        for (mode, is_open) in
            [(0o600, false), (0o640, false), (0o660, false), (0o604, true), (0o602, true), (0o601, true)]
        {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let held = read(&link, 3).unwrap();
            assert_eq!((held.mode & 0o777, held.is_open_to_all()), (mode, is_open), "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_read_up_to_the_bound_and_not_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1234").unwrap();
        let grown = |bytes: &str, max: u64| {
            // What was asked of it before is what it had then.
            let (file, metadata) = open(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            contents(file, &metadata, max).map(|held| held.bytes)
        };

        assert_eq!(grown("12345678", 8).unwrap(), b"12345678");
        assert_eq!(grown("123456789", 8).unwrap_err().to_string(), "it is larger than 8 bytes");
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(grown("12", 8).unwrap(), b"12", "cut short meanwhile");
        // Its length is told as nothing.
        assert!(!read(Path::new("/proc/sys/kernel/hostname"), 4 << 10).unwrap().bytes.is_empty());
    }

    #[test]
    fn a_digest_is_of_so_much_of_a_file_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let digested = |length: usize, max: u64| {
            std::fs::write(&path, vec![7; length]).unwrap();
            digest(&path, max).unwrap().0
        };
        let whole = |length: usize| <[u8; 32]>::from(Sha256::digest(vec![7; length]));

        assert_eq!(digested(PIECE + 1, 1 << 20), whole(PIECE + 1));
        assert_eq!(digested(PIECE + 1, 9), whole(9));
        assert_eq!(digested(0, 9), whole(0));
    }

    #[test]
    fn a_device_of_zeros_has_no_end_and_is_no_file_on_the_command_line() {
        assert_eq!(
            read_named(Path::new("/dev/zero"), 10).map(|_| ()).unwrap_err().to_string(),
            "it is neither a file nor a pipe"
        );
    }

    #[test]
    fn a_pipe_on_the_command_line_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path());
        let other = path.clone();
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().write(true).open(other).unwrap();
            file.write_all(b"ab").unwrap();
            file.write_all(b"cd").unwrap();
        });

        assert_eq!(read_named(&path, 4).unwrap().bytes, b"abcd");
        writer.join().unwrap();

        let other = path.clone();
        let writer = std::thread::spawn(move || {
            // The reader may be gone before all is written.
            let _ = std::fs::write(other, "abcde");
        });
        assert_eq!(read_named(&path, 4).map(|_| ()).unwrap_err().to_string(), "it is larger than 4 bytes");
        writer.join().unwrap();
    }

    #[test]
    fn a_pipe_without_a_writer_has_a_deadline() {
        let folder = tempfile::tempdir().unwrap();

        let why = pipe::read_within(&pipe(folder.path()), 4, std::time::Duration::from_millis(50))
            .map(|_| ())
            .unwrap_err();

        assert_eq!(
            (why.kind(), why.to_string()),
            (io::ErrorKind::TimedOut, "nothing more came out of this pipe in time".to_owned())
        );
    }
}
