//! Bounds the log lines of refused connections: of similar refusals, one is written at once and the rest as
//! a count.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::{ClientIp, ClientPrefix, ClientSite, ListenerName, SITE_TIMES, Tick};

/// The interval of a summary.
pub(super) const SUMMARY_WINDOW: Duration = Duration::from_secs(60);

/// How many groups of listener, reason and client get their own line in one interval. The others share one
/// per listener and reason.
pub(super) const SUMMARY_CLIENTS: usize = 1000;

/// Counts refused connections by listener, reason and client.
///
/// The bound per minute: [`SUMMARY_CLIENTS`] immediate lines, as many summaries, and one more summary for
/// each reason of each listener.
#[derive(Debug, Default)]
pub(super) struct RefusalSummary(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Tick,
    clients: HashMap<(ListenerName, &'static str, ClientPrefix, u64), Alike, ahash::RandomState>,
    /// How many clients of each IPv6 /48 have a group.
    sites: HashMap<(ListenerName, &'static str, ClientSite), u32, ahash::RandomState>,
    others: HashMap<(ListenerName, &'static str), u64, ahash::RandomState>,
}

/// Refusals in addition to the one that was written.
#[derive(Clone, Copy, Debug)]
struct Alike {
    last: IpAddr,
    count: u64,
}

/// The result of noting a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoteOutcome {
    /// Whether the refusal gets its own line now.
    pub(super) alone: bool,
    /// The summaries of the last full minute, to be written.
    pub(super) sums: Vec<RefusalCount>,
}

/// A summary: how many similar refusals have no line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalCount {
    /// The listener.
    pub(super) listener: ListenerName,
    /// The code of the reason.
    pub(super) reason: &'static str,
    /// The client's last address; none where several clients share the summary.
    pub(super) client: Option<IpAddr>,
    /// How many.
    pub(super) count: u64,
}

impl RefusalSummary {
    /// Notes a refusal.
    #[cfg(test)]
    fn note(
        &self,
        listener: &ListenerName,
        reason: &'static str,
        client: ClientIp,
        now: Tick,
    ) -> NoteOutcome {
        self.note_grouped(listener, reason, client, 0, now)
    }

    /// Notes a refusal that is similar only to those of the same group: many machines with different
    /// certificates may share an address.
    pub(super) fn note_grouped(
        &self,
        listener: &ListenerName,
        reason: &'static str,
        client: ClientIp,
        group: u64,
        now: Tick,
    ) -> NoteOutcome {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = window.roll_over(now);
        let room = window.clients.len() < SUMMARY_CLIENTS;
        let mut key = (listener.clone(), reason, client.prefix(), group);
        let mut first = true;
        if let Some(site) = key.2.site().filter(|_| !window.clients.contains_key(&key)) {
            let lines = window.sites.get(&(key.0.clone(), reason, site)).copied().unwrap_or(0);
            if lines < SITE_TIMES && room {
                window.sites.insert((key.0.clone(), reason, site), lines + 1);
            } else if lines >= SITE_TIMES {
                // The other clients of a /48 share one summary, so that they cannot use up the groups of
                // other clients.
                (key.2, key.3, first) = (ClientPrefix(site.number()), 0, false);
            }
        }
        let alone = match window.clients.get_mut(&key) {
            Some(alike) => {
                *alike = Alike { last: client.addr(), count: alike.count.saturating_add(1) };
                false
            }
            None if room => {
                window.clients.insert(key, Alike { last: client.addr(), count: u64::from(!first) });
                first
            }
            None => {
                let others = window.others.entry((key.0, reason)).or_default();
                *others = others.saturating_add(1);
                false
            }
        };
        NoteOutcome { alone, sums }
    }

    /// Returns the summaries of the last full minute.
    pub(super) fn roll_over(&self, now: Tick) -> Vec<RefusalCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).roll_over(now)
    }

    /// Returns the summaries so far, at the end of the process.
    pub(super) fn close(&self) -> Vec<RefusalCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).empty()
    }
}

impl Window {
    fn roll_over(&mut self, now: Tick) -> Vec<RefusalCount> {
        if now.since(self.began) < SUMMARY_WINDOW {
            return Vec::new();
        }
        self.began = now;
        self.empty()
    }

    fn empty(&mut self) -> Vec<RefusalCount> {
        self.sites.clear();
        let clients = std::mem::take(&mut self.clients).into_iter();
        let one = |((listener, reason, _, _), alike): (_, Alike)| RefusalCount {
            listener,
            reason,
            client: Some(alike.last),
            count: alike.count,
        };
        let mut sums: Vec<RefusalCount> = clients.filter(|(_, alike)| alike.count > 0).map(one).collect();
        let others = std::mem::take(&mut self.others).into_iter();
        sums.extend(others.map(|((listener, reason), count)| RefusalCount {
            listener,
            reason,
            client: None,
            count,
        }));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn note(summary: &RefusalSummary, reason: &'static str, client: u32, seconds: u64) -> NoteOutcome {
        let client = ClientIp::from(IpAddr::V4(client.into()));
        summary.note(&"public".parse().unwrap(), reason, client, at(seconds))
    }

    fn sum(reason: &'static str, client: Option<u32>, count: u64) -> RefusalCount {
        RefusalCount {
            listener: "public".parse().unwrap(),
            reason,
            client: client.map(|client| IpAddr::V4(client.into())),
            count,
        }
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_as_a_sum() {
        let summary = RefusalSummary::default();

        assert_eq!(note(&summary, "denied", 1, 100), NoteOutcome { alone: true, sums: Vec::new() });
        for second in 101..105 {
            assert_eq!(note(&summary, "denied", 1, second), NoteOutcome { alone: false, sums: Vec::new() });
        }
        assert!(note(&summary, "denied", 2, 105).alone && note(&summary, "banned", 1, 105).alone);
        assert_eq!(summary.roll_over(at(159)), Vec::new());

        assert_eq!(
            note(&summary, "denied", 1, 160),
            NoteOutcome { alone: true, sums: vec![sum("denied", Some(1), 4)] }
        );
        assert_eq!(summary.roll_over(at(300)), Vec::new());
        assert!(note(&summary, "denied", 1, 301).alone && !note(&summary, "denied", 1, 302).alone);
        assert_eq!(summary.close(), [sum("denied", Some(1), 1)]);
    }

    #[test]
    fn a_million_strangers_are_one_sum() {
        let summary = RefusalSummary::default();

        let alone = (0..1_000_000).filter(|client| note(&summary, "denied", *client, 100).alone).count();

        assert_eq!(alone, SUMMARY_CLIENTS);
        assert_eq!(summary.roll_over(at(200)), [sum("denied", None, 999_000)]);
    }
}
