//! Detects floods on HTTP/2: frames that cost us work and request nothing. Pure counters, no timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    model::{Abuse, Http2Limits},
    wire::http2::{Frame, FrameKind, setting},
};

/// The period of the counters (`threat-model.md`, row 73).
const PERIOD: Duration = Duration::from_secs(10);
/// How many WINDOW_UPDATE may answer one DATA frame: Envoy's number.
const UPDATES_PER_DATA: u32 = 10;
/// How many of them can accumulate.
const UPDATES_SAVED: u32 = 1000;

/// Counts what one client sends.
#[derive(Debug)]
pub(super) struct Flood {
    limits: Http2Limits,
    began: Option<Instant>,
    counts: [u32; Abuse::ALL.len()],
    /// Whether a PING is free, because we have sent something since the last one. Clients use PING to measure
    /// how much data is in flight (gRPC).
    ping_free: bool,
    updates_free: u32,
    /// Whether the responses of new streams have no window.
    no_window: bool,
    /// The highest stream so far.
    highest: u32,
    exceeded: Option<Abuse>,
}

impl Flood {
    pub(super) fn new(limits: Http2Limits) -> Self {
        let counts = [0; Abuse::ALL.len()];
        Self {
            limits,
            began: None,
            counts,
            ping_free: true,
            updates_free: 0,
            no_window: false,
            highest: 0,
            exceeded: None,
        }
    }

    /// Returns the limit that was exceeded first.
    pub(super) fn exceeded(&self) -> Option<Abuse> {
        self.exceeded
    }

    /// Returns the highest stream that the client has opened.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Counts a frame of the client.
    pub(super) fn received(&mut self, frame: &Frame, now: impl Fn() -> Instant) {
        let abuse = match frame.header.kind {
            FrameKind::Headers => {
                let opens = frame.header.stream > self.highest;
                self.highest = self.highest.max(frame.header.stream);
                match opens && self.no_window {
                    true => Abuse::Starved,
                    false => return,
                }
            }
            FrameKind::Data if frame.header.length == 0 && !frame.header.ends_stream() => Abuse::EmptyData,
            FrameKind::Data | FrameKind::PushPromise => return,
            FrameKind::Reset => Abuse::Resets,
            FrameKind::Settings => Abuse::Settings,
            FrameKind::Ping if std::mem::take(&mut self.ping_free) => return,
            FrameKind::Ping => Abuse::Pings,
            FrameKind::WindowUpdate => {
                if frame.header.stream != 0 {
                    self.forget(Abuse::Starved);
                }
                if self.updates_free > 0 {
                    self.updates_free -= 1;
                    return;
                }
                Abuse::WindowUpdates
            }
            FrameKind::Continuation => Abuse::Continuations,
            // The library visits all its streams for each GOAWAY. A client sends two at most (RFC 9113,
            // section 6.8).
            FrameKind::Priority | FrameKind::GoAway | FrameKind::Other => Abuse::Priorities,
        };
        self.count(abuse, now);
    }

    /// Takes in a setting of the client.
    pub(super) fn set(&mut self, id: u16, value: u32) {
        if id == setting::INITIAL_WINDOW_SIZE {
            self.no_window = value == 0;
            self.forget(Abuse::Starved);
        }
    }

    /// Takes in a frame of ours. What the client sends because of our responses is free.
    pub(super) fn sent(&mut self, frame: &Frame) {
        if matches!(frame.header.kind, FrameKind::Data | FrameKind::Headers) {
            self.ping_free = true;
            self.updates_free = (self.updates_free + UPDATES_PER_DATA).min(UPDATES_SAVED);
        }
    }

    /// Counts a stream that broke the protocol.
    pub(super) fn error(&mut self, now: impl Fn() -> Instant) {
        self.count(Abuse::Errors, now);
    }

    /// Counts DATA that consists of padding only, which its header does not show.
    pub(super) fn empty(&mut self, now: impl Fn() -> Instant) {
        self.count(Abuse::EmptyData, now);
    }

    fn count(&mut self, abuse: Abuse, now: impl Fn() -> Instant) {
        let now = now();
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= PERIOD) {
            self.began = Some(now);
            let starved = self.place(Abuse::Starved).map_or(0, |count| *count);
            self.counts = [0; Abuse::ALL.len()];
            // Not counted per period: the streams stay until they have a window.
            self.place(Abuse::Starved).into_iter().for_each(|count| *count = starved);
        }
        let limit = abuse.limit(&self.limits);
        let Some(count) = self.place(abuse) else { return };
        *count = count.saturating_add(1);
        if *count > limit {
            self.exceeded.get_or_insert(abuse);
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
    use crate::wire::http2::FrameHeader;

    const LIMITS: Http2Limits = Http2Limits::SMALL;

    fn frame(kind: FrameKind, flags: u8, stream: u32, length: u32) -> Frame {
        Frame { header: FrameHeader { length, kind, flags, stream }, number: 0 }
    }

    fn sent(frames: impl IntoIterator<Item = Frame>) -> Option<Abuse> {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        frames.into_iter().for_each(|frame| flood.received(&frame, || now));
        flood.exceeded()
    }

    #[test]
    fn each_flood_is_told_at_the_first_frame_over_its_limit() {
        for (frame, abuse) in [
            (frame(FrameKind::Reset, 0, 1, 4), Abuse::Resets),
            (frame(FrameKind::Settings, 0, 0, 6), Abuse::Settings),
            (frame(FrameKind::Settings, 1, 0, 0), Abuse::Settings),
            (frame(FrameKind::Priority, 0, 1, 5), Abuse::Priorities),
            (frame(FrameKind::Other, 0, 0, 5), Abuse::Priorities),
            (frame(FrameKind::GoAway, 0, 0, 8), Abuse::Priorities),
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
                flood.received(&frame(FrameKind::Reset, 0, 1, 4), || start + PERIOD * tens);
            }
        }
        assert_eq!(flood.exceeded(), None);
    }

    #[test]
    fn a_large_download_may_be_measured_and_paced() {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        for _ in 0..1000 {
            flood.sent(&frame(FrameKind::Data, 0, 1, 16_384));
            flood.received(&frame(FrameKind::Ping, 0, 0, 8), || now);
            for _ in 0..10 {
                flood.received(&frame(FrameKind::WindowUpdate, 0, 1, 4), || now);
            }
        }
        assert_eq!(flood.exceeded(), None);
    }

    #[test]
    fn who_gives_no_window_may_not_ask_for_ever() {
        let (mut flood, now) = (Flood::new(LIMITS), Instant::now());
        let ask = |flood: &mut Flood, stream: u32| {
            flood.received(&frame(FrameKind::Headers, 5, stream, 30), || now + PERIOD * stream)
        };
        flood.set(setting::INITIAL_WINDOW_SIZE, 0);
        (0..20).for_each(|n| ask(&mut flood, 2 * n + 1));
        assert_eq!(flood.exceeded(), None);

        // Windows that come later are windows.
        flood.received(&frame(FrameKind::WindowUpdate, 0, 1, 4), || now);
        (20..40).for_each(|n| ask(&mut flood, 2 * n + 1));
        assert_eq!(flood.exceeded(), None);
        ask(&mut flood, 101);
        assert_eq!(flood.exceeded(), Some(Abuse::Starved));
    }
}
