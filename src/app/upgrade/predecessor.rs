//! The predecessor's side: lets successors wait, hands over to one, and goes on as before if that fails.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::{
    OPENING, PREPARING, SOCKET, UpgradeError, VERSION,
    channel::{self, Channel, Peer},
    lead::Lead,
    message::Message,
    tail::Tail,
};
use crate::{
    admin::Gate,
    app::{control::App, others::OtherHandles},
    model::{UpgradeReport, told},
};

/// How long a successor that was started may take to say that it is there: less than its configuration takes.
const ARRIVING: Duration = Duration::from_secs(20);

/// How long whoever connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);

/// How often a successor that was started is looked at.
const LOOKING: Duration = Duration::from_millis(50);

/// How long a successor that failed may take to end before it is ended.
const LEAVING: Duration = Duration::from_secs(2);

/// How often the successor is told how many connections are left.
const TELLING: Duration = Duration::from_millis(250);

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
    turn: Mutex<()>,
    tail: OnceLock<Arc<Tail>>,
    /// Whether another process serves in this one's place.
    over: watch::Sender<bool>,
    /// Handles of the sockets that are no doors.
    handles: Mutex<Option<OtherHandles>>,
}

/// What a hand-over is to do where no successor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum HandOver {
    /// Start one.
    Start,
    /// Nothing.
    Waiting,
}

/// A successor that waits, or still prepares.
struct Waiting {
    channel: Channel,
    pid: u32,
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

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
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
    fn start(&self) -> Result<(Waiting, Child), UpgradeError> {
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

/// Hands over to the successor that waits; `None` where there is none and none is to be started. Blocks.
///
/// After an error this process serves as if nothing had been tried.
pub(in crate::app) fn hand_over(app: &Arc<App>, wish: HandOver) -> Result<Option<UpgradeReport>, UpgradeError> {
    let outcome = hand_over_once(app, wish);
    match &outcome {
        Ok(Some(report)) => {
            tracing::info!(successor = report.successor, milliseconds = report.took.as_millis(), "handed over; draining");
        }
        Ok(None) => {}
        Err(error) => tracing::error!(error = %told(error), "nothing was handed over; this process goes on"),
    }
    outcome
}

fn hand_over_once(app: &Arc<App>, wish: HandOver) -> Result<Option<UpgradeReport>, UpgradeError> {
    let succession = &app.succession;
    let _one_at_a_time = succession.turn.lock().unwrap_or_else(PoisonError::into_inner);
    if succession.is_over() || app.shared.is_draining() {
        return Err(UpgradeError::Refused("this process drains already".to_owned()));
    }
    if std::process::id() == 1 {
        let why = "process 1 of a container cannot hand over: all of the container ends with it; start a new container instead";
        return Err(UpgradeError::Refused(why.to_owned()));
    }
    // Neither changes the sockets and rules under the other.
    let _no_reload = app.reloading.blocking_lock();
    let waits = succession.lock().take().filter(|waiting| waiting.channel.is_open());
    let (waiting, mut child) = match (waits, wish) {
        (Some(waiting), _) => (waiting, None),
        (None, HandOver::Waiting) => return Ok(None),
        (None, HandOver::Start) => succession.start().map(|(waiting, child)| (waiting, Some(child)))?,
    };
    match pass(app, waiting) {
        Ok(report) => {
            if let Some(mut child) = child {
                // It outlives us in general; should it not, it is not left as a zombie.
                std::thread::spawn(move || child.wait());
            }
            Ok(Some(report))
        }
        Err(error) => {
            if let Some(child) = &mut child {
                put_an_end_to(child);
            }
            Err(error)
        }
    }
}

/// Gives a child that failed a moment to end by itself, and takes its end in.
fn put_an_end_to(child: &mut Child) {
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

/// The steps of a hand-over, in their order.
fn pass(app: &Arc<App>, waiting: Waiting) -> Result<UpgradeReport, UpgradeError> {
    let Waiting { channel, pid } = waiting;
    expect(&channel, pid, "prepared", PREPARING, &Message::Ready)?;
    let began = app.shared.clock.tick();
    offer(app, &channel, pid)?;
    expect(&channel, pid, "bound its listeners", PREPARING, &Message::Bound)?;
    // What is open is answered here; what comes now waits in the kernel for whoever accepts next.
    app.gate.send_replace(Gate::Paused);
    let passed = pass_journal(app, channel, pid);
    let tail = passed.inspect_err(|_| {
        app.gate.send_replace(Gate::Open);
    })?;
    app.shared.draining.store(true, Ordering::Release);
    app.notifier.succeeded_by(pid);
    app.doors.stop();
    if let Some(handles) = app.succession.handles.lock().unwrap_or_else(PoisonError::into_inner).take() {
        handles.control.give_away();
    }
    app.gate.send_replace(Gate::Closed);
    let took = app.shared.clock.tick().since(began);
    tail.tell_connections(app.doors.open());
    // Set once: there is one hand-over that succeeds.
    let _ = app.succession.tail.set(tail);
    app.succession.over.send_replace(true);
    Ok(UpgradeReport { predecessor: std::process::id(), successor: pid, took })
}

/// Sends every listening socket.
fn offer(app: &App, channel: &Channel, pid: u32) -> Result<(), UpgradeError> {
    let failed = |source| UpgradeError::Ended { who: "successor", pid, doing: "was handed the sockets", source };
    let doors = app.doors.sockets().map_err(failed)?;
    let handles = app.succession.handles.lock().unwrap_or_else(PoisonError::into_inner);
    let handles = handles.as_ref().ok_or_else(|| failed(io::ErrorKind::NotConnected.into()))?;
    let doors = doors.iter().map(|(name, address, socket)| (name.as_str(), Some(*address), socket.as_fd()));
    let others = handles.listeners.iter().map(|(name, address, socket)| (*name, Some(*address), socket.as_fd()));
    let control = std::iter::once(("control", None, handles.control.socket().as_fd()));
    let mut count = 0;
    for (name, address, socket) in doors.chain(others).chain(control) {
        channel.send_with(&Message::Socket { name: name.to_owned(), address }, Some(socket)).map_err(failed)?;
        count += 1;
    }
    channel.send(&Message::Sockets(count)).map_err(failed)
}

/// Closes the journal, lets the successor open it, and waits until it serves. After an error the journal is ours again.
fn pass_journal(app: &Arc<App>, channel: Channel, pid: u32) -> Result<Arc<Tail>, UpgradeError> {
    let journal = &app.shared.revocations;
    journal.release().map_err(|error| UpgradeError::Refused(format!("the journal cannot be settled: {}", told(&error))))?;
    let failed = |doing: &'static str| move |source: io::Error| UpgradeError::Ended { who: "successor", pid, doing, source };
    let sent = channel.send(&Message::Journal).map_err(failed("waited for the journal"));
    if let Err(error) = sent.and_then(|()| expect(&channel, pid, "opened the journal", OPENING, &Message::Taken)) {
        recover(app, &channel, pid);
        return Err(error);
    }
    let tail = match Tail::begin(channel, pid, journal) {
        Ok(tail) => tail,
        Err(source) => {
            // The channel went with it, and so does the successor.
            recover_without(app, pid);
            return Err(failed("opened the journal")(source));
        }
    };
    journal.pass_on(tail.clone());
    let begun = tail.channel().send(&Message::Go).and_then(|()| tail.serving(PREPARING));
    match begun {
        Ok(()) => Ok(tail),
        Err(source) => {
            recover(app, tail.channel(), pid);
            Err(failed("began to serve")(source))
        }
    }
}

/// Waits for the one message that comes next.
fn expect(channel: &Channel, pid: u32, doing: &'static str, within: Duration, wanted: &Message) -> Result<(), UpgradeError> {
    match channel.receive(Some(within)) {
        Ok((message, _)) if message == *wanted => Ok(()),
        Ok((Message::Refused(why), _)) => Err(UpgradeError::Refused(why)),
        Ok(_) => Err(UpgradeError::Unexpected { who: "successor", pid, doing }),
        Err(source) => Err(UpgradeError::Ended { who: "successor", pid, doing, source }),
    }
}

/// Takes the journal back. The successor must have ended before: only one process may write.
fn recover(app: &Arc<App>, channel: &Channel, pid: u32) {
    // It sees that nothing more comes, and ends.
    channel.say_no_more();
    let mut waited = Duration::ZERO;
    while channel.is_open() && waited < LEAVING {
        std::thread::sleep(LOOKING);
        waited += LOOKING;
    }
    if channel.is_open() {
        // Its end of the channel is open, so the number is still its own.
        end(pid);
    }
    recover_without(app, pid);
}

/// Takes the journal back from a successor that cannot be asked to end.
fn recover_without(app: &Arc<App>, pid: u32) {
    let mut waited = Duration::ZERO;
    while let Err(error) = app.shared.revocations.take_back() {
        if waited >= LEAVING {
            tracing::error!(successor = pid, error = %told(&error), "the journal cannot be taken back; revocations fail until it can");
            let app = Arc::clone(app);
            std::thread::spawn(move || {
                while app.shared.revocations.take_back().is_err() {
                    std::thread::sleep(Duration::from_secs(1));
                }
                tracing::info!("the revocation journal is written again");
            });
            return;
        }
        std::thread::sleep(LOOKING);
        waited += LOOKING;
    }
}

fn end(pid: u32) {
    tracing::warn!(successor = pid, "the successor neither serves nor ends; it is ended");
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = process.map(|process| kill_process(process, Signal::KILL)) {
        tracing::error!(successor = pid, %error, "the successor cannot be ended");
    }
}

/// Tells the successor how many connections are left, for ever.
pub(in crate::app) async fn tell_connections(app: &App) {
    let Some(tail) = app.succession.tail.get() else { return std::future::pending().await };
    loop {
        tail.tell_connections(app.doors.open());
        tokio::time::sleep(TELLING).await;
    }
}
