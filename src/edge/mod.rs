//! The doors: sockets, PROXY protocol, caps, TLS, and the stream that HTTP is spoken on.
//!
//! A connection goes this way, and stops at the first thing that is wrong with it:
//!
//! ```text
//! accept ─ caps of listener and process ─ PROXY header (required or off) ─ deny list ─ ban ─ cap per client ─ handshake rate ─ TLS ─ Handler
//! ```
//!
//! What stands behind a door is a [`Handler`]; who writes down what happens at it is a [`Witness`]. Both come from `app`, so that
//! edge, gateway and admin never know each other.

mod acme;
mod admit;
mod cap;
#[doc(hidden)]
pub mod fuzz;
mod handshakes;
mod listener;
mod refusal;
mod rules;
mod stream;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::protocols::Stream;
use tokio::sync::watch;

pub use cap::Connections;
pub use listener::{Beside, Bound, bind, listen};
pub use refusal::{EarlyCause, EdgeRefusal, Http2Error, Http2Refusal};
pub use rules::Rules;
pub use stream::GateStream;
pub use tls::{AdminTls, Built, CertificateExpiry, Renewal, StoredPair, TlsError, TlsState, dev, install_provider, ja4, judge_certificate};

use crate::model::{BoxFuture, ClientIp, Connection, Cut, Host, ListenerName, TlsFacts};

/// Serves connections.
///
/// Where HTTP/1 is spoken, the handler must call [`Connection::request_begins`] for each request before anything is answered, and
/// [`Connection::request_ends`] after it: an answer to a request that nobody began is taken for a refusal by the library, and
/// replaced by [`Witness::early_refusal`].
pub trait Handler: Send + Sync {
    /// Serves one connection to its end. `shutdown` turns true when no further request should be waited for.
    fn serve(self: Arc<Self>, stream: Stream, connection: Arc<Connection>, shutdown: watch::Receiver<bool>) -> BoxFuture<'static, ()>;
}

/// Writes down what happens at the doors. None of it may block: it is called between two reads.
pub trait Witness: Send + Sync {
    /// A connection was taken and counts as open.
    fn connection_opened(&self, listener: &ListenerName);

    /// A connection that was taken is closed.
    fn connection_closed(&self, listener: &ListenerName);

    /// A connection was refused, by the cap of the listener before it counts as open, otherwise after. `peer` is who connected, as
    /// far as it is known by then; `detail` is for the operator and may hold what the client sent.
    fn refused(&self, listener: &ListenerName, peer: SocketAddr, refusal: EdgeRefusal, detail: &str);

    /// Says whether a client is banned. Asked of every connection once its address is known, and with every read from it: a ban
    /// ends what is open.
    fn is_banned(&self, client: ClientIp) -> bool;

    /// A TLS handshake succeeded.
    fn handshake(&self, listener: &ListenerName, tls: &TlsFacts, took: Duration);

    /// A CA was shown that a host is ours (TLS-ALPN-01). That connection ends now, and was no client's.
    fn proven(&self, listener: &ListenerName, peer: SocketAddr, host: &Host);

    /// A request was refused before anybody began it. Returns the whole HTTP/1 answer, with `Connection: close`.
    ///
    /// `head` is what came of the head, at most one read more than `header_bytes`.
    fn early_refusal(&self, connection: &Connection, head: &[u8], cause: EarlyCause) -> Vec<u8>;

    /// A deadline ended a connection, the reading of one, or one body on it. Heads that come too slowly are told as a refusal instead.
    fn cut(&self, connection: &Connection, cut: Cut);

    /// The library reset a stream of HTTP/2, whose client broke the protocol so. Called at once and once for each reset; the line is that of
    /// its request, or comes with [`Witness::http2_refused`] where none has begun.
    fn stream_reset(&self, connection: &Connection, error: Http2Error);

    /// A stream or a connection of HTTP/2 was ended without a request having begun: by the library, or by us.
    fn http2_refused(&self, connection: &Connection, refusal: Http2Refusal);
}
