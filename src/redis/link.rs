//! The connection to Redis: made, and made again whenever it is lost.

use std::{error::Error, io, pin::Pin, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    bounds::Bounded,
    client::Redis,
    connection::{Live, RedisObserver, Renewal, Shared},
};
use crate::{
    model::{Clock, Tick, error_chain},
    outbound::{Connector, Deadlines, OutboundError, Target, Trust},
    policy::{Redis as Rules, RedisGuard, RedisPlace},
};

/// The deadlines of connecting. It happens in the background; no request waits for it.
const DEADLINES: Deadlines = Deadlines {
    resolve: Duration::from_secs(2),
    connect: Duration::from_secs(2),
    handshake: Duration::from_secs(2),
    total: Duration::from_secs(3),
};

/// The pause after a first failure; doubled at each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The shortest time between two connections that are left because their Redis serves nobody.
const REJECTED_INTERVAL: Duration = Duration::from_secs(3);

/// A connection that lasted so long is logged again when it is lost.
const LASTED: Duration = Duration::from_secs(30);

/// Keeps the connection. One task runs it.
pub struct Link {
    shared: Arc<Shared>,
    connector: Connector,
    login: RedisConnectionInfo,
    live: watch::Sender<Option<Live>>,
}

/// Carries the bytes of a connection; ends with it.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connections that were left because their Redis serves nobody.
#[derive(Default)]
struct Rejected {
    /// When the last one was left.
    left: Option<Tick>,
    /// Why the connection before this one was left. While that stays the same, it is not logged again.
    why: Option<String>,
}

impl Link {
    /// Prepares a connection, and dials nothing. It may read the system's CAs: it blocks.
    pub fn new(
        rules: &Rules,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn RedisObserver>,
    ) -> Result<(Self, Redis), OutboundError> {
        let connector = Connector::new(target(rules), DEADLINES)?;
        // Only version 3 of the protocol (Redis 6 and later) carries messages beside answers.
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
        let shared = Arc::new(Shared::new(seen, rules.timeout, clock, observer));
        let redis = Redis::new(Arc::clone(&shared));
        Ok((Self { shared, connector, login, live }, redis))
    }

    /// Keeps the connection, for ever. The name is resolved anew for each.
    pub async fn run(self) {
        let jitter = ahash::RandomState::new();
        let (mut number, mut failures) = (0_u64, 0_u32);
        let mut rejected = Rejected::default();
        loop {
            let mut rest = Duration::ZERO;
            match self.connect(number.saturating_add(1)).await {
                Ok((live, driver)) => {
                    number = live.number;
                    rest = self.serve(live, driver, &mut rejected).await;
                    failures = 0;
                }
                Err(error) => {
                    self.unreachable(&*error, failures == 0);
                    rejected.why = None;
                    failures = failures.saturating_add(1);
                }
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
            // Nodes that lost Redis at the same moment must not come back at the same moment.
            let part = u32::try_from(jitter.hash_one((number, failures)) % 512).unwrap_or(0);
            sleep(rest.max(pause.saturating_mul(part.saturating_add(512)) / 1024)).await;
        }
    }

    /// Serves a connection until it is lost or must be replaced. Returns how long to rest before the next.
    async fn serve(&self, live: Live, driver: Driver, rejected: &mut Rejected) -> Duration {
        let (number, began) = (live.number, self.shared.clock.tick());
        if rejected.why.is_none() {
            tracing::info!(event = "redis_connected", "Redis is there");
        }
        self.shared.connected();
        self.live.send_replace(Some(live));
        self.shared.observer.connected(true);
        let ended = Renewal { number, why: "the connection ended".to_owned(), not_serving: false };
        let lost = tokio::select! {
            () = driver => ended,
            lost = self.shared.renewal_of(number) => lost,
        };
        self.live.send_replace(None);
        self.shared.observer.connected(false);
        let now = self.shared.clock.tick();
        if rejected.why.as_ref() != Some(&lost.why) || now.since(began) >= LASTED {
            tracing::warn!(event = "redis_lost", why = lost.why, "Redis is away");
        }
        let mut rest = Duration::ZERO;
        if lost.not_serving {
            rest = rejected
                .left
                .map_or(Duration::ZERO, |left| REJECTED_INTERVAL.saturating_sub(now.since(left)));
            rejected.left = Some(now.plus(rest));
        }
        rejected.why = lost.not_serving.then_some(lost.why);
        rest
    }

    /// Notes that no connection could be made. Only the first of several failures in a row is a warning.
    fn unreachable(&self, error: &(dyn Error + Send + Sync + 'static), is_first: bool) {
        let why = error_chain(error);
        if is_first {
            tracing::warn!(event = "redis_unreachable", error = %why, "Redis cannot be reached");
        } else {
            tracing::debug!(error = %why, "Redis cannot be reached yet");
        }
        self.shared.unreachable(why);
    }

    /// Dials, logs in and subscribes.
    async fn connect(&self, number: u64) -> Result<(Live, Driver), Box<dyn Error + Send + Sync>> {
        let stream = Bounded::new(self.connector.connect().await?);
        let shared = Arc::clone(&self.shared);
        let push = move |push: PushInfo| {
            shared.inboxes.put(push);
            Ok::<(), std::convert::Infallible>(())
        };
        // `Redis` sets the deadline of each command.
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
            subscribed = timeout(DEADLINES.total, subscribe) => {
                subscribed.map_err(|_| self.connector.timeout_error())??;
            }
            () = &mut driver => return Err(Box::new(io::Error::from(io::ErrorKind::ConnectionReset))),
        }
        Ok((Live { connection, number }, driver))
    }
}

/// Returns what is dialled.
fn target(rules: &Rules) -> Target {
    match &rules.place {
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
    }
}
