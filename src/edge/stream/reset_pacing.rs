//! How many resets the library may be given before it has accepted the requests that it has read.
//!
//! The library also hands out a request whose stream was reset meanwhile, and ends the connection where more
//! of these wait than streams may be open at once, whether the client reset them or we did. So after that
//! many it gets no further RST_STREAM until it has accepted all that it has read. What bounds the client is
//! `limits.http2.resets` and `errors`.

/// Counts the requests that the library has read and not accepted, and the resets among them.
#[derive(Debug, Default)]
pub(super) struct ResetPacing {
    /// The most requests that may be waiting in the library. It accepts one after each of its reads that
    /// finds nothing.
    queued: usize,
    /// How many streams were reset since it last had accepted all.
    resets: usize,
    /// Whether its reads find nothing until it has.
    paused: bool,
}

impl ResetPacing {
    /// Notes that the library gets a request.
    pub(super) fn note_request(&mut self) {
        self.queued += 1;
    }

    /// Notes that the library is told of the reset of an open stream.
    pub(super) fn note_reset(&mut self) {
        self.resets += usize::from(self.queued > 0);
    }

    /// Asks whether the library may be told of another reset. If not, nothing is forwarded until it has
    /// accepted what it has.
    pub(super) fn must_wait(&mut self, max_streams: usize) -> bool {
        let waits = self.resets >= max_streams;
        self.paused |= waits;
        waits
    }

    /// Says whether this read of the library must find nothing, and be repeated.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Notes that a read of the library has found nothing: it accepts one request after that.
    pub(super) fn note_empty_read(&mut self) {
        self.queued = self.queued.saturating_sub(1);
        if self.queued == 0 {
            (self.resets, self.paused) = (0, false);
        }
    }

    /// Returns how many requests may be waiting in the library.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queued
    }
}
