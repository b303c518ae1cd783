//! A successor that fails where a test wants it to. It speaks the packets of `hand_over`.

use std::{path::Path, time::Duration};

use rustix::{
    fd::OwnedFd,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// The version of hand-overs.
pub const VERSION: u8 = 2;
pub const REFUSED: u8 = 3;
pub const READY: u8 = 4;
pub const SOCKETS: u8 = 6;
pub const BOUND: u8 = 7;
pub const JOURNAL: u8 = 8;
pub const TAKEN: u8 = 9;
pub const GO: u8 = 10;
pub const SERVES: u8 = 11;

pub struct FailingSuccessor(OwnedFd);

impl FailingSuccessor {
    /// Connects, and says hello.
    pub fn at(state_dir: &Path) -> Self {
        Self::of_version(state_dir, VERSION)
    }

    /// The same, as an octroi from before or behind this one would.
    pub fn of_version(state_dir: &Path, version: u8) -> Self {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(state_dir.join("upgrade.sock")).unwrap()).unwrap();
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(10))).unwrap();
        let successor = Self(socket);
        successor.say(&[1, 0, version]);
        successor
    }

    /// Waits in the predecessor's room, ready.
    pub fn waiting(state_dir: &Path) -> Self {
        let successor = Self::at(state_dir);
        assert_eq!(successor.hear()[0], 2);
        successor.say(&[READY]);
        successor
    }

    pub fn say(&self, packet: &[u8]) {
        let _ = rustix::net::send(&self.0, packet, SendFlags::NOSIGNAL);
    }

    /// Hears one packet; nothing at the end.
    pub fn hear(&self) -> Vec<u8> {
        let mut packet = vec![0; 65_536];
        let (read, _) = rustix::net::recv(&self.0, packet.as_mut_slice(), RecvFlags::empty()).unwrap();
        packet.truncate(read);
        packet
    }

    /// Hears packets until one of a kind comes.
    pub fn hear_until(&self, kind: u8) -> Vec<u8> {
        loop {
            let packet = self.hear();
            assert!(!packet.is_empty(), "the predecessor ended");
            if packet[0] == kind {
                return packet;
            }
        }
    }
}
