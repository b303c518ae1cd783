//! Limits how many handshakes a listener begins, and the share of one client in them.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::model::{ClientPrefix, QuotaAnswer, SITE_TIMES, Tick};
use crate::quota::{self, Limit};

/// The number of counters among which clients are distributed, by a hash with a random seed: 16 KiB a
/// listener, however many clients. Clients that fall on the same counter share its part of the rate.
const COUNTS: usize = 1024;

/// The divisor of the rate for one client: others keep the rest, whatever one client does.
const SHARE: u32 = 8;

/// The smallest rate of one client: a browser opens six connections at once.
const LEAST_SHARE: u32 = 8;

/// The handshake limit of a listener.
#[derive(Debug)]
pub(super) struct HandshakeLimiter {
    all: AtomicU64,
    /// The rate of all clients together.
    rate: Limit,
    share: Limit,
    /// The rate of all clients of an IPv6 /48.
    share_of_site: Limit,
    counts: Box<[AtomicU64]>,
    /// Separate counters: a handshake takes a smaller part of the rate of a /48.
    sites: Box<[AtomicU64]>,
    hash: ahash::RandomState,
}

/// Why a handshake does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// All clients together exceed the rate.
    All,
    /// This client exceeds its share.
    Client,
    /// Its IPv6 /48 exceeds its share.
    Site,
}

impl TooMany {
    /// Returns the detail for the operator.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "of all clients",
            Self::Client => "of this client",
            Self::Site => "of the /48 of this client",
        }
    }
}

impl HandshakeLimiter {
    /// Creates a limiter for so many handshakes in a second, all clients together.
    pub(super) fn new(rate: NonZeroU32) -> Self {
        let share = NonZeroU32::new((rate.get() / SHARE).max(LEAST_SHARE.min(rate.get()))).unwrap_or(rate);
        // Eight times an eighth is everything, so others always keep at least the share of one client.
        let of_site = share
            .get()
            .saturating_mul(SITE_TIMES)
            .min(rate.get().saturating_sub(share.get()))
            .max(share.get());
        let of_site = NonZeroU32::new(of_site).unwrap_or(share);
        Self {
            all: AtomicU64::default(),
            rate: per_second(rate),
            share: per_second(share),
            share_of_site: per_second(of_site),
            counts: std::iter::repeat_with(AtomicU64::default).take(COUNTS).collect(),
            sites: std::iter::repeat_with(AtomicU64::default).take(COUNTS).collect(),
            hash: ahash::RandomState::new(),
        }
    }

    /// Counts one handshake. `client` is `None` for one of our own proxies, which many clients share.
    pub(super) fn take(&self, client: Option<ClientPrefix>, now: Tick) -> Result<(), TooMany> {
        // The client's own limit comes first, so that its excess costs others nothing.
        if client.is_some_and(|client| !self.take_share(&self.counts, client.0, self.share, now)) {
            return Err(TooMany::Client);
        }
        let site = client.and_then(ClientPrefix::site);
        if site.is_some_and(|site| !self.take_share(&self.sites, site.number(), self.share_of_site, now)) {
            return Err(TooMany::Site);
        }
        if take(&self.all, self.rate, now) { Ok(()) } else { Err(TooMany::All) }
    }

    fn take_share(&self, counts: &[AtomicU64], number: u128, share: Limit, now: Tick) -> bool {
        let index = usize::try_from(self.hash.hash_one(number) % 1024).unwrap_or(0);
        counts.get(index).is_some_and(|count| take(count, share, now))
    }
}

fn per_second(count: NonZeroU32) -> Limit {
    Limit { count, period: Duration::from_secs(1), burst: count }
}

/// Takes one from a limit, if any is left.
fn take(count: &AtomicU64, limit: Limit, now: Tick) -> bool {
    let decide = |tat: u64| match quota::decide(tat, limit, now) {
        (QuotaAnswer::Taken { .. }, new) => Some(new),
        (QuotaAnswer::Exceeded { .. }, _) => None,
    };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decide).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn handshakes(rate: u32) -> HandshakeLimiter {
        HandshakeLimiter::new(NonZeroU32::new(rate).unwrap())
    }

    #[test]
    fn one_client_takes_no_more_than_its_share() {
        let handshakes = handshakes(800);

        let taken = (0..2000).filter(|_| handshakes.take(Some(ClientPrefix(1)), NOW).is_ok()).count();
        assert_eq!(taken, 100);
        assert_eq!(handshakes.take(Some(ClientPrefix(1)), NOW), Err(TooMany::Client));
        // The others have all that is left; a few of them may share a count with it or each other.
        let others =
            (2..1000).filter(|client| handshakes.take(Some(ClientPrefix(*client)), NOW).is_ok()).count();
        assert!((690..=700).contains(&others), "{others}");
        let fresh = (1000..2000).find_map(|client| handshakes.take(Some(ClientPrefix(client)), NOW).err());
        assert_eq!(fresh, Some(TooMany::All));
        assert_eq!(handshakes.take(Some(ClientPrefix(1)), NOW.plus(Duration::from_millis(10))), Ok(()));
    }

    #[test]
    fn a_48_leaves_the_others_as_much_as_one_client_has() {
        let handshakes = handshakes(800);
        let client = |number: u128| ClientPrefix(0x2001_0db8_0007 << 80 | number << 64);

        let taken = (0..2000).filter(|number| handshakes.take(Some(client(*number)), NOW).is_ok()).count();
        assert_eq!(taken, 700);
        assert_eq!(handshakes.take(Some(client(2001)), NOW), Err(TooMany::Site));
        assert!((0..90).filter(|_| handshakes.take(Some(ClientPrefix(1)), NOW).is_ok()).count() >= 89);
    }

    #[test]
    fn a_small_rate_is_anybody_s_and_proxies_have_no_share() {
        let small = handshakes(3);
        assert_eq!((0..9).filter(|_| small.take(Some(ClientPrefix(1)), NOW).is_ok()).count(), 3);

        let large = handshakes(800);
        assert_eq!((0..2000).filter(|_| large.take(None, NOW).is_ok()).count(), 800);
    }
}
