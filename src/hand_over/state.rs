//! The state of hand-overs: what both sides know of each other, and the handles that they need.

use std::{
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
};

use tokio::sync::watch;

use super::{channel::Channel, predecessor_link::PredecessorLink, successor_link::SuccessorLink};
use crate::{
    admin::{ControlHandle, ListenerState},
    gateway::Shared,
    process::{Listeners, Notifier, ReloadLock},
};

/// How this process would be started again: its program, as it was called, and its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// What stands behind it.
    pub arguments: Vec<OsString>,
}

/// The handles that a hand-over needs.
pub(crate) struct HandOverDeps {
    /// The policy in force, the journal, the clock, and whether this process drains.
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) reload_lock: Arc<ReloadLock>,
    /// Whether the admin listeners take connections.
    pub(crate) admin_state: watch::Sender<ListenerState>,
    /// Returns in words which certificates on disk are worse than those in force: a successor would show
    /// them. Blocks.
    pub(crate) worse_on_disk: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Handles of the admin listeners' sockets.
#[derive(Debug)]
pub(crate) struct AdminHandles {
    pub(crate) control: ControlHandle,
    /// Name, address as configured, socket.
    pub(crate) listeners: Vec<(&'static str, SocketAddr, TcpListener)>,
}

/// The hand-overs of this process: from its predecessor, and to its successor.
pub(crate) struct HandOverState {
    pub(crate) generation: u32,
    pub(super) launch: Option<Launch>,
    pub(super) deps: HandOverDeps,
    /// The link to the predecessor, while that drains.
    pub(crate) to_predecessor: OnceLock<Arc<SuccessorLink>>,
    waiting: Mutex<Option<Waiting>>,
    pub(super) arrived: Condvar,
    /// Whether a process is being started.
    pub(super) spawning: Arc<AtomicBool>,
    /// One hand-over at a time.
    pub(super) exclusive: Mutex<()>,
    /// The link to the successor, once it serves.
    pub(super) to_successor: OnceLock<Arc<PredecessorLink>>,
    /// Whether another process serves in this one's place.
    pub(super) complete: watch::Sender<bool>,
    /// Handles of the admin listeners' sockets.
    pub(super) handles: Mutex<Option<AdminHandles>>,
}

/// A successor that waits, or still prepares.
pub(super) struct Waiting {
    pub(super) channel: Channel,
    pub(super) pid: u32,
}

impl HandOverState {
    pub(crate) fn new(
        generation: u32,
        launch: Option<Launch>,
        handles: AdminHandles,
        deps: HandOverDeps,
    ) -> Self {
        Self {
            generation,
            launch,
            deps,
            to_predecessor: OnceLock::new(),
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            spawning: Arc::default(),
            exclusive: Mutex::default(),
            to_successor: OnceLock::new(),
            complete: watch::Sender::new(false),
            handles: Mutex::new(Some(handles)),
        }
    }

    /// Says whether another process serves in this one's place.
    pub(crate) fn is_complete(&self) -> bool {
        *self.complete.borrow()
    }

    /// Returns a receiver of [`HandOverState::is_complete`].
    pub(crate) fn watch_complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    /// Sets whether the admin listeners take connections.
    pub(crate) fn set_admin_state(&self, state: ListenerState) {
        self.deps.admin_state.send_replace(state);
    }

    /// Waits until another process serves in this one's place.
    pub(crate) async fn completed(&self) {
        // The sender lives as long as this.
        let _ = self.complete.subscribe().wait_for(|&complete| complete).await;
    }

    /// Does something with the control socket, as long as it is this process's to hand on.
    pub(crate) fn with_control<T>(&self, act: impl FnOnce(&ControlHandle) -> T) -> Option<T> {
        self.handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|handles| act(&handles.control))
    }

    /// Returns the process that waits to succeed this one.
    pub(crate) fn waiting(&self) -> Option<u32> {
        self.lock().as_ref().filter(|waiting| waiting.channel.is_open()).map(|waiting| waiting.pid)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
