//! The control socket: `control.sock` in the state directory, for root and octroi's own user.

use std::{
    fs::{DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
    sockopt::{self, Timeout},
};

use crate::model::CONTROL_SOCKET;

/// How long a start waits to hear whether another octroi is there.
const KNOCKING: Duration = Duration::from_secs(2);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another octroi answers there.
    #[error("{} answers: another octroi runs with this state directory", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket stands there.
    #[error("{} is not a socket; it is left alone", .0.display())]
    NotASocket(PathBuf),
    /// Others may put a socket of their own there.
    #[error("{} is writable by others; `chmod go-w` it", .0.display())]
    OpenDirectory(PathBuf),
    /// The system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A bound control socket. Dropping it takes the file away.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    given_away: Arc<AtomicBool>,
}

/// Another handle of a control socket, for a hand-over.
#[derive(Debug)]
pub struct ControlHandle {
    listener: UnixListener,
    given_away: Arc<AtomicBool>,
}

impl ControlHandle {
    /// Returns the socket, to be passed on.
    pub fn socket(&self) -> &UnixListener {
        &self.listener
    }

    /// Leaves the file to the successor, which has the socket now.
    pub fn give_away(&self) {
        self.given_away.store(true, Ordering::Release);
    }
}

impl ControlSocket {
    /// Binds the socket, mode 0600. Makes the state directory (0700) if it is missing. A socket that nobody answers is replaced,
    /// in one step, by one that has its mode already.
    pub fn bind(state_dir: &Path) -> Result<Self, SocketError> {
        let path = state_dir.join(CONTROL_SOCKET);
        prepare(state_dir)?;
        refuse_if_answered(&path)?;
        let fresh = state_dir.join(format!("{CONTROL_SOCKET}.{}", std::process::id()));
        if let Err(error) = std::fs::remove_file(&fresh)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed("remove", &fresh)(error));
        }
        let listener = UnixListener::bind(&fresh).map_err(failed("bind", &path))?;
        let placed = std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| std::fs::rename(&fresh, &path))
            .and_then(|()| std::fs::symlink_metadata(&path));
        match placed {
            Ok(metadata) => Ok(Self { listener, path, inode: (metadata.dev(), metadata.ino()), given_away: Arc::default() }),
            Err(error) => {
                // Best effort: the error that counts is the first one.
                let _ = std::fs::remove_file(&fresh);
                Err(failed("bind", &path)(error))
            }
        }
    }

    /// Takes over a predecessor's socket; its file stays where it is.
    pub fn take_over(state_dir: &Path, listener: UnixListener) -> Result<Self, SocketError> {
        let path = state_dir.join(CONTROL_SOCKET);
        let metadata = std::fs::symlink_metadata(&path)
            .and_then(|metadata| listener.set_nonblocking(true).map(|()| metadata))
            .map_err(failed("take over", &path))?;
        Ok(Self { listener, path, inode: (metadata.dev(), metadata.ino()), given_away: Arc::default() })
    }

    /// Returns another handle, for a hand-over.
    pub fn handle(&self) -> Result<ControlHandle, SocketError> {
        let listener = self.listener.try_clone().map_err(failed("copy", &self.path))?;
        Ok(ControlHandle { listener, given_away: Arc::clone(&self.given_away) })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the socket for tokio; needs its runtime.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Only our own file: a successor may have put its socket there.
        if self.given_away.load(Ordering::Acquire) {
            return;
        }
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn prepare(state_dir: &Path) -> Result<(), SocketError> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed("create", state_dir))?;
    let metadata = std::fs::metadata(state_dir).map_err(failed("read", state_dir))?;
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(SocketError::OpenDirectory(state_dir.to_owned()));
    }
    Ok(())
}

/// Connects to a control socket, or to another one of its kind, and waits no longer than this: not for a place in its queue, and not for it
/// to take what is sent.
pub fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn refuse_if_answered(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path)(error)),
    }
    match connect(path, KNOCKING) {
        // Its queue is full: somebody is there who takes nobody.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(failed("connect to", path)(error)),
    }
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_socket_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");

        let socket = ControlSocket::bind(&state).unwrap();

        assert_eq!((mode(&state), mode(socket.path())), (0o700, 0o600));
        assert!(UnixStream::connect(socket.path()).is_ok());
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap());

        let live = ControlSocket::bind(dir.path()).unwrap();
        let second = ControlSocket::bind(dir.path());

        assert!(matches!(second, Err(SocketError::InUse(path)) if path == live.path()));
        assert!(UnixStream::connect(live.path()).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONTROL_SOCKET);
        std::fs::write(&path, "kept").unwrap();

        assert!(matches!(ControlSocket::bind(dir.path()), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "kept");
    }

    #[test]
    fn a_directory_that_others_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();

        assert!(matches!(ControlSocket::bind(dir.path()), Err(SocketError::OpenDirectory(_))));
    }

    #[test]
    fn a_successor_s_socket_is_not_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let first = ControlSocket::bind(dir.path()).unwrap();
        std::fs::remove_file(first.path()).unwrap();
        let second = ControlSocket::bind(dir.path()).unwrap();

        drop(first);

        assert!(UnixStream::connect(second.path()).is_ok());
    }

    #[test]
    fn a_socket_that_was_given_away_outlives_its_first_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = ControlSocket::bind(dir.path()).unwrap();
        let handle = first.handle().unwrap();
        let second = ControlSocket::take_over(dir.path(), handle.socket().try_clone().unwrap()).unwrap();

        handle.give_away();
        drop((first, handle));

        assert!(UnixStream::connect(second.path()).is_ok());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
