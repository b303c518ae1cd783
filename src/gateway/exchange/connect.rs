//! A new connection to a server.

use std::time::Duration;

use pingora::ErrorType;
use tokio::time::timeout;

use super::{connection::Connection, failed::Failed};
use crate::{
    gateway::{
        proxy::Gateway,
        upstream::{Pool, Turn},
    },
    model::{TenantName, told},
    outbound::{OutboundError, ServerTls},
    policy::ServerAddress,
};

/// Connects to a server, over TLS where it is told so, within a time.
pub(super) async fn connect(
    address: &ServerAddress,
    tls: Option<&std::result::Result<ServerTls, OutboundError>>,
    within: Duration,
    apart: Option<TenantName>,
) -> std::result::Result<Connection, Failed> {
    let work = async {
        // Nothing was sent, so any method may go to the next server.
        let refused = |error: std::io::Error| Failed {
            unreachable: !is_our_own_lack(&error),
            ..Failed::new(ErrorType::ConnectError, true, error.to_string())
        };
        let connection = Connection::open(address, apart).await.map_err(refused)?;
        // But whoever is there is not who should be.
        match tls {
            None => Ok(connection),
            Some(Ok(tls)) => {
                connection.secure(tls).await.map_err(|error| Failed::unreachable(ErrorType::TLSHandshakeFailure, false, error.to_string()))
            }
            Some(Err(error)) => Err(Failed::new(ErrorType::TLSHandshakeFailure, false, told(error))),
        }
    };
    let late = |_| Failed::unreachable(ErrorType::ConnectTimedout, true, "no connection in time".to_owned());
    timeout(within, work).await.map_err(late)?
}

/// Says whether it was this machine that had no descriptor, port or memory for a connection: that says nothing about the server. Nor does a
/// Unix socket that others wait for at the moment.
fn is_our_own_lack(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| lacks.iter().any(|lack| lack.raw_os_error() == code))
}

impl Gateway {
    /// Notes whether a server could be reached.
    pub(super) fn noted<T>(&self, pool: &Pool, turn: Turn, reached: std::result::Result<T, Failed>) -> std::result::Result<T, Failed> {
        match &reached {
            Ok(_) => pool.reached(turn.index),
            Err(failed) if failed.unreachable => pool.unreachable(turn, failed.why(), self.shared.clock.tick()),
            Err(_) => {}
        }
        reached
    }
}
