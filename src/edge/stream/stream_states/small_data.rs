//! Small DATA frames: which of them the library gets, and which are held back.

use super::{Reaction, StreamStates, WINDOW_STEP, octets};
use crate::{
    model::SMALL_PIECE,
    wire::http2::{END_STREAM, FrameHeader, data_frame, without_padding},
};

impl StreamStates {
    /// Takes in a small DATA frame of an open stream. Says whether the library gets it unchanged.
    pub(in crate::edge::stream) fn take_small_data(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        due: &mut Vec<u8>,
    ) -> bool {
        let (stream, merges, ends) = (frame.stream, self.merges, frame.ends_stream());
        // The library refuses padding that does not fit (section 6.1).
        let Ok(data) = without_padding(frame.flags, payload) else { return true };
        let Some(open) = self.open.find_mut(stream) else { return true };
        let padding = octets(payload.len() - data.len());
        if data.is_empty() && !ends {
            // The library ends a connection after a hundred of them; `limits.http2.empty_data` counts them
            // over ten seconds.
            open.owed += padding;
            self.owe(padding);
            if padding > 0 {
                self.reactions.push(Reaction::Empty);
            }
            self.return_window(stream);
            return false;
        }
        let is_small = data.len() < SMALL_PIECE;
        if open.held.is_empty() && (ends || !is_small || open.held.may_forward() || !merges) {
            if ends {
                self.note_ended_by_client(stream);
            } else if is_small {
                open.held.note_forwarded();
            }
            return true;
        }
        let was_empty = open.held.is_empty();
        let is_enough = open.held.hold(data);
        open.owed += padding;
        self.holding += usize::from(was_empty);
        self.owe(padding);
        self.return_window(stream);
        if ends {
            self.release_last(stream, due);
        } else if is_enough {
            self.release_stream(stream, due);
        }
        false
    }

    /// Says whether any data is held.
    pub(in crate::edge::stream) fn holds(&self) -> bool {
        self.holding > 0
    }

    /// Notes that small DATA frames of a stream were read.
    pub(in crate::edge::stream) fn note_read(&mut self, stream: u32, frames: u32) {
        self.open.find_mut(stream).into_iter().for_each(|open| open.held.note_read(frames));
    }

    /// Releases the held data of streams whose frames were read. The library must be between two frames.
    pub(in crate::edge::stream) fn release(&mut self, due: &mut Vec<u8>) {
        while self.holding > 0
            && let Some(stream) = self.open.releasable()
        {
            self.release_stream(stream, due);
        }
    }

    /// Releases the held data of a stream.
    pub(in crate::edge::stream) fn release_stream(&mut self, stream: u32, due: &mut Vec<u8>) {
        let Some(open) = self.open.find_mut(stream).filter(|open| !open.held.is_empty()) else { return };
        let data = open.held.release();
        self.holding -= 1;
        data_frame(due, 0, stream, &data);
    }

    /// Releases the held data of a stream in the frame that ends it.
    fn release_last(&mut self, stream: u32, due: &mut Vec<u8>) {
        let Some(open) = self.open.find_mut(stream) else { return };
        let data = open.held.release_last();
        self.holding -= 1;
        data_frame(due, END_STREAM, stream, &data);
        self.note_ended_by_client(stream);
    }

    fn return_window(&mut self, stream: u32) {
        if let Some(open) = self.open.find_mut(stream).filter(|open| open.owed >= WINDOW_STEP) {
            let owed = std::mem::take(&mut open.owed);
            self.reactions.push(Reaction::Window(stream, owed));
        }
    }
}
