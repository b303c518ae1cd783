//! The rounds: whether anything was missed, and what to do then.

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

/// How often everything is compared though nothing seems missing: after ten seconds, or, where there is much,
/// after a second for every thousand revocations.
const COMPARE_AFTER: Duration = Duration::from_secs(10);
const COMPARED_PER_SECOND: u64 = 1000;

/// A comparison takes at most this part of the time: what somebody publishes without end must not keep all
/// nodes reading.
const COMPARING_PART: u32 = 3;

/// For how many rounds another process may have been here in this node's name: one that hands over is at an
/// end after one.
const NAMESAKE_VISITS: u32 = 10;

/// What a visit found.
struct Found {
    id: String,
    number: u64,
    count: u64,
    /// Since when it says that all is known; empty where it says nothing.
    began: String,
    /// Whether another process was here in this node's name since the visit before.
    namesake: bool,
}

/// Where the rounds stand.
#[derive(Default)]
struct SyncLoop {
    connection: u64,
    compared: Option<(Tick, Duration)>,
    synced: Option<Tick>,
    is_fresh: bool,
    has_failed: bool,
    namesake: u32,
}

/// Makes the rounds, for ever.
pub(super) async fn run(replication: &Replication) {
    let mut rounds = SyncLoop::default();
    loop {
        rounds.judge_freshness(replication);
        let connection = replication.redis.connection();
        if connection == 0 {
            // Not longer than a round: what is known may end meanwhile.
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
    /// Visits, and compares everything where that is needed. Says whether it is known now what other nodes
    /// ended.
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
        // Now each side knows what the other knew.
        replication.agree_on_the_beginning(&found.began, found.number).await?;
        self.connection = connection;
        if is_new {
            replication.sessions.reach(replication.clock.now());
        }
        // Those that came meanwhile are still to be brought there.
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
        // What has ended stays for a while: not every clock says so yet, and ours may have been set ahead by
        // mistake.
        let past = replication.clock.lasting().minus(CLOCKS_DIFFER).as_millis();
        let mut visit = replication.scripts.visit.key(STATE);
        visit.key(NODES).key(ENDED);
        // Another name each time: what was emptied and named anew by the same process is still something
        // else.
        let name = format!("{}-{}", replication.identity.process, replication.clock.tick().as_nanos());
        visit.arg(&replication.identity.node).arg(&replication.identity.process).arg(name).arg(past);
        type Visited = (String, u64, u64, String, u64, String, Vec<Vec<u8>>);
        let (id, number, count, before, now, began, nodes): Visited = replication.redis.run(&visit).await?;
        let nodes = nodes.chunks_exact(2).filter_map(|pair| {
            let [name, when] = pair else { return None };
            // A name that cannot be read is none of an octroi.
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

    /// Tells when what other nodes ended is known, or no longer. Also ends what a wall clock that was set
    /// back would prolong.
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

/// Says whether every message was heard. Those that are on their way are waited for, for a moment.
async fn heard_all(replication: &Replication, found: &Found) -> bool {
    let mut waited = Duration::ZERO;
    loop {
        {
            let mut state = replication.state();
            let seen = &mut state.cursor;
            // A number that went back is another Redis, or one that forgot.
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

/// Counts messages from here on: what was published before is in what is compared now.
fn begin(replication: &Replication, found: &Found) {
    let seen = &mut replication.state().cursor;
    let goes_on = seen.id == found.id && seen.visited <= found.number;
    if !goes_on {
        // Nor does it know what sessions there are.
        replication.sessions.outbox.add_all();
    }
    let number = if goes_on { seen.number.max(found.number) } else { found.number };
    *seen = Cursor { id: found.id.clone(), number, visited: found.number, is_missing: false };
}

impl Replication {
    /// Settles with the other nodes since when all of them together know who was ended. What a visit found
    /// before everything was compared is `began` and how many messages had been published then.
    ///
    /// A Redis that holds messages and no beginning is from nodes of an earlier version: it counts as whole,
    /// as their journals do.
    pub(super) async fn agree_on_the_beginning(&self, began: &str, published: u64) -> Result<(), RedisFault> {
        // Only at the first time: a Redis that is emptied while this process runs is filled by nodes of this
        // version.
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
