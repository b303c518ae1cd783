//! Signals, and the way out.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{
    control::App,
    handler::HttpDoor,
    upgrade::{self, HandOver},
};
use crate::model::{Control, Tick};

/// How long the access log may take for its last lines.
pub(super) const LAST_LINES: Duration = Duration::from_secs(5);
/// How long kept-alive connections may still send a request, which is answered with `Connection: close`, before they are ended:
/// a client that is just sending one does not lose it (`pingora.md` 13b).
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// The signals that are obeyed. One that comes before [`until_the_end`] waits for it; before this is made, any of them ends the process.
pub(super) struct Signals {
    hup: Signal,
    usr1: Signal,
    term: Signal,
    int: Signal,
    quit: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// Obeys signals until one of them, or a hand-over, ends the process: HUP reload, USR1 reopen logs, TERM drain, INT stop, QUIT hand
/// over to the successor that waits, otherwise nothing.
pub(super) async fn until_the_end(app: &Arc<App>, http: &HttpDoor, signals: Signals) {
    let Signals { mut hup, mut usr1, mut term, mut int, mut quit } = signals;
    loop {
        tokio::select! {
            _ = hup.recv() => {
                let app = Arc::clone(app);
                // The outcome is in the log and the metrics. Signals go on being obeyed meanwhile.
                tokio::spawn(async move { app.reload().await });
            }
            _ = usr1.recv() => {
                app.shared.snapshot.load().log.reopen();
                tracing::info!("access logs are opened again");
            }
            _ = quit.recv() => {
                let app = Arc::clone(app);
                tokio::task::spawn_blocking(move || quit_for_successor(&app));
            }
            () = app.succession.over() => {
                tokio::select! {
                    () = drain_succeeded(app, http, &mut term) => {}
                    () = upgrade::tell_connections(app) => {}
                    _ = int.recv() => tracing::info!("INT: the drain is cut short"),
                }
                return;
            }
            _ = int.recv() => {
                tracing::info!("INT: stopping at once");
                app.notifier.stopping();
                app.doors.stop();
                return;
            }
            _ = term.recv() => break,
        }
    }
    tokio::select! {
        () = drain(app, http) => {}
        _ = int.recv() => tracing::info!("INT: the drain is cut short"),
    }
}

/// Hands over because of QUIT. A failure has been told.
fn quit_for_successor(app: &Arc<App>) {
    if let Ok(None) = upgrade::hand_over(app, HandOver::Waiting) {
        tracing::warn!("QUIT: no successor waits, so nothing happens; `octroi upgrade` starts one, TERM drains and ends");
    }
}

/// Takes no more connections, lets open requests end, and returns as soon as none is left or the policy's `drain` is over.
async fn drain(app: &App, http: &HttpDoor) {
    let within = app.shared.snapshot.load().policy.drain;
    tracing::info!(connections = app.doors.open(), seconds = within.as_secs(), "TERM: draining");
    app.notifier.stopping();
    app.shared.draining.store(true, Ordering::Relaxed);
    app.doors.stop();
    let began = app.shared.clock.tick();
    if app.doors.drained(LAST_REQUESTS.min(within)).await > 0 {
        http.close_idle().await;
    }
    end_of_drain(app, within, began).await;
}

/// Drains while a successor serves: nobody waits for this process to end.
///
/// So a kept-alive connection may wait for its next request, which is answered with `Connection: close`, until `drain` is over: closed
/// earlier, it might be closed while that request is on its way, and the client would not know what became of it.
async fn drain_succeeded(app: &App, http: &HttpDoor, term: &mut Signal) {
    let within = app.shared.snapshot.load().policy.drain;
    let began = app.shared.clock.tick();
    tokio::select! {
        left = app.doors.drained(within) => if left > 0 {
            http.close_idle().await;
            app.doors.drained(LAST_REQUESTS).await;
        },
        _ = term.recv() => {
            tracing::info!(connections = app.doors.open(), "TERM: connections at rest are closed");
            http.close_idle().await;
        }
    }
    end_of_drain(app, within, began).await;
}

/// Waits for what is left of a drain: connections, and a predecessor that drains too and asks us to write for it.
async fn end_of_drain(app: &App, within: Duration, began: Tick) {
    let rest = || within.saturating_sub(app.shared.clock.tick().since(began));
    let left = app.doors.drained(rest()).await;
    if left > 0 {
        tracing::warn!(connections = left, "the drain is over; ending what is left");
    }
    if let Some(lead) = app.succession.predecessor.get()
        && timeout(rest(), lead.ended()).await.is_err()
    {
        tracing::warn!(predecessor = lead.pid, "the predecessor still drains; it refuses sessions from now on");
    }
}
