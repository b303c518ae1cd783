//! The successor's side: connects, waits, takes over.

use std::{
    io,
    net::TcpListener,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    OPENING, SOCKET, STEP, UpgradeError, VERSION,
    channel::{Channel, Peer},
    message::Message,
    successor_link::SuccessorLink,
};
use crate::{
    process::{InheritedSocket, InheritedSockets},
    sessions::SessionLedger,
};

/// A successor, before it serves.
pub(crate) struct Joining {
    /// Nothing, once the link has begun.
    channel: Mutex<Option<Channel>>,
    pid: u32,
    /// How many processes there have been, this one among them, since one was started without a predecessor.
    pub(crate) generation: u32,
}

/// What was handed over.
pub(crate) struct HandedOver {
    pub(crate) inherited: InheritedSockets,
    pub(crate) control: Option<UnixListener>,
}

/// What the predecessor knew of other nodes: all of it stands in its journal.
pub(crate) struct InheritedState {
    /// For how long it holds.
    pub(crate) fresh: Duration,
    /// The name of the Redis that it is from.
    pub(crate) redis: String,
}

impl Joining {
    /// Connects to the predecessor that has this state directory.
    pub(crate) fn at(state_dir: &Path) -> Result<Self, UpgradeError> {
        let path = state_dir.join(SOCKET);
        let shown = || path.display().to_string();
        let nobody = |source| UpgradeError::NoPredecessor { path: shown(), source };
        let channel = Channel::connect(&path).map_err(nobody)?;
        let peer = channel.peer().map_err(nobody)?;
        let Peer { pid, uid } = peer;
        if !peer.is_trusted() {
            return Err(UpgradeError::UntrustedPeer { path: shown(), uid });
        }
        channel.send(&Message::Hello(VERSION)).map_err(nobody)?;
        let joining = Self { channel: Mutex::new(Some(channel)), pid, generation: 0 };
        let generation = joining.next("greeted", Some(STEP), |message| {
            if let Message::Welcome(generation) = message { Some(generation) } else { None }
        })?;
        tracing::info!(predecessor = pid, generation, "a predecessor was found");
        Ok(Self { generation: generation.saturating_add(1), ..joining })
    }

    /// Tells the predecessor that nothing will come of it. Without effect once this process serves.
    pub(crate) fn refuse(&self, why: &str) {
        if let Some(channel) = &*self.channel.lock().unwrap_or_else(PoisonError::into_inner) {
            // Gone: then it knows.
            let _ = channel.send(&Message::Refused(why.to_owned()));
        }
    }

    /// Says that all is prepared, and waits for the sockets, for as long as it takes.
    pub(crate) fn wait(&self) -> Result<HandedOver, UpgradeError> {
        self.say(&Message::Ready, "waited")?;
        tracing::info!(
            predecessor = self.pid,
            "all is prepared; waiting for the predecessor to hand over (`octroi upgrade`, or QUIT to it)"
        );
        let mut handed_over = HandedOver { inherited: InheritedSockets::default(), control: None };
        let (mut sockets, mut came, mut within) = (Vec::new(), 0_u32, None);
        loop {
            let (message, descriptor) = self.receive("waited to hand over", within)?;
            within = Some(STEP);
            match (message, descriptor) {
                (Message::Socket { name, address: Some(address) }, Some(socket)) => {
                    came += 1;
                    sockets.push(InheritedSocket {
                        name,
                        configured: Some(address),
                        socket: TcpListener::from(socket),
                    });
                }
                (Message::Socket { address: None, .. }, Some(socket)) => {
                    came += 1;
                    handed_over.control = Some(UnixListener::from(socket));
                }
                (Message::Sockets(count), None) if count == came => {
                    handed_over.inherited = InheritedSockets::new(sockets);
                    return Ok(handed_over);
                }
                (Message::Refused(why), _) => return Err(UpgradeError::Refused(why)),
                (_, _) => return Err(self.unexpected("handed sockets over")),
            }
        }
    }

    /// Says that every listener is bound, and waits until the journal is free.
    pub(crate) fn bound(&self) -> Result<InheritedState, UpgradeError> {
        self.say(&Message::Bound, "handed sockets over")?;
        self.next("settled its journal", Some(OPENING), |message| match message {
            Message::Journal { fresh, redis } => {
                Some(InheritedState { fresh: Duration::from_millis(fresh), redis })
            }
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Refused(_)
            | Message::Ready
            | Message::Socket { .. } => None,
            Message::Sockets(_)
            | Message::Bound
            | Message::Taken
            | Message::Go
            | Message::Serves
            | Message::Write { .. } => None,
            Message::Written { .. }
            | Message::Follow { .. }
            | Message::Followed(_)
            | Message::Connections(_) => None,
        })
    }

    /// Says that the journal is open, and begins the link once the predecessor follows it.
    pub(crate) fn taken(&self, journal: &Arc<SessionLedger>) -> Result<Arc<SuccessorLink>, UpgradeError> {
        self.say(&Message::Taken, "gave its journal away")?;
        self.next("gave its journal away", Some(STEP), |message| {
            matches!(message, Message::Go).then_some(())
        })?;
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = channel
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
            .and_then(|channel| SuccessorLink::begin(channel, self.pid, journal));
        begun.map_err(|source| self.ended("gave its journal away", source))
    }

    fn say(&self, message: &Message, doing: &'static str) -> Result<(), UpgradeError> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = channel
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
            .and_then(|channel| channel.send(message));
        sent.map_err(|source| self.ended(doing, source))
    }

    fn receive(
        &self,
        doing: &'static str,
        within: Option<Duration>,
    ) -> Result<(Message, Option<std::os::fd::OwnedFd>), UpgradeError> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let received = channel
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
            .and_then(|channel| channel.receive(within));
        received.map_err(|source| self.ended(doing, source))
    }

    /// Waits for one message that must be it.
    fn next<T>(
        &self,
        doing: &'static str,
        within: Option<Duration>,
        want: impl Fn(Message) -> Option<T>,
    ) -> Result<T, UpgradeError> {
        let message = self.receive(doing, within)?.0;
        if let Message::Refused(why) = message {
            return Err(UpgradeError::Refused(why));
        }
        want(message).ok_or_else(|| self.unexpected(doing))
    }

    fn ended(&self, doing: &'static str, source: io::Error) -> UpgradeError {
        UpgradeError::Ended { who: "predecessor", pid: self.pid, doing, source }
    }

    fn unexpected(&self, doing: &'static str) -> UpgradeError {
        UpgradeError::Unexpected { who: "predecessor", pid: self.pid, doing }
    }
}
