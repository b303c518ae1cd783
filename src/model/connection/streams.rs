//! The requests of an HTTP/2 connection by their streams, and what is to be said on them before their answers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use super::numbers::Numbers;
use crate::model::Http2Error;

/// So many interim answers may wait to be said.
const MOST_WAITING: usize = 64;
/// So many streams are remembered that were reset before their requests began: more than the library resets over the whole life of a
/// connection, which it ends then. Beyond it, whatever has not begun counts as reset.
const MOST_RESET: usize = 2048;

/// What edge and gateway tell each other about streams.
#[derive(Debug, Default)]
pub(super) struct Requests {
    streams: Mutex<Streams>,
    /// Whether something waits to be said.
    says: AtomicBool,
    /// Whether any stream was reset because its client broke the protocol.
    resets: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    /// The requests that the gateway has begun and not ended.
    begun: Vec<Begun>,
    /// The streams that have their line, or get it from the gateway. One that has ended stays there: its answer may still be on its way
    /// when the stream is reset.
    told: Numbers,
    /// Those that were reset and have no request yet.
    reset: Vec<(u32, Http2Error)>,
    /// What all count as reset with that have not begun by then.
    all: Option<Http2Error>,
    interim: VecDeque<(u32, Vec<u8>)>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Begun {
    stream: u32,
    reset: Option<Http2Error>,
}

impl Requests {
    /// Takes note that a request begins. Says whether edge has told of it already.
    pub(super) fn begin(&self, stream: u32) -> bool {
        let mut streams = self.streams();
        let told = streams.told.has(stream) == Some(true);
        streams.told.add(stream);
        let waits = streams.reset.iter().position(|(reset, _)| *reset == stream);
        // Told: it was reset, or edge would not have told of it.
        let all = streams.all.or(told.then_some(Http2Error::Protocol));
        let reset = waits.map(|at| streams.reset.swap_remove(at).1).or(all);
        streams.begun.push(Begun { stream, reset });
        told
    }

    /// Returns what the stream of a request that has begun was reset with.
    pub(super) fn reset_of(&self, stream: u32) -> Option<Http2Error> {
        if !self.resets.load(Ordering::Acquire) {
            return None;
        }
        self.streams().begun.iter().find(|begun| begun.stream == stream)?.reset
    }

    /// Takes note that a request has ended. Returns what its stream was reset with.
    pub(super) fn end(&self, stream: u32) -> Option<Http2Error> {
        let mut streams = self.streams();
        let at = streams.begun.iter().position(|begun| begun.stream == stream)?;
        streams.begun.swap_remove(at).reset
    }

    /// Takes note that a stream was reset. Says whether it has no request yet: then edge tells of it, if none begins.
    pub(super) fn reset(&self, stream: u32, error: Http2Error) -> bool {
        let mut streams = self.streams();
        self.resets.store(true, Ordering::Release);
        if let Some(begun) = streams.begun.iter_mut().find(|begun| begun.stream == stream) {
            begun.reset.get_or_insert(error);
            return false;
        }
        // Of an old one nobody knows: it was begun long ago.
        if streams.told.has(stream) != Some(false) || streams.reset.iter().any(|(reset, _)| *reset == stream) {
            return false;
        }
        if streams.reset.len() >= MOST_RESET {
            streams.all = Some(error);
            return false;
        }
        streams.reset.push((stream, error));
        true
    }

    /// Takes note that edge tells of a stream now. Returns what it was reset with; nothing where its request has begun.
    pub(super) fn tell(&self, stream: u32) -> Option<Http2Error> {
        let mut streams = self.streams();
        let at = streams.reset.iter().position(|(reset, _)| *reset == stream)?;
        streams.told.add(stream);
        Some(streams.reset.swap_remove(at).1)
    }

    /// Takes note that edge has told of a stream that was answered in the gateway's place.
    pub(super) fn told(&self, stream: u32) {
        self.streams().told.add(stream);
    }

    /// Returns the streams that were reset and have no request. At the end of a connection none can begin any more.
    pub(super) fn take_reset(&mut self) -> Vec<(u32, Http2Error)> {
        std::mem::take(&mut self.streams.get_mut().unwrap_or_else(PoisonError::into_inner).reset)
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

    const ERROR: Http2Error = Http2Error::FlowControl;

    #[test]
    fn whoever_comes_first_the_other_knows() {
        let mut requests = Requests::default();

        // Begun, then reset: the gateway tells, also where its request has ended by then.
        assert!(!requests.begin(1) && !requests.reset(1, ERROR));
        assert_eq!((requests.reset_of(1), requests.tell(1), requests.end(1)), (Some(ERROR), None, Some(ERROR)));
        assert!(!requests.begin(3));
        assert_eq!(requests.end(3), None);
        assert!(!requests.reset(3, ERROR));
        // Reset, then begun: the gateway tells, and edge does not.
        assert!(requests.reset(5, ERROR) && !requests.reset(5, ERROR) && !requests.begin(5));
        assert_eq!((requests.reset_of(5), requests.tell(5)), (Some(ERROR), None));
        // Reset, and nobody begins it in time: edge has told.
        assert!(requests.reset(7, ERROR));
        assert_eq!((requests.tell(7), requests.tell(7)), (Some(ERROR), None));
        assert!(requests.begin(7) && requests.reset_of(7).is_some() && !requests.reset(7, ERROR));
        // Nobody begins it at all.
        assert!(requests.reset(9, ERROR));
        assert_eq!(requests.take_reset(), [(9, ERROR)]);
    }

    #[test]
    fn what_is_remembered_of_resets_is_bounded_and_nothing_slips_through() {
        let requests = Requests::default();
        let most = u32::try_from(MOST_RESET).unwrap();
        for n in 0..most + 10 {
            assert_eq!(requests.reset(2 * n + 1, ERROR), n < most);
        }

        assert_eq!(requests.streams().reset.len(), MOST_RESET);
        for stream in [1, 2 * most - 1, 2 * most + 1, 2 * most + 99] {
            assert!(!requests.begin(stream));
            assert_eq!(requests.reset_of(stream), Some(ERROR), "{stream}");
        }
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
