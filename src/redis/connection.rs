//! What the link and its callers share: the connection that is there, what is wrong with Redis, and whether
//! the connection must be replaced.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::sync::watch;

use super::{RedisFault, ServerFault, inbox::Inboxes};
use crate::model::{Clock, Tick, error_chain};

/// How long a refusal by Redis is shown: while the cause lasts, the visit of each second meets it again.
const TROUBLE: Duration = Duration::from_secs(5);

/// A connection is dead after so many answers in a row that are late.
const MOST_LATE: u32 = 3;

/// Observes Redis. It is called from wherever a command ends: it must not wait.
pub trait RedisObserver: Send + Sync {
    /// A command ended.
    fn command(&self, took: Duration, outcome: Result<(), &RedisFault>);
    /// The connection came or went.
    fn connected(&self, is_connected: bool);
}

/// A connection that is logged in and subscribed.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// Counts connections, from 1.
    pub(super) number: u64,
}

/// Why a connection is replaced.
#[derive(Clone, Debug)]
pub(super) struct Renewal {
    /// Which connection.
    pub(super) number: u64,
    pub(super) why: String,
    /// Whether a Redis answered that serves nobody: the name soon leads to another one.
    pub(super) not_serving: bool,
}

/// What is wrong with Redis.
#[derive(Debug)]
struct Trouble {
    why: String,
    /// When a command met it. `None`: there is no connection, and this holds until there is one.
    met: Option<Tick>,
}

/// The state of one Redis.
pub(super) struct Shared {
    pub(super) live: watch::Receiver<Option<Live>>,
    pub(super) inboxes: Inboxes,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) observer: Arc<dyn RedisObserver>,
    renewal: watch::Sender<Option<Renewal>>,
    trouble: Mutex<Option<Trouble>>,
    /// Whether it was logged that this is a Cluster.
    is_cluster_logged: AtomicBool,
    late: AtomicU32,
}

impl Shared {
    pub(super) fn new(
        live: watch::Receiver<Option<Live>>,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn RedisObserver>,
    ) -> Self {
        Self {
            live,
            inboxes: Inboxes::default(),
            timeout,
            clock,
            observer,
            renewal: watch::Sender::new(None),
            trouble: Mutex::default(),
            is_cluster_logged: AtomicBool::new(false),
            late: AtomicU32::new(0),
        }
    }

    /// Returns what is wrong: why there is no connection, or what Redis refused within the last seconds.
    pub(super) fn trouble(&self) -> Option<String> {
        let now = self.clock.tick();
        self.lock_trouble()
            .as_ref()
            .filter(|trouble| trouble.met.is_none_or(|met| now.since(met) <= TROUBLE))
            .map(|trouble| trouble.why.clone())
    }

    /// Notes why there is no connection.
    pub(super) fn unreachable(&self, why: String) {
        *self.lock_trouble() = Some(Trouble { why, met: None });
    }

    /// Forgets what was wrong, because there is a new connection. What is still wrong, the visit that follows
    /// meets again.
    pub(super) fn connected(&self) {
        self.late.store(0, Ordering::Relaxed);
        *self.lock_trouble() = None;
    }

    /// Waits until this connection must be replaced.
    pub(super) async fn renewal_of(&self, number: u64) -> Renewal {
        let mut renewals = self.renewal.subscribe();
        let of_this =
            |renewal: &Option<Renewal>| renewal.as_ref().is_some_and(|renewal| renewal.number == number);
        let found = renewals.wait_for(of_this).await.ok().and_then(|renewal| renewal.clone());
        match found {
            Some(renewal) => renewal,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Judges how a command ended over a connection: a fault may show that it must be replaced.
    pub(super) fn judge(&self, number: u64, outcome: Result<(), &RedisFault>) {
        let renew = |why: String, not_serving| {
            self.renewal.send_replace(Some(Renewal { number, why, not_serving }));
        };
        match outcome {
            Ok(()) | Err(RedisFault::Refused(_) | RedisFault::TooMuch(_)) => {
                self.late.store(0, Ordering::Relaxed)
            }
            Err(RedisFault::Late(_))
                if self.late.fetch_add(1, Ordering::Relaxed).saturating_add(1) == MOST_LATE =>
            {
                renew("it does not answer any more".to_owned(), false);
            }
            Err(RedisFault::Late(_) | RedisFault::Broken(_) | RedisFault::Away) => {}
            Err(fault @ RedisFault::Server { fault: server, .. }) => {
                self.late.store(0, Ordering::Relaxed);
                let why = error_chain(fault);
                *self.lock_trouble() = Some(Trouble { why: why.clone(), met: Some(self.clock.tick()) });
                match server {
                    ServerFault::NotServing => renew(why, true),
                    ServerFault::Cluster if !self.is_cluster_logged.swap(true, Ordering::Relaxed) => {
                        tracing::error!(
                            event = "redis_cluster",
                            error = %why,
                            "a Redis Cluster is not supported yet: name a Redis that stands alone"
                        );
                    }
                    // The caller logs it.
                    ServerFault::Cluster | ServerFault::CannotWrite => {}
                }
            }
        }
    }

    fn lock_trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
