//! Files of our own: made beside the one that counts, and put in its place once they are whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// Makes a file to be written, with these permissions at most. What lies there, a crash left behind: it is
/// removed, never written to, for it may have another mode, be a link, or a pipe whose reader would be waited
/// for.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Writes a folder through to the disk: only then is a new name in it there after a loss of power.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    open_folder(folder)?.sync_all()
}

/// Opens a folder. What is none is an error at once, a pipe too.
pub fn open_folder(folder: &Path) -> io::Result<File> {
    Ok(File::from(rustix::fs::open(
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn what_a_crash_left_is_removed_and_never_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a.new", "other"].map(|name| folder.path().join(name));
        let written = || {
            create_new(&path, 0o600).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
            fs::read_to_string(&path).unwrap()
        };

        assert_eq!(written(), "new", "nothing was there");
        fs::write(&path, "a longer text").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(written(), "new");
        fs::write(&other, "other").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert_eq!((written(), fs::read_to_string(&other).unwrap()), ("new".to_owned(), "other".to_owned()));
        fs::remove_file(&path).unwrap();
        crate::files::make_named_pipe(&path);
        assert_eq!(written(), "new");
    }

    #[test]
    fn a_folder_is_opened_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, file] = ["pipe", "file"].map(|name| folder.path().join(name));
        crate::files::make_named_pipe(&pipe);
        fs::write(&file, "").unwrap();

        sync_folder(folder.path()).unwrap();
        for path in [&pipe, &file] {
            assert_eq!(
                sync_folder(path).unwrap_err().kind(),
                io::ErrorKind::NotADirectory,
                "{}",
                path.display()
            );
        }
    }
}
