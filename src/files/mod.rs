//! Files that an operator names: read whole, within a bound, and without waiting for somebody at the other end of a pipe.
//!
//! Opening a named pipe waits for its writer, for good. Whoever reads a configured path that way hangs `check`, and later every reload,
//! which wait for each other. So nothing else of this program opens a path that it did not make itself.

mod pipe;

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

pub use pipe::{PIPE_WAIT, read_named};

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

/// Reads a whole regular file of at most `max` bytes. What is no regular file is an error at once: a pipe, a device, a socket, a folder.
pub fn read(path: &Path, max: u64) -> io::Result<Contents> {
    let (file, metadata) = open(path)?;
    contents(file, &metadata, max)
}

/// Reads a whole regular file of text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?.bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Opens a regular file for reading, without waiting.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    regular(open_any(path)?)
}

fn regular(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((file, metadata))
}

/// Opens a regular file of our own for reading and writing, without waiting.
pub fn open_to_change(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Opens a regular file of our own for writing, without waiting; makes an empty one that only its owner may read where there is none.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let (file, _) = regular(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))?;
    Ok(file)
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
fn open_any(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Reads an open regular file. Room for its length is made once, so that a secret leaves no half of itself behind in memory.
fn contents(file: File, metadata: &Metadata, max: u64) -> io::Result<Contents> {
    if metadata.len() > max {
        return Err(too_large(max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(too_large(max));
    }
    Ok(Contents { bytes, mode: metadata.mode() })
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
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
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

        for path in [&folder.path().join("pipe"), &link, folder.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
            let why = read(path, 10).map(|_| ()).unwrap_err();
            assert_eq!(reason(&why), "it is not a regular file", "{}", path.display());
        }
        assert!(read(&folder.path().join("socket"), 10).is_err());
        assert_eq!(reason(&read(&folder.path().join("none"), 10).map(|_| ()).unwrap_err()), "it does not exist");
    }

    #[test]
    fn a_device_of_zeros_has_no_end_and_is_no_file_on_the_command_line() {
        assert_eq!(read_named(Path::new("/dev/zero"), 10).map(|_| ()).unwrap_err().to_string(), "it is neither a file nor a pipe");
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

        let why = pipe::read_within(&pipe(folder.path()), 4, std::time::Duration::from_millis(50)).map(|_| ()).unwrap_err();

        assert_eq!((why.kind(), why.to_string()), (io::ErrorKind::TimedOut, "nothing more came out of this pipe in time".to_owned()));
    }
}
