//! The predecessor's end of the link, from the moment that the successor has the journal.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    channel::Channel,
    message::{Message, Outcome},
};
use crate::sessions::{RemoteWriter, SessionLedger, StoreError};

/// How long a session event waits for the successor's disk.
const WRITING: Duration = Duration::from_secs(5);

/// A successor that has the journal: writes down what is ended here, and tells what is ended there.
pub(super) struct PredecessorLink {
    channel: Channel,
    /// The successor's process.
    pub(super) pid: u32,
    state: Mutex<State>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Asked for and not yet answered; answered and not yet taken.
    asked: HashMap<u64, Option<Outcome>>,
    serves: bool,
    refused: Option<String>,
    closed: bool,
}

impl PredecessorLink {
    /// Begins to read what the successor sends.
    pub(super) fn begin(channel: Channel, pid: u32, journal: &Arc<SessionLedger>) -> io::Result<Arc<Self>> {
        let link = Arc::new(Self {
            channel,
            pid,
            state: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let (receiver, journal) = (Arc::clone(&link), Arc::clone(journal));
        std::thread::Builder::new()
            .name("octroi-link".to_owned())
            .spawn(move || receiver.read_loop(&journal))?;
        Ok(link)
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Waits until the successor serves; fails if it ends, refuses or takes too long.
    pub(super) fn serving(&self, within: Duration) -> io::Result<()> {
        let waits = |state: &mut State| !state.serves && !state.closed && state.refused.is_none();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), within, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if state.serves {
            return Ok(());
        }
        // Whatever it says from now on, it has not taken over.
        let gone = std::mem::replace(&mut state.closed, true);
        Err(match state.refused.take() {
            Some(why) => io::Error::other(why),
            None if gone => io::ErrorKind::UnexpectedEof.into(),
            None => io::ErrorKind::TimedOut.into(),
        })
    }

    /// Tells how many connections are still open here.
    pub(super) fn tell_connections(&self, count: u64) {
        // Gone: the reader sees it.
        let _ = self.channel.send(&Message::Connections(count));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_loop(&self, journal: &SessionLedger) {
        while let Ok((message, _)) = self.channel.receive(None) {
            match message {
                Message::Follow { number, records } => {
                    if !journal.follow(&records) || self.channel.send(&Message::Followed(number)).is_err() {
                        break;
                    }
                }
                Message::Written { id, outcome } => {
                    if let Some(answer) = self.state().asked.get_mut(&id) {
                        *answer = Some(outcome);
                    }
                    self.changed.notify_all();
                }
                Message::Serves => {
                    let mut state = self.state();
                    state.serves = !state.closed;
                    drop(state);
                    self.changed.notify_all();
                }
                Message::Refused(why) => {
                    self.state().refused = Some(why);
                    self.changed.notify_all();
                }
                Message::Hello(_)
                | Message::Welcome(_)
                | Message::Ready
                | Message::Socket { .. }
                | Message::Sockets(_)
                | Message::Bound
                | Message::Journal { .. }
                | Message::Taken
                | Message::Go
                | Message::Write { .. }
                | Message::Followed(_)
                | Message::Connections(_) => break,
            }
        }
        let mut state = self.state();
        state.closed = true;
        let served = state.serves;
        drop(state);
        self.changed.notify_all();
        self.channel.close();
        if served {
            journal.lose_successor();
            tracing::error!(
                successor = self.pid,
                "the successor is out of reach; sessions are refused here until this process ends"
            );
        }
    }
}

impl RemoteWriter for PredecessorLink {
    fn write(&self, record: Vec<u8>) -> Result<(), StoreError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.state().asked.insert(id, None);
        if let Err(error) = self.channel.send(&Message::Write { id, record }) {
            self.state().asked.remove(&id);
            return Err(StoreError::Successor(error.to_string()));
        }
        let waits = |state: &mut State| matches!(state.asked.get(&id), Some(None)) && !state.closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), WRITING, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match state.asked.remove(&id).flatten() {
            Some(Outcome::Done) => Ok(()),
            Some(Outcome::Failed(why)) => Err(StoreError::Successor(why)),
            Some(Outcome::TooMany(count)) => {
                Err(StoreError::TooMany(usize::try_from(count).unwrap_or(usize::MAX)))
            }
            Some(Outcome::Uncounted(why)) => Err(StoreError::Uncounted(why)),
            None => Err(StoreError::Successor("nothing, in time".to_owned())),
        }
    }
}
