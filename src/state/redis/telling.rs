//! What nodes tell each other of sessions: which there are, when they were seen, and which token of each was presented last.
//!
//! Nobody waits for it. A node tells what changes at once and what goes on once a minute, and hears in the answer, or in a message, where
//! another has seen a newer token.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{Inbox, RedisFault, entry, node::Sharer, session_script::WORDS, sharing::Sharing, untold::Batch};
use crate::{
    model::{SessionId, UnixTime, told},
    session::Newest,
};

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// How long others get their turn between two batches that have time.
const BREATH: Duration = Duration::from_millis(5);

/// One session, told.
struct Told {
    id: SessionId,
    key: String,
    word: &'static str,
    words: [String; WORDS],
}

/// The channel on which nodes say that a newer token came.
pub(super) fn channel(sharer: &Sharer) -> String {
    format!("octroi:{}:turns", sharer.database)
}

/// Tells, for ever.
pub(super) async fn tell(sharing: &Sharing) {
    let mut has_failed = false;
    loop {
        sharing.sessions.untold.changed.notified().await;
        loop {
            if sharing.redis.connection() == 0 {
                let _ = timeout(PAUSE, sharing.redis.changed(0)).await;
                continue;
            }
            if sharing.sessions.untold.take_all() {
                let journal = Arc::clone(&sharing.journal);
                // A million of them: not on a thread that serves.
                if let Ok(all) = tokio::task::spawn_blocking(move || journal.known_ids()).await {
                    sharing.sessions.untold.fill(all);
                }
            }
            let batch = sharing.sessions.untold.next();
            if batch.is_empty() {
                break;
            }
            let has_time = batch.has_time;
            match sharing.tell_of(batch).await {
                Ok(()) => has_failed = false,
                Err(fault) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!(event = "session_notes_failed", error = %told(&fault), "other nodes are not told of sessions");
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

/// Hears which newer tokens came elsewhere, for ever.
pub(super) async fn hear(sharing: &Sharing, mut turns: Inbox) {
    while let Some(message) = turns.next().await {
        match read(&message) {
            Some((process, _, _)) if process == sharing.sharer.process => {}
            // When it came there was before: nobody is accused too early.
            Some((_, id, generation)) => sharing.journal.learn_turn(&id, Newest { generation, since: sharing.clock.now() }),
            None => sharing.strange(1, "a message on a newer token cannot be read"),
        }
    }
}

/// Reads `PROCESS:SESSION:GENERATION`.
pub(super) fn read(message: &[u8]) -> Option<(&str, SessionId, u32)> {
    let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= 80)?;
    let (process, rest) = text.split_once(':')?;
    let (id, generation) = rest.split_once(':')?;
    let is_word = !process.is_empty() && process.len() <= 32 && process.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Some((process, SessionId::from_hex(id)?, generation.parse().ok()?)).filter(|_| is_word)
}

impl Sharing {
    async fn tell_of(&self, batch: Batch) -> Result<(), RedisFault> {
        let now = self.clock.now();
        let sessions = batch.sessions.iter().filter_map(|id| self.told(id, now));
        let void = batch.void.iter().map(|(key, id)| Told { id: *id, key: key.clone(), word: "end", words: Default::default() });
        let all: Vec<Told> = sessions.chain(void).collect();
        match self.tell_all(&all).await {
            Ok(()) => Ok(()),
            // One of them, maybe: a key of another type. The others are told of all the same, and it is left.
            Err(RedisFault::Refused(_)) => {
                for one in all.chunks(1) {
                    match self.tell_all(one).await {
                        Ok(()) => {}
                        Err(RedisFault::Refused(_)) => self.witness.notes(0, 1),
                        Err(fault) => {
                            self.sessions.untold.give_back(batch);
                            return Err(fault);
                        }
                    }
                }
                Ok(())
            }
            Err(fault) => {
                self.sessions.untold.give_back(batch);
                Err(fault)
            }
        }
    }

    /// Says what there is to tell of a session; nothing of one that is not known any more.
    fn told(&self, id: &SessionId, now: UnixTime) -> Option<Told> {
        let known = self.journal.known(id)?;
        let note = &known.note;
        let lives = note.ends > now && self.journal.is_live(note, now);
        Some(Told {
            id: *id,
            key: entry::key(&note.tenant, &note.user),
            word: if lives { "put" } else { "end" },
            words: self.words(note, known.seen(), known.newest().generation),
        })
    }

    async fn tell_all(&self, all: &[Told]) -> Result<(), RedisFault> {
        if all.is_empty() {
            return Ok(());
        }
        let mut tell = self.sessions.scripts.tell.prepare_invoke();
        tell.arg(channel(&self.sharer)).arg(&self.sharer.process);
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
        self.count_strange(strange);
        for news in answer.get(2..).unwrap_or_default().chunks_exact(3) {
            let &[place, generation, since] = news else { continue };
            let told = usize::try_from(place).ok().and_then(|place| all.get(place.checked_sub(1)?));
            let (Some(told), Ok(generation)) = (told, u32::try_from(generation)) else { continue };
            self.journal.learn_turn(&told.id, Newest { generation, since: self.sessions.beat(theirs, since, now) });
        }
        self.witness.notes(u64::try_from(all.len()).unwrap_or(u64::MAX), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_who_says_it_the_session_and_the_generation() {
        let id = "ab".repeat(16);
        let read = |text: String| read(text.as_bytes()).map(|(process, id, generation)| (process.to_owned(), id, generation));

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
