//! Where successors come: how one is started, who may wait, and what both sides know of each other.

use std::{
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    SOCKET, UpgradeError, VERSION,
    channel::{self, Channel, Peer},
    lead::Lead,
    message::Message,
    tail::Tail,
};
use crate::app::{control::App, others::OtherHandles};

/// How long a successor that was started may take to say that it is there: less than its configuration takes.
const ARRIVING: Duration = Duration::from_secs(20);

/// How long whoever connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);

/// How often a successor that was started is looked at.
pub(super) const LOOKING: Duration = Duration::from_millis(50);

/// How long a successor that failed may take to end before it is ended.
pub(super) const LEAVING: Duration = Duration::from_secs(2);

/// How this process would be started again: its program, as it was called, and its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// What stands behind it.
    pub arguments: Vec<OsString>,
}

/// Where this process stands between the one before it and the one behind it.
pub(in crate::app) struct Succession {
    pub(in crate::app) generation: u32,
    launch: Option<Launch>,
    /// The predecessor, while it drains.
    pub(in crate::app) predecessor: OnceLock<Arc<Lead>>,
    waiting: Mutex<Option<Waiting>>,
    arrived: Condvar,
    /// One hand-over at a time.
    pub(super) turn: Mutex<()>,
    pub(super) tail: OnceLock<Arc<Tail>>,
    /// Whether another process serves in this one's place.
    pub(super) over: watch::Sender<bool>,
    /// Handles of the sockets that are no doors.
    pub(super) handles: Mutex<Option<OtherHandles>>,
}

/// A successor that waits, or still prepares.
pub(super) struct Waiting {
    pub(super) channel: Channel,
    pub(super) pid: u32,
}

impl Succession {
    pub(in crate::app) fn new(generation: u32, launch: Option<Launch>, handles: OtherHandles) -> Self {
        Self {
            generation,
            launch,
            predecessor: OnceLock::new(),
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            turn: Mutex::default(),
            tail: OnceLock::new(),
            over: watch::Sender::new(false),
            handles: Mutex::new(Some(handles)),
        }
    }

    /// Says whether another process serves in this one's place.
    pub(in crate::app) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until another process serves in this one's place.
    pub(in crate::app) async fn over(&self) {
        // The sender lives as long as this.
        let _ = self.over.subscribe().wait_for(|&over| over).await;
    }

    /// Returns the process that waits to succeed this one.
    pub(in crate::app) fn waiting(&self) -> Option<u32> {
        self.lock().as_ref().filter(|waiting| waiting.channel.is_open()).map(|waiting| waiting.pid)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
                return said(format!("hand-overs of version {other} are not known here, only {VERSION}; a restart is needed"));
            }
            Ok(_) | Err(_) => return,
        }
        if self.is_over() {
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

    /// Starts a successor, and waits until it has come.
    pub(super) fn start(&self) -> Result<(Waiting, Child), UpgradeError> {
        let refused = |why: String| UpgradeError::Refused(why);
        let launch = self.launch.as_ref().ok_or_else(|| refused("how to start a successor is not known".to_owned()))?;
        let mut command = Command::new(&launch.program);
        // A watchdog of ours is not the child's by this name; the deadline itself passes on to it.
        command.args(&launch.arguments).env_remove("WATCHDOG_PID").stdin(Stdio::null());
        let shown = launch.program.display();
        let mut child = command.spawn().map_err(|error| refused(format!("cannot start {shown}: {error}")))?;
        let mut waited = Duration::ZERO;
        let mut waiting = self.lock();
        loop {
            if waiting.as_ref().is_some_and(|waiting| waiting.pid == child.id())
                && let Some(found) = waiting.take()
            {
                return Ok((found, child));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(refused(format!("{shown} ended before it could take over ({status}); its log says why")));
            }
            if waited >= ARRIVING {
                drop(waiting);
                put_an_end_to(&mut child);
                return Err(refused(format!("{shown} was started and did not come within {} s", ARRIVING.as_secs())));
            }
            (waiting, _) = self.arrived.wait_timeout(waiting, LOOKING).unwrap_or_else(PoisonError::into_inner);
            waited += LOOKING;
        }
    }
}

/// Lets successors come, one after the other, in a thread that lives as long as this process.
pub(in crate::app) fn receive_successors(app: &Arc<App>, listener: OwnedFd) -> io::Result<()> {
    let app = Arc::downgrade(app);
    let receive = move || {
        loop {
            let accepted = channel::accept(&listener);
            let Some(app) = app.upgrade() else { return };
            match accepted {
                Ok(channel) => app.succession.greet(channel),
                Err(error) => {
                    tracing::warn!(%error, "a successor could not come");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    };
    std::thread::Builder::new().name("octroi-room".to_owned()).spawn(receive).map(drop)
}

/// Listens for successors; a predecessor's socket is replaced.
pub(in crate::app) fn open_room(state_dir: &Path) -> io::Result<OwnedFd> {
    channel::listen(&state_dir.join(SOCKET))
}

/// Takes the socket away again, unless a successor has put its own there.
pub(in crate::app) fn close_room(app: &App, state_dir: &Path) {
    if !app.succession.is_over()
        && let Err(error) = std::fs::remove_file(state_dir.join(SOCKET))
    {
        tracing::debug!(%error, "the hand-over socket is gone already");
    }
}

/// Gives a child that failed a moment to end by itself, and takes its end in.
pub(super) fn put_an_end_to(child: &mut Child) {
    let mut waited = Duration::ZERO;
    while matches!(child.try_wait(), Ok(None)) {
        if waited >= LEAVING {
            // It ended just now, then.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(LOOKING);
        waited += LOOKING;
    }
}
