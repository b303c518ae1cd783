//! The control socket: `control.sock` in the state directory, for root and octroi's own user.

use std::{
    fs::{DirBuilder, Metadata, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
    sockopt::{self, Timeout},
};
use tokio::sync::Notify;

use crate::model::{CONTROL_SOCKET, error_chain};

/// How long a start waits to find out whether another octroi answers.
const KNOCKING: Duration = Duration::from_secs(2);

/// How often a process checks that its socket is still in place.
const LOOK: Duration = Duration::from_secs(3);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another octroi answers there.
    #[error("{} answers: another octroi runs with this state directory", .0.display())]
    InUse(PathBuf),
    /// The path holds something that is not a socket.
    #[error("{} is not a socket; it is left alone", .0.display())]
    NotASocket(PathBuf),
    /// Other users could replace the socket.
    #[error("{} is writable by others; `chmod go-w` it", .0.display())]
    OpenDirectory(PathBuf),
    /// The system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// The operation.
        act: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A bound control socket. Dropping it removes the file if this process owns it.
#[derive(Debug)]
pub struct ControlSocket(Arc<Inner>);

/// Another handle of a control socket, for a hand-over.
#[derive(Debug)]
pub struct ControlHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bound: Mutex<Bound>,
    /// Notified when a new socket has been bound.
    renewed: Notify,
}

/// The listening socket, and who owns its file.
#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    /// Its file; `None` where there was none when the socket was taken over.
    inode: Option<(u64, u64)>,
    /// How often a new socket was bound.
    renewals: u64,
    ownership: Ownership,
    /// What was found in its place, once that was logged.
    reported: Option<String>,
}

/// Whether this process owns the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    /// It does: it restores the file, and removes it when it stops.
    Ours,
    /// It does, and is handing the socket to a successor: the file is not restored meanwhile.
    Held,
    /// It does not: the predecessor still owns it, or the successor already does.
    NotOurs,
}

/// The result of checking the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileCheck {
    /// The file is in place, or this process does not own it.
    Fine,
    /// The file was gone, or nothing answered there; it has been restored.
    PutBack,
    /// Something else is in its place and is left alone. It is logged once.
    Barred(String),
}

impl ControlHandle {
    /// Returns the socket for the hand-over. From here on the file is not restored, until [`Self::claim`]
    /// says that the hand-over failed.
    pub fn hold(&self) -> io::Result<UnixListener> {
        let mut bound = self.0.lock();
        let listener = bound.listener.try_clone()?;
        if bound.ownership == Ownership::Ours {
            bound.ownership = Ownership::Held;
        }
        Ok(listener)
    }

    /// Takes ownership of the file: the hand-over to this process is committed, or the one to a successor
    /// has failed.
    pub fn claim(&self) {
        self.0.lock().ownership = Ownership::Ours;
    }

    /// Leaves the file to the successor, which now has the socket.
    pub fn release(&self) {
        self.0.lock().ownership = Ownership::NotOurs;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(
        path: PathBuf,
        listener: UnixListener,
        inode: Option<(u64, u64)>,
        ownership: Ownership,
    ) -> Arc<Self> {
        let bound = Bound { listener, inode, renewals: 0, ownership, reported: None };
        Arc::new(Self { path, bound: Mutex::new(bound), renewed: Notify::new() })
    }

    /// Restores the file if it is gone, or if nothing answers at the socket in its place. Blocks for at most
    /// [`KNOCKING`].
    fn check_file(&self) -> Result<FileCheck, SocketError> {
        let mut bound = self.lock();
        if bound.ownership != Ownership::Ours {
            return Ok(FileCheck::Fine);
        }
        let found = self.renew(&mut bound);
        let said = match &found {
            Ok(FileCheck::Fine | FileCheck::PutBack) => None,
            Ok(FileCheck::Barred(why)) => Some(why.clone()),
            Err(error) => Some(format!("{error:?}")),
        };
        let is_known = said.is_some() && bound.reported == said;
        bound.reported = said;
        if is_known { Ok(FileCheck::Fine) } else { found }
    }

    fn renew(&self, bound: &mut Bound) -> Result<FileCheck, SocketError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if bound.inode == Some(identity(&metadata)) => return Ok(FileCheck::Fine),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &self.path)(error)),
        }
        let state_dir = self.path.parent().unwrap_or(Path::new("."));
        // Only a start creates the state directory; if it is gone it is not created again.
        refuse_if_open(state_dir)?;
        match refuse_if_answered(&self.path) {
            Ok(()) => {}
            Err(error @ (SocketError::InUse(_) | SocketError::NotASocket(_))) => {
                return Ok(FileCheck::Barred(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        let (listener, inode) = place(state_dir, &self.path)?;
        (bound.listener, bound.inode) = (listener, Some(inode));
        bound.renewals += 1;
        self.renewed.notify_one();
        Ok(FileCheck::PutBack)
    }
}

impl ControlSocket {
    /// Binds the socket, mode 0600. Creates the state directory (0700) if it is missing. A socket that
    /// nobody answers is replaced atomically by one that already has its mode.
    pub fn bind(state_dir: &Path) -> Result<Self, SocketError> {
        let path = state_dir.join(CONTROL_SOCKET);
        prepare(state_dir)?;
        refuse_if_answered(&path)?;
        let (listener, inode) = place(state_dir, &path)?;
        Ok(Self(Inner::of(path, listener, Some(inode), Ownership::Ours)))
    }

    /// Takes over a predecessor's socket. The predecessor owns the file until [`ControlHandle::claim`], so a
    /// successor that fails before leaves it with a socket that can be reached.
    pub fn take_over(state_dir: &Path, listener: UnixListener) -> Result<Self, SocketError> {
        let path = state_dir.join(CONTROL_SOCKET);
        listener.set_nonblocking(true).map_err(failed("take over", &path))?;
        // Gone, or not a socket: it is restored once this process owns it.
        let metadata =
            std::fs::symlink_metadata(&path).ok().filter(|metadata| metadata.file_type().is_socket());
        Ok(Self(Inner::of(path, listener, metadata.as_ref().map(identity), Ownership::NotOurs)))
    }

    /// Returns another handle, for a hand-over.
    pub fn handle(&self) -> ControlHandle {
        ControlHandle(Arc::clone(&self.0))
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns the socket for tokio, and which one it is; needs its runtime.
    pub(super) fn listener(&self) -> io::Result<(tokio::net::UnixListener, u64)> {
        let bound = self.0.lock();
        Ok((tokio::net::UnixListener::from_std(bound.listener.try_clone()?)?, bound.renewals))
    }

    /// Waits until a newer socket than number `known` listens.
    pub(super) async fn renewed(&self, known: u64) {
        // A notification may wake a waiter that has been dropped, so the number decides; the notification
        // only says when to look.
        while self.0.lock().renewals == known {
            self.0.renewed.notified().await;
        }
    }

    /// Checks the file and restores it, for as long as this process owns it.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let inner = Arc::clone(&self.0);
            // Off the workers, because the disk may hang.
            let Ok(found) = tokio::task::spawn_blocking(move || inner.check_file()).await else { continue };
            let path = self.path().display();
            match found {
                Ok(FileCheck::Fine) => {}
                Ok(FileCheck::PutBack) => {
                    tracing::warn!(event = "control_socket_back", %path, "the control socket was gone; it is there again")
                }
                Ok(FileCheck::Barred(why)) => {
                    tracing::error!(
                        event = "control_socket_gone",
                        why,
                        "this process cannot be commanded: take away what stands there"
                    );
                }
                Err(error) => {
                    tracing::error!(event = "control_socket_gone", error = %error_chain(&error), "the control socket is gone and cannot be put back yet");
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let mut bound = self.0.lock();
        // Only our own file: a predecessor may still need it, and a successor may have bound its socket
        // there.
        if std::mem::replace(&mut bound.ownership, Ownership::NotOurs) == Ownership::NotOurs {
            return;
        }
        let found = std::fs::symlink_metadata(&self.0.path).ok();
        if found.is_some_and(|metadata| bound.inode == Some(identity(&metadata))) {
            let _ = std::fs::remove_file(&self.0.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Binds a socket of mode 0600 beside the path, and renames it into place.
fn place(state_dir: &Path, path: &Path) -> Result<(UnixListener, (u64, u64)), SocketError> {
    let fresh = state_dir.join(format!("{CONTROL_SOCKET}.{}", std::process::id()));
    if let Err(error) = std::fs::remove_file(&fresh)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed("remove", &fresh)(error));
    }
    let listener = UnixListener::bind(&fresh).map_err(failed("bind", path))?;
    let placed = std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| std::fs::rename(&fresh, path))
        .and_then(|()| std::fs::symlink_metadata(path));
    match placed {
        Ok(metadata) => Ok((listener, identity(&metadata))),
        Err(error) => {
            // Best effort: the error that counts is the first one.
            let _ = std::fs::remove_file(&fresh);
            Err(failed("bind", path)(error))
        }
    }
}

fn prepare(state_dir: &Path) -> Result<(), SocketError> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed("create", state_dir))?;
    refuse_if_open(state_dir)
}

fn refuse_if_open(state_dir: &Path) -> Result<(), SocketError> {
    let metadata = std::fs::metadata(state_dir).map_err(failed("read", state_dir))?;
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(SocketError::OpenDirectory(state_dir.to_owned()));
    }
    Ok(())
}

/// Connects to a control socket or a similar one. The timeout bounds the wait for a place in its queue, and
/// each write.
pub fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn refuse_if_answered(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path)(error)),
    }
    match connect(path, KNOCKING) {
        // Its queue is full: a process is there that does not accept.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
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

    fn answers(path: &Path) -> bool {
        UnixStream::connect(path).is_ok()
    }

    #[test]
    fn a_socket_that_was_given_away_outlives_its_first_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = ControlSocket::bind(dir.path()).unwrap();
        let handle = first.handle();
        let second = ControlSocket::take_over(dir.path(), handle.hold().unwrap()).unwrap();

        second.handle().claim();
        handle.release();
        drop((first, handle));

        assert!(answers(second.path()));
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_successor_that_gives_up_leaves_the_file_to_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let first = ControlSocket::bind(dir.path()).unwrap();
        for _ in 0..2 {
            let handle = first.handle();
            drop(ControlSocket::take_over(dir.path(), handle.hold().unwrap()).unwrap());

            handle.claim();
            assert!(answers(first.path()));
        }
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_gone_or_dead_is_put_back_and_another_s_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let path = socket.path().to_owned();
        assert_eq!(socket.0.check_file().unwrap(), FileCheck::Fine);

        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            (socket.0.check_file().unwrap(), socket.0.check_file().unwrap()),
            (FileCheck::PutBack, FileCheck::Fine)
        );
        assert_eq!((answers(&path), mode(&path)), (true, 0o600));

        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!((socket.0.check_file().unwrap(), answers(&path)), (FileCheck::PutBack, true));

        // Another process's: said once, left alone, also at the end.
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(
            matches!(socket.0.check_file().unwrap(), FileCheck::Barred(why) if why.contains("another octroi"))
        );
        assert_eq!(socket.0.check_file().unwrap(), FileCheck::Fine);
        drop(other);
        assert_eq!(socket.0.check_file().unwrap(), FileCheck::PutBack);

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "kept").unwrap();
        assert!(
            matches!(socket.0.check_file().unwrap(), FileCheck::Barred(why) if why.contains("not a socket"))
        );
        drop(socket);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "kept");
    }

    #[test]
    fn nothing_is_put_back_while_it_is_handed_over_or_once_it_is_another_s() {
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(dir.path()).unwrap();
        let (handle, path) = (socket.handle(), socket.path().to_owned());
        let successor = ControlSocket::take_over(dir.path(), handle.hold().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!(
            (socket.0.check_file().unwrap(), successor.0.check_file().unwrap()),
            (FileCheck::Fine, FileCheck::Fine)
        );
        assert!(!path.exists());
        handle.release();
        successor.handle().claim();

        assert_eq!(
            (socket.0.check_file().unwrap(), successor.0.check_file().unwrap()),
            (FileCheck::Fine, FileCheck::PutBack)
        );
        drop(socket);
        assert!(answers(&path));
    }
}
