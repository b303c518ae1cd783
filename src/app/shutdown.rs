//! Signals, and the way out.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{control::App, handler::HttpDoor};
use crate::model::Control;

/// How long the access log may take for its last lines.
pub(super) const LAST_LINES: Duration = Duration::from_secs(5);
/// How long kept-alive connections may still send a request, which is answered with `Connection: close`, before they are ended:
/// a client that is just sending one does not lose it (`pingora.md` 13b).
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// Obeys signals until one of them ends the process: HUP reload, USR1 reopen logs, TERM drain, INT stop. QUIT hands over to a
/// successor; there is none to hand over to in this version, so it does nothing, and says so.
pub(super) async fn until_the_end(app: &Arc<App>, http: &HttpDoor) {
    let (Some(mut hup), Some(mut usr1), Some(mut term), Some(mut int), Some(mut quit)) = (
        listen(SignalKind::hangup()),
        listen(SignalKind::user_defined1()),
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
        listen(SignalKind::quit()),
    ) else {
        return;
    };
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
            _ = quit.recv() => tracing::warn!("QUIT: no successor waits, so nothing happens; TERM drains and ends"),
            _ = int.recv() => {
                tracing::info!("INT: stopping at once");
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

/// Takes no more connections, lets open requests end, and returns as soon as none is left or the policy's `drain` is over.
async fn drain(app: &App, http: &HttpDoor) {
    let within = app.shared.snapshot.load().policy.drain;
    tracing::info!(connections = app.doors.open(), seconds = within.as_secs(), "TERM: draining");
    app.shared.draining.store(true, Ordering::Relaxed);
    app.doors.stop();
    if app.doors.drained(LAST_REQUESTS.min(within)).await == 0 {
        return;
    }
    http.close_idle().await;
    let left = app.doors.drained(within.saturating_sub(LAST_REQUESTS)).await;
    if left > 0 {
        tracing::warn!(connections = left, "the drain is over; ending what is left");
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, "signals cannot be listened to")).ok()
}
