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
    predecessor_link::PredecessorLink,
    redis_name::redis_name,
    rendezvous::{EXIT_TIMEOUT, POLL_INTERVAL, reap, terminate},
    state::{HandOverState, Waiting},
};
use crate::{
    admin::{ControlHandle, ListenerState},
    model::{UpgradeReport, error_chain},
    sessions::SessionLedger,
};

/// How often the successor is told how many connections are left.
const TELLING: Duration = Duration::from_millis(250);

/// What a hand-over is to do where no successor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// Start one.
    Start,
    /// Nothing.
    Waiting,
}

/// Hands over to the successor that waits; `None` where there is none and none is to be started. Blocks.
///
/// After an error this process serves as if nothing had been tried.
pub(crate) fn hand_over(
    state: &HandOverState,
    wish: HandOver,
) -> Result<Option<UpgradeReport>, UpgradeError> {
    let outcome = hand_over_once(state, wish);
    match &outcome {
        Ok(Some(report)) => {
            tracing::info!(
                successor = report.successor,
                milliseconds = report.took.as_millis(),
                "handed over; draining"
            );
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(error = %error_chain(error), "nothing was handed over; this process goes on")
        }
    }
    outcome
}

fn hand_over_once(state: &HandOverState, wish: HandOver) -> Result<Option<UpgradeReport>, UpgradeError> {
    // At once, not behind one that waits for its successor for minutes.
    let _one_at_a_time = match state.exclusive.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err(UpgradeError::Refused("another hand-over is under way".to_owned()));
        }
    };
    if state.is_complete() || state.deps.shared.is_draining() {
        return Err(UpgradeError::Refused("this process drains already".to_owned()));
    }
    if std::process::id() == 1 {
        let why = "process 1 of a container cannot hand over: all of the container ends with it; start a new container instead";
        return Err(UpgradeError::Refused(why.to_owned()));
    }
    // Neither changes the sockets and rules under the other.
    let _no_reload = Handle::current()
        .block_on(state.deps.reload_lock.acquire())
        .map_err(|error| UpgradeError::Refused(error.to_string()))?;
    if wish == HandOver::Start || state.waiting().is_some() {
        keep_good_certificates(state)?;
    }
    let waits = state.lock().take().filter(|waiting| waiting.channel.is_open());
    let (waiting, child) = match (waits, wish) {
        (Some(waiting), _) => (waiting, None),
        (None, HandOver::Waiting) => return Ok(None),
        (None, HandOver::Start) => state.start().map(|(waiting, child)| (waiting, Some(child)))?,
    };
    match pass(state, waiting) {
        Ok(report) => {
            // It outlives us in general; should it not, it is not left as a zombie.
            if let Some(child) = child {
                reap(child);
            }
            Ok(Some(report))
        }
        Err(error) => {
            if let Some(child) = child {
                terminate(child);
            }
            // Behind the successor: nothing is put back under its hands.
            state.with_control(ControlHandle::claim);
            Err(error)
        }
    }
}

/// Refuses to give way to a process that would show certificates that have ended where good ones are in
/// force.
///
/// A successor reads what is on the disk; only this process knows what it shows. The successor reports
/// whatever else is wrong.
fn keep_good_certificates(state: &HandOverState) -> Result<(), UpgradeError> {
    let Some(worse) = (state.deps.worse_on_disk)() else { return Ok(()) };
    let way = "put a good one there, or restart octroi to show it all the same";
    Err(UpgradeError::Refused(format!("nothing is handed over: {worse}; {way}")))
}

/// The steps of a hand-over, in their order.
fn pass(state: &HandOverState, waiting: Waiting) -> Result<UpgradeReport, UpgradeError> {
    let Waiting { channel, pid } = waiting;
    expect(&channel, pid, "prepared", PREPARING, &Message::Ready)?;
    let began = state.deps.shared.clock.tick();
    send_sockets(state, &channel, pid)?;
    expect(&channel, pid, "bound its listeners", PREPARING, &Message::Bound)?;
    // What is open is answered here; what comes now waits in the kernel for whoever accepts next.
    state.deps.admin_state.send_replace(ListenerState::Paused);
    let passed = pass_journal(state, channel, pid);
    let link = passed.inspect_err(|_| {
        state.deps.admin_state.send_replace(ListenerState::Open);
    })?;
    state.deps.shared.draining.begin();
    state.deps.notifier.succeeded_by(pid);
    state.deps.listeners.stop();
    if let Some(handles) = state.handles.lock().unwrap_or_else(PoisonError::into_inner).take() {
        handles.control.release();
    }
    state.deps.admin_state.send_replace(ListenerState::Closed);
    let took = state.deps.shared.clock.tick().since(began);
    link.tell_connections(state.deps.listeners.open());
    // Set once: there is one hand-over that succeeds.
    let _ = state.to_successor.set(link);
    state.complete.send_replace(true);
    Ok(UpgradeReport { predecessor: std::process::id(), successor: pid, took })
}

/// Sends every listening socket.
fn send_sockets(state: &HandOverState, channel: &Channel, pid: u32) -> Result<(), UpgradeError> {
    let failed =
        |source| UpgradeError::Ended { who: "successor", pid, doing: "was handed the sockets", source };
    let listeners = state.deps.listeners.sockets().map_err(failed)?;
    let handles = state.handles.lock().unwrap_or_else(PoisonError::into_inner);
    let handles = handles.as_ref().ok_or_else(|| failed(io::ErrorKind::NotConnected.into()))?;
    let listeners =
        listeners.iter().map(|(name, address, socket)| (name.as_str(), Some(*address), socket.as_fd()));
    let admin =
        handles.listeners.iter().map(|(name, address, socket)| (*name, Some(*address), socket.as_fd()));
    let control = handles.control.hold().map_err(failed)?;
    let control = std::iter::once(("control", None, control.as_fd()));
    let mut count = 0;
    for (name, address, socket) in listeners.chain(admin).chain(control) {
        channel
            .send_with(&Message::Socket { name: name.to_owned(), address }, Some(socket))
            .map_err(failed)?;
        count += 1;
    }
    channel.send(&Message::Sockets(count)).map_err(failed)
}

/// Closes the journal, lets the successor open it, and waits until it serves. After an error the journal is
/// ours again.
fn pass_journal(
    state: &HandOverState,
    channel: Channel,
    pid: u32,
) -> Result<Arc<PredecessorLink>, UpgradeError> {
    let journal = &state.deps.shared.revocations;
    // Before: what is heard later is in no file.
    let fresh = journal.fresh_for(state.deps.shared.clock.now());
    journal.release().map_err(|error| {
        UpgradeError::Refused(format!("the journal cannot be settled: {}", error_chain(&error)))
    })?;
    let failed = |doing: &'static str| {
        move |source: io::Error| UpgradeError::Ended { who: "successor", pid, doing, source }
    };
    let redis = redis_name(&state.deps.shared.snapshot.load().policy);
    let fresh = u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX);
    let sent = channel.send(&Message::Journal { fresh, redis }).map_err(failed("waited for the journal"));
    if let Err(error) =
        sent.and_then(|()| expect(&channel, pid, "opened the journal", OPENING, &Message::Taken))
    {
        recover(journal, &channel, pid);
        return Err(error);
    }
    let link = match PredecessorLink::begin(channel, pid, journal) {
        Ok(link) => link,
        Err(source) => {
            // The channel went with it, and so does the successor.
            recover_without(journal, pid);
            return Err(failed("opened the journal")(source));
        }
    };
    journal.pass_on(link.clone());
    let begun = link.channel().send(&Message::Go).and_then(|()| link.serving(PREPARING));
    match begun {
        Ok(()) => Ok(link),
        Err(source) => {
            recover(journal, link.channel(), pid);
            Err(failed("began to serve")(source))
        }
    }
}

/// Waits for the one message that comes next.
fn expect(
    channel: &Channel,
    pid: u32,
    doing: &'static str,
    within: Duration,
    wanted: &Message,
) -> Result<(), UpgradeError> {
    match channel.receive(Some(within)) {
        Ok((message, _)) if message == *wanted => Ok(()),
        Ok((Message::Refused(why), _)) => Err(UpgradeError::Refused(why)),
        Ok(_) => Err(UpgradeError::Unexpected { who: "successor", pid, doing }),
        Err(source) => Err(UpgradeError::Ended { who: "successor", pid, doing, source }),
    }
}

/// Takes the journal back. The successor must have ended before: only one process may write.
fn recover(journal: &Arc<SessionLedger>, channel: &Channel, pid: u32) {
    // It sees that nothing more comes, and ends.
    channel.shutdown_write();
    let mut waited = Duration::ZERO;
    while channel.is_open() && waited < EXIT_TIMEOUT {
        std::thread::sleep(POLL_INTERVAL);
        waited += POLL_INTERVAL;
    }
    if channel.is_open() {
        // Its end of the channel is open, so the number is still its own.
        end(pid);
    }
    recover_without(journal, pid);
}

/// Takes the journal back from a successor that cannot be asked to end.
fn recover_without(journal: &Arc<SessionLedger>, pid: u32) {
    let mut waited = Duration::ZERO;
    while let Err(error) = journal.take_back() {
        if waited >= EXIT_TIMEOUT {
            tracing::error!(successor = pid, error = %error_chain(&error), "the journal cannot be taken back; revocations fail until it can");
            let journal = Arc::clone(journal);
            std::thread::spawn(move || {
                while journal.take_back().is_err() {
                    std::thread::sleep(Duration::from_secs(1));
                }
                tracing::info!("the revocation journal is written again");
            });
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
        waited += POLL_INTERVAL;
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
pub(crate) async fn tell_connections(state: &HandOverState) {
    let Some(link) = state.to_successor.get() else { return std::future::pending().await };
    loop {
        // A successor that does not read keeps whoever tells it for seconds: not a thread that still serves.
        let (link, open) = (Arc::clone(link), state.deps.listeners.open());
        let _ = tokio::task::spawn_blocking(move || link.tell_connections(open)).await;
        tokio::time::sleep(TELLING).await;
    }
}
