//! The one way out: sockets, names, addresses, TLS, deadlines and bounds of what octroi asks of others.
//!
//! A request of octroi's own goes to an `https` URL and nowhere else, or in clear text to an address of this
//! machine where the caller allows that; another protocol gets a [`Connector`]. Upstreams have addresses and
//! deadlines of their own: they take sockets and TLS from here. The certificate of the other side is always
//! verified; there is no switch. No redirect is followed: a caller that wants to go to another place sends a
//! request of its own, and that is judged again. Every step has a deadline, and an answer has a bound: the
//! other side may be down, slow or hostile.

mod backoff;
mod client;
mod connector;
mod deadlines;
mod dial;
mod error;
mod server;
mod socket;
mod trust;

pub use backoff::{backoff, random_fraction};
pub use client::Client;
pub use connector::{Connector, Stream, Target};
pub use deadlines::Deadlines;
pub use error::OutboundError;
pub use server::{ServerTls, TlsStream};
pub use socket::{connect_tcp, connect_unix};
pub use trust::Trust;
