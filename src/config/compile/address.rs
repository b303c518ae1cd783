//! The addresses that octroi binds: no two doors on one.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Context;
use crate::{
    config::{reader::Spanned, source::Span},
    model::{CONTROL_SOCKET, UPGRADE_SOCKET},
    policy::ServerAddress,
};

/// The longest path of a Unix socket: 108 bytes with the one that ends it (unix(7)).
pub(super) const SOCKET_PATH_BYTES: usize = 107;

/// The addresses so far.
#[derive(Debug, Default)]
pub(super) struct Addresses(Vec<(SocketAddr, Span)>);

impl Addresses {
    /// Takes an address, which nobody else may have. Port 0 is anybody's: the system chooses.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, address: &Spanned<SocketAddr>) -> SocketAddr {
        let Spanned { value, span } = *address;
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

/// What octroi binds, by which nothing may be reached through it: whoever asks a tenant would ask octroi
/// itself in octroi's name, as its own user at the control socket, as this machine at the admin listener, and
/// in a circle at a listener.
pub(super) struct OwnAddresses<'a> {
    /// The addresses.
    pub(super) addresses: &'a Addresses,
    /// The folder of the sockets.
    pub(super) state_dir: &'a Path,
}

impl OwnAddresses<'_> {
    /// Refuses a server of an upstream that is octroi itself.
    pub(super) fn validate(&self, cx: &mut Context<'_>, server: &Spanned<ServerAddress>) {
        if let ServerAddress::Unix(path) = &server.value
            && path.as_os_str().len() > SOCKET_PATH_BYTES
        {
            let message = format!(
                "the path of this socket has {} bytes; the system takes {SOCKET_PATH_BYTES}",
                path.as_os_str().len()
            );
            cx.error(server.span, message).hint("give the app a socket with a shorter path");
            return;
        }
        let found = match &server.value {
            ServerAddress::Tcp(address) => {
                let found = self.addresses.0.iter().find(|(bound, _)| reaches(*address, *bound));
                found.map(|(bound, span)| {
                    (address.to_string(), format!("octroi binds {bound} at {}", cx.sources.locate(*span)))
                })
            }
            ServerAddress::Unix(path) => {
                let own = [CONTROL_SOCKET, UPGRADE_SOCKET].map(|name| self.state_dir.join(name));
                let found = own.into_iter().find(|own| is_same_file(path, own));
                found
                    .map(|own| (path.display().to_string(), format!("octroi binds {} itself", own.display())))
            }
        };
        if let Some((server_is, how)) = found {
            cx.error(server.span, format!("`{server_is}` is octroi itself"))
                .hint(format!("{how}; name the address of the app"));
        }
    }
}

/// Says whether who connects to an address comes out at a bound one. A socket on every address of the machine
/// is at each of both families.
fn reaches(address: SocketAddr, bound: SocketAddr) -> bool {
    let (ip, at) = (address.ip().to_canonical(), bound.ip().to_canonical());
    // Port 0: the system chooses, and nobody can name what it will be.
    bound.port() != 0
        && address.port() == bound.port()
        && (ip == at || (at.is_unspecified() && is_of_this_machine(ip)))
}

/// Says whether an address is this machine's. The system sends from the very address that it sends to, if
/// that is its own; nothing is sent.
pub(super) fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let asked = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_loopback() || ip.is_unspecified() || asked().is_ok_and(|from| from.ip() == ip)
}

/// Says whether two paths lead to one file, or will once it is there: behind links, and by another name of
/// the file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    resolved(one) == resolved(other) || file(one).is_some_and(|found| file(other) == Some(found))
}

fn resolved(path: &Path) -> PathBuf {
    let in_folder = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(in_folder).unwrap_or_else(|| path.components().collect())
}

/// Says whether two sockets cannot both be bound: equal, or one of them on every address of the machine. An
/// IPv4 address in IPv6 clothes needs a socket of both families, which stands beside no socket of IPv4.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let is_mapped =
        |address: SocketAddr| matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    let every = one.is_unspecified() || other.is_unspecified();
    let both_ipv4 = one.is_ipv4() && other.is_ipv4();
    let disguised = both_ipv4 && is_mapped(a) != is_mapped(b);
    a.port() == b.port() && (one == other || disguised || (every && one.is_ipv4() == other.is_ipv4()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_is_reached_by_every_spelling_of_its_address() {
        let reaches = |address: &str, bound: &str| reaches(address.parse().unwrap(), bound.parse().unwrap());

        for bound in ["127.0.0.1:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80", "[::]:80"] {
            assert!(reaches("127.0.0.1:80", bound) && reaches("[::ffff:127.0.0.1]:80", bound), "{bound}");
            assert!(!reaches("127.0.0.1:81", bound) && !reaches("192.0.2.1:80", bound), "{bound}");
        }
        for address in ["127.0.0.2:80", "127.1.2.3:80", "[::1]:80", "[::ffff:127.9.9.9]:80"] {
            assert!(reaches(address, "0.0.0.0:80") && reaches(address, "[::]:80"), "{address}");
            assert!(!reaches(address, "127.0.0.1:80"), "{address}");
        }
        assert!(reaches("192.0.2.1:80", "192.0.2.1:80") && !reaches("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn an_address_of_an_interface_is_this_machine_s() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Where there is no way out, there is no other address either.
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_of_this_machine(socket.local_addr().unwrap().ip()));
        }
        assert!(
            !is_of_this_machine("192.0.2.1".parse().unwrap())
                && !is_of_this_machine("2001:db8::1".parse().unwrap())
        );
    }

    #[test]
    fn a_socket_is_itself_behind_every_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("state")).unwrap();
        std::os::unix::fs::symlink(at("state"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("state/control.sock"), at("app.sock")).unwrap();
        let own = at("state/control.sock");

        // Before it is there, and when it is.
        for path in
            ["state/control.sock", "link/control.sock", "state/../link/control.sock", "state/./control.sock"]
        {
            assert!(is_same_file(&at(path), &own), "{path}");
        }
        drop(std::os::unix::net::UnixListener::bind(&own).unwrap());
        fs::hard_link(&own, at("hard.sock")).unwrap();
        for path in ["link/control.sock", "app.sock", "hard.sock"] {
            assert!(is_same_file(&at(path), &own), "{path}");
        }
        for path in ["state/app.sock", "control.sock", "state/control.sock.1"] {
            assert!(!is_same_file(&at(path), &own), "{path}");
        }
    }

    #[test]
    fn every_address_of_the_machine_holds_each_of_them() {
        let collide = |a: &str, b: &str| super::collide(a.parse().unwrap(), b.parse().unwrap());

        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!collide("127.0.0.2:80", "127.0.0.1:80"));
        assert!(!collide("[::]:80", "127.0.0.1:80"));
        assert!(
            collide("[::ffff:127.0.0.1]:80", "127.0.0.1:80")
                && collide("127.0.0.2:80", "[::ffff:127.0.0.1]:80")
        );
        assert!(
            collide("[::ffff:0.0.0.0]:80", "127.0.0.1:80") && !collide("[::ffff:127.0.0.1]:80", "[::1]:80")
        );
        assert!(!collide("[::ffff:127.0.0.1]:80", "127.0.0.1:81"));
    }
}
