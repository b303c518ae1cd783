//! Keeps strangers from filling the log: of refusals that are alike, one is written at once and the rest as a number.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::model::{ClientIp, ClientPrefix, ClientSite, ListenerName, SITE_TIMES, Tick};

/// How long refusals are summed up.
pub const TALLY_WINDOW: Duration = Duration::from_secs(60);

/// How many clients, by listener and reason, have a line of their own in that time. More share one by listener and reason.
pub const TALLY_CLIENTS: usize = 1000;

/// Sums up refusals of connections, by listener, reason and client.
///
/// Bounded whatever comes: in a minute at most [`TALLY_CLIENTS`] lines at once, as many sums, and one sum more for each reason of each
/// listener.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Tick,
    clients: HashMap<(ListenerName, &'static str, ClientPrefix, u64), Alike, ahash::RandomState>,
    /// How many clients of an IPv6 /48 have one.
    sites: HashMap<(ListenerName, &'static str, ClientSite), u32, ahash::RandomState>,
    others: HashMap<(ListenerName, &'static str), u64, ahash::RandomState>,
}

/// Refusals beyond the one that was written.
#[derive(Clone, Copy, Debug)]
struct Alike {
    last: IpAddr,
    count: u64,
}

/// What came of noting a refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Noted {
    /// Whether it gets a line of its own, now.
    pub alone: bool,
    /// The sums of a minute that is over, to be written.
    pub sums: Vec<Sum>,
}

/// How many refusals were alike, beside those that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The listener.
    pub listener: ListenerName,
    /// The code of the reason.
    pub reason: &'static str,
    /// The client, by its last address; none where many share the sum.
    pub client: Option<IpAddr>,
    /// How many.
    pub count: u64,
}

impl Tally {
    /// Notes a refusal.
    pub fn note(&self, listener: &ListenerName, reason: &'static str, client: ClientIp, now: Tick) -> Noted {
        self.note_apart(listener, reason, client, 0, now)
    }

    /// Notes a refusal that is alike only to those with the same number: many machines with certificates of their own share an address.
    pub fn note_apart(&self, listener: &ListenerName, reason: &'static str, client: ClientIp, apart: u64, now: Tick) -> Noted {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = window.turn(now);
        let room = window.clients.len() < TALLY_CLIENTS;
        let mut key = (listener.clone(), reason, client.prefix(), apart);
        let mut first = true;
        if let Some(site) = key.2.site().filter(|_| !window.clients.contains_key(&key)) {
            let lines = window.sites.get(&(key.0.clone(), reason, site)).copied().unwrap_or(0);
            if lines < SITE_TIMES && room {
                window.sites.insert((key.0.clone(), reason, site), lines + 1);
            } else if lines >= SITE_TIMES {
                // The rest of a /48 is one sum: its clients shall not take the lines of others.
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
        Noted { alone, sums }
    }

    /// Returns the sums of a minute that is over.
    pub fn turn(&self, now: Tick) -> Vec<Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turn(now)
    }

    /// Returns the sums so far: the process ends.
    pub fn close(&self) -> Vec<Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).empty()
    }
}

impl Window {
    fn turn(&mut self, now: Tick) -> Vec<Sum> {
        if now.since(self.began) < TALLY_WINDOW {
            return Vec::new();
        }
        self.began = now;
        self.empty()
    }

    fn empty(&mut self) -> Vec<Sum> {
        self.sites.clear();
        let clients = std::mem::take(&mut self.clients).into_iter();
        let one = |((listener, reason, _, _), alike): (_, Alike)| Sum { listener, reason, client: Some(alike.last), count: alike.count };
        let mut sums: Vec<Sum> = clients.filter(|(_, alike)| alike.count > 0).map(one).collect();
        let others = std::mem::take(&mut self.others).into_iter();
        sums.extend(others.map(|((listener, reason), count)| Sum { listener, reason, client: None, count }));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn note(tally: &Tally, reason: &'static str, client: u32, seconds: u64) -> Noted {
        let client = ClientIp::from(IpAddr::V4(client.into()));
        tally.note(&"public".parse().unwrap(), reason, client, at(seconds))
    }

    fn sum(reason: &'static str, client: Option<u32>, count: u64) -> Sum {
        Sum { listener: "public".parse().unwrap(), reason, client: client.map(|client| IpAddr::V4(client.into())), count }
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_as_a_sum() {
        let tally = Tally::default();

        assert_eq!(note(&tally, "denied", 1, 100), Noted { alone: true, sums: Vec::new() });
        for second in 101..105 {
            assert_eq!(note(&tally, "denied", 1, second), Noted { alone: false, sums: Vec::new() });
        }
        assert!(note(&tally, "denied", 2, 105).alone && note(&tally, "banned", 1, 105).alone);
        assert_eq!(tally.turn(at(159)), Vec::new());

        assert_eq!(note(&tally, "denied", 1, 160), Noted { alone: true, sums: vec![sum("denied", Some(1), 4)] });
        assert_eq!(tally.turn(at(300)), Vec::new());
        assert!(note(&tally, "denied", 1, 301).alone && !note(&tally, "denied", 1, 302).alone);
        assert_eq!(tally.close(), [sum("denied", Some(1), 1)]);
    }

    #[test]
    fn a_million_strangers_are_one_sum() {
        let tally = Tally::default();

        let alone = (0..1_000_000).filter(|client| note(&tally, "denied", *client, 100).alone).count();

        assert_eq!(alone, TALLY_CLIENTS);
        assert_eq!(tally.turn(at(200)), [sum("denied", None, 999_000)]);
    }
}
