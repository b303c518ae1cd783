//! The requests of an HTTP/2 connection by their streams, and what is to be said on them before their answers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

/// So many interim answers may wait to be said.
const MOST_WAITING: usize = 64;
/// So many streams are remembered that were refused before their request began.
const MOST_REFUSED: usize = 16;

/// What edge and gateway tell each other about streams.
#[derive(Debug, Default)]
pub(super) struct Requests {
    streams: Mutex<Streams>,
    /// Whether something waits to be said.
    says: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    begun: Vec<u32>,
    refused: VecDeque<u32>,
    interim: VecDeque<(u32, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Requests {
    pub(super) fn begin(&self, stream: u32) -> bool {
        let mut streams = self.streams();
        streams.begun.push(stream);
        streams.refused.contains(&stream)
    }

    pub(super) fn end(&self, stream: u32) {
        self.streams().begun.retain(|begun| *begun != stream);
    }

    pub(super) fn refuse(&self, stream: u32) -> bool {
        let mut streams = self.streams();
        let refused = !streams.begun.contains(&stream);
        if refused {
            streams.refused.truncate(MOST_REFUSED - 1);
            streams.refused.push_front(stream);
        }
        refused
    }

    pub(super) fn say(&self, stream: u32, frame: Vec<u8>) {
        let mut streams = self.streams();
        if streams.interim.len() < MOST_WAITING {
            streams.interim.push_back((stream, frame));
            self.says.store(true, Ordering::Release);
        }
        let waker = streams.waker.take();
        drop(streams);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn take(&self) -> Option<(u32, Vec<u8>)> {
        if !self.says.load(Ordering::Acquire) {
            return None;
        }
        let mut streams = self.streams();
        let next = streams.interim.pop_front();
        self.says.store(!streams.interim.is_empty(), Ordering::Release);
        next
    }

    pub(super) fn wake(&self, waker: &Waker) {
        let mut streams = self.streams();
        if !streams.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            streams.waker = Some(waker.clone());
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_refused_or_begun_and_each_tells_of_itself_once() {
        let requests = Requests::default();

        assert!(!requests.begin(1) && !requests.refuse(1));
        requests.end(1);
        assert!(requests.refuse(3) && requests.begin(3));
        for stream in 0..100 {
            requests.refuse(2 * stream + 101);
        }
        assert_eq!(requests.streams().refused.len(), MOST_REFUSED);
    }

    #[test]
    fn what_waits_to_be_said_is_bounded_and_in_order() {
        let requests = Requests::default();
        assert_eq!(requests.take(), None);
        (0..100).for_each(|stream| requests.say(stream, vec![1]));

        let said: Vec<u32> = std::iter::from_fn(|| requests.take()).map(|(stream, _)| stream).collect();

        assert_eq!(said, (0..64).collect::<Vec<_>>());
    }
}
