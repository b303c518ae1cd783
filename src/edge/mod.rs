//! The listeners: sockets, PROXY protocol, caps, TLS, and the stream that HTTP is spoken on.
//!
//! A connection goes this way, and stops at the first thing that is wrong with it:
//!
//! ```text
//! accept ─ caps of listener and process ─ PROXY header (required or off) ─ deny list ─ ban ─ cap per client
//! ─ handshake rate ─ TLS ─ Handler
//! ```
//!
//! What stands behind a listener is a [`Handler`]; whom it asks, and where its events go, are its [`Hooks`].
//! Both come from `app`, so that edge, gateway and admin never know each other.

mod acme;
mod admit;
mod cap;
#[doc(hidden)]
pub mod fuzz;
mod handshake_limiter;
mod hooks;
mod listener;
mod refusal;
mod rules;
mod stream;
mod tls;

use std::sync::Arc;

use pingora::protocols::Stream;
use tokio::sync::watch;

pub use cap::Connections;
pub use hooks::{AdmissionControl, EarlyReply, Hooks};
pub use listener::{BoundListener, Ipv6Mode, ListenerDeps, bind, listen};
pub use refusal::{EarlyCause, EdgeRefusal, Http2Error, Http2Refusal};
pub use rules::Rules;
pub use stream::GateStream;
pub use tls::{
    AdminTls, Built, CertificateExpiry, Renewal, StoredPair, TlsError, TlsState, dev, install_provider,
    judge_certificate,
};

use crate::model::{BoxFuture, Connection};

/// Serves connections.
///
/// Where HTTP/1 is spoken, the handler must call [`Connection::request_begins`] for each request before
/// anything is answered, and [`Connection::request_ends`] after it: an answer to a request that nobody began
/// is taken for a refusal by the library, and replaced by [`EarlyReply::reply`].
pub trait Handler: Send + Sync {
    /// Serves one connection to its end. `shutdown` turns true when no further request should be waited for.
    fn serve(
        self: Arc<Self>,
        stream: Stream,
        connection: Arc<Connection>,
        shutdown: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()>;
}
