//! How successors arrive: how one is started, and which one may wait.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::Duration,
};

use super::{
    SOCKET, UpgradeError, VERSION,
    channel::{self, Channel, Peer},
    message::Message,
    state::{HandOverState, Waiting},
};

/// How long a successor that was started may take to say that it is there: less than its configuration takes.
const ARRIVING: Duration = Duration::from_secs(20);

/// How long whoever connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);

/// How often a successor that was started is looked at.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a successor that failed may take to end before it is ended.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

impl HandOverState {
    /// Lets a successor wait, unless another one does.
    fn greet(&self, channel: Channel) {
        let said = |why: String| {
            tracing::warn!("a successor was turned away: {why}");
            // Gone: then it knows.
            let _ = channel.send(&Message::Refused(why));
        };
        let Ok(peer @ Peer { pid, uid }) = channel.peer() else { return };
        if !peer.is_trusted() {
            return said(format!("process {pid} belongs to user {uid}"));
        }
        // Short: others wait behind it.
        match channel.receive(Some(GREETING)) {
            Ok((Message::Hello(VERSION), None)) => {}
            Ok((Message::Hello(other), _)) => {
                return said(format!(
                    "hand-overs of version {other} are not known here, only {VERSION}; a restart is needed"
                ));
            }
            Ok(_) | Err(_) => return,
        }
        if self.is_complete() {
            return said(format!("process {} has handed over already", std::process::id()));
        }
        let mut waiting = self.lock();
        if let Some(first) = waiting.as_ref().filter(|first| first.channel.is_open()) {
            return said(format!("process {} waits already", first.pid));
        }
        if channel.send(&Message::Welcome(self.generation)).is_ok() {
            tracing::info!(successor = pid, "a successor has come");
            *waiting = Some(Waiting { channel, pid });
            self.arrived.notify_all();
        }
    }

    /// Begins a process. Its program may lie on a file system that hangs: then one thread waits for it, and
    /// nobody else does.
    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let busy = Arc::clone(&self.spawning);
        if busy.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "an earlier start still hangs; its file system does not answer",
            ));
        }
        // Of no size: a process that comes late is never left in it.
        let (started, asked) = mpsc::sync_channel(0);
        let spawned = std::thread::Builder::new().name("octroi-spawn".to_owned()).spawn(move || {
            let child = command.spawn();
            busy.store(false, Ordering::Release);
            if let Err(mpsc::SendError(Ok(late))) = started.send(child) {
                terminate(late);
            }
        });
        if let Err(error) = spawned {
            self.spawning.store(false, Ordering::Release);
            return Err(error);
        }
        let late = |_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not begin within {} s", ARRIVING.as_secs()),
            )
        };
        asked.recv_timeout(ARRIVING).map_err(late)?
    }

    /// Starts a successor, and waits until it has come.
    pub(super) fn start(&self) -> Result<(Waiting, Child), UpgradeError> {
        let refused = |why: String| UpgradeError::Refused(why);
        let launch = self
            .launch
            .as_ref()
            .ok_or_else(|| refused("how to start a successor is not known".to_owned()))?;
        let mut command = Command::new(&launch.program);
        // A watchdog of ours is not the child's by this name; the deadline itself passes on to it.
        command.args(&launch.arguments).env_remove("WATCHDOG_PID").stdin(Stdio::null());
        let shown = launch.program.display();
        let mut child =
            self.spawn(command).map_err(|error| refused(format!("cannot start {shown}: {error}")))?;
        let mut waited = Duration::ZERO;
        let mut waiting = self.lock();
        loop {
            if waiting.as_ref().is_some_and(|waiting| waiting.pid == child.id())
                && let Some(found) = waiting.take()
            {
                return Ok((found, child));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(refused(format!(
                    "{shown} ended before it could take over ({status}); its log says why"
                )));
            }
            if waited >= ARRIVING {
                drop(waiting);
                terminate(child);
                return Err(refused(format!(
                    "{shown} was started and did not come within {} s",
                    ARRIVING.as_secs()
                )));
            }
            (waiting, _) =
                self.arrived.wait_timeout(waiting, POLL_INTERVAL).unwrap_or_else(PoisonError::into_inner);
            waited += POLL_INTERVAL;
        }
    }
}

/// Lets successors come, one after the other, in a thread that lives as long as this process.
pub(crate) fn receive_successors(state: &Arc<HandOverState>, listener: OwnedFd) -> io::Result<()> {
    let state = Arc::downgrade(state);
    let receive = move || {
        loop {
            let accepted = channel::accept(&listener);
            let Some(state) = state.upgrade() else { return };
            match accepted {
                Ok(channel) => state.greet(channel),
                Err(error) => {
                    tracing::warn!(%error, "a successor could not come");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    };
    std::thread::Builder::new().name("octroi-upgrade".to_owned()).spawn(receive).map(drop)
}

/// Listens for successors; a predecessor's socket is replaced.
pub(crate) fn bind_upgrade_socket(state_dir: &Path) -> io::Result<OwnedFd> {
    channel::listen(&state_dir.join(SOCKET))
}

/// Takes the socket away again, unless a successor has put its own there.
pub(crate) fn remove_upgrade_socket(state: &HandOverState, state_dir: &Path) {
    if !state.is_complete()
        && let Err(error) = std::fs::remove_file(state_dir.join(SOCKET))
    {
        tracing::debug!(%error, "the hand-over socket is gone already");
    }
}

/// Takes the end of a child in, whenever it comes: one that waits for a disk cannot be ended.
pub(super) fn reap(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

/// Gives a child that failed a moment to end by itself, and takes its end in.
pub(super) fn terminate(mut child: Child) {
    let mut waited = Duration::ZERO;
    while matches!(child.try_wait(), Ok(None)) {
        if waited >= EXIT_TIMEOUT {
            // It ended just now, then.
            let _ = child.kill();
            return reap(child);
        }
        std::thread::sleep(POLL_INTERVAL);
        waited += POLL_INTERVAL;
    }
}
