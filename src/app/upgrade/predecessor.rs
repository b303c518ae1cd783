//! The predecessor's side of a hand-over: its steps, and the way back if one of them fails.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, PoisonError, TryLockError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;

use super::{
    OPENING, PREPARING, UpgradeError,
    channel::Channel,
    message::Message,
    room::{LEAVING, LOOKING, Waiting, put_an_end_to},
    tail::Tail,
};
use crate::{
    admin::Gate,
    app::{control::App, redis, reload::turn},
    model::{UpgradeReport, told},
};

/// How often the successor is told how many connections are left.
const TELLING: Duration = Duration::from_millis(250);

/// What a hand-over is to do where no successor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum HandOver {
    /// Start one.
    Start,
    /// Nothing.
    Waiting,
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
    // At once, not behind one that waits for its successor for minutes.
    let _one_at_a_time = match succession.turn.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(UpgradeError::Refused("another hand-over is under way".to_owned())),
    };
    if succession.is_over() || app.shared.is_draining() {
        return Err(UpgradeError::Refused("this process drains already".to_owned()));
    }
    if std::process::id() == 1 {
        let why = "process 1 of a container cannot hand over: all of the container ends with it; start a new container instead";
        return Err(UpgradeError::Refused(why.to_owned()));
    }
    // Neither changes the sockets and rules under the other.
    let _no_reload = Handle::current().block_on(turn(app)).map_err(|error| UpgradeError::Refused(error.to_string()))?;
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
    app.shared.draining.begin();
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
    // Before: what is heard later is in no file.
    let fresh = journal.fresh_for(app.shared.clock.now());
    journal.release().map_err(|error| UpgradeError::Refused(format!("the journal cannot be settled: {}", told(&error))))?;
    let failed = |doing: &'static str| move |source: io::Error| UpgradeError::Ended { who: "successor", pid, doing, source };
    let redis = redis::name(&app.shared.snapshot.load().policy);
    let fresh = u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX);
    let sent = channel.send(&Message::Journal { fresh, redis }).map_err(failed("waited for the journal"));
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
        // A successor that does not read keeps whoever tells it for seconds: not a thread that still serves.
        let (tail, open) = (Arc::clone(tail), app.doors.open());
        let _ = tokio::task::spawn_blocking(move || tail.tell_connections(open)).await;
        tokio::time::sleep(TELLING).await;
    }
}
