//! A set of the streams of an HTTP/2 connection: one bit per stream number.

use std::collections::VecDeque;

/// How many words, of 64 streams each, are kept: forty times as many streams as a connection may have at
/// once, so every stream that can still be asked about is among them. At most 512 bytes.
const MOST_WORDS: u32 = 64;
const WORD: u32 = 64;

/// Streams that a client has opened: odd numbers that only grow (RFC 9113, section 5.1.1).
#[derive(Debug, Default)]
pub(super) struct StreamSet {
    /// The index of the first word; streams before it were dropped, or never added.
    first: u32,
    /// Whether streams were dropped.
    forgot: bool,
    words: VecDeque<u64>,
}

impl StreamSet {
    pub(super) fn add(&mut self, stream: u32) {
        let (word, bit) = place(stream);
        if self.words.is_empty() {
            self.first = word;
        }
        if word < self.first {
            // Begun out of order: later streams came first.
            let (more, length) = (self.first - word, u32::try_from(self.words.len()).unwrap_or(MOST_WORDS));
            if self.forgot || more.saturating_add(length) > MOST_WORDS {
                return;
            }
            (0..more).for_each(|_| self.words.push_front(0));
            self.first = word;
        }
        let from_first = word - self.first;
        if let Some(surplus) = from_first.checked_sub(MOST_WORDS - 1).filter(|surplus| *surplus > 0) {
            self.forgot = true;
            self.words.drain(..usize::try_from(surplus).unwrap_or(usize::MAX).min(self.words.len()));
            self.first = self.first.saturating_add(surplus);
        }
        let at = usize::try_from(word - self.first).unwrap_or(0);
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= bit;
        }
    }

    /// Says whether a stream is in the set; `None` where it is so old that its word was dropped.
    pub(super) fn has(&self, stream: u32) -> Option<bool> {
        let (word, bit) = place(stream);
        match word.checked_sub(self.first) {
            None if self.forgot => None,
            None => Some(false),
            Some(at) => Some(
                usize::try_from(at)
                    .ok()
                    .and_then(|at| self.words.get(at))
                    .is_some_and(|word| word & bit != 0),
            ),
        }
    }
}

/// Returns the index of a stream's word, and its bit.
fn place(stream: u32) -> (u32, u64) {
    let number = stream / 2;
    (number / WORD, 1 << (number % WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_is_known_in_whatever_order_they_come() {
        let mut set = StreamSet::default();
        let streams = [301, 1, 3, 129, 127, 4001, 303];

        for (at, stream) in streams.iter().enumerate() {
            set.add(*stream);
            for (other, stream) in streams.iter().enumerate() {
                assert_eq!(set.has(*stream), Some(other <= at), "{stream}");
            }
        }
        assert_eq!((set.has(5), set.has(u32::MAX)), (Some(false), Some(false)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_of_the_oldest_nobody_knows() {
        let mut set = StreamSet::default();
        for stream in (1..100_000).step_by(2) {
            set.add(stream);
            assert_eq!((set.has(stream), set.has(stream + 2)), (Some(true), Some(false)));
        }
        assert_eq!((set.words.len(), set.has(1), set.has(93_001)), (64, None, Some(true)));

        // The highest stream number, at once.
        set.add((1 << 31) - 1);
        assert_eq!(
            (set.has((1 << 31) - 1), set.has((1 << 31) - 3), set.has(99_999)),
            (Some(true), Some(false), None)
        );
        // A stream that is older than what is kept changes nothing.
        set.add(7);
        assert_eq!((set.words.len(), set.has(7)), (64, None));
    }

    #[test]
    fn a_first_one_far_ahead_forgets_nobody() {
        let mut set = StreamSet::default();
        set.add(1_000_001);
        assert_eq!((set.has(1), set.has(999_999)), (Some(false), Some(false)));
        set.add(1);
        assert_eq!(set.has(1_000_001), Some(true));
    }
}
