//! Has the request passed octroi too often? (RFC 8586)

use crate::model::{CDN_ID, CDN_LOOP, Deny, Reason, RequestView, Verdict};

/// Refuses a request that has passed octroi eight times: it runs in a loop. One octroi in front of another is
/// not a loop.
///
/// Nobody must be able to hide earlier passes: the field is read before anything is removed, each line by
/// itself, and quoted text does not hide our name.
pub fn check(view: &RequestView<'_>) -> Verdict {
    let lines = view.headers.get_all(&CDN_LOOP).iter();
    let passed = lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .filter(|element| is_ours(element))
        .count();
    if passed < MOST {
        return Ok(());
    }
    Err(Deny::new(
        Reason::Loop,
        format!("the request has passed octroi {passed} times; an upstream leads back to it"),
    ))
}

/// Says whether an element names octroi; parameters may follow.
fn is_ours(element: &[u8]) -> bool {
    let name = element.split(|&byte| byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(CDN_ID.as_bytes())
}

/// How often a request may pass.
const MOST: usize = 8;
