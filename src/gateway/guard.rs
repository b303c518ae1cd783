//! A panic in a filter ends its request as a refusal; it never lets the request go on (threat model, row 93).
//!
//! The library would drop the connection without an answer, an access line or a count.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use crate::model::{Deny, Reason, Verdict};

/// Awaits work that judges.
///
/// After a panic only the state of this one request may be incomplete. It is logged and proves nothing, and
/// no permit comes out of it.
pub(super) async fn catch_panic_async<T>(work: impl Future<Output = Verdict<T>>) -> Verdict<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
}

/// Does synchronous work. After a panic only a message may be incomplete, and it is not sent.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> T) -> Verdict<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked())
}

fn panicked() -> Deny {
    Deny::new(Reason::Internal, "a filter panicked; the operational log says where")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_refusal() {
        let judged = catch_panic_async(async { if true { panic!("a test") } else { Ok(()) } }).await;

        assert_eq!(judged.map_err(|deny| deny.reason), Err(Reason::Internal));
        assert_eq!(
            catch_panic(|| -> () { panic!("a test") }).map_err(|deny| deny.reason),
            Err(Reason::Internal)
        );
    }

    #[tokio::test]
    async fn what_does_not_panic_passes_as_it_is() {
        assert_eq!(catch_panic_async(async { Ok(1) }).await, Ok(1));
        assert_eq!(catch_panic(|| 1), Ok(1));
    }
}
