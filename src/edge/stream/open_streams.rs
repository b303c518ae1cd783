//! The streams of a client that are open or half-closed.

use super::held_data::HeldData;

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(super) struct OpenStream {
    pub(super) id: u32,
    /// Whether the client has sent END_STREAM.
    pub(super) ended: bool,
    /// Whether we have.
    pub(super) answered: bool,
    /// Whether the client was told that the stream is reset, and the library was not.
    pub(super) reset_sent: bool,
    /// Data that the library does not have yet.
    pub(super) held: HeldData,
    /// Octets of the window that were received, that the library never sees, and that we have to return.
    pub(super) owed: u32,
}

impl OpenStream {
    pub(super) fn new(id: u32, ended: bool) -> Self {
        Self { id, ended, answered: false, reset_sent: false, held: HeldData::default(), owed: 0 }
    }
}

/// The open streams, ordered by number.
#[derive(Debug, Default)]
pub(super) struct OpenStreams(Vec<OpenStream>);

impl OpenStreams {
    /// Adds a stream. Its number is higher than all others.
    pub(super) fn push(&mut self, stream: OpenStream) {
        self.0.push(stream);
    }

    /// Says whether so many streams are open, not counting those that were reset for the client.
    pub(super) fn are_full(&self, max: usize) -> bool {
        self.0.len() >= max && self.0.iter().filter(|open| !open.reset_sent).count() >= max
    }

    pub(super) fn contains(&self, stream: u32) -> bool {
        self.find(stream).is_some()
    }

    pub(super) fn find(&self, stream: u32) -> Option<&OpenStream> {
        let at = self.0.binary_search_by_key(&stream, |open| open.id).ok()?;
        self.0.get(at)
    }

    pub(super) fn find_mut(&mut self, stream: u32) -> Option<&mut OpenStream> {
        let at = self.0.binary_search_by_key(&stream, |open| open.id).ok()?;
        self.0.get_mut(at)
    }

    pub(super) fn remove(&mut self, stream: u32) -> Option<OpenStream> {
        let at = self.0.binary_search_by_key(&stream, |open| open.id).ok()?;
        Some(self.0.remove(at))
    }

    /// Returns a stream with held data of which the library may get more.
    pub(super) fn releasable(&self) -> Option<u32> {
        self.0.iter().find(|open| !open.held.is_empty() && open.held.may_forward()).map(|open| open.id)
    }
}
