//! Requests: the adapter between pingora and the pipeline. It makes no decisions of its own.
//!
//! Pingora's hooks are translated once, in `proxy`. The pipeline decides: [`judge`](crate::pipeline::judge)
//! on the request, [`judge_answer`](crate::pipeline::answer::judge_answer) on the answer.

mod body;
mod context;
mod discard;
mod downstream;
mod drain;
mod exchange;
mod failure;
mod guard;
mod interrupted;
mod logged_request;
mod proxy;
mod record;
mod refuse;
mod request_framing;
mod reset;
mod response;
mod revalidate;
mod session_store;
mod shared;
mod tunnel;
mod upstream_request;
mod view;

pub use reset::reset_of;
pub use revalidate::watch_live_exchanges;
pub use shared::{Draining, Gateway, RequestIds, Shared, Snapshot};
