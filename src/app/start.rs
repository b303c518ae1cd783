//! What a start is given, and why it may fail.

use std::{io, net::SocketAddr, os::unix::net::UnixListener, path::PathBuf, sync::Arc};

use super::{prepare::PrepareError, shutdown::Signals};
use crate::{
    admin::SocketError,
    hand_over::{Joining, Launch, UpgradeError},
    outbound::OutboundError,
    process::{BindError, InheritedSockets},
    sessions::StoreError,
    telemetry::{MetricsError, tracing::ProcessLog},
};

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether it takes over from the octroi that runs.
    pub succeeds: bool,
    /// How its own successor is started; nothing where that is not known.
    pub launch: Option<Launch>,
    /// Whether sessions from before a lost journal count, by an operator's word.
    pub accepts_old_sessions: bool,
    /// Its own log.
    pub log: ProcessLog,
}

/// Why octroi did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration or its files are bad.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The control socket cannot be bound.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics or admin listener cannot be bound.
    #[error("{name}: cannot listen on {address}: {source}")]
    BindAdmin {
        /// `metrics` or `admin`.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The service manager passed what cannot be used.
    #[error("the service manager passed a socket that cannot be used: {0}")]
    Inherited(io::Error),
    /// No successor could come.
    #[error("the hand-over socket in {} cannot be bound: {source}", dir.display())]
    UpgradeSocket {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A predecessor did not hand over.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The predecessor serves tenants that this configuration does not have.
    #[error("nothing is handed over: {0}")]
    Removal(String),
    /// The metrics cannot be declared.
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] MetricsError),
    /// Nobody could be believed to be Redis.
    #[error("redis: {0}")]
    Redis(#[from] OutboundError),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(io::Error),
    /// The runtime cannot be started.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

/// What a process finds when it begins to serve.
pub(super) struct StartContext {
    /// What ends this process.
    pub(super) signals: Signals,
    /// Sockets that listen already.
    pub(super) inherited: InheritedSockets,
    /// The predecessor's control socket.
    pub(super) control: Option<UnixListener>,
    /// The predecessor, which still serves.
    pub(super) joining: Option<Arc<Joining>>,
}
