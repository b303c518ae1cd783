//! Whether an HTTP/2 client sends more of what costs us and asks for nothing than any client needs: pure counts, no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Abuse, Frame, FrameKind, Http2Limits};

/// Counts are of so long (`security.md`, row 73).
const PERIOD: Duration = Duration::from_secs(10);
/// So many WINDOW_UPDATE may answer one DATA frame: Envoy's number.
const UPDATES_PER_DATA: u32 = 10;
/// No more of them are saved up.
const UPDATES_SAVED: u32 = 1000;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

/// Counts what one client sends.
#[derive(Debug)]
pub(super) struct Flood {
    limits: Http2Limits,
    began: Option<Instant>,
    counts: [u32; Abuse::ALL.len()],
    /// Whether a PING is free: we have sent something since the last one. Clients measure with them how much is under way (gRPC).
    ping_free: bool,
    updates_free: u32,
    /// Whether the answers of new streams have no window.
    no_window: bool,
    /// The highest stream so far.
    highest: u32,
    over: Option<Abuse>,
}

impl Flood {
    pub(super) fn new(limits: Http2Limits) -> Self {
        let counts = [0; Abuse::ALL.len()];
        Self { limits, began: None, counts, ping_free: true, updates_free: 0, no_window: false, highest: 0, over: None }
    }

    /// Returns what was exceeded first.
    pub(super) fn over(&self) -> Option<Abuse> {
        self.over
    }

    /// Returns the highest stream that the client has opened.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Counts a frame of the client.
    pub(super) fn came(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        let abuse = match frame.kind {
            FrameKind::Headers => {
                let opens = frame.stream > self.highest;
                self.highest = self.highest.max(frame.stream);
                match opens && self.no_window {
                    true => Abuse::Starved,
                    false => return,
                }
            }
            FrameKind::Data if frame.length == 0 && !frame.ends_stream() => Abuse::EmptyData,
            FrameKind::Data | FrameKind::PushPromise | FrameKind::GoAway => return,
            FrameKind::Reset => Abuse::Resets,
            FrameKind::Settings => Abuse::Settings,
            FrameKind::Ping if std::mem::take(&mut self.ping_free) => return,
            FrameKind::Ping => Abuse::Pings,
            FrameKind::WindowUpdate => {
                if frame.stream != 0 {
                    self.forget(Abuse::Starved);
                }
                if self.updates_free > 0 {
                    self.updates_free -= 1;
                    return;
                }
                Abuse::WindowUpdates
            }
            FrameKind::Continuation => Abuse::Continuations,
            FrameKind::Priority | FrameKind::Other => Abuse::Priorities,
        };
        self.count(abuse, now);
    }

    /// Takes in a setting of the client.
    pub(super) fn set(&mut self, id: u16, value: u32) {
        if id == INITIAL_WINDOW {
            self.no_window = value == 0;
            self.forget(Abuse::Starved);
        }
    }

    /// Takes in a frame of ours: what the client says about answers is free.
    pub(super) fn sent(&mut self, frame: &Frame) {
        if matches!(frame.kind, FrameKind::Data | FrameKind::Headers) {
            self.ping_free = true;
            self.updates_free = (self.updates_free + UPDATES_PER_DATA).min(UPDATES_SAVED);
        }
    }

    /// Counts a stream that broke the protocol.
    pub(super) fn error(&mut self, now: impl Fn() -> Instant) {
        self.count(Abuse::Errors, now);
    }

    fn count(&mut self, abuse: Abuse, now: impl Fn() -> Instant) {
        let now = now();
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= PERIOD) {
            self.began = Some(now);
            let starved = self.place(Abuse::Starved).map_or(0, |count| *count);
            self.counts = [0; Abuse::ALL.len()];
            // Not of a period: the streams are there until they have a window.
            self.place(Abuse::Starved).into_iter().for_each(|count| *count = starved);
        }
        let limit = abuse.limit(&self.limits);
        let Some(count) = self.place(abuse) else { return };
        *count = count.saturating_add(1);
        if *count > limit {
            self.over.get_or_insert(abuse);
        }
    }

    fn forget(&mut self, abuse: Abuse) {
        self.place(abuse).into_iter().for_each(|count| *count = 0);
    }

    fn place(&mut self, abuse: Abuse) -> Option<&mut u32> {
        self.counts.iter_mut().zip(Abuse::ALL).find(|(_, of)| **of == abuse).map(|(count, _)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Http2Limits = Http2Limits::SMALL;

    fn frame(kind: FrameKind, flags: u8, stream: u32, length: u32) -> Frame {
        Frame { kind, flags, stream, length, number: 0 }
    }

    fn sent(frames: impl IntoIterator<Item = Frame>) -> Option<Abuse> {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        frames.into_iter().for_each(|frame| flood.came(&frame, || now));
        flood.over()
    }

    #[test]
    fn each_flood_is_told_at_the_first_frame_over_its_limit() {
        for (frame, abuse) in [
            (frame(FrameKind::Reset, 0, 1, 4), Abuse::Resets),
            (frame(FrameKind::Settings, 0, 0, 6), Abuse::Settings),
            (frame(FrameKind::Settings, 1, 0, 0), Abuse::Settings),
            (frame(FrameKind::Priority, 0, 1, 5), Abuse::Priorities),
            (frame(FrameKind::Other, 0, 0, 5), Abuse::Priorities),
            (frame(FrameKind::WindowUpdate, 0, 0, 4), Abuse::WindowUpdates),
            (frame(FrameKind::Data, 0, 1, 0), Abuse::EmptyData),
            (frame(FrameKind::Continuation, 0, 1, 0), Abuse::Continuations),
        ] {
            assert_eq!(sent([frame; 20]), None, "{frame:?}");
            assert_eq!(sent([frame; 21]), Some(abuse), "{frame:?}");
        }
        // The first one is free.
        assert_eq!(sent([frame(FrameKind::Ping, 0, 0, 8); 21]), None);
        assert_eq!(sent([frame(FrameKind::Ping, 0, 0, 8); 22]), Some(Abuse::Pings));
    }

    #[test]
    fn what_asks_for_something_is_not_counted() {
        assert_eq!(sent((0..500).map(|n| frame(FrameKind::Headers, 5, 2 * n + 1, 30))), None);
        assert_eq!(sent([frame(FrameKind::Data, 0, 1, 1000); 500]), None);
        assert_eq!(sent([frame(FrameKind::Data, 1, 1, 0); 500]), None);
    }

    #[test]
    fn counts_are_of_ten_seconds() {
        let (mut flood, start) = (Flood::new(LIMITS), Instant::now());
        for tens in 0..5 {
            for _ in 0..20 {
                flood.came(&frame(FrameKind::Reset, 0, 1, 4), || start + PERIOD * tens);
            }
        }
        assert_eq!(flood.over(), None);
    }

    #[test]
    fn a_large_download_may_be_measured_and_paced() {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        for _ in 0..1000 {
            flood.sent(&frame(FrameKind::Data, 0, 1, 16_384));
            flood.came(&frame(FrameKind::Ping, 0, 0, 8), || now);
            for _ in 0..10 {
                flood.came(&frame(FrameKind::WindowUpdate, 0, 1, 4), || now);
            }
        }
        assert_eq!(flood.over(), None);
    }

    #[test]
    fn who_gives_no_window_may_not_ask_for_ever() {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        let ask = |flood: &mut Flood, stream: u32| flood.came(&frame(FrameKind::Headers, 5, stream, 30), || now + PERIOD * stream);
        flood.set(INITIAL_WINDOW, 0);
        (0..20).for_each(|n| ask(&mut flood, 2 * n + 1));
        assert_eq!(flood.over(), None);

        // Windows that come later are windows.
        flood.came(&frame(FrameKind::WindowUpdate, 0, 1, 4), || now);
        (20..40).for_each(|n| ask(&mut flood, 2 * n + 1));
        assert_eq!(flood.over(), None);
        ask(&mut flood, 101);
        assert_eq!(flood.over(), Some(Abuse::Starved));
    }
}
