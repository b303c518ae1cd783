//! The requests of an HTTP/2 connection by stream, and the interim answers that are to be sent before their
//! answers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use super::stream_set::StreamSet;
use crate::model::Http2Error;

/// How many interim answers may wait to be sent.
const MOST_WAITING: usize = 64;
/// How many streams that were reset before their requests began are remembered: twenty times as many as
/// `limits.http2.errors` lets a client reset in ten seconds, and edge reports each within five. Beyond this
/// bound every stream without a request counts as reset.
const MOST_RESET: usize = 2048;

/// What edge and gateway tell each other about streams.
#[derive(Debug, Default)]
pub(super) struct Requests {
    streams: Mutex<Streams>,
    /// Whether an interim answer waits to be sent.
    says: AtomicBool,
    /// Whether any stream was reset because its client broke the protocol.
    resets: AtomicBool,
    /// Whether the gateway has read a small piece that edge does not know about yet.
    pieces: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    /// The requests that the gateway has begun and not ended.
    begun: Vec<Begun>,
    /// The streams whose access line is written, or is the gateway's to write. A stream that has ended stays
    /// in the set: its answer may still be on its way when the stream is reset.
    reported: StreamSet,
    /// The streams that were reset and have no request yet.
    reset: Vec<(u32, Http2Error)>,
    /// The error that every stream without a request counts as reset with.
    all: Option<Http2Error>,
    interim: VecDeque<(u32, Vec<u8>)>,
    /// How many small pieces of a body the gateway has read, by stream. Edge takes these counts before it
    /// delivers another piece, so there are no more than open streams.
    pieces: Vec<(u32, u32)>,
    /// Whether edge waits for such a piece.
    waits_for_pieces: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Begun {
    stream: u32,
    reset: Option<Http2Error>,
}

impl Requests {
    /// Notes that a request begins. Says whether edge has reported the stream already.
    pub(super) fn begin(&self, stream: u32) -> bool {
        let mut streams = self.streams();
        let told = streams.reported.has(stream) == Some(true);
        streams.reported.add(stream);
        let waits = streams.reset.iter().position(|(reset, _)| *reset == stream);
        // Edge has reported the stream, so it was reset.
        let all = streams.all.or(told.then_some(Http2Error::Protocol));
        let reset = waits.map(|at| streams.reset.swap_remove(at).1).or(all);
        streams.begun.push(Begun { stream, reset });
        told
    }

    /// Returns the error that the stream of a begun request was reset with.
    pub(super) fn reset_of(&self, stream: u32) -> Option<Http2Error> {
        if !self.resets.load(Ordering::Acquire) {
            return None;
        }
        self.streams().begun.iter().find(|begun| begun.stream == stream)?.reset
    }

    /// Notes that a request has ended. Returns the error that its stream was reset with.
    pub(super) fn end(&self, stream: u32) -> Option<Http2Error> {
        let mut streams = self.streams();
        let at = streams.begun.iter().position(|begun| begun.stream == stream)?;
        streams.begun.swap_remove(at).reset
    }

    /// Notes that a stream was reset. Says whether it has no request yet: then edge reports the stream,
    /// unless one begins.
    pub(super) fn reset(&self, stream: u32, error: Http2Error) -> bool {
        let mut streams = self.streams();
        self.resets.store(true, Ordering::Release);
        if let Some(begun) = streams.begun.iter_mut().find(|begun| begun.stream == stream) {
            begun.reset.get_or_insert(error);
            return false;
        }
        // An old stream is unknown here: its request began long ago.
        if streams.reported.has(stream) != Some(false)
            || streams.reset.iter().any(|(reset, _)| *reset == stream)
        {
            return false;
        }
        if streams.reset.len() >= MOST_RESET {
            streams.all = Some(error);
            return false;
        }
        streams.reset.push((stream, error));
        true
    }

    /// Notes that edge reports a stream now. Returns the error that it was reset with; `None` where its
    /// request has begun.
    pub(super) fn report(&self, stream: u32) -> Option<Http2Error> {
        let mut streams = self.streams();
        let at = streams.reset.iter().position(|(reset, _)| *reset == stream)?;
        streams.reported.add(stream);
        Some(streams.reset.swap_remove(at).1)
    }

    /// Notes that edge has reported a stream that the library answered.
    pub(super) fn note_reported(&self, stream: u32) {
        self.streams().reported.add(stream);
    }

    /// Returns the streams that were reset and have no request. Once the connection has ended, none can
    /// begin.
    pub(super) fn take_reset(&mut self) -> Vec<(u32, Http2Error)> {
        std::mem::take(&mut self.streams.get_mut().unwrap_or_else(PoisonError::into_inner).reset)
    }

    pub(super) fn queue_interim(&self, stream: u32, frame: Vec<u8>) {
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

    pub(super) fn note_piece(&self, stream: u32) {
        let mut streams = self.streams();
        match streams.pieces.iter_mut().find(|(of, _)| *of == stream) {
            Some((_, pieces)) => *pieces = pieces.saturating_add(1),
            None => streams.pieces.push((stream, 1)),
        }
        self.pieces.store(true, Ordering::Release);
        let waker = if std::mem::take(&mut streams.waits_for_pieces) { streams.waker.take() } else { None };
        drop(streams);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn take_pieces(&self, mut each: impl FnMut(u32, u32)) {
        if self.pieces.load(Ordering::Acquire) {
            let mut streams = self.streams();
            self.pieces.store(false, Ordering::Release);
            streams.pieces.drain(..).for_each(|(stream, pieces)| each(stream, pieces));
        }
    }

    /// Wakes this task when the next piece is read. Says whether one was read already.
    pub(super) fn wake_for_pieces(&self, waker: &Waker) -> bool {
        let mut streams = self.streams();
        if streams.pieces.is_empty() {
            streams.waits_for_pieces = true;
            streams.waker = Some(waker.clone());
        }
        !streams.pieces.is_empty()
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

        // Begun, then reset: the gateway reports, even if its request has ended by then.
        assert!(!requests.begin(1) && !requests.reset(1, ERROR));
        assert_eq!(
            (requests.reset_of(1), requests.report(1), requests.end(1)),
            (Some(ERROR), None, Some(ERROR))
        );
        assert!(!requests.begin(3));
        assert_eq!(requests.end(3), None);
        assert!(!requests.reset(3, ERROR));
        // Reset, then begun: the gateway reports, edge does not.
        assert!(requests.reset(5, ERROR) && !requests.reset(5, ERROR) && !requests.begin(5));
        assert_eq!((requests.reset_of(5), requests.report(5)), (Some(ERROR), None));
        // Reset, and no request begins in time: edge has reported.
        assert!(requests.reset(7, ERROR));
        assert_eq!((requests.report(7), requests.report(7)), (Some(ERROR), None));
        assert!(requests.begin(7) && requests.reset_of(7).is_some() && !requests.reset(7, ERROR));
        // No request ever begins.
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
        (0..100).for_each(|stream| requests.queue_interim(stream, vec![1]));

        let said: Vec<u32> = std::iter::from_fn(|| requests.take()).map(|(stream, _)| stream).collect();

        assert_eq!(said, (0..64).collect::<Vec<_>>());
    }
}
