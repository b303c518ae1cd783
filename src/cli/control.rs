//! Talks to a running octroi: HTTP over its control socket.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::{
        connect,
        wire::{ErrorBody, HANDED_OVER},
    },
    model::{CONTROL_SOCKET, Clock, SystemClock},
};

/// The deadline of most calls. A healthy octroi answers at once, on a busy machine within seconds. One that
/// takes longer has hung, and the operator should learn that soon.
const PROMPT: Duration = Duration::from_secs(10);

/// The deadline of a reload or hand-over: with 100,000 tenants it takes seconds, and it waits for its turn.
pub(super) const TIMEOUT: Duration = Duration::from_secs(300);

/// The deadline of a revocation: octroi itself waits 30 seconds for its disk before it answers with an
/// error.
const DURABLE: Duration = Duration::from_secs(40);

/// The deadline of calls that are not worth a wait.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer: the errors of a large configuration.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How to reach the running octroi.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ControlArgs {
    /// The control socket. Default: the one in the configuration's `state_dir`
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

impl ControlArgs {
    /// Returns the control socket's path.
    pub(crate) fn socket(&self, state_dir: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| state_dir.join(CONTROL_SOCKET))
    }
}

/// Why the running octroi did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    /// Nothing listens there, or not for this user.
    #[error("cannot reach octroi at {}: {hint}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What to look at.
        hint: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It accepted the request, or not even that, and did not answer.
    #[error(
        "no answer from octroi at {} within {} s: the process is stopped, hung or overloaded; it may still do what it was asked",
        path.display(),
        waited.as_secs()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long the command waited.
        waited: Duration,
    },
    /// The connection broke.
    #[error("octroi at {} did not answer", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A client of a running octroi's control socket.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    timeout: Duration,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    /// Builds a client; it does not connect yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, timeout: PROMPT }
    }

    /// Builds a client for calls that take long: a reload, a hand-over.
    pub(crate) fn patient(path: PathBuf) -> Self {
        Self { path, timeout: TIMEOUT }
    }

    /// Builds a client for calls that must reach the disk before the answer.
    pub(crate) fn durable(path: PathBuf) -> Self {
        Self { path, timeout: DURABLE }
    }

    /// Builds a client for calls that are not worth a long wait.
    pub(crate) fn with_short_timeout(path: PathBuf) -> Self {
        Self { path, timeout: SHORT_TIMEOUT }
    }

    /// Bounds the wait for an answer.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout: self.timeout.min(timeout), ..self }
    }

    /// Sends a GET.
    pub(crate) fn get(&self, path: &str) -> Result<Reply, Unreachable> {
        self.call("GET", path, &[])
    }

    /// Sends a POST, and waits until it is done.
    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply, Unreachable> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error.into()))?;
        self.call("POST", path, &body)
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Unreachable> {
        let clock = SystemClock::new();
        let began = clock.tick();
        // One deadline for the whole call, so an answer that trickles in cannot extend it.
        let left = move |timeout: Duration| timeout.saturating_sub(clock.tick().since(began));
        // A stopped process leaves its accept queue and socket buffer full, so connecting is bounded too.
        let mut stream =
            connect(&self.path, self.timeout.min(PROMPT)).map_err(|source| self.not_there(source))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut answer = Vec::new();
        let mut exchange = || {
            stream.write_all(&[head.as_bytes(), body].concat())?;
            let mut piece = vec![0; 64 << 10];
            while answer.len() < ANSWER_BYTES {
                let left = left(self.timeout);
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                stream.set_read_timeout(Some(left))?;
                match stream.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            io::Result::Ok(())
        };
        exchange().map_err(|source| self.broken(source))?;
        Reply::parse(&answer).ok_or_else(|| self.broken(io::ErrorKind::InvalidData.into()))
    }

    fn not_there(&self, source: io::Error) -> Unreachable {
        if is_late(&source) {
            return self.silent(self.timeout.min(PROMPT));
        }
        let hint = if source.kind() == io::ErrorKind::PermissionDenied {
            "only root and octroi's own user may connect"
        } else {
            "octroi may not be running, or has another state_dir"
        };
        Unreachable::Connect { path: self.path.clone(), hint, source }
    }

    fn silent(&self, waited: Duration) -> Unreachable {
        Unreachable::Silent { path: self.path.clone(), waited }
    }

    fn broken(&self, source: io::Error) -> Unreachable {
        if is_late(&source) {
            return self.silent(self.timeout);
        }
        Unreachable::Broken { path: self.path.clone(), source }
    }
}

/// Says whether a deadline passed (socket(7): EAGAIN).
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Reply {
    fn parse(answer: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(end) = response.parse(answer).ok()? else { return None };
        let told =
            response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"))?.value;
        let length: usize = std::str::from_utf8(told).ok()?.parse().ok()?;
        // Shorter than told: octroi went away in the middle of it.
        let body = answer.get(end..).filter(|body| body.len() == length)?;
        Some(Self { status: response.code?, body: body.to_vec() })
    }

    /// Returns what was asked for, or what was wrong with asking.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<Result<T, Refused>> {
        if (200..300).contains(&self.status) {
            return Ok(Ok(serde_json::from_slice(&self.body)?));
        }
        let body: ErrorBody = serde_json::from_slice(&self.body)?;
        Ok(Err(Refused { status: self.status, body }))
    }
}

/// A refusal by the running octroi.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The status.
    pub(crate) status: u16,
    /// What is wrong.
    pub(crate) body: ErrorBody,
}

impl Refused {
    /// Says whether another process serves by now: nothing was done, and that one may be asked.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.body.error.code == HANDED_OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

        assert_eq!(Reply::parse(whole).map(|reply| reply.status), Some(200));
        for end in 0..whole.len() {
            assert!(Reply::parse(&whole[..end]).is_none(), "{end}");
        }
    }
}
