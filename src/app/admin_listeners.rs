//! The listeners that no tenant is served on: metrics, admin API, control socket.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
};

use tokio::sync::watch;

use super::{health::ProcessHealth, parts::App, start::RunError};
use crate::{
    admin::{self, AdminDeps, Api, ControlSocket, ListenerState, Probes},
    edge,
    hand_over::AdminHandles,
    model::{BoxFuture, EventSink},
    policy::Policy,
    process::{InheritedSockets, ipv6_mode},
};

/// The names that these listeners have for the service manager, in status and in hand-overs.
pub(super) const METRICS: &str = "metrics";
/// See [`METRICS`].
pub(super) const ADMIN: &str = "admin";

/// These listeners, bound and not yet accepting.
#[derive(Debug)]
pub(super) struct AdminListeners {
    control: ControlSocket,
    metrics: Option<(SocketAddr, TcpListener)>,
    admin: Option<(SocketAddr, TcpListener)>,
}

impl AdminListeners {
    /// Binds them; takes over what listens already. Ports come first, which may be taken: `then` is done
    /// before anything is written into the state directory.
    pub(super) fn bind(
        policy: &Policy,
        inherited: &mut InheritedSockets,
        control: Option<UnixListener>,
        then: impl FnOnce() -> Result<(), RunError>,
    ) -> Result<Self, RunError> {
        let mut listen = |name: &'static str, address: SocketAddr| {
            let listener = match inherited.take(name, address) {
                Some(listener) => Ok(listener),
                None => edge::listen(address, ipv6_mode(policy, address)),
            };
            let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            listener.map(|listener| (address, listener)).map_err(|source| RunError::BindAdmin {
                name,
                address,
                source,
            })
        };
        let metrics = policy.metrics.map(|address| listen(METRICS, address)).transpose()?;
        let admin = policy.admin.as_ref().map(|admin| listen(ADMIN, admin.address)).transpose()?;
        then()?;
        let control = match control {
            Some(listener) => ControlSocket::take_over(&policy.state_dir, listener)?,
            None => ControlSocket::bind(&policy.state_dir)?,
        };
        Ok(Self { control, metrics, admin })
    }

    /// Returns other handles of the same sockets.
    pub(super) fn handles(&self) -> Result<AdminHandles, RunError> {
        let mut listeners = Vec::new();
        for (name, bound) in [(METRICS, &self.metrics), (ADMIN, &self.admin)] {
            if let Some((address, listener)) = bound {
                let copy = listener.try_clone().map_err(|source| RunError::BindAdmin {
                    name,
                    address: *address,
                    source,
                })?;
                listeners.push((name, *address, copy));
            }
        }
        Ok(AdminHandles { control: self.control.handle(), listeners })
    }

    /// Returns what serves them, each until the state is [`ListenerState::Closed`].
    pub(super) fn serve(
        self,
        app: &Arc<App>,
        state: &watch::Receiver<ListenerState>,
    ) -> Result<Vec<BoxFuture<'static, ()>>, RunError> {
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        let shared = Arc::clone(&app.shared);
        let recorder: Arc<dyn EventSink> = app.shared.clone();
        let api = Arc::new(Api::new(AdminDeps {
            control: app.clone(),
            policy: Box::new(move || Arc::clone(&shared.snapshot.load().policy)),
            clock: Arc::clone(&app.shared.clock),
            events: recorder,
            own_uid: rustix::process::geteuid().as_raw(),
        }));
        let (control, serving, closes) = (self.control, Arc::clone(&api), state.clone());
        tasks.push(Box::pin(async move {
            if let Err(error) = admin::serve_control(control, serving, closes).await {
                tracing::error!(%error, "the control socket ended");
            }
        }));
        if let Some((address, listener)) = self.metrics {
            let listener = open(METRICS, address, listener, app)?;
            let probes = Arc::new(Probes::new(Arc::new(ProcessHealth { app: Arc::clone(app) })));
            tasks.push(Box::pin(admin::serve_probes(listener, probes, state.clone())));
        }
        if let Some((address, listener)) = self.admin {
            let listener = open(ADMIN, address, listener, app)?;
            match app.admin_tls.clone() {
                None => tasks.push(Box::pin(admin::serve_api(listener, api, state.clone()))),
                Some(tls) => {
                    let wrap = move |stream| {
                        let tls = Arc::clone(&tls);
                        async move { tls.accept(stream).await }
                    };
                    tasks.push(Box::pin(admin::serve_api_over(listener, wrap, api, state.clone())));
                }
            }
        }
        Ok(tasks)
    }
}

/// Registers a socket with the runtime.
fn open(
    name: &'static str,
    address: SocketAddr,
    listener: TcpListener,
    app: &App,
) -> Result<tokio::net::TcpListener, RunError> {
    let opened =
        || -> io::Result<_> { Ok((listener.local_addr()?, tokio::net::TcpListener::from_std(listener)?)) };
    let (local, listener) = opened().map_err(|source| RunError::BindAdmin { name, address, source })?;
    tracing::info!(listener = name, address = %local, "listening");
    app.listeners.note_admin(name, local.to_string());
    Ok(listener)
}
