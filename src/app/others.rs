//! The listeners that are no tenant's doors: metrics, admin API, control socket.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
};

use tokio::sync::watch;

use super::{control::App, doors::beside, inherited::Estate, run::RunError, vitals::Pulse, witness};
use crate::{
    admin::{self, Api, ControlHandle, ControlSocket, Gate, Levers, Probes},
    edge,
    model::BoxFuture,
    policy::Policy,
};

/// The names that these listeners have for the service manager, in status and in hand-overs.
pub(super) const METRICS: &str = "metrics";
/// See [`METRICS`].
pub(super) const ADMIN: &str = "admin";

/// These listeners, bound and not yet accepting.
#[derive(Debug)]
pub(super) struct Others {
    control: ControlSocket,
    metrics: Option<(SocketAddr, TcpListener)>,
    admin: Option<(SocketAddr, TcpListener)>,
}

/// Handles of their sockets, for a hand-over.
#[derive(Debug)]
pub(super) struct OtherHandles {
    pub(super) control: ControlHandle,
    /// Name, address as configured, socket.
    pub(super) listeners: Vec<(&'static str, SocketAddr, TcpListener)>,
}

impl Others {
    /// Binds them; takes over what listens already.
    pub(super) fn bind(policy: &Policy, estate: &mut Estate, control: Option<UnixListener>) -> Result<Self, RunError> {
        let control = match control {
            Some(listener) => ControlSocket::take_over(&policy.state_dir, listener)?,
            None => ControlSocket::bind(&policy.state_dir)?,
        };
        let mut listen = |name: &'static str, address: SocketAddr| {
            let listener = match estate.take(name, address) {
                Some(listener) => Ok(listener),
                None => edge::listen(address, beside(policy, address)),
            };
            let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            listener.map(|listener| (address, listener)).map_err(|source| RunError::BindOther { name, address, source })
        };
        let metrics = policy.metrics.map(|address| listen(METRICS, address)).transpose()?;
        let admin = policy.admin.as_ref().map(|admin| listen(ADMIN, admin.address)).transpose()?;
        Ok(Self { control, metrics, admin })
    }

    /// Returns other handles of the same sockets.
    pub(super) fn handles(&self) -> Result<OtherHandles, RunError> {
        let mut listeners = Vec::new();
        for (name, bound) in [(METRICS, &self.metrics), (ADMIN, &self.admin)] {
            if let Some((address, listener)) = bound {
                let copy = listener.try_clone().map_err(|source| RunError::BindOther { name, address: *address, source })?;
                listeners.push((name, *address, copy));
            }
        }
        Ok(OtherHandles { control: self.control.handle()?, listeners })
    }

    /// Returns what serves them, each until the gate closes.
    pub(super) fn serve(self, app: &Arc<App>, gate: &watch::Receiver<Gate>) -> Result<Vec<BoxFuture<'static, ()>>, RunError> {
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        let shared = Arc::clone(&app.shared);
        let recorder = Arc::clone(&shared);
        let api = Arc::new(Api::new(Levers {
            control: app.clone(),
            policy: Box::new(move || Arc::clone(&shared.snapshot.load().policy)),
            clock: Arc::clone(&app.shared.clock),
            on_call: Box::new(move |call| witness::admin_call(&recorder, call)),
            own_uid: rustix::process::geteuid().as_raw(),
        }));
        let (control, serving, closes) = (self.control, Arc::clone(&api), gate.clone());
        tasks.push(Box::pin(async move {
            if let Err(error) = admin::serve_control(control, serving, closes).await {
                tracing::error!(%error, "the control socket ended");
            }
        }));
        if let Some((address, listener)) = self.metrics {
            let listener = open(METRICS, address, listener, app)?;
            let probes = Arc::new(Probes::new(Arc::new(Pulse { app: Arc::clone(app) })));
            tasks.push(Box::pin(admin::serve_probes(listener, probes, gate.clone())));
        }
        if let Some((address, listener)) = self.admin {
            let listener = open(ADMIN, address, listener, app)?;
            match app.admin_tls.clone() {
                None => tasks.push(Box::pin(admin::serve_api(listener, api, gate.clone()))),
                Some(tls) => {
                    let wrap = move |stream| {
                        let tls = Arc::clone(&tls);
                        async move { tls.accept(stream).await }
                    };
                    tasks.push(Box::pin(admin::serve_api_over(listener, wrap, api, gate.clone())));
                }
            }
        }
        Ok(tasks)
    }
}

/// Registers a socket with the runtime.
fn open(name: &'static str, address: SocketAddr, listener: TcpListener, app: &App) -> Result<tokio::net::TcpListener, RunError> {
    let opened = || -> io::Result<_> { Ok((listener.local_addr()?, tokio::net::TcpListener::from_std(listener)?)) };
    let (local, listener) = opened().map_err(|source| RunError::BindOther { name, address, source })?;
    tracing::info!(listener = name, address = %local, "listening");
    app.doors.note_other(name, local.to_string());
    Ok(listener)
}
