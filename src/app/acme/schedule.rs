//! When a certificate is due, and when to try again: functions of times and chance.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{edge::StoredPair, model::UnixTime};

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// The longest pause that a CA may ask for: a week, as the longest of their limits.
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 86_400);

/// Says when a pair is to be renewed: `renew_before` its end, or a third of its life; a bit earlier, so that many nodes do not
/// come at once, and never before a third of its life is over, so that a long `renew_before` does not renew without end.
///
/// The bit is up to a tenth of that time. It hangs on who asks and for what, so that asking again gives the same.
pub(super) fn renewal(pair: &StoredPair, renew_before: Option<Duration>, node: &str, id: &str) -> UnixTime {
    let life = pair.not_after.since(pair.not_before);
    let before = renew_before.unwrap_or(life / 3);
    let bit = before.mul_f64(share(node, id, pair.not_after) / 10.0);
    let due = pair.not_after.minus(before).minus(bit);
    due.max(pair.not_before.plus(life / 3))
}

/// A number from 0 to 1.
fn share(node: &str, id: &str, end: UnixTime) -> f64 {
    let digest = Sha256::new().chain_update(node).chain_update([0]).chain_update(id).chain_update(end.as_millis().to_be_bytes()).finalize();
    digest.first().map_or(0.5, |byte| f64::from(*byte) / f64::from(u8::MAX))
}

/// Says how long to pause after so many failures in a row: `first`, doubled each time up to six hours, give or take a fifth by
/// `chance` (0 to 1). At least as long as the CA asks for.
pub(in crate::app) fn pause(first: Duration, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE.max(first));
    doubled.mul_f64(0.8 + 0.4 * chance).max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// Draws a number from 0 to 1. Without randomness it is always the middle: nothing but the pause hangs on it.
pub(in crate::app) fn chance() -> f64 {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const BEGIN: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn pair(life: Duration) -> StoredPair {
        StoredPair { names: Vec::new(), not_before: BEGIN, not_after: BEGIN.plus(life) }
    }

    /// When it is due, in days since it began.
    fn due(life: u32, before: Option<u32>, node: &str) -> f64 {
        let due = renewal(&pair(DAY * life), before.map(|days| DAY * days), node, "tenants/acme");
        due.since(BEGIN).as_secs_f64() / 86_400.0
    }

    #[test]
    fn a_pair_is_renewed_when_a_third_of_its_life_is_left_and_not_by_all_nodes_at_once() {
        let days: Vec<f64> = (0..50).map(|node| due(90, None, &format!("edge-{node}"))).collect();

        assert!(days.iter().all(|day| (57.0..=60.0).contains(day)), "{days:?}");
        assert!(days.iter().any(|day| *day < 58.0) && days.iter().any(|day| *day > 59.0), "{days:?}");
        assert_eq!(due(90, None, "edge-1"), due(90, None, "edge-1"));
    }

    #[test]
    fn renew_before_is_kept_and_never_renews_without_end() {
        assert!((78.5..=80.0).contains(&due(90, Some(10), "edge-1")));
        assert_eq!(due(90, Some(100), "edge-1"), 30.0);
        assert_eq!(due(6, Some(30), "edge-1"), 2.0);
    }

    #[test]
    fn pauses_double_up_to_six_hours_and_heed_the_ca() {
        let of = |failures, asked| pause(Duration::from_secs(60), failures, asked, 0.5).as_secs();

        assert_eq!([1, 2, 3, 4, 5].map(|failures| of(failures, None)), [60, 120, 240, 480, 960]);
        assert_eq!((of(10, None), of(u32::MAX, None)), (21_600, 21_600));
        assert_eq!(of(1, Some(Duration::from_secs(3600))), 3600);
        assert_eq!(of(1, Some(Duration::MAX)), 7 * 86_400);
        assert_eq!(pause(Duration::from_secs(100), 1, None, 0.0).as_secs(), 80);
        assert_eq!(pause(Duration::from_secs(100), 1, None, 1.0).as_secs(), 120);
        assert_eq!(pause(DAY, 3, None, 0.5), DAY);
    }

    #[test]
    fn chance_is_no_constant() {
        let drawn: std::collections::BTreeSet<u64> = (0..50).map(|_| chance().to_bits()).collect();

        assert!(drawn.len() > 10);
        assert!(drawn.iter().all(|bits| (0.0..=1.0).contains(&f64::from_bits(*bits))));
    }
}
