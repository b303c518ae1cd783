//! Signals, and the way out.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::timeout,
};

use super::{handler::HttpHandler, parts::App};
use crate::{
    hand_over::{HandOver, HandOverState, hand_over, tell_connections},
    model::{Control, ReloadRequest, Tick},
    telemetry::tracing::{FLUSH_TIMEOUT, ProcessLog},
};

/// How long the access log may take for its last lines.
pub(super) const LAST_LINES: Duration = Duration::from_secs(5);
/// How long kept-alive connections may still send a request, which is answered with `Connection: close`,
/// before they are ended: a client that is just sending one does not lose it.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// The signals that are obeyed, from the first thing on that the program does: a thread of its own hears
/// them, so that none is missed while the command line is read and the configuration loaded. Before that the
/// system links the program, and its own answer to a signal counts.
///
/// HUP, USR1 and QUIT that come before `until_the_end` wait for it. TERM and INT end a process that does not
/// serve yet at once; from `Signals::hold` on they wait as well.
#[derive(Debug)]
pub struct Signals {
    hup: Arc<Notify>,
    usr1: Arc<Notify>,
    term: Arc<Notify>,
    int: Arc<Notify>,
    quit: Arc<Notify>,
    holds: Arc<AtomicBool>,
    log: Arc<OnceLock<ProcessLog>>,
}

impl Signals {
    /// Begins to listen. Nothing is lost from then on.
    pub fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let signals = Self {
            hup: Arc::default(),
            usr1: Arc::default(),
            term: Arc::default(),
            int: Arc::default(),
            quit: Arc::default(),
            holds: Arc::default(),
            log: Arc::default(),
        };
        let hear = |kind: SignalKind| {
            let _inside = runtime.enter();
            signal(kind)
        };
        let (hup, usr1, quit) =
            (hear(SignalKind::hangup())?, hear(SignalKind::user_defined1())?, hear(SignalKind::quit())?);
        let (term, int) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
        let early = Early { holds: Arc::clone(&signals.holds), log: Arc::clone(&signals.log) };
        let ends = [("TERM", term, Arc::clone(&signals.term)), ("INT", int, Arc::clone(&signals.int))];
        let [term, int] = ends.map(|(name, signal, told)| early.clone().forward(name, signal, told));
        let (hup, usr1, quit) = (
            forward(hup, Arc::clone(&signals.hup)),
            forward(usr1, Arc::clone(&signals.usr1)),
            forward(quit, Arc::clone(&signals.quit)),
        );
        let hear_all = move || {
            runtime.block_on(async { tokio::join!(hup, usr1, quit, term, int) });
        };
        std::thread::Builder::new().name("octroi-signals".to_owned()).spawn(hear_all)?;
        Ok(signals)
    }

    /// From now on there is a log to say in what ends the process.
    pub(super) fn say_in(&self, log: ProcessLog) {
        // Set once: a process has one.
        let _ = self.log.set(log);
    }

    /// From now on there is something to be undone: TERM and INT wait until it can be.
    pub(super) fn hold(&self) {
        self.holds.store(true, Ordering::Release);
    }
}

/// Passes a signal on; several that come while nobody looks are one.
async fn forward(mut signal: Signal, told: Arc<Notify>) {
    while signal.recv().await.is_some() {
        told.notify_one();
    }
}

/// Ends a process that does not serve yet.
#[derive(Clone)]
struct Early {
    holds: Arc<AtomicBool>,
    log: Arc<OnceLock<ProcessLog>>,
}

impl Early {
    async fn forward(self, name: &'static str, mut signal: Signal, told: Arc<Notify>) {
        while signal.recv().await.is_some() {
            if !self.holds.load(Ordering::Acquire) {
                tracing::info!("{name} before octroi serves: it ends");
                if let Some(log) = self.log.get() {
                    log.flush(FLUSH_TIMEOUT);
                }
                std::process::exit(0);
            }
            told.notify_one();
        }
    }
}

/// Obeys signals until one of them, or a hand-over, ends the process: HUP reload, USR1 reopen logs, TERM
/// drain, INT stop, QUIT hand over to the successor that waits, otherwise nothing.
pub(super) async fn until_the_end(app: &Arc<App>, http: &HttpHandler, signals: Signals) {
    let Signals { hup, usr1, term, int, quit, .. } = signals;
    loop {
        tokio::select! {
            () = hup.notified() => {
                let app = Arc::clone(app);
                // The outcome is in the log and the metrics. Signals go on being obeyed meanwhile.
                tokio::spawn(async move { app.reload(ReloadRequest::default()).await });
            }
            () = usr1.notified() => {
                // Whoever writes them says what came of it.
                app.shared.snapshot.load().recorder.log().reopen();
            }
            () = quit.notified() => {
                let state = Arc::clone(&app.hand_over);
                tokio::task::spawn_blocking(move || quit_for_successor(&state));
            }
            () = app.hand_over.completed() => {
                tokio::select! {
                    () = drain_succeeded(app, http, &term) => {}
                    () = tell_connections(&app.hand_over) => {}
                    () = int.notified() => tracing::info!("INT: the drain is cut short"),
                }
                return;
            }
            () = int.notified() => {
                tracing::info!("INT: stopping at once");
                app.notifier.stopping();
                app.listeners.stop();
                return;
            }
            () = term.notified() => break,
        }
    }
    tokio::select! {
        () = drain(app, http, &term) => {}
        () = int.notified() => tracing::info!("INT: the drain is cut short"),
    }
}

/// Hands over because of QUIT. A failure is in the log already.
fn quit_for_successor(state: &HandOverState) {
    if let Ok(None) = hand_over(state, HandOver::Waiting) {
        tracing::warn!(
            "QUIT: no successor waits, so nothing happens; `octroi upgrade` starts one, TERM drains and ends"
        );
    }
}

/// Takes no more connections, lets open requests end, and returns as soon as none is left or the policy's
/// `drain` is over.
///
/// Before that, for the policy's `drain_delay`, connections are still taken: `/readyz` says already that this
/// process ends, and a balancer that has not looked yet finds nobody gone. Another TERM ends the delay.
async fn drain(app: &App, http: &HttpHandler, term: &Notify) {
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let (within, delay) = (policy.drain, policy.drain_delay);
    app.notifier.stopping();
    app.shared.draining.begin();
    if !delay.is_zero() {
        tracing::info!(
            seconds = delay.as_secs_f64(),
            "TERM: connections are still taken while balancers look away"
        );
        // One that comes during the delay ends it.
        let _ = timeout(delay, term.notified()).await;
    }
    tracing::info!(connections = app.listeners.open(), seconds = within.as_secs(), "TERM: draining");
    app.listeners.stop();
    let began = app.shared.clock.tick();
    if app.listeners.drained(LAST_REQUESTS.min(within)).await > 0 {
        http.close_idle().await;
    }
    end_of_drain(app, within, began).await;
}

/// Drains while a successor serves: nobody waits for this process to end.
///
/// So a kept-alive connection may wait for its next request, which is answered with `Connection: close`,
/// until `drain` is over: closed earlier, it might be closed while that request is on its way, and the client
/// would not know what became of it.
async fn drain_succeeded(app: &App, http: &HttpHandler, term: &Notify) {
    let within = app.shared.snapshot.load().policy.drain;
    let began = app.shared.clock.tick();
    tokio::select! {
        left = app.listeners.drained(within) => if left > 0 {
            http.close_idle().await;
            app.listeners.drained(LAST_REQUESTS).await;
        },
        () = term.notified() => {
            tracing::info!(connections = app.listeners.open(), "TERM: connections at rest are closed");
            http.close_idle().await;
        }
    }
    end_of_drain(app, within, began).await;
}

/// Waits for what is left of a drain: connections, and a predecessor that drains too and asks us to write for
/// it.
async fn end_of_drain(app: &App, within: Duration, began: Tick) {
    let rest = || within.saturating_sub(app.shared.clock.tick().since(began));
    let left = app.listeners.drained(rest()).await;
    if left > 0 {
        tracing::warn!(connections = left, "the drain is over; ending what is left");
    }
    if let Some(link) = app.hand_over.to_predecessor.get()
        && timeout(rest(), link.ended()).await.is_err()
    {
        tracing::warn!(
            predecessor = link.pid,
            "the predecessor still drains; it refuses sessions from now on"
        );
    }
}
