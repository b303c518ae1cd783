//! Has the request been here too often? (RFC 8586)

use http::HeaderName;

use crate::model::{Deny, Reason, RequestView, Verdict};

/// Refuses a request that has passed octroi eight times: it goes round in a circle. One octroi in front of another is no circle.
///
/// Who counts must not be kept from counting: the field is read before anything is taken off, each line for itself, and no quoted text of somebody
/// else hides our name in it.
pub fn check(view: &RequestView<'_>) -> Verdict {
    let lines = view.headers.get_all(&CDN_LOOP).iter();
    let passed = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).filter(|element| is_ours(element)).count();
    if passed < MOST {
        return Ok(());
    }
    Err(Deny::new(Reason::Loop, format!("the request has passed octroi {passed} times; an upstream leads back to it")))
}

/// Says whether an element names octroi; parameters may follow.
fn is_ours(element: &[u8]) -> bool {
    let name = element.split(|&byte| byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(CDN_ID.as_bytes())
}

/// The field, and octroi's name in it.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// The same name on every node: which of them it was makes no difference to a circle.
pub const CDN_ID: &str = "octroi";

/// How often a request may pass.
const MOST: usize = 8;
