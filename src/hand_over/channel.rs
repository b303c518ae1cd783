//! The socket between predecessor and successor: packets, each with at most one descriptor.

use std::{
    fs::Permissions,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    time::Duration,
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
        SocketType,
        sockopt::{self, Timeout},
    },
};

use super::message::Message;

/// The largest packet. What is sent in batches is bounded by less.
pub(super) const PACKET_BYTES: usize = 64 * 1024;

/// How long a packet may wait for a reader before the other side counts as gone.
const SENDING: Duration = Duration::from_secs(5);

/// How many successors the kernel holds for us: one is enough.
const BACKLOG: i32 = 4;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) uid: u32,
}

impl Peer {
    /// Only root and our own user may hand over to us or take over from us.
    pub(super) fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Listens at a path, mode 0600; what is there is replaced in one step.
pub(super) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let fresh = path.with_extension(format!("sock.{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&fresh)?)?;
    let placed = std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))
        .and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?))
        .and_then(|()| std::fs::rename(&fresh, path));
    if let Err(error) = placed {
        // Best effort: the error that counts is the first one.
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(socket)
}

/// Waits for a connection.
pub(super) fn accept(listener: impl AsFd) -> io::Result<Channel> {
    Channel::new(rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?)
}

impl Channel {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(SENDING))?;
        Ok(Self(socket))
    }

    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // First the deadline: a process that takes nobody may have its queue full.
        let channel = Self::new(socket)?;
        rustix::net::connect(&channel.0, &SocketAddrUnix::new(path)?)?;
        Ok(channel)
    }

    #[cfg(test)]
    pub(super) fn pair() -> (Self, Self) {
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        (Self::new(a).unwrap(), Self::new(b).unwrap())
    }

    pub(super) fn peer(&self) -> io::Result<Peer> {
        let credentials = sockopt::socket_peercred(&self.0)?;
        let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).map_err(io::Error::other)?;
        Ok(Peer { pid, uid: credentials.uid.as_raw() })
    }

    /// Sends one packet. Whole packets only, so several threads may send.
    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, None)
    }

    /// Sends one packet with a descriptor.
    pub(super) fn send_with(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("there is no room for a descriptor"));
        }
        loop {
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for one packet, for ever or for a time; the end of the other side is
    /// [`io::ErrorKind::UnexpectedEof`].
    pub(super) fn receive(&self, within: Option<Duration>) -> io::Result<(Message, Option<OwnedFd>)> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, within)?;
        let mut bytes = vec![0; PACKET_BYTES];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = match rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(received) => received,
            };
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was cut short"));
            }
            let mut descriptor = None;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    descriptor = descriptors.last();
                }
            }
            let bytes = bytes.get(..received.bytes).unwrap_or_default();
            let message = Message::decode(bytes)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a packet is malformed"))?;
            return Ok((message, descriptor));
        }
    }

    /// Says whether the other side is still there.
    pub(super) fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)) {
            Ok(_) => fds
                .iter()
                .all(|fd| !fd.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)),
            Err(_) => false,
        }
    }

    /// Says no more, but still hears.
    pub(super) fn shutdown_write(&self) {
        // Gone already: that is what was wanted.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// Ends it; readers of either side see that.
    pub(super) fn close(&self) {
        // Gone already: that is what was wanted.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_goes_over_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upgrade.sock");
        let listener = listen(&path).unwrap();
        let sender = Channel::connect(&path).unwrap();
        let receiver = accept(&listener).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let named = Message::Socket { name: "n".repeat(60_000), address: Some(address) };

        sender.send_with(&named, Some(socket.as_fd())).unwrap();
        let (message, descriptor) = receiver.receive(Some(SENDING)).unwrap();

        assert_eq!(message, named);
        assert_eq!(TcpListener::from(descriptor.unwrap()).local_addr().unwrap(), address);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            receiver.peer().unwrap(),
            Peer { pid: std::process::id(), uid: rustix::process::geteuid().as_raw() }
        );
    }

    #[test]
    fn the_end_of_the_other_side_is_seen() {
        let (a, b) = Channel::pair();
        assert!(a.is_open());
        assert_eq!(a.receive(Some(Duration::from_millis(10))).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        b.send(&Message::Ready).unwrap();
        drop(b);

        assert!(!a.is_open());
        assert_eq!(a.receive(None).unwrap().0, Message::Ready);
        assert_eq!(a.receive(None).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(a.send(&Message::Ready).is_err());
    }
}
