//! Counts the sessions of a user on all nodes, and decides whether one more may begin.

use std::time::Duration;

use super::{
    entry::{self, Entry},
    node::Replication,
};
use crate::{
    model::{SessionId, TenantName, UnixTime, UserId, error_chain},
    redis::RedisFault,
    session::{Admission, HeldSession, LimitAction, UserLimit},
    sessions::{GrantRecord, RemoteSession, StoreError, TOLD_EVERY},
};

/// How much longer a session counts as in use than its entry says: nodes announce use once a minute, and
/// their clocks differ.
const SLACK: Duration = Duration::from_secs(2 * TOLD_EVERY.as_secs());

impl Replication {
    /// Returns the live sessions of a user that any node knows, in no order.
    pub async fn sessions_of(
        &self,
        tenant: &TenantName,
        user: &UserId,
        idle: Duration,
    ) -> Result<Vec<RemoteSession>, RedisFault> {
        let (held, _) = self.list(tenant, user).await?;
        let now = self.clock.now();
        let living =
            held.into_iter().filter(|entry| self.counts(entry, &entry.note(tenant, user), idle, now));
        Ok(living
            .map(|entry| RemoteSession {
                note: entry.note(tenant, user),
                seen: entry.seen.min(now),
                generation: entry.generation,
                node: entry.node.into(),
            })
            .collect())
    }

    /// Counts on all nodes; see [`Peers::count`](crate::sessions::Peers::count).
    pub(super) async fn count_now(
        &self,
        note: &GrantRecord,
        limit: UserLimit,
        idle: Duration,
        replaces: Option<SessionId>,
    ) -> Result<Admission, StoreError> {
        let outcome = if self.ledger.is_fresh(self.clock.now()) {
            self.ask_to_grant(note, limit, idle, replaces).await.map_err(|fault| error_chain(&fault))
        } else {
            Err("it is not known what they ended".to_owned())
        };
        self.observer.counted(outcome.is_ok());
        outcome.map_err(StoreError::Uncounted)
    }

    async fn ask_to_grant(
        &self,
        note: &GrantRecord,
        limit: UserLimit,
        idle: Duration,
        replaces: Option<SessionId>,
    ) -> Result<Admission, RedisFault> {
        let (tenant, user) = (&note.tenant, &note.user);
        let (held, mut dead) = self.list(tenant, user).await?;
        let now = self.clock.now();
        let own = self.ledger.living(tenant, user, idle, now);
        let is_own = |id: &SessionId| own.iter().any(|known| known.note.id == *id);
        let (living, ended): (Vec<Entry>, Vec<Entry>) = held
            .into_iter()
            .partition(|entry| is_own(&entry.id) || self.counts(entry, &entry.note(tenant, user), idle, now));
        dead.extend(ended.iter().map(|entry| entry.id.to_hex().into_bytes()));
        // Sessions that only this node knows, because Redis was away or was emptied.
        let missing = own
            .iter()
            .filter(|known| known.note.id != note.id && living.iter().all(|entry| entry.id != known.note.id));

        let key = entry::key(tenant, user);
        let mut grant = self.sessions.scripts.grant.key(&key);
        let over = match limit.over {
            LimitAction::Oldest => "oldest",
            LimitAction::Refuse => "refuse",
        };
        grant
            .arg(limit.limit.get())
            .arg(over)
            .arg(replaces.map_or_else(String::new, SessionId::to_hex))
            .arg(dead.len())
            .arg(&dead);
        grant.arg(&self.words(note, note.granted, 0)[..]);
        for known in missing {
            grant.arg(&self.words(&known.note, known.seen(), known.newest().generation)[..]);
        }
        let asked =
            self.redis.run(&grant).await.inspect_err(|_| self.sessions.outbox.void(key.clone(), note.id));
        let (answer, count, strange, surplus): (String, usize, u64, Vec<Vec<u8>>) = asked?;
        self.count_foreign_data(strange);
        if answer == "refused" {
            return Ok(Admission::Refused(count));
        }
        // An entry that cannot be read is deleted by the next sign-in.
        let surplus = surplus.chunks_exact(2).filter_map(|pair| Entry::read(pair.first()?, pair.get(1)?));
        let surplus =
            surplus.map(|entry| HeldSession { granted: entry.granted, id: entry.id, ends: entry.ends });
        Ok(Admission::Granted(surplus.collect()))
    }

    /// Returns a user's entries in Redis, and the fields of those that no node wrote.
    async fn list(
        &self,
        tenant: &TenantName,
        user: &UserId,
    ) -> Result<(Vec<Entry>, Vec<Vec<u8>>), RedisFault> {
        let answer: Vec<Vec<u8>> =
            self.redis.run(&self.sessions.scripts.list.key(entry::key(tenant, user))).await?;
        let number = |at: usize| std::str::from_utf8(answer.get(at)?).ok()?.parse::<u64>().ok();
        let (mut held, mut junk) = (Vec::new(), Vec::new());
        for pair in answer.get(2..).unwrap_or_default().chunks_exact(2) {
            let [field, value] = pair else { continue };
            match Entry::read(field, value) {
                Some(entry) => held.push(entry),
                None => junk.push(field.clone()),
            }
        }
        self.count_foreign_data(
            number(1).unwrap_or(0).saturating_add(u64::try_from(junk.len()).unwrap_or(u64::MAX)),
        );
        Ok((held, junk))
    }

    /// Says whether a session still counts: it was not ended, and its idle time is not over.
    fn counts(&self, entry: &Entry, note: &GrantRecord, idle: Duration, now: UnixTime) -> bool {
        let reached = self.sessions.reached();
        // A clock that is ahead, or foreign data, must not keep it for ever.
        let seen = entry.seen.min(now).max(reached);
        entry.ends > now && seen.plus(idle).plus(SLACK) > now && self.ledger.is_live(note, now)
    }

    /// Returns the words of a session for a script.
    pub(super) fn words(
        &self,
        note: &GrantRecord,
        seen: UnixTime,
        generation: u32,
    ) -> [String; super::session_script::WORDS] {
        let time = |time: UnixTime| time.as_millis().to_string();
        [
            note.id.to_hex(),
            time(note.granted),
            time(note.ends),
            time(seen),
            generation.to_string(),
            note.epoch.to_string(),
            format!("{:032x}", note.client.0),
            entry::name(&self.identity.node),
        ]
    }

    pub(super) fn count_foreign_data(&self, count: u64) {
        if count > 0 {
            self.foreign_data(count, "entries of octroi:sessions are no sessions");
        }
    }
}
