//! Talks to a running octroi: HTTP over its control socket.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::{connect, wire::ErrorBody},
    model::CONTROL_SOCKET,
};

/// How long an answer may take: a reload of 100,000 tenants takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// The same for what it knows without looking anything up.
const HASTE: Duration = Duration::from_secs(3);

/// How long octroi may take to take a question in.
const SENDING: Duration = Duration::from_secs(10);

/// The largest answer: the errors of a large configuration.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Where the running octroi is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ControlArgs {
    /// The control socket, instead of the one in the configuration's `state_dir`
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

impl ControlArgs {
    /// Returns the socket to ask.
    pub(crate) fn socket(&self, state_dir: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| state_dir.join(CONTROL_SOCKET))
    }
}

/// Why the running octroi did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    /// Nobody listens, or not for this user.
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

/// A running octroi, by its control socket.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    patience: Duration,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    /// Names the socket; nothing is opened yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, patience: PATIENCE }
    }

    /// Names it for questions that are answered at once, and not worth a long wait.
    pub(crate) fn hasty(path: PathBuf) -> Self {
        Self { path, patience: HASTE }
    }

    /// Reads something.
    pub(crate) fn get(&self, path: &str) -> Result<Reply, Unreachable> {
        self.call("GET", path, &[])
    }

    /// Asks for something to be done, and waits until it is.
    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply, Unreachable> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error.into()))?;
        self.call("POST", path, &body)
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Unreachable> {
        let mut stream = connect(&self.path, SENDING).map_err(|source| self.not_there(source))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut answer = Vec::new();
        let mut exchange = || {
            stream.set_read_timeout(Some(self.patience))?;
            stream.write_all(&[head.as_bytes(), body].concat())?;
            Read::by_ref(&mut stream).take(ANSWER_BYTES).read_to_end(&mut answer)
        };
        exchange().map_err(|source| self.broken(source))?;
        Reply::parse(&answer).ok_or_else(|| self.broken(io::ErrorKind::InvalidData.into()))
    }

    fn not_there(&self, source: io::Error) -> Unreachable {
        let hint = if source.kind() == io::ErrorKind::PermissionDenied {
            "only root and octroi's own user may"
        } else {
            "octroi may not be running, or has another state_dir"
        };
        Unreachable::Connect { path: self.path.clone(), hint, source }
    }

    fn broken(&self, source: io::Error) -> Unreachable {
        Unreachable::Broken { path: self.path.clone(), source }
    }
}

impl Reply {
    fn parse(answer: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(end) = response.parse(answer).ok()? else { return None };
        let told = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"))?.value;
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
