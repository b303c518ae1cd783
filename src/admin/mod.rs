//! What operators and their tools call: metrics, health, and the admin API over TCP or the control socket.
//!
//! Everything here speaks HTTP/1.1 with one request per connection over any stream, so head, body, deadlines
//! and connections are bounded in one small place. `app` supplies the streams (TLS beyond loopback) and
//! [`AdminDeps`].

mod api;
mod ban;
mod caller;
mod control_socket;
mod endpoint;
mod exchange;
#[doc(hidden)]
pub mod fuzz;
mod phase;
mod probe;
mod refusal;
mod serve;
mod session;
pub mod wire;

pub use api::{AdminDeps, Api};
pub use caller::Caller;
pub use control_socket::{ControlHandle, ControlSocket, SocketError, connect};
pub use probe::{HealthSource, Probes};
pub use serve::{ListenerState, serve_api, serve_api_over, serve_control, serve_probes};

#[cfg(test)]
pub(crate) mod fixture;
