//! Requests: the adapter between pingora and the pipeline. It decides nothing by itself.
//!
//! Floor 5. What pingora calls is translated once, in `proxy`; what is decided is decided in `pipeline`.

mod answer;
mod app_cookie;
mod body;
mod cookie_load;
mod discard;
mod exchange;
mod failure;
mod forward;
mod grpc;
mod guard;
mod health;
mod owner;
mod proxy;
mod record;
mod refuse;
mod renewals;
mod reply;
mod request_headers;
mod reset;
mod response_headers;
mod session;
mod share;
mod shared;
mod sign_in;
mod standing;
mod trailers;
mod upstream;
mod view;

#[doc(hidden)]
pub use exchange::fuzz;
pub use owner::of_head as owner_of_head;
pub use proxy::Gateway;
pub use record::early_line;
pub use renewals::Renewals;
pub use reply::{Asking, Language, Refusal};
pub use reset::reset_of;
pub use response_headers::{DEFAULT_FIELDS, OWN_FIELDS};
pub use share::Scarce;
pub use shared::{Draining, RequestIds, Shared, Snapshot};
pub use standing::{Standing, watch};
