//! The sync loop: it detects missed messages, and compares everything when one was missed.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    compare::compare,
    node::{Cursor, IN_FLIGHT, Replication, SYNC_EVERY},
    script::{ENDED, NODES, STATE},
};
use crate::{
    model::{Tick, UnixTime, error_chain},
    redis::RedisFault,
    sessions::{Beginning, CLOCKS_DIFFER},
};

/// The interval of full comparisons when nothing seems to be missing: ten seconds or, with many revocations,
/// a second for every thousand.
const COMPARE_AFTER: Duration = Duration::from_secs(10);
const COMPARED_PER_SECOND: u64 = 1000;

/// Full comparisons take at most this part of the time, so that a flood of messages does not keep all nodes
/// reading.
const COMPARING_PART: u32 = 3;

/// For how many rounds another process may use this node's name: one that hands over stops after one round.
const NAMESAKE_VISITS: u32 = 10;

/// The result of a visit.
struct Found {
    id: String,
    number: u64,
    count: u64,
    /// Since when all revocations are known; empty if Redis does not say.
    began: String,
    /// Whether another process visited under this node's name since the previous visit.
    namesake: bool,
}

/// The state of the loop.
#[derive(Default)]
struct SyncLoop {
    connection: u64,
    compared: Option<(Tick, Duration)>,
    synced: Option<Tick>,
    is_fresh: bool,
    has_failed: bool,
    namesake: u32,
}

/// Runs the loop, for ever.
pub(super) async fn run(replication: &Replication) {
    let mut rounds = SyncLoop::default();
    loop {
        rounds.judge_freshness(replication);
        let connection = replication.redis.connection();
        if connection == 0 {
            // Not longer than a round, because the knowledge may expire meanwhile.
            let _ = timeout(SYNC_EVERY, replication.redis.changed(0)).await;
            continue;
        }
        let next = Instant::now() + SYNC_EVERY;
        let (now, tick) = (replication.clock.now(), replication.clock.tick());
        match rounds.once(replication, connection).await {
            Ok(true) => rounds.synced(replication, now, tick),
            Ok(false) => {}
            Err(fault) => {
                if !std::mem::replace(&mut rounds.has_failed, true) {
                    tracing::error!(event = "redis_failed", error = %error_chain(&fault), "revocations cannot be shared");
                }
            }
        }
        rounds.judge_freshness(replication);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = replication.wake.notified() => {}
            _ = replication.redis.changed(connection) => {}
        }
    }
}

impl SyncLoop {
    /// Visits Redis, and compares everything if needed. Returns whether the revocations of other nodes are
    /// known now.
    async fn once(&mut self, replication: &Replication, connection: u64) -> Result<bool, RedisFault> {
        let found = self.visit(replication).await?;
        self.judge_name(replication, &found);
        let is_new = self.connection != connection;
        if !is_new && !self.is_due(replication, &found) && heard_all(replication, &found).await {
            return Ok(true);
        }
        let began = replication.clock.tick();
        if self.compared.is_some_and(|(last, took)| !is_new && began.since(last) < took * COMPARING_PART) {
            return Ok(false);
        }
        begin(replication, &found);
        let pending = replication.pending.load(Ordering::Relaxed);
        let compared = compare(replication).await;
        let took = replication.clock.tick().since(began);
        self.compared = Some((replication.clock.tick(), took));
        replication.observer.compared(took, compared.is_ok());
        let counts = compared.inspect_err(|_| replication.state().cursor.is_missing = true)?;
        // Now each side has what the other had.
        replication.agree_on_the_beginning(&found.began, found.number).await?;
        self.connection = connection;
        if is_new {
            replication.sessions.reach(replication.clock.now());
        }
        // Revocations that came meanwhile must still be written to Redis.
        replication.pending.fetch_sub(pending, Ordering::Relaxed);
        if counts.learnt + counts.told > 0 {
            let (learnt, told) = (counts.learnt, counts.told);
            tracing::info!(
                event = "revocations_compared",
                learnt,
                told,
                took_ms = took.as_millis(),
                "revocations of other nodes were compared"
            );
        }
        Ok(true)
    }

    async fn visit(&self, replication: &Replication) -> Result<Found, RedisFault> {
        // Expired revocations stay for a while: other clocks may be behind, and ours may have been set ahead
        // by mistake.
        let past = replication.clock.lasting().minus(CLOCKS_DIFFER).as_millis();
        let mut visit = replication.scripts.visit.key(STATE);
        visit.key(NODES).key(ENDED);
        // A new name each time, so that data which was lost and named again by the same process is recognised
        // as other data.
        let name = format!("{}-{}", replication.identity.process, replication.clock.tick().as_nanos());
        visit.arg(&replication.identity.node).arg(&replication.identity.process).arg(name).arg(past);
        type Visited = (String, u64, u64, String, u64, String, Vec<Vec<u8>>);
        let (id, number, count, before, now, began, nodes): Visited = replication.redis.run(&visit).await?;
        let nodes = nodes.chunks_exact(2).filter_map(|pair| {
            let [name, when] = pair else { return None };
            // No node writes a name that cannot be read.
            let when: u64 = std::str::from_utf8(when).ok()?.parse().ok()?;
            Some((String::from_utf8(name.clone()).ok()?, now.saturating_sub(when)))
        });
        replication.nodes().found(nodes, replication.clock.now());
        replication.sessions.our_time(now, now, replication.clock.now());
        let (when, process) = before.split_once(' ').unwrap_or_default();
        let age = now.saturating_sub(when.parse().unwrap_or(0));
        let recent = u128::from(age) < SYNC_EVERY.as_millis() * 3;
        Ok(Found {
            id,
            number,
            count,
            began,
            namesake: recent && !process.is_empty() && process != replication.identity.process,
        })
    }

    fn judge_name(&mut self, replication: &Replication, found: &Found) {
        self.namesake = if found.namesake { self.namesake.saturating_add(1) } else { 0 };
        replication.nodes().is_namesake = self.namesake >= NAMESAKE_VISITS;
        if self.namesake == NAMESAKE_VISITS {
            let node = &replication.identity.node;
            tracing::error!(
                event = "redis_namesake",
                node,
                "another octroi shares revocations under the same name; give each node its own `node`"
            );
        }
    }

    fn is_due(&self, replication: &Replication, found: &Found) -> bool {
        if replication.pending.load(Ordering::Relaxed) > 0 || !replication.state().unnumbered.is_empty() {
            return true;
        }
        let rest = COMPARE_AFTER.max(Duration::from_secs(found.count / COMPARED_PER_SECOND));
        self.compared.is_none_or(|(last, _)| replication.clock.tick().since(last) >= rest)
    }

    fn synced(&mut self, replication: &Replication, now: UnixTime, tick: Tick) {
        self.synced = Some(tick);
        self.has_failed = false;
        replication.ledger.renew(now.plus(replication.identity.stale_after));
        replication.synced.send_replace(Some(now));
    }

    /// Reports when the revocations of other nodes become known or unknown. It also expires knowledge that a
    /// wall clock which was set back would prolong.
    fn judge_freshness(&mut self, replication: &Replication) {
        let (now, tick) = (replication.clock.now(), replication.clock.tick());
        let holds = self.synced.is_some_and(|synced| tick.since(synced) <= replication.identity.stale_after);
        let inherited = replication.inherited.get().is_some_and(|fresh_to| tick <= *fresh_to);
        if !holds && !inherited && replication.ledger.is_fresh(now) {
            replication.ledger.renew(UnixTime::default());
        }
        let is_fresh = replication.ledger.is_fresh(now);
        if is_fresh != self.is_fresh {
            self.is_fresh = is_fresh;
            replication.observer.fresh(is_fresh);
        }
    }
}

/// Says whether every message was received. It waits briefly for those on their way.
async fn heard_all(replication: &Replication, found: &Found) -> bool {
    let mut waited = Duration::ZERO;
    loop {
        {
            let mut state = replication.state();
            let seen = &mut state.cursor;
            // A lower number means that Redis was replaced or lost its data.
            if seen.is_missing || seen.id != found.id || found.number < seen.visited {
                return false;
            }
            if seen.number >= found.number {
                seen.visited = found.number;
                return true;
            }
        }
        if waited >= IN_FLIGHT {
            return false;
        }
        sleep(IN_FLIGHT / 20).await;
        waited += IN_FLIGHT / 20;
    }
}

/// Counts messages from here on: earlier ones are part of the comparison that follows.
fn begin(replication: &Replication, found: &Found) {
    let seen = &mut replication.state().cursor;
    let goes_on = seen.id == found.id && seen.visited <= found.number;
    if !goes_on {
        // Redis holds other data, and so not our sessions.
        replication.sessions.outbox.add_all();
    }
    let number = if goes_on { seen.number.max(found.number) } else { found.number };
    *seen = Cursor { id: found.id.clone(), number, visited: found.number, is_missing: false };
}

impl Replication {
    /// Settles with the other nodes since when all of them together know every revocation. `began` and the
    /// number of messages are what a visit found before the full comparison.
    ///
    /// A Redis with messages but without `began` was used by nodes of an earlier version. It counts as
    /// complete, as their journals do.
    pub(super) async fn agree_on_the_beginning(&self, began: &str, published: u64) -> Result<(), RedisFault> {
        // Only at the first time: if Redis is emptied while this process runs, nodes of this version fill it.
        let is_earlier = began.is_empty() && published > 0 && !self.ledger.has_agreed();
        let own = if is_earlier { Beginning::default() } else { self.ledger.beginning() };
        let mut settle = self.scripts.began.key(STATE);
        settle.arg(own.began.as_millis()).arg(own.lost.map_or(0, UnixTime::as_millis));
        let (began, lost): (u64, u64) = self.redis.run(&settle).await?;
        let theirs = Beginning {
            began: UnixTime::from_millis(began),
            lost: Some(lost).filter(|lost| *lost > 0).map(UnixTime::from_millis),
        };
        if self.ledger.agree(theirs) {
            tracing::warn!(
                event = "revocations_found",
                "what the revocation journal had lost was read from Redis; no session is refused for it"
            );
        }
        Ok(())
    }
}
