//! Requests: the adapter between pingora and the pipeline. It decides nothing by itself.
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
mod forward;
mod grpc;
mod guard;
mod interrupted;
mod logged_request;
mod owner;
mod proxy;
mod record;
mod refusal;
mod refuse;
mod renewals;
mod request_framing;
mod reset;
mod response;
mod revalidate;
mod session_store;
mod shared;
mod sign_in_redirect;
mod tunnel;
mod upgrade;
mod upstream_request;
mod view;
mod websocket_frames;

pub use owner::of_head as owner_of_head;
pub use refusal::{ClientPreferences, Language, Refusal};
pub use renewals::Renewals;
pub use reset::reset_of;
pub use revalidate::watch_live_exchanges;
pub use shared::{Draining, Gateway, RequestIds, Shared, Snapshot};
