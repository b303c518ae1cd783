//! The rounds: whether anything was missed, and what to do then.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    RedisFault,
    compare::compare,
    script::{ENDED, NODES, STATE},
    sharing::{IN_FLIGHT, ROUND, Seen, Sharing},
};
use crate::{
    model::{Tick, UnixTime, told},
    state::peers::CLOCKS_DIFFER,
};

/// How often everything is compared though nothing seems missing: after ten seconds, or, where there is much, after a second for every
/// thousand revocations.
const COMPARE_AFTER: Duration = Duration::from_secs(10);
const COMPARED_PER_SECOND: u64 = 1000;

/// A comparison takes at most this part of the time: what somebody publishes without end must not keep all nodes reading.
const COMPARING_PART: u32 = 3;

/// For how many rounds another process may have been here in this node's name: one that hands over is at an end after one.
const NAMESAKE_ROUNDS: u32 = 10;

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
struct Rounds {
    connection: u64,
    compared: Option<(Tick, Duration)>,
    synced: Option<Tick>,
    is_fresh: bool,
    has_failed: bool,
    namesake: u32,
}

/// Makes the rounds, for ever.
pub(super) async fn rounds(sharing: &Sharing) {
    let mut rounds = Rounds::default();
    loop {
        rounds.judge_freshness(sharing);
        let connection = sharing.redis.connection();
        if connection == 0 {
            // Not longer than a round: what is known may end meanwhile.
            let _ = timeout(ROUND, sharing.redis.changed(0)).await;
            continue;
        }
        let next = Instant::now() + ROUND;
        let began = (sharing.clock.now(), sharing.clock.tick());
        match rounds.once(sharing, connection).await {
            Ok(true) => rounds.synced(sharing, began),
            Ok(false) => {}
            Err(fault) => {
                if !std::mem::replace(&mut rounds.has_failed, true) {
                    tracing::error!(event = "redis_failed", error = %told(&fault), "revocations cannot be shared");
                }
            }
        }
        rounds.judge_freshness(sharing);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = sharing.wake.notified() => {}
            _ = sharing.redis.changed(connection) => {}
        }
    }
}

impl Rounds {
    /// Visits, and compares everything where that is needed. Says whether it is known now what other nodes ended.
    async fn once(&mut self, sharing: &Sharing, connection: u64) -> Result<bool, RedisFault> {
        let found = self.visit(sharing).await?;
        self.judge_name(sharing, &found);
        let is_new = self.connection != connection;
        if !is_new && !self.is_due(sharing, &found) && heard_all(sharing, &found).await {
            return Ok(true);
        }
        let began = sharing.clock.tick();
        if self.compared.is_some_and(|(last, took)| !is_new && began.since(last) < took * COMPARING_PART) {
            return Ok(false);
        }
        begin(sharing, &found);
        let pending = sharing.pending.load(Ordering::Relaxed);
        let compared = compare(sharing).await;
        let took = sharing.clock.tick().since(began);
        self.compared = Some((sharing.clock.tick(), took));
        sharing.witness.compared(took, compared.is_ok());
        let counts = compared.inspect_err(|_| sharing.state().seen.is_missing = true)?;
        // Now each side knows what the other knew.
        sharing.agree_on_the_beginning(&found.began, found.number).await?;
        self.connection = connection;
        if is_new {
            sharing.sessions.reach(sharing.clock.now());
        }
        // Those that came meanwhile are still to be brought there.
        sharing.pending.fetch_sub(pending, Ordering::Relaxed);
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

    async fn visit(&self, sharing: &Sharing) -> Result<Found, RedisFault> {
        // What has ended stays for a while: not every clock says so yet, and ours may have been set ahead by mistake.
        let past = sharing.clock.lasting().minus(CLOCKS_DIFFER).as_millis();
        let mut visit = sharing.scripts.visit.key(STATE);
        visit.key(NODES).key(ENDED);
        // Another name each time: what was emptied and named anew by the same process is still something else.
        let name = format!("{}-{}", sharing.sharer.process, sharing.clock.tick().as_nanos());
        visit.arg(&sharing.sharer.node).arg(&sharing.sharer.process).arg(name).arg(past);
        type Visited = (String, u64, u64, String, u64, String, Vec<Vec<u8>>);
        let (id, number, count, before, now, began, nodes): Visited = sharing.redis.run(&visit).await?;
        let nodes = nodes.chunks_exact(2).filter_map(|pair| {
            let [name, when] = pair else { return None };
            // A name that cannot be read is none of an octroi.
            let when: u64 = std::str::from_utf8(when).ok()?.parse().ok()?;
            Some((String::from_utf8(name.clone()).ok()?, now.saturating_sub(when)))
        });
        sharing.nodes().found(nodes, sharing.clock.now());
        sharing.sessions.beat(now, now, sharing.clock.now());
        let (when, process) = before.split_once(' ').unwrap_or_default();
        let age = now.saturating_sub(when.parse().unwrap_or(0));
        let recent = u128::from(age) < ROUND.as_millis() * 3;
        Ok(Found { id, number, count, began, namesake: recent && !process.is_empty() && process != sharing.sharer.process })
    }

    fn judge_name(&mut self, sharing: &Sharing, found: &Found) {
        self.namesake = if found.namesake { self.namesake.saturating_add(1) } else { 0 };
        sharing.nodes().is_namesake = self.namesake >= NAMESAKE_ROUNDS;
        if self.namesake == NAMESAKE_ROUNDS {
            let node = &sharing.sharer.node;
            tracing::error!(
                event = "redis_namesake",
                node,
                "another octroi shares revocations under the same name; give each node its own `node`"
            );
        }
    }

    fn is_due(&self, sharing: &Sharing, found: &Found) -> bool {
        if sharing.pending.load(Ordering::Relaxed) > 0 || !sharing.state().unnumbered.is_empty() {
            return true;
        }
        let rest = COMPARE_AFTER.max(Duration::from_secs(found.count / COMPARED_PER_SECOND));
        self.compared.is_none_or(|(last, _)| sharing.clock.tick().since(last) >= rest)
    }

    fn synced(&mut self, sharing: &Sharing, (now, tick): (UnixTime, Tick)) {
        self.synced = Some(tick);
        self.has_failed = false;
        sharing.journal.renew(now.plus(sharing.sharer.stale_after));
        sharing.synced.send_replace(Some(now));
    }

    /// Tells when what other nodes ended is known, or no longer. Also ends what a wall clock that was set back would prolong.
    fn judge_freshness(&mut self, sharing: &Sharing) {
        let (now, tick) = (sharing.clock.now(), sharing.clock.tick());
        let holds = self.synced.is_some_and(|synced| tick.since(synced) <= sharing.sharer.stale_after);
        let inherited = sharing.inherited.get().is_some_and(|fresh_to| tick <= *fresh_to);
        if !holds && !inherited && sharing.journal.is_fresh(now) {
            sharing.journal.renew(UnixTime::default());
        }
        let is_fresh = sharing.journal.is_fresh(now);
        if is_fresh != self.is_fresh {
            self.is_fresh = is_fresh;
            sharing.witness.fresh(is_fresh);
        }
    }
}

/// Says whether every message was heard. Those that are on their way are waited for, for a moment.
async fn heard_all(sharing: &Sharing, found: &Found) -> bool {
    let mut waited = Duration::ZERO;
    loop {
        {
            let mut state = sharing.state();
            let seen = &mut state.seen;
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
fn begin(sharing: &Sharing, found: &Found) {
    let seen = &mut sharing.state().seen;
    let goes_on = seen.id == found.id && seen.visited <= found.number;
    if !goes_on {
        // Nor does it know what sessions there are.
        sharing.sessions.untold.add_all();
    }
    let number = if goes_on { seen.number.max(found.number) } else { found.number };
    *seen = Seen { id: found.id.clone(), number, visited: found.number, is_missing: false };
}
