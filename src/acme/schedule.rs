//! When a certificate is due: a function of times.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{edge::StoredPair, model::UnixTime};

/// How long a CA may take to look at our proofs, or to sign.
pub(super) const POLLING: Duration = Duration::from_secs(240);

/// Says when a pair is to be renewed: `renew_before` its end, or a third of its life; a bit earlier, so that
/// many nodes do not come at once, and never before a third of its life is over, so that a long
/// `renew_before` does not renew without end.
///
/// The bit is up to a tenth of that time. It hangs on who asks and for what, so that asking again gives the
/// same.
pub(super) fn renewal(pair: &StoredPair, renew_before: Option<Duration>, node: &str, id: &str) -> UnixTime {
    let life = pair.not_after.since(pair.not_before);
    let before = renew_before.unwrap_or(life / 3);
    let bit = before.mul_f64(share(node, id, pair.not_after) / 10.0);
    let due = pair.not_after.minus(before).minus(bit);
    due.max(pair.not_before.plus(life / 3))
}

/// A number from 0 to 1.
fn share(node: &str, id: &str, end: UnixTime) -> f64 {
    let digest = Sha256::new()
        .chain_update(node)
        .chain_update([0])
        .chain_update(id)
        .chain_update(end.as_millis().to_be_bytes())
        .finalize();
    digest.first().map_or(0.5, |byte| f64::from(*byte) / f64::from(u8::MAX))
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
}
