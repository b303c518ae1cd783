//! Keys that issuers publish: fetched at the start, on schedule, and when a token names one that is not
//! there.
//!
//! Where from is configured; nothing in a token is ever asked. No request waits for a fetch. One task per
//! source does it for all, so that whatever strangers send, an issuer is asked once per `refresh` and at most
//! once a minute besides.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    gateway::Shared,
    model::{
        Clock, EventKind, EventSink, FetchResult, KeySetStatus, NodeChanged, Tick, UnixTime, error_chain,
    },
    outbound::{Client, Deadlines, OutboundError, Trust, backoff, random_fraction},
    policy::{KeySource, Policy},
    process::{Blocking, BlockingError, PolicySubscriber},
    session::foreign::{KeySet, KeySetError},
    store::KeySets,
};

/// A set is small, and an issuer that takes longer is not well.
const DEADLINES: Deadlines = Deadlines {
    resolve: Duration::from_secs(3),
    connect: Duration::from_secs(3),
    handshake: Duration::from_secs(3),
    total: Duration::from_secs(10),
};
/// The largest sets of large issuers have 20 KiB, certificates included.
const MOST_BYTES: usize = 256 << 10;
/// How long tokens that name unknown keys have to wait for another fetch.
const MISS_PAUSE: Duration = Duration::from_secs(60);
/// How long to wait after a first failure; doubled up to `refresh`.
const RETRY: Duration = Duration::from_secs(5);
/// How long a start waits to be ready. After that it is: other tenants' sessions need no such key.
const START: Duration = Duration::from_secs(30);
/// How long a reload or a hand-over waits for sets that are new to it, so that nobody's token is refused in
/// between.
const AHEAD: Duration = Duration::from_secs(5);
const ACCEPT: HeaderValue = HeaderValue::from_static("application/jwk-set+json, application/json");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("octroi/", env!("CARGO_PKG_VERSION")));

/// Why a set was not had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The exchange failed.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The answer is none: an error, or a redirect, which is not followed.
    #[error("the answer is {0}; a redirect is not followed")]
    Status(StatusCode),
    /// The set cannot be used.
    #[error(transparent)]
    Set(#[from] KeySetError),
    /// Whom to believe cannot be read.
    #[error(transparent)]
    Trust(#[from] BlockingError),
}

impl FetchError {
    fn result(&self) -> FetchResult {
        match self {
            Self::Outbound(_) | Self::Trust(_) => FetchResult::Unreachable,
            Self::Status(_) => FetchResult::Refused,
            Self::Set(_) => FetchResult::Unusable,
        }
    }
}

/// Keeps the sets of every source that the policy in force names, for ever.
pub(crate) async fn supervise(shared: Arc<Shared>, trust: Blocking, mut changes: PolicySubscriber) {
    let mut tasks: Vec<FetchTask> = Vec::new();
    loop {
        let policy = Arc::clone(&shared.snapshot.load().policy);
        tasks.retain(|task| sources(&policy).any(|source| *source == task.source));
        retain_named(&shared);
        for source in sources(&policy) {
            if tasks.iter().all(|task| task.source != *source) {
                tasks.push(FetchTask::start(&shared, &trust, source));
            }
        }
        changes.changed().await;
    }
}

fn sources(policy: &Policy) -> impl Iterator<Item = &KeySource> {
    policy.sessions.iter().flat_map(|sessions| sessions.foreign.key_sources())
}

/// A task that keeps one set; it ends with this.
struct FetchTask {
    source: KeySource,
    task: JoinHandle<()>,
}

impl FetchTask {
    fn start(shared: &Arc<Shared>, trust: &Blocking, source: &KeySource) -> Self {
        Self {
            source: source.clone(),
            task: tokio::spawn(fetch_repeatedly(Arc::clone(shared), trust.clone(), source.clone())),
        }
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps one set.
async fn fetch_repeatedly(shared: Arc<Shared>, trust: Blocking, source: KeySource) {
    let mut missed = shared.key_missed.subscribe();
    let mut failures = 0_u32;
    let mut prompted: Option<Tick> = None;
    let had = shared.key_sets.status(&source.id);
    let had = had.since.filter(|_| had.error.is_none());
    let mut due = had.map_or_else(|| shared.clock.tick(), |at| at.plus(spread(source.refresh)));
    loop {
        let mut by_miss = false;
        loop {
            let now = shared.clock.tick();
            if due <= now {
                break;
            }
            let wait = due.since(now);
            shared.key_sets.due(&source.id, shared.clock.now().plus(wait));
            tokio::select! {
                () = sleep(wait) => {}
                Ok(()) = missed.changed() => {
                    by_miss = true;
                    due = due.min(prompted.map_or(now, |at| at.plus(MISS_PAUSE)));
                }
            }
        }
        if by_miss {
            prompted = Some(shared.clock.tick());
        }
        let good = fetch(&shared.key_sets, &trust, &*shared, &*shared.clock, &source).await;
        // Whoever missed a key meanwhile has it now, or not; both count for the next minute.
        missed.mark_unchanged();
        failures = if good { 0 } else { failures.saturating_add(1) };
        let wait = if good {
            spread(source.refresh)
        } else {
            backoff(RETRY, failures, None, random_fraction()).min(source.refresh)
        };
        due = shared.clock.tick().plus(wait);
    }
}

/// Up to a tenth earlier, so that many nodes do not come at once.
fn spread(refresh: Duration) -> Duration {
    refresh.mul_f64(1.0 - random_fraction() / 10.0)
}

/// Fetches the sets of sources that are not known yet, at once, before the policy that names them comes into
/// force. What is not had in time is fetched on.
pub(crate) async fn prefetch(
    sets: &Arc<KeySets>,
    trust: &Blocking,
    events: &Arc<dyn EventSink>,
    clock: &Arc<dyn Clock>,
    policy: &Policy,
) {
    let mut fetching = JoinSet::new();
    for source in sources(policy) {
        if sets.status(&source.id).fetched.is_none() {
            let (sets, events, clock, source) =
                (Arc::clone(sets), Arc::clone(events), Arc::clone(clock), source.clone());
            let trust = trust.clone();
            fetching.spawn(async move { fetch(&sets, &trust, &*events, &*clock, &source).await });
        }
    }
    let all = async { while fetching.join_next().await.is_some() {} };
    // Those that take longer are cut off with the set.
    let _ = timeout(AHEAD, all).await;
}

/// Forgets the sets that the policy in force does not name.
pub(crate) fn retain_named(shared: &Shared) {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    shared.key_sets.retain(|id| sources(&policy).any(|source| source.id == *id));
}

/// Fetches one set and takes it over. Says whether it was had.
async fn fetch(
    sets: &KeySets,
    trust: &Blocking,
    events: &dyn EventSink,
    clock: &dyn Clock,
    source: &KeySource,
) -> bool {
    let outcome = ask(source, trust).await;
    let (now, tick) = (clock.now(), clock.tick());
    match outcome {
        Ok(set) => {
            let (keys, ignored) = (set.len(), set.ignored());
            record(events, source, FetchResult::Success);
            if sets.keep(&source.id, set, now, tick, source.max_age) {
                tracing::info!(set = %source.name, keys, ignored, "the keys of an issuer were fetched, and they are others than before");
            }
            true
        }
        Err(error) => {
            record(events, source, error.result());
            let in_force = sets.load().set(&source.id, tick).is_some();
            let why = error_chain(&error);
            if sets.miss(&source.id, why.clone()) {
                if in_force {
                    tracing::warn!(set = %source.name, url = %source.url, error = %why, "the keys of an issuer could not be fetched; those from before count");
                } else {
                    tracing::error!(set = %source.name, url = %source.url, error = %why, "the keys of an issuer could not be fetched; its tokens are refused");
                }
            }
            false
        }
    }
}

fn record(events: &dyn EventSink, source: &KeySource, result: FetchResult) {
    events.emit(EventKind::Node(NodeChanged::KeySetFetched { set: &source.name, result }));
}

async fn ask(source: &KeySource, reading: &Blocking) -> Result<KeySet, FetchError> {
    let trust = source.roots.clone().map_or(Trust::System, Trust::Only);
    // Anew each time: the system's CAs may change. Reading them blocks.
    let client =
        reading.run(move || Client::new(&trust, DEADLINES, MOST_BYTES)).await??.with_plain_loopback();
    let request = Request::get(&*source.url)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Bytes::new());
    let request = request.map_err(|_| OutboundError::Url(source.url.to_string()))?;
    let answer = client.send(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    Ok(KeySet::parse(answer.body(), &source.algorithms)?)
}

/// Says which set a start still waits for.
pub(crate) fn pending(shared: &Shared, started: UnixTime) -> Option<String> {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    if shared.clock.now().since(started) >= START {
        return None;
    }
    let missing = sources(&policy).find(|source| shared.key_sets.status(&source.id).fetched.is_none())?;
    Some(format!("the keys of `{}` were not fetched yet", missing.name))
}

/// Tells where each set stands.
pub(crate) fn status(shared: &Shared, policy: &Policy) -> Vec<KeySetStatus> {
    let (fetched, now) = (shared.key_sets.load(), shared.clock.tick());
    let one = |source: &KeySource| {
        let status = shared.key_sets.status(&source.id);
        KeySetStatus {
            set: source.name.to_string(),
            keys: fetched.set(&source.id, now).map_or(0, |set| set.len()),
            ignored: status.ignored,
            fetched: status.fetched,
            error: status.error,
            next: status.next,
        }
    };
    sources(policy).map(one).collect()
}
