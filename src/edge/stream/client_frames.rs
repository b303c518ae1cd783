//! Our own frames for the client of an HTTP/2 connection: control frames, and interim responses.

use std::collections::VecDeque;

use super::own_frames::OwnFrames;

/// SETTINGS_HEADER_TABLE_SIZE until the client changes it.
const INITIAL_TABLE: u32 = 4096;

/// The frames that wait for the client.
#[derive(Debug)]
pub(super) struct ClientFrames {
    queue: OwnFrames,
    /// Interim responses, with their streams.
    interim: VecDeque<(u32, Vec<u8>)>,
    /// The table size that the client allows us.
    table: u32,
    /// Whether the client has reduced it. The library's next head must announce that, and nothing of ours may
    /// precede it (RFC 7541, section 4.2), so no interim response is sent any more.
    table_shrank: bool,
}

impl ClientFrames {
    pub(super) fn new() -> Self {
        Self {
            queue: OwnFrames::default(),
            interim: VecDeque::new(),
            table: INITIAL_TABLE,
            table_shrank: false,
        }
    }

    /// Queues a control frame.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.queue.push(frame);
    }

    /// Queues an interim response. It is sent only if the final response has not begun.
    pub(super) fn push_interim(&mut self, stream: u32, frame: Vec<u8>) {
        if !self.table_shrank {
            self.interim.push_back((stream, frame));
        }
    }

    /// Takes in the table size that the client sets.
    pub(super) fn set_table_size(&mut self, size: u32) {
        self.table_shrank |= size < self.table;
        self.table = size;
    }

    /// Returns how many control frames wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Says whether a frame was sent in part.
    pub(super) fn has_begun(&self) -> bool {
        self.queue.has_begun()
    }

    /// Returns the octets that may be sent now. `may_interrupt` says whether the library is between two
    /// frames; `awaits_response` whether no response has begun on a stream.
    pub(super) fn sendable(&mut self, may_interrupt: bool, awaits_response: impl Fn(u32) -> bool) -> &[u8] {
        if !self.queue.has_begun() {
            if !may_interrupt {
                return &[];
            }
            // The library writes nothing before these octets have left, so a response that has not begun by
            // now begins after them.
            while self.queue.is_empty()
                && let Some((stream, frame)) = self.interim.pop_front()
            {
                if awaits_response(stream) && !self.table_shrank {
                    self.queue.push(frame);
                }
            }
        }
        self.queue.rest()
    }

    /// Notes that octets were sent.
    pub(super) fn note_sent(&mut self, octets: usize) {
        self.queue.note_sent(octets);
    }
}
