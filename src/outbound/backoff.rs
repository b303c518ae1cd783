//! How long to pause before a request is tried again.

use std::time::Duration;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// The longest pause that the other side may ask for: a week, as the longest rate limits of CAs.
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 86_400);

/// Returns how long to pause after so many failures in a row: `first`, doubled each time up to six hours,
/// give or take a fifth by `chance` (0 to 1). At least as long as the other side `asked` for, up to a week.
pub fn backoff(first: Duration, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled =
        first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE.max(first));
    doubled.mul_f64(0.8 + 0.4 * chance).max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// Draws a number from 0 to 1. Without randomness it is always the middle: only a pause depends on it.
pub fn random_fraction() -> f64 {
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

    #[test]
    fn pauses_double_up_to_six_hours_and_heed_the_other_side() {
        let of = |failures, asked| backoff(Duration::from_secs(60), failures, asked, 0.5).as_secs();

        assert_eq!([1, 2, 3, 4, 5].map(|failures| of(failures, None)), [60, 120, 240, 480, 960]);
        assert_eq!((of(10, None), of(u32::MAX, None)), (21_600, 21_600));
        assert_eq!(of(1, Some(Duration::from_secs(3600))), 3600);
        assert_eq!(of(1, Some(Duration::MAX)), 7 * 86_400);
        assert_eq!(backoff(Duration::from_secs(100), 1, None, 0.0).as_secs(), 80);
        assert_eq!(backoff(Duration::from_secs(100), 1, None, 1.0).as_secs(), 120);
        assert_eq!(backoff(DAY, 3, None, 0.5), DAY);
    }

    #[test]
    fn chance_is_no_constant() {
        let drawn: std::collections::BTreeSet<u64> = (0..50).map(|_| random_fraction().to_bits()).collect();

        assert!(drawn.len() > 10);
        assert!(drawn.iter().all(|bits| (0.0..=1.0).contains(&f64::from_bits(*bits))));
    }
}
