//! A new connection to a server.

use std::{io, time::Duration};

use tokio::time::timeout;

use super::{
    connection::Connection,
    failure::Failure,
    pool::{Pool, Selection},
};
use crate::{
    model::{Reason, TenantName, Tick, error_chain},
    outbound::{OutboundError, ServerTls},
    policy::ServerAddress,
};

/// Connects to a server within a time, and performs the TLS handshake where the upstream has TLS. `partition`
/// is the only tenant that the connection serves, where tenants are kept apart.
pub(super) async fn dial(
    address: &ServerAddress,
    tls: Option<&Result<ServerTls, OutboundError>>,
    within: Duration,
    partition: Option<TenantName>,
) -> Result<Connection, Failure> {
    let work = async {
        // Nothing was sent, so any method may go to the next server.
        let refused = |error: io::Error| Failure {
            unreachable: !is_our_own_lack(&error),
            repeatable: true,
            ..Failure::new(Reason::UpstreamConnect, error.to_string())
        };
        let connection = Connection::open(address, partition).await.map_err(refused)?;
        match tls {
            None => Ok(connection),
            // Not repeatable: a certificate that is not trusted must not go unnoticed.
            Some(Ok(tls)) => connection
                .secure(tls)
                .await
                .map_err(|error| Failure::unreachable(Reason::UpstreamTls, false, error.to_string())),
            Some(Err(error)) => Err(Failure::new(Reason::UpstreamTls, error_chain(error))),
        }
    };
    let late = |_| Failure::unreachable(Reason::UpstreamTimeout, true, "no connection in time");
    timeout(within, work).await.map_err(late)?
}

/// Returns whether this machine had no descriptor, port or memory for a connection, which says nothing about
/// the server. Neither does a full backlog of a Unix socket.
fn is_our_own_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| lacks.iter().any(|lack| lack.raw_os_error() == code))
}

/// Notes whether a server could be reached, for its health.
pub(super) fn note_reached<T>(
    pool: &Pool,
    selection: Selection,
    now: Tick,
    reached: Result<T, Failure>,
) -> Result<T, Failure> {
    match &reached {
        Ok(_) => pool.reached(selection.index),
        Err(failure) if failure.unreachable => pool.unreachable(selection, &failure.deny.detail, now),
        Err(_) => {}
    }
    reached
}
