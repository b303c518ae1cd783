//! Header fields: which of a request reach the upstream, which of an answer reach the client, and which the
//! gateway adds.
//!
//! Floor 3. Pure: maps of fields and rules in, changed maps out. Every function returns what it did, so that
//! the caller can count it.

mod content_type;
mod cookie_load;
mod credentials;
mod defaults;
mod forwarded;
mod grpc;
mod request;
mod response;
mod set_cookie;
mod trailers;

pub use content_type::{is_grpc, streams};
pub use cookie_load::{is_to_blame, lines};
pub use credentials::strip_credentials;
pub use defaults::{DEFAULT_FIELDS, OWN_FIELDS, TenantFields, complete, own_fields};
pub use forwarded::{ForwardedHeaders, ForwardedSession};
pub use grpc::{error_trailers, is_call};
pub use request::{
    DroppedFields, drop_malformed_trace_fields, drop_spoofed, leave_client_connection, takes_trailers,
};
pub use response::{
    GRANT, REQUEST_ID, REVOKE, check_framing, forbid_caching, hide, prepare_interim, signs_out,
};
pub use set_cookie::{CookieContext, filter_set_cookies};
pub use trailers::filter_trailers;
