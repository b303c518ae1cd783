//! The connection: made, kept, made again.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisResult,
    ScriptInvocation, aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    RedisFault, Unfit,
    bounds::Bounded,
    inbox::{Inbox, Inboxes},
};
use crate::{
    model::{Clock, Tick, error_chain},
    outbound::{Connector, Deadlines, OutboundError, Target, Trust},
    policy::{Redis as Rules, RedisGuard, RedisPlace},
};

/// How long making a connection may take. It is made in the background, and nobody waits for it with a
/// request in hand.
const DEADLINES: Deadlines = Deadlines {
    resolve: Duration::from_secs(2),
    connect: Duration::from_secs(2),
    handshake: Duration::from_secs(2),
    total: Duration::from_secs(3),
};

/// How long to wait after a first failure; doubled up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How often another connection is made, at most, because the Redis at hand serves nobody: its name leads
/// elsewhere soon.
const ELSEWHERE_EVERY: Duration = Duration::from_secs(3);

/// A connection that lasted for so long and is lost is news again.
const LASTED: Duration = Duration::from_secs(30);

/// For how long what Redis refuses is told of: the visit of each second meets it again.
const TROUBLE: Duration = Duration::from_secs(5);

/// So many answers in a row that do not come are a connection that is dead.
const MOST_LATE: u32 = 3;

/// How many times a command's deadline may be taken for what many entries at once need.
const BULK: u32 = 20;

/// Is told how Redis does. Called from wherever a command ends: it must not wait.
pub trait RedisObserver: Send + Sync {
    /// A command ended.
    fn command(&self, took: Duration, outcome: Result<(), &RedisFault>);
    /// The connection came or went.
    fn connected(&self, is_connected: bool);
}

/// One Redis. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

/// What keeps the connection; one task runs it.
pub struct Link {
    shared: Arc<Shared>,
    connector: Connector,
    login: RedisConnectionInfo,
    live: watch::Sender<Option<Live>>,
}

struct Shared {
    live: watch::Receiver<Option<Live>>,
    inboxes: Inboxes,
    /// Which connection is to be made again, and why.
    renew: watch::Sender<Option<Renewal>>,
    /// What is wrong.
    trouble: Mutex<Option<Trouble>>,
    /// Whether it was said that this is a Cluster.
    is_cluster_told: AtomicBool,
    late: AtomicU32,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn RedisObserver>,
}

/// A connection is to be made again.
#[derive(Clone, Debug)]
struct Renewal {
    number: u64,
    why: String,
    /// Whether there was somebody who answered, and is not the one to be asked.
    elsewhere: bool,
}

/// What is wrong with Redis.
#[derive(Debug)]
struct Trouble {
    why: String,
    /// When it was met; nothing for why there is no connection, which holds until there is one.
    met: Option<Tick>,
}

/// Carries the bytes of a connection; ends with it.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Counts connections, from 1.
    number: u64,
}

impl Link {
    /// Prepares a connection; nothing is dialled. May read the system's CAs: it blocks.
    pub fn new(
        rules: &Rules,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn RedisObserver>,
    ) -> Result<(Self, Redis), OutboundError> {
        let place = match &rules.place {
            RedisPlace::Unix(path) => Target::Unix(path.clone()),
            RedisPlace::Tcp { host, port, guard } => {
                let (host, port) = (host.to_string(), *port);
                match guard {
                    RedisGuard::Tls { ca: Some(ca) } => {
                        Target::Tls { host, port, trust: Trust::Only(ca.clone()) }
                    }
                    RedisGuard::Tls { ca: None } => Target::Tls { host, port, trust: Trust::System },
                    RedisGuard::Loopback => Target::Plain { host, port, allow_remote: false },
                    RedisGuard::Plaintext => Target::Plain { host, port, allow_remote: true },
                }
            }
        };
        let connector = Connector::new(place, DEADLINES)?;
        // Messages come beside answers with version 3 of the protocol only: Redis 6 and later.
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(i64::from(rules.database))
            .set_skip_set_lib_name();
        if let Some(user) = &rules.user {
            login = login.set_username(user);
        }
        if let Some(password) = &rules.password {
            login = login.set_password(password.expose());
        }
        let (live, seen) = watch::channel(None);
        let shared = Arc::new(Shared {
            live: seen,
            inboxes: Inboxes::default(),
            renew: watch::Sender::new(None),
            trouble: Mutex::default(),
            is_cluster_told: AtomicBool::new(false),
            late: AtomicU32::new(0),
            timeout: rules.timeout,
            clock,
            observer,
        });
        let redis = Redis { shared: Arc::clone(&shared) };
        Ok((Self { shared, connector, login, live }, redis))
    }

    /// Keeps the connection, for ever. The name is resolved anew for each.
    pub async fn run(self) {
        let jitter = ahash::RandomState::new();
        let (mut number, mut failures) = (0_u64, 0_u32);
        // When another connection was made last because the one at hand served nobody, and whether all of it
        // was told already.
        let (mut moved, mut again): (Option<Tick>, Option<String>) = (None, None);
        loop {
            let mut rest = Duration::ZERO;
            match self.connect(number.saturating_add(1)).await {
                Ok((live, driver)) => {
                    number = live.number;
                    let began = self.shared.clock.tick();
                    if again.is_none() {
                        tracing::info!(event = "redis_connected", "Redis is there");
                    }
                    self.shared.late.store(0, Ordering::Relaxed);
                    self.shared.is_back();
                    self.live.send_replace(Some(live));
                    self.shared.observer.connected(true);
                    let ended = Renewal { number, why: "the connection ended".to_owned(), elsewhere: false };
                    let lost = tokio::select! {
                        () = driver => ended,
                        lost = self.shared.is_to_be_renewed(number) => lost,
                    };
                    self.live.send_replace(None);
                    self.shared.observer.connected(false);
                    let now = self.shared.clock.tick();
                    // The same once more, every three seconds for as long as it lasts, is no news.
                    if again.as_ref() != Some(&lost.why) || now.since(began) >= LASTED {
                        tracing::warn!(event = "redis_lost", why = lost.why, "Redis is away");
                    }
                    if lost.elsewhere {
                        rest = moved
                            .map_or(Duration::ZERO, |moved| ELSEWHERE_EVERY.saturating_sub(now.since(moved)));
                        moved = Some(now.plus(rest));
                    }
                    again = lost.elsewhere.then_some(lost.why);
                    failures = 0;
                }
                Err(error) => {
                    let why = error_chain(&*error);
                    // Once, not at every try.
                    if failures == 0 {
                        tracing::warn!(event = "redis_unreachable", error = %why, "Redis cannot be reached");
                    } else {
                        tracing::debug!(error = %why, "Redis cannot be reached yet");
                    }
                    self.shared.has_trouble(Trouble { why, met: None });
                    again = None;
                    failures = failures.saturating_add(1);
                }
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
            // Nodes that lost it at the same moment do not come back at the same moment.
            let part = u32::try_from(jitter.hash_one((number, failures)) % 512).unwrap_or(0);
            sleep(rest.max(pause.saturating_mul(part.saturating_add(512)) / 1024)).await;
        }
    }

    async fn connect(&self, number: u64) -> Result<(Live, Driver), Box<dyn std::error::Error + Send + Sync>> {
        let stream = Bounded::new(self.connector.connect().await?);
        let shared = Arc::clone(&self.shared);
        let push = move |push: PushInfo| {
            shared.inboxes.put(push);
            Ok::<(), std::convert::Infallible>(())
        };
        // The deadline of each command is ours.
        let config = AsyncConnectionConfig::new().set_push_sender(push).set_response_timeout(None);
        let setup = MultiplexedConnection::new_with_config(&self.login, stream, config);
        let (mut connection, driver) =
            timeout(DEADLINES.total, setup).await.map_err(|_| self.connector.timeout_error())??;
        let mut driver: Driver = Box::pin(driver);
        let channels = self.shared.inboxes.channels();
        let subscribe = async {
            let mut command = redis::cmd("SUBSCRIBE");
            for channel in &channels {
                command.arg(&**channel);
            }
            if channels.is_empty() { Ok(()) } else { command.exec_async(&mut connection).await }
        };
        tokio::select! {
            subscribed = timeout(DEADLINES.total, subscribe) => subscribed.map_err(|_| self.connector.timeout_error())??,
            () = &mut driver => return Err(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset))),
        }
        Ok((Live { connection, number }, driver))
    }
}

impl Shared {
    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_trouble(&self, trouble: Trouble) {
        *self.trouble() = Some(trouble);
    }

    /// Forgets what was wrong: if it still is, the visit that follows meets it again.
    fn is_back(&self) {
        *self.trouble() = None;
    }

    async fn is_to_be_renewed(&self, number: u64) -> Renewal {
        let mut renewals = self.renew.subscribe();
        let of_this =
            |renewal: &Option<Renewal>| renewal.as_ref().is_some_and(|renewal| renewal.number == number);
        let found = renewals.wait_for(of_this).await.ok().and_then(|renewal| renewal.clone());
        match found {
            Some(renewal) => renewal,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Does what a fault of a connection asks for.
    fn judge(&self, number: u64, outcome: Result<(), &RedisFault>) {
        let renew = |why: String, elsewhere| {
            self.renew.send_replace(Some(Renewal { number, why, elsewhere }));
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
            Err(fault @ RedisFault::Unfit { unfit, .. }) => {
                self.late.store(0, Ordering::Relaxed);
                let why = error_chain(fault);
                self.has_trouble(Trouble { why: why.clone(), met: Some(self.clock.tick()) });
                match unfit {
                    Unfit::Elsewhere => renew(why, true),
                    Unfit::Cluster if !self.is_cluster_told.swap(true, Ordering::Relaxed) => {
                        tracing::error!(event = "redis_cluster", error = %why, "a Redis Cluster is not supported yet: name a Redis that stands alone");
                    }
                    // Who asked writes it down.
                    Unfit::Cluster | Unfit::Sick => {}
                }
            }
        }
    }
}

impl Redis {
    /// Says what is wrong: why there is no connection, or what Redis refused within the last seconds.
    pub fn trouble(&self) -> Option<String> {
        let now = self.shared.clock.tick();
        let trouble = self.shared.trouble();
        trouble
            .as_ref()
            .filter(|trouble| trouble.met.is_none_or(|met| now.since(met) <= TROUBLE))
            .map(|trouble| trouble.why.clone())
    }

    /// Hears a channel from the next connection on: call it before [`Link::run`]. `capacity` is how many
    /// messages may wait.
    pub fn subscribe(&self, channel: &str, capacity: usize) -> Inbox {
        self.shared.inboxes.open(channel, capacity)
    }

    /// Says which connection there is, counted from 1; 0 while there is none.
    pub fn connection(&self) -> u64 {
        self.shared.live.borrow().as_ref().map_or(0, |live| live.number)
    }

    /// Waits until there is another connection than this one, or none any more; returns its number.
    pub async fn changed(&self, known: u64) -> u64 {
        let mut live = self.shared.live.clone();
        let number = |live: &Option<Live>| live.as_ref().map_or(0, |live| live.number);
        let found = live.wait_for(|live| number(live) != known).await.map(|live| number(&live));
        match found {
            Ok(found) => found,
            // The link is gone, and nothing will change.
            Err(_) => std::future::pending().await,
        }
    }

    /// Asks, and waits no longer than a command may take.
    pub async fn call<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, RedisFault> {
        self.ask(
            self.shared.timeout,
            |mut connection| async move { command.query_async(&mut connection).await },
        )
        .await
    }

    /// Runs a script, and waits no longer than a command may take. Redis keeps the text.
    pub async fn run<T: FromRedisValue + Send>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        self.ask(
            self.shared.timeout,
            |mut connection| async move { script.invoke_async(&mut connection).await },
        )
        .await
    }

    /// Runs a script over many entries, with twenty times the deadline: nobody waits for it with a request in
    /// hand.
    pub async fn run_bulk<T: FromRedisValue + Send>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        self.ask(self.shared.timeout * BULK, |mut connection| async move {
            script.invoke_async(&mut connection).await
        })
        .await
    }

    /// Asks for many entries, with twenty times the deadline.
    pub async fn call_bulk<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, RedisFault> {
        self.ask(self.shared.timeout * BULK, |mut connection| async move {
            command.query_async(&mut connection).await
        })
        .await
    }

    async fn ask<T, F>(
        &self,
        limit: Duration,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, RedisFault>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        let shared = &self.shared;
        let began = shared.clock.tick();
        let live = shared.live.borrow().clone();
        let number = live.as_ref().map_or(0, |live| live.number);
        let outcome = match live {
            None => Err(RedisFault::Away),
            Some(live) => match timeout(limit, ask(live.connection)).await {
                Ok(answer) => answer.map_err(RedisFault::of),
                Err(_) => Err(RedisFault::Late(limit)),
            },
        };
        shared.judge(number, outcome.as_ref().map(|_| ()));
        shared.observer.command(shared.clock.tick().since(began), outcome.as_ref().map(|_| ()));
        outcome
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("connection", &self.connection()).finish_non_exhaustive()
    }
}
