//! Orders with one account: what is due first, one at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    client::RetryAfter,
    deps::AcmeDeps,
    error::{AcmeError, Concerns},
    order::OrderContext,
    schedule,
    status_board::CertificateStatus,
    store,
};
use crate::{
    admin::wire::write_time,
    edge::StoredPair,
    model::{EventKind, EventSink, NodeChanged, OrderResult, UnixTime, error_chain},
    outbound::{backoff, random_fraction},
    policy::{Acme, AcmeCertificate},
};

/// How many missing certificates are named in the log when they are first seen missing.
const TOLD: usize = 20;
const LONG_AGO: UnixTime = UnixTime::from_secs(0);
/// The longest sleep: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// A certificate, and the entry that wants it, without the others that it wants: one more tenant changes
/// nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) acme: Arc<Acme>,
    pub(super) certificate: Arc<AcmeCertificate>,
}

impl Wanted {
    /// Names the hosts, for a log.
    fn hosts(&self) -> String {
        let mut text = String::new();
        for (index, host) in self.certificate.hosts.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(host.as_str());
        }
        text
    }
}

/// Where one certificate stands.
#[derive(Debug)]
struct RenewalState {
    wanted: Wanted,
    /// The pair in use.
    pair: Option<StoredPair>,
    /// Whether it is for other hosts, or from another CA.
    outdated: bool,
    failures: u32,
    /// How often a way to prove a host failed: the next one begins with another. What worked is what is begun
    /// with again.
    turns: u32,
    /// Not before this.
    pause: UnixTime,
    error: Option<String>,
}

/// What all certificates of an account wait for.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    until: UnixTime,
}

/// Keeps the certificates of one account, for ever.
pub(super) async fn run(deps: AcmeDeps, mut wanted: watch::Receiver<Vec<Wanted>>) {
    let policy = Arc::clone(&deps.shared.snapshot.load().policy);
    let mut renewer = Renewer {
        context: OrderContext {
            state_dir: policy.state_dir.as_path().into(),
            challenges: Arc::clone(&deps.shared.challenges),
            clock: Arc::clone(&deps.shared.clock),
            retry_after: RetryAfter::default(),
            blocking: deps.blocking.clone(),
        },
        node: policy.node.clone(),
        deps,
        states: BTreeMap::new(),
        pause: Pause::default(),
    };
    wanted.mark_changed();
    loop {
        if wanted.has_changed().is_ok_and(|changed| changed) {
            let now_wanted = wanted.borrow_and_update().clone();
            renewer.settle(now_wanted).await;
        }
        renewer.step(&wanted).await;
    }
}

struct Renewer {
    deps: AcmeDeps,
    context: OrderContext,
    node: String,
    states: BTreeMap<Box<str>, RenewalState>,
    pause: Pause,
}

impl Renewer {
    /// Takes over what is wanted. What is wanted as before keeps its place in the queue.
    async fn settle(&mut self, wanted: Vec<Wanted>) {
        let mut before = std::mem::take(&mut self.states);
        let mut missing = 0_usize;
        for wanted in wanted {
            let id = wanted.certificate.id.clone();
            let state = match before.remove(&id) {
                Some(state) if state.wanted == wanted => state,
                Some(_) | None => {
                    let state = self.look(wanted, missing < TOLD).await;
                    missing += usize::from(state.pair.is_none());
                    state
                }
            };
            self.tell(&id, &state);
            self.states.insert(id, state);
        }
        if missing > TOLD {
            tracing::warn!(
                certificates = missing,
                "so many certificates are missing in all; `octroi status` counts them"
            );
        }
    }

    /// Looks at what is stored of a certificate.
    async fn look(&self, wanted: Wanted, aloud: bool) -> RenewalState {
        let path = self.context.state_dir.join(wanted.certificate.file());
        let clock = Arc::clone(&self.context.clock);
        let stored = move || {
            path.exists().then(|| (StoredPair::judge(&path, clock.now()), store::directory_of(&path)))
        };
        let (id, hosts) = (&wanted.certificate.id, wanted.hosts());
        let (pair, outdated) = match self.context.blocking.run(stored).await {
            Ok(Some((Ok(pair), directory))) => {
                let fits = wanted.certificate.hosts.iter().all(|host| pair.is_for(host))
                    && pair.names.len() == wanted.certificate.hosts.len()
                    && directory.as_deref() == Some(&*wanted.acme.directory);
                (Some(pair), !fits)
            }
            Ok(Some((Err(error), _))) => {
                tracing::error!(certificate = %id, %hosts, error = %error_chain(&error), "the stored certificate is refused; another one is ordered");
                (None, false)
            }
            Ok(None) | Err(_) => {
                if aloud {
                    tracing::warn!(
                        certificate = %id,
                        %hosts,
                        "no certificate yet: until it is had, TLS clients of these hosts are refused (unknown_sni)"
                    );
                }
                (None, false)
            }
        };
        RenewalState { wanted, pair, outdated, failures: 0, turns: 0, pause: LONG_AGO, error: None }
    }

    /// Waits until something is due or otherwise wanted, or has one order made.
    async fn step(&mut self, wanted: &watch::Receiver<Vec<Wanted>>) {
        let now = self.context.clock.now();
        let Some((id, due)) = self.next() else { return changed(wanted).await };
        if due > now {
            tokio::select! {
                () = changed(wanted) => {}
                () = tokio::time::sleep(due.since(now).min(LONGEST_SLEEP)) => {}
            }
            return;
        }
        let Some(state) = self.states.get(&id) else { return };
        let (context, one, turns) = (self.context.clone(), state.wanted.clone(), state.turns);
        let outcome = tokio::select! {
            outcome = context.order(&one.acme, &one.certificate, turns) => outcome,
            () = unwanted(wanted, &one) => {
                tracing::info!(certificate = %id, "the order is given up: the certificate is wanted no more, or otherwise");
                return;
            }
        };
        let lost = matches!(&outcome, Err(error) if error.is_lost_account());
        self.note(&id, outcome).await;
        if lost {
            self.forget_account(&one.acme).await;
        }
    }

    /// Returns what is due first.
    fn next(&self) -> Option<(Box<str>, UnixTime)> {
        self.states.iter().map(|(id, state)| (id.clone(), self.due(state))).min_by_key(|(_, due)| *due)
    }

    fn due(&self, state: &RenewalState) -> UnixTime {
        let Wanted { acme, certificate } = &state.wanted;
        let renewal = match &state.pair {
            Some(pair) if !state.outdated => {
                schedule::renewal(pair, acme.renew_before, &self.node, &certificate.id)
            }
            Some(_) | None => LONG_AGO,
        };
        renewal.max(state.pause).max(self.pause.until)
    }

    /// Takes over what came of an order.
    async fn note(&mut self, id: &str, outcome: Result<StoredPair, AcmeError>) {
        let now = self.context.clock.now();
        let Some(state) = self.states.get_mut(id) else { return };
        let hosts = state.wanted.hosts();
        match outcome {
            Ok(pair) => {
                self.pause = Pause::default();
                state.failures = 0;
                state.pause = LONG_AGO;
                state.error = None;
                state.outdated = false;
                let due = schedule::renewal(&pair, state.wanted.acme.renew_before, &self.node, id);
                tracing::info!(
                    certificate = %id,
                    %hosts,
                    directory = %state.wanted.acme.directory,
                    expires = %write_time(pair.not_after),
                    renewal = %write_time(due),
                    "certificate had"
                );
                state.pair = Some(pair);
                self.record(OrderResult::Success, now);
                // In force before anything else is ordered.
                (self.deps.put_into_force)().await;
            }
            Err(error) => {
                let (first, asked, chance) =
                    (state.wanted.acme.retry_after, self.context.retry_after.last(), random_fraction());
                let wait = match error.concerns() {
                    Concerns::Account => {
                        self.pause.failures = self.pause.failures.saturating_add(1);
                        let wait = backoff(first, self.pause.failures, asked, chance);
                        self.pause.until = now.plus(wait);
                        wait
                    }
                    Concerns::Certificate => {
                        self.pause.failures = 0;
                        state.failures = state.failures.saturating_add(1);
                        state.turns =
                            state.turns.wrapping_add(u32::from(error.result() == OrderResult::Challenge));
                        let wait = backoff(first, state.failures, asked, chance);
                        state.pause = now.plus(wait);
                        wait
                    }
                };
                let text = error_chain(&error);
                tracing::error!(
                    certificate = %id,
                    %hosts,
                    directory = %state.wanted.acme.directory,
                    error = %text,
                    retry_s = wait.as_secs().max(1),
                    in_force = state.pair.is_some(),
                    "no certificate was had"
                );
                state.error = Some(text);
                self.record(error.result(), now);
            }
        }
        if let Some(state) = self.states.get(id) {
            self.tell(id, state);
        }
    }

    fn record(&self, result: OrderResult, now: UnixTime) {
        self.deps.shared.emit_at(now, EventKind::Node(NodeChanged::CertificateOrdered(result)));
    }

    /// Puts an account aside that the CA does not know: the next order registers another one.
    async fn forget_account(&mut self, acme: &Acme) {
        let path = self.context.state_dir.join(acme.account_file());
        tracing::warn!(file = %path.display(), directory = %acme.directory, "the CA does not know the account; another one is registered");
        let gone = path.clone();
        if let Ok(Err(error)) = self.context.blocking.run(move || store::forget_account(&gone)).await {
            tracing::error!(file = %path.display(), %error, "the account cannot be put aside");
        } else {
            self.pause = Pause::default();
        }
    }

    fn tell(&self, id: &str, state: &RenewalState) {
        let not_after = state.pair.as_ref().map(|pair| pair.not_after);
        self.deps
            .board
            .note(id, CertificateStatus { not_after, due: self.due(state), error: state.error.clone() });
    }
}

/// Waits until something else is wanted. Whoever wants nothing any more ends the task.
async fn changed(wanted: &watch::Receiver<Vec<Wanted>>) {
    if wanted.clone().changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until a certificate is wanted no more, or otherwise. An order that is still wanted goes on whatever
/// else changes.
async fn unwanted(wanted: &watch::Receiver<Vec<Wanted>>, one: &Wanted) {
    let mut wanted = wanted.clone();
    loop {
        if wanted.changed().await.is_err() {
            std::future::pending().await
        }
        if !wanted.borrow_and_update().contains(one) {
            return;
        }
    }
}
