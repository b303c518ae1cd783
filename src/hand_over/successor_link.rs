//! The successor's end of the link, while the predecessor drains.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use super::{
    channel::Channel,
    message::{Message, Outcome},
};
use crate::{
    model::error_chain,
    sessions::{Follower, SessionLedger, StoreError},
};

/// How long a revocation waits for the predecessor to know of it.
const FOLLOWING: Duration = Duration::from_secs(1);

/// How much goes into one packet.
const BATCH_BYTES: usize = 32 * 1024;

/// How much may wait to be sent: the tenants of a reload of 100,000, several times over.
const OUTBOX_BYTES: usize = 32 * 1024 * 1024;

/// A predecessor that drains: tells it what is ended, and writes down what it ends.
pub(crate) struct SuccessorLink {
    channel: Channel,
    /// The predecessor's process.
    pub(crate) pid: u32,
    connections: AtomicU64,
    outbox: Mutex<Outbox>,
    changed: Condvar,
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Outbox {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many pieces came, were sent, and are known to the predecessor.
    queued: u64,
    sent: u64,
    followed: u64,
    closed: bool,
}

impl SuccessorLink {
    /// Begins; `journal` tells it every change from now on.
    pub(super) fn begin(
        channel: Channel,
        pid: u32,
        journal: &Arc<SessionLedger>,
    ) -> std::io::Result<Arc<Self>> {
        let link = Arc::new(Self {
            channel,
            pid,
            connections: AtomicU64::new(0),
            outbox: Mutex::default(),
            changed: Condvar::new(),
            ended: watch::Sender::new(false),
        });
        let (sender, receiver, written) = (Arc::clone(&link), Arc::clone(&link), Arc::clone(journal));
        let handle = Handle::current();
        journal.follow_with(Some(link.clone()));
        std::thread::Builder::new().name("octroi-link-out".to_owned()).spawn(move || sender.write_loop())?;
        std::thread::Builder::new()
            .name("octroi-link-in".to_owned())
            .spawn(move || receiver.read_loop(&written, &handle))?;
        Ok(link)
    }

    /// Tells the predecessor that connections are accepted here.
    pub(crate) fn serves(&self) -> std::io::Result<()> {
        self.channel.send(&Message::Serves)
    }

    /// Returns how many connections the predecessor last said it has; nothing once it has ended.
    pub(crate) fn connections(&self) -> Option<u64> {
        (!*self.ended.borrow()).then(|| self.connections.load(Ordering::Relaxed))
    }

    /// Waits until the predecessor has ended.
    pub(crate) async fn ended(&self) {
        // An error says that nobody can ever say so: it has.
        let _ = self.ended.subscribe().wait_for(|&ended| ended).await;
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the predecessor off: it sees that, and believes no session any more.
    fn cut(&self, mut outbox: MutexGuard<'_, Outbox>, why: &'static str) {
        if !std::mem::replace(&mut outbox.closed, true) {
            tracing::error!(
                predecessor = self.pid,
                why,
                "the predecessor is cut off; it refuses sessions until it ends"
            );
        }
        outbox.pieces.clear();
        drop(outbox);
        self.changed.notify_all();
        self.channel.close();
    }

    fn write_loop(&self) {
        loop {
            let mut outbox = self.outbox();
            while outbox.pieces.is_empty() && !outbox.closed {
                outbox = self.changed.wait(outbox).unwrap_or_else(PoisonError::into_inner);
            }
            if outbox.closed {
                return;
            }
            let mut records = Vec::new();
            while let Some(piece) = outbox
                .pieces
                .pop_front_if(|piece| records.is_empty() || records.len() + piece.len() <= BATCH_BYTES)
            {
                outbox.bytes = outbox.bytes.saturating_sub(piece.len());
                outbox.sent += 1;
                records.extend_from_slice(&piece);
            }
            let number = outbox.sent;
            drop(outbox);
            if self.channel.send(&Message::Follow { number, records }).is_err() {
                self.cut(self.outbox(), "it does not read");
                return;
            }
        }
    }

    fn read_loop(self: &Arc<Self>, journal: &Arc<SessionLedger>, runtime: &Handle) {
        while let Ok((message, _)) = self.channel.receive(None) {
            match message {
                Message::Followed(number) => {
                    let mut outbox = self.outbox();
                    outbox.followed = outbox.followed.max(number);
                    drop(outbox);
                    self.changed.notify_all();
                }
                Message::Connections(count) => self.connections.store(count, Ordering::Relaxed),
                // Not here: the write waits for what this thread hears.
                Message::Write { id, record } => {
                    let (link, journal) = (Arc::clone(self), Arc::clone(journal));
                    runtime.spawn(async move {
                        let outcome = match journal.write_for(record).await {
                            Ok(()) => Outcome::Done,
                            Err(StoreError::TooMany(count)) => {
                                Outcome::TooMany(u64::try_from(count).unwrap_or(u64::MAX))
                            }
                            Err(StoreError::Uncounted(why)) => Outcome::Uncounted(why),
                            Err(error) => Outcome::Failed(error_chain(&error)),
                        };
                        // Gone: it fails closed by itself.
                        let _ = link.channel.send(&Message::Written { id, outcome });
                    });
                }
                Message::Hello(_)
                | Message::Welcome(_)
                | Message::Refused(_)
                | Message::Ready
                | Message::Socket { .. }
                | Message::Sockets(_)
                | Message::Bound
                | Message::Journal { .. }
                | Message::Taken
                | Message::Go
                | Message::Serves
                | Message::Written { .. }
                | Message::Follow { .. } => {
                    self.cut(self.outbox(), "it says what nobody expects");
                    break;
                }
            }
        }
        journal.follow_with(None);
        let mut outbox = self.outbox();
        if !std::mem::replace(&mut outbox.closed, true) {
            tracing::info!(predecessor = self.pid, "the predecessor has ended");
        }
        drop(outbox);
        self.changed.notify_all();
        self.ended.send_replace(true);
    }
}

impl Follower for SuccessorLink {
    fn tell(&self, records: &[u8]) -> u64 {
        let mut outbox = self.outbox();
        outbox.queued += 1;
        let queued = outbox.queued;
        if outbox.closed {
            return queued;
        }
        outbox.bytes = outbox.bytes.saturating_add(records.len());
        outbox.pieces.push_back(records.to_vec());
        if outbox.bytes > OUTBOX_BYTES {
            self.cut(outbox, "it follows too slowly");
            return queued;
        }
        drop(outbox);
        self.changed.notify_all();
        queued
    }

    fn wait(&self, queued: u64) {
        let behind = |outbox: &mut Outbox| outbox.followed < queued && !outbox.closed;
        let (outbox, timeout) = self
            .changed
            .wait_timeout_while(self.outbox(), FOLLOWING, behind)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            self.cut(outbox, "it did not follow in time");
        }
    }
}
