//! The streams of an HTTP/2 connection, and what edge and gateway tell each other about them.

use std::{sync::atomic::Ordering, task::Waker};

use super::{Connection, Last, ResetObserver};
use crate::model::{Http2Error, SMALL_PIECE, StreamMark};

impl Connection {
    /// Returns the key that authenticates the stream mark: a client cannot forge a field without it.
    ///
    /// The key never leaves the process. `None` where the system has no random octets: then no mark is
    /// written, and every request is refused.
    pub fn stream_key(&self) -> Option<u64> {
        *self.stream_key.get_or_init(|| {
            let mut key = [0; 8];
            aws_lc_rs::rand::fill(&mut key).ok().map(|()| u64::from_ne_bytes(key))
        })
    }

    /// Reads the stream mark that edge wrote into a head.
    pub fn stream_mark(&self, value: &[u8]) -> Option<StreamMark> {
        StreamMark::read(value, self.stream_key()?)
    }

    /// Notes that the gateway got a request over HTTP/2 without a stream mark: edge has not read its head.
    pub fn note_unread_head(&self) {
        self.has_unread_head.store(true, Ordering::Release);
    }

    /// Says whether there was such a request: then the connection ends.
    pub fn has_unread_head(&self) -> bool {
        self.has_unread_head.load(Ordering::Acquire)
    }

    /// Notes that the gateway has begun a request on this stream of HTTP/2. Says whether edge has reported
    /// the stream already.
    pub fn stream_begins(&self, stream: u32) -> bool {
        self.streams.begin(stream)
    }

    /// Returns the error that the stream of a begun request was reset with because its client broke the
    /// protocol: no answer can be sent there.
    ///
    /// It costs one load as long as no stream of the connection was reset.
    pub fn stream_reset(&self, stream: u32) -> Option<Http2Error> {
        self.streams.reset_of(stream)
    }

    /// Notes that the request on this stream has ended. Returns the error that the stream was reset with.
    pub fn stream_ends(&self, stream: u32) -> Option<Http2Error> {
        self.streams.end(stream)
    }

    /// Notes that the library has reset a stream because its client broke the protocol.
    ///
    /// Says whether no request has begun there: edge reports the stream after a delay, or at the end of the
    /// connection, unless a request begins before that.
    pub fn note_reset(&self, stream: u32, error: Http2Error) -> bool {
        self.streams.reset(stream, error)
    }

    /// Asks whether edge is to report a reset stream now, and with which error; `None` where its request has
    /// begun, because then the gateway reports it.
    pub fn report_reset(&self, stream: u32) -> Option<Http2Error> {
        self.streams.report(stream)
    }

    /// Notes that edge has reported a stream: the library has answered it, so no request begins.
    pub fn note_reported(&self, stream: u32) {
        self.streams.note_reported(stream);
    }

    /// Sets who reports, at the end of the connection, each stream that was reset before a request began. No
    /// task holds the connection by then, so none will begin. The first observer stays.
    pub fn report_at_end(&self, observer: Box<dyn ResetObserver>) {
        let _ = self.last.set(Last(observer));
    }

    /// Queues an interim answer for a stream of HTTP/2; it is dropped if the final answer begins first. The
    /// queue is short; what does not fit is dropped.
    pub fn queue_interim(&self, stream: u32, frame: Vec<u8>) {
        self.streams.queue_interim(stream, frame);
    }

    /// Returns the next interim answer to send.
    pub fn take_interim(&self) -> Option<(u32, Vec<u8>)> {
        self.streams.take()
    }

    /// Wakes this task when an interim answer is queued.
    pub fn wake_for_interim(&self, waker: &Waker) {
        self.streams.wake(waker);
    }

    /// Notes that the gateway has read a piece of a body over HTTP/2. Edge allows only few small pieces to be
    /// unread.
    pub fn note_piece(&self, stream: u32, octets: usize) {
        if (1..SMALL_PIECE).contains(&octets) {
            self.streams.note_piece(stream);
        }
    }

    /// Takes how many small pieces of each stream were read since the last call.
    pub fn take_pieces(&self, each: impl FnMut(u32, u32)) {
        self.streams.take_pieces(each);
    }

    /// Wakes this task when the next small piece is read. Says whether one was read already: then it does
    /// not.
    pub fn wakes_for_pieces(&self, waker: &Waker) -> bool {
        self.streams.wake_for_pieces(waker)
    }
}
