//! What others published, waiting to be read.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

/// The messages of one channel, in the order in which Redis sent them.
pub struct Inbox {
    messages: mpsc::Receiver<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Inbox {
    /// Waits for the next message.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.messages.recv().await
    }

    /// Returns a message that is here already.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.messages.try_recv().ok()
    }

    /// Returns how many messages came while the queue was full, and are gone.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Who reads which channel.
#[derive(Default)]
pub(super) struct Inboxes(Mutex<Vec<Subscription>>);

struct Subscription {
    channel: Box<str>,
    sender: mpsc::Sender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Inboxes {
    pub(super) fn open(&self, channel: &str, capacity: usize) -> Inbox {
        let (sender, messages) = mpsc::channel(capacity);
        let lost = Arc::new(AtomicU64::new(0));
        self.list().push(Subscription { channel: channel.into(), sender, lost: Arc::clone(&lost) });
        Inbox { messages, lost }
    }

    pub(super) fn channels(&self) -> Vec<Box<str>> {
        let mut list = self.list();
        list.retain(|subscription| !subscription.sender.is_closed());
        list.iter().map(|subscription| subscription.channel.clone()).collect()
    }

    /// Puts what Redis pushed where it belongs. Never waits.
    pub(super) fn put(&self, push: PushInfo) {
        let PushInfo { kind: PushKind::Message, data } = push else { return };
        let mut data = data.into_iter();
        let (Some(channel), Some(Value::BulkString(message))) = (data.next(), data.next()) else { return };
        let Value::BulkString(channel) = &channel else { return };
        for subscription in
            self.list().iter().filter(|subscription| subscription.channel.as_bytes() == channel.as_slice())
        {
            if let Err(mpsc::error::TrySendError::Full(_)) = subscription.sender.try_send(message.clone()) {
                subscription.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, text: &str) -> PushInfo {
        let data = [channel, text].map(|text| Value::BulkString(text.as_bytes().to_vec())).to_vec();
        PushInfo { kind: PushKind::Message, data }
    }

    #[test]
    fn a_message_goes_to_its_channel_and_a_full_one_says_what_it_lost() {
        let inboxes = Inboxes::default();
        let (mut a, mut b) = (inboxes.open("a", 2), inboxes.open("b", 2));

        for text in ["1", "2", "3"] {
            inboxes.put(message("a", text));
        }
        inboxes.put(message("c", "4"));

        assert_eq!([a.take(), a.take(), a.take()], [Some(b"1".to_vec()), Some(b"2".to_vec()), None]);
        assert_eq!((a.lost(), b.take(), b.lost()), (1, None, 0));
    }

    #[test]
    fn what_nobody_reads_any_more_is_not_subscribed_to() {
        let inboxes = Inboxes::default();
        let (a, b) = (inboxes.open("a", 1), inboxes.open("b", 1));

        drop(a);

        assert_eq!(inboxes.channels(), ["b"].map(Box::<str>::from));
        drop(b);
    }
}
