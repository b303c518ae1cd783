//! The addresses that octroi binds: no two doors on one.

use std::net::SocketAddr;

use super::Context;
use crate::config::{reader::At, source::Span};

/// The addresses so far.
#[derive(Debug, Default)]
pub(super) struct Addresses(Vec<(SocketAddr, Span)>);

impl Addresses {
    /// Takes an address, which nobody else may have. Port 0 is anybody's: the system chooses.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, address: &At<SocketAddr>) -> SocketAddr {
        let At { value, span } = *address;
        let taken = |other: &&(SocketAddr, Span)| value.port() != 0 && collide(value, other.0);
        match self.0.iter().find(taken) {
            Some((other, first)) => {
                let how = if *other == value { String::new() } else { format!(", with {other}") };
                cx.error(span, format!("the address {value} is used twice{how}")).first(*first);
            }
            None => self.0.push((value, span)),
        }
        value
    }
}

/// Says whether two sockets cannot both be bound: equal, or one of them on every address of the machine.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || (every && a.is_ipv4() == b.is_ipv4()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_address_of_the_machine_holds_each_of_them() {
        let collide = |a: &str, b: &str| super::collide(a.parse().unwrap(), b.parse().unwrap());

        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!collide("127.0.0.2:80", "127.0.0.1:80"));
        assert!(!collide("[::]:80", "127.0.0.1:80"));
    }
}
