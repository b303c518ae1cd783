//! The one way out for everything but upstreams, which take only their TLS from here: names, addresses, TLS,
//! deadlines and bounds of what octroi asks of others.
//!
//! A request goes to an `https` URL and nowhere else, or in clear text to an address of this machine where
//! the one who asks wants that; what speaks another protocol gets a [`Connector`]. The certificate of the
//! other side is verified always; there is no switch. No redirect is followed: whoever wants to go to another
//! place says so with a request of its own, and that is judged again. Every step has a deadline, and an
//! answer has a bound, because the other side may be down, slow or hostile.

mod backoff;
mod client;
mod connector;
mod deadlines;
mod dial;
mod error;
mod server;
mod trust;

pub use backoff::{backoff, random_fraction};
pub use client::Client;
pub use connector::{Connector, Stream, Target};
pub use deadlines::Deadlines;
pub use error::OutboundError;
pub use server::{ServerTls, TlsStream};
pub use trust::Trust;
