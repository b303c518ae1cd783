//! Commands to Redis, each with a deadline.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue, RedisResult, ScriptInvocation, aio::MultiplexedConnection};
use tokio::time::timeout;

use super::{
    RedisFault,
    connection::{Live, Shared},
    inbox::Inbox,
};

/// The factor on a command's deadline where it is about many entries.
const BULK: u32 = 20;

/// One Redis. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

impl Redis {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns what is wrong: why there is no connection, or what Redis refused within the last seconds.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    /// Subscribes to a channel from the next connection on: call it before the link runs. `capacity` is how
    /// many messages may wait.
    pub fn subscribe(&self, channel: &str, capacity: usize) -> Inbox {
        self.shared.inboxes.open(channel, capacity)
    }

    /// Returns the number of the connection, counted from 1; 0 while there is none.
    pub fn connection(&self) -> u64 {
        self.shared.live.borrow().as_ref().map_or(0, |live| live.number)
    }

    /// Waits until the connection is another one than `known`, or is lost; returns its number.
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

    /// Sends a command, and waits no longer than a command may take.
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

    /// Runs a script over many entries, with twenty times the deadline: no request waits for it.
    pub async fn run_bulk<T: FromRedisValue + Send>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        self.ask(self.shared.timeout * BULK, |mut connection| async move {
            script.invoke_async(&mut connection).await
        })
        .await
    }

    /// Sends a command about many entries, with twenty times the deadline.
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
