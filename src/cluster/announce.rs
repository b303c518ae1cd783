//! Announcements between nodes about sessions: which exist, when they were last used, and which token of each
//! was presented last.
//!
//! No request waits for them. A node announces a change at once, and use once a minute. The answer, or a
//! message, says where another node has seen a newer token.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{entry, node::Replication, outbox::Batch, session_script::WORDS};
use crate::{
    model::{SessionId, UnixTime, error_chain},
    redis::{Inbox, RedisFault},
    session::Newest,
};

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause between two batches that are not urgent, so that other commands get their turn.
const BREATH: Duration = Duration::from_millis(5);

/// One session that is announced.
struct Announcement {
    id: SessionId,
    key: String,
    word: &'static str,
    words: [String; WORDS],
}

/// Announces, for ever.
pub(super) async fn announce(replication: &Replication) {
    let mut has_failed = false;
    loop {
        replication.sessions.outbox.changed.notified().await;
        loop {
            if replication.redis.connection() == 0 {
                let _ = timeout(PAUSE, replication.redis.changed(0)).await;
                continue;
            }
            if replication.sessions.outbox.take_all() {
                let ledger = Arc::clone(&replication.ledger);
                // There may be a million: do not block a thread that serves requests.
                if let Ok(all) = tokio::task::spawn_blocking(move || ledger.known_ids()).await {
                    replication.sessions.outbox.fill(all);
                }
            }
            let batch = replication.sessions.outbox.next();
            if batch.is_empty() {
                break;
            }
            let has_time = batch.has_time;
            match replication.announce_batch(batch).await {
                Ok(()) => has_failed = false,
                Err(fault) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!(event = "session_notes_failed", error = %error_chain(&fault), "other nodes are not told of sessions");
                    }
                    sleep(PAUSE).await;
                }
            }
            if has_time {
                sleep(BREATH).await;
            }
        }
    }
}

/// Receives which newer tokens other nodes have seen, for ever.
pub(super) async fn hear(replication: &Replication, mut turns: Inbox) {
    while let Some(message) = turns.next().await {
        match read(&message) {
            Some((process, _, _)) if process == replication.identity.process => {}
            // It was presented a little earlier than this, so reuse is never reported too early.
            Some((_, id, generation)) => {
                replication.ledger.learn_turn(&id, Newest { generation, since: replication.clock.now() })
            }
            None => replication.foreign_data(1, "a message on a newer token cannot be read"),
        }
    }
}

/// Reads `PROCESS:SESSION:GENERATION`.
pub(super) fn read(message: &[u8]) -> Option<(&str, SessionId, u32)> {
    let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= 80)?;
    let (process, rest) = text.split_once(':')?;
    let (id, generation) = rest.split_once(':')?;
    let is_word = !process.is_empty()
        && process.len() <= 32
        && process.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Some((process, SessionId::from_hex(id)?, generation.parse().ok()?)).filter(|_| is_word)
}

impl Replication {
    async fn announce_batch(&self, batch: Batch) -> Result<(), RedisFault> {
        let now = self.clock.now();
        let sessions = batch.sessions.iter().filter_map(|id| self.announcement(id, now));
        let void = batch.void.iter().map(|(key, id)| Announcement {
            id: *id,
            key: key.clone(),
            word: "end",
            words: Default::default(),
        });
        let all: Vec<Announcement> = sessions.chain(void).collect();
        match self.send(&all).await {
            Ok(()) => Ok(()),
            // One of them may be at fault, such as a key of another type. Announce the others one by one, and
            // leave it out.
            Err(RedisFault::Refused(_)) => {
                for one in all.chunks(1) {
                    match self.send(one).await {
                        Ok(()) => {}
                        Err(RedisFault::Refused(_)) => self.observer.notes(0, 1),
                        Err(fault) => {
                            self.sessions.outbox.give_back(batch);
                            return Err(fault);
                        }
                    }
                }
                Ok(())
            }
            Err(fault) => {
                self.sessions.outbox.give_back(batch);
                Err(fault)
            }
        }
    }

    /// Returns what to announce about a session; `None` if it is not known any more.
    fn announcement(&self, id: &SessionId, now: UnixTime) -> Option<Announcement> {
        let known = self.ledger.known(id)?;
        let note = &known.note;
        let lives = note.ends > now && self.ledger.is_live(note, now);
        Some(Announcement {
            id: *id,
            key: entry::key(&note.tenant, &note.user),
            word: if lives { "put" } else { "end" },
            words: self.words(note, known.seen(), known.newest().generation),
        })
    }

    async fn send(&self, all: &[Announcement]) -> Result<(), RedisFault> {
        if all.is_empty() {
            return Ok(());
        }
        let mut tell = self.sessions.scripts.tell.prepare_invoke();
        tell.arg(self.identity.turns_channel()).arg(&self.identity.process);
        for told in all {
            let mut words = told.words.clone();
            if let Some(id) = words.first_mut() {
                *id = told.id.to_hex();
            }
            tell.key(&told.key).arg(told.word).arg(&words[..]);
        }
        let answer: Vec<u64> = self.redis.run(&tell).await?;
        let now = self.clock.now();
        let (theirs, strange) = (answer.first().copied().unwrap_or(0), answer.get(1).copied().unwrap_or(0));
        self.count_foreign_data(strange);
        for news in answer.get(2..).unwrap_or_default().chunks_exact(3) {
            let &[place, generation, since] = news else { continue };
            let told = usize::try_from(place).ok().and_then(|place| all.get(place.checked_sub(1)?));
            let (Some(told), Ok(generation)) = (told, u32::try_from(generation)) else { continue };
            self.ledger.learn_turn(
                &told.id,
                Newest { generation, since: self.sessions.our_time(theirs, since, now) },
            );
        }
        self.observer.notes(u64::try_from(all.len()).unwrap_or(u64::MAX), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_who_says_it_the_session_and_the_generation() {
        let id = "ab".repeat(16);
        let read = |text: String| {
            read(text.as_bytes()).map(|(process, id, generation)| (process.to_owned(), id, generation))
        };

        assert_eq!(read(format!("p1:{id}:7")), Some(("p1".to_owned(), SessionId::new([0xab; 16]), 7)));
        for text in [
            format!("p1:{id}:-1"),
            format!("p1:{id}:4294967296"),
            format!(":{id}:7"),
            format!("p 1:{id}:7"),
            format!("p1:{id}"),
            "p1:ab:7".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(text.clone()), None, "{text}");
        }
    }
}
