//! What is remembered of streams that are not open.

use std::collections::VecDeque;

/// How many streams are remembered that we have reset or refused.
const MAX_RESET: usize = 256;
/// How many ranges of stream numbers are remembered that the client has skipped. No client skips any in
/// practice.
const MAX_SKIPPED: usize = 64;

/// Streams that we have reset or refused, and numbers that the client has skipped.
#[derive(Debug, Default)]
pub(super) struct PastStreams {
    reset: VecDeque<ResetStream>,
    /// Ranges of numbers: the first and the last of each.
    skipped: VecDeque<(u32, u32)>,
}

#[derive(Debug)]
struct ResetStream {
    id: u32,
    /// How many octets of DATA arrived after the reset, and were dropped.
    dropped: u32,
}

impl PastStreams {
    /// Notes the numbers that the client skips by opening `stream`, where `highest` was the highest before.
    pub(super) fn note_opened(&mut self, highest: u32, stream: u32) {
        let first = if highest == 0 { 1 } else { highest + 2 };
        if stream > first {
            if self.skipped.len() >= MAX_SKIPPED {
                self.skipped.pop_front();
            }
            self.skipped.push_back((first, stream - 2));
        }
    }

    /// Says whether the client has skipped a number.
    pub(super) fn is_skipped(&self, stream: u32) -> bool {
        self.skipped.iter().any(|(first, last)| (*first..=*last).contains(&stream))
    }

    /// Remembers that we have reset or refused a stream.
    pub(super) fn note_reset(&mut self, stream: u32) {
        if self.is_reset(stream) {
            return;
        }
        if self.reset.len() >= MAX_RESET {
            self.reset.pop_front();
        }
        self.reset.push_back(ResetStream { id: stream, dropped: 0 });
    }

    /// Says whether we have reset or refused a stream.
    pub(super) fn is_reset(&self, stream: u32) -> bool {
        self.dropped(stream).is_some()
    }

    /// Returns how much DATA of a stream that we have reset was dropped.
    pub(super) fn dropped(&self, stream: u32) -> Option<u32> {
        self.reset.iter().find(|reset| reset.id == stream).map(|reset| reset.dropped)
    }

    /// Counts DATA of a stream that is dropped.
    pub(super) fn note_dropped(&mut self, stream: u32, octets: u32) {
        if let Some(reset) = self.reset.iter_mut().find(|reset| reset.id == stream) {
            reset.dropped = reset.dropped.saturating_add(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_streams_is_remembered() {
        let mut past = PastStreams::default();
        (0..1000).for_each(|n| past.note_reset(2 * n + 1));
        assert_eq!(past.reset.len(), MAX_RESET);
        assert!(past.is_reset(1999) && !past.is_reset(1));

        (0..1000).for_each(|n| past.note_opened(4 * n, 4 * n + 5));
        assert_eq!(past.skipped.len(), MAX_SKIPPED);
    }

    #[test]
    fn skipped_numbers_are_those_between_two_streams() {
        let mut past = PastStreams::default();
        past.note_opened(0, 1);
        past.note_opened(1, 3);
        assert!(past.skipped.is_empty());

        past.note_opened(3, 11);
        assert_eq!((1..=13).filter(|stream| past.is_skipped(*stream)).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    }
}
