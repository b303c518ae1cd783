//! Why there is no certificate.

use std::{io, path::PathBuf, time::Duration};

use instant_acme::{Error, Problem};

use super::{client::ClientError, schedule::POLLING};
use crate::{
    edge::TlsError,
    model::{self, OrderResult},
    outbound::OutboundError,
    policy::AcmeChallenge,
    process::BlockingError,
    store::ChallengeError,
};

/// The most characters of what a CA says.
const PROBLEM_CHARS: usize = 400;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The CA cannot be asked.
    #[error("the CA cannot be reached: {0}")]
    Unreachable(#[source] ClientError),
    /// What the CA answers is not what the protocol says.
    #[error("the CA's answer is not understood: {0}")]
    Protocol(String),
    /// The CA says no.
    #[error("the CA refuses: {0}")]
    Refused(CaProblem),
    /// The CA did not find a host proven.
    #[error("the CA did not find `{host}` proven by {challenge}: {problem}")]
    Challenge {
        /// The host.
        host: String,
        /// How it was to be proven.
        challenge: &'static str,
        /// What the CA says.
        problem: CaProblem,
    },
    /// The CA offers no way that we may go.
    #[error("the CA offers no way to prove `{host}` that is wanted ({})", wanted.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", "))]
    NoWay {
        /// The host.
        host: String,
        /// The ways that are wanted.
        wanted: Vec<AcmeChallenge>,
    },
    /// The table of challenges does not take it.
    #[error("the challenge cannot be answered: {0}")]
    Table(#[from] ChallengeError),
    /// It was not done in time.
    #[error("the order was not done within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The key or the request cannot be made.
    #[error("the key or the request for the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What came cannot be used. The old one stays.
    #[error("the certificate that came is refused: {0}")]
    Unusable(#[source] TlsError),
    /// What came is no chain of certificates.
    #[error("what came is no chain of certificates")]
    NoChain,
    /// A host is missing on what came.
    #[error("the certificate that came is not for `{0}`")]
    NotFor(String),
    /// What is kept of it does not come.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// It cannot be kept.
    #[error("{}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What an error concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concerns {
    /// One certificate: the others may be had.
    Certificate,
    /// Every order at this CA.
    Account,
}

impl AcmeError {
    /// Returns the metric's word for it.
    pub(super) fn result(&self) -> OrderResult {
        match self {
            Self::Unreachable(_) | Self::Protocol(_) => OrderResult::Unreachable,
            Self::Refused(problem) if problem.is("rateLimited") => OrderResult::RateLimited,
            Self::Refused(problem) if problem.is_fault() => OrderResult::Unreachable,
            Self::Refused(_) => OrderResult::Refused,
            Self::Challenge { .. } | Self::NoWay { .. } | Self::Table(_) => OrderResult::Challenge,
            Self::Timeout(_) => OrderResult::Timeout,
            Self::Make(_) | Self::Unusable(_) | Self::NoChain | Self::NotFor(_) => OrderResult::Unusable,
            Self::Storage { .. } | Self::Blocking(_) => OrderResult::Storage,
        }
    }

    /// Says whether others would fail in the same way.
    pub(super) fn concerns(&self) -> Concerns {
        match self {
            Self::Unreachable(_) | Self::Protocol(_) | Self::Storage { .. } | Self::Blocking(_) => {
                Concerns::Account
            }
            Self::Refused(problem) if problem.is_fault() || ACCOUNT.iter().any(|kind| problem.is(kind)) => {
                Concerns::Account
            }
            Self::Refused(_)
            | Self::Challenge { .. }
            | Self::NoWay { .. }
            | Self::Table(_)
            | Self::Timeout(_)
            | Self::Make(_)
            | Self::Unusable(_)
            | Self::NoChain
            | Self::NotFor(_) => Concerns::Certificate,
        }
    }

    /// Says whether the CA does not know the account (any more).
    pub(super) fn is_lost_account(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.is("accountDoesNotExist"))
    }
}

/// Problems of an account, not of a host (RFC 8555, section 6.7).
const ACCOUNT: &[&str] = &[
    "rateLimited",
    "accountDoesNotExist",
    "externalAccountRequired",
    "invalidContact",
    "unsupportedContact",
    "userActionRequired",
    "badPublicKey",
    "badSignatureAlgorithm",
    "badNonce",
];

/// What a CA says: the kind of problem, and a sentence. Bounded, and fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaProblem {
    kind: String,
    detail: String,
    status: Option<u16>,
}

impl CaProblem {
    /// Takes over what is worth passing on.
    pub(super) fn of(problem: &Problem) -> Self {
        let mut detail = problem.detail.clone().unwrap_or_default();
        for sub in problem.subproblems.iter().take(10) {
            detail.push_str("; ");
            detail.push_str(&sub.to_string());
        }
        Self {
            kind: printable(problem.r#type.as_deref().unwrap_or("about:blank")),
            detail: printable(&detail),
            status: problem.status,
        }
    }

    /// Says that the CA gave no reason.
    pub(super) fn nothing() -> Self {
        Self { kind: "no reason".to_owned(), detail: "the CA gave none".to_owned(), status: None }
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.strip_prefix("urn:ietf:params:acme:error:") == Some(kind)
    }

    /// Says whether the CA is at fault, not we.
    fn is_fault(&self) -> bool {
        self.is("serverInternal") || self.status.is_some_and(|status| status >= 500)
    }
}

impl std::fmt::Display for CaProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.kind)
    }
}

fn printable(text: &str) -> String {
    let end = text.char_indices().nth(PROBLEM_CHARS).map_or(text.len(), |(end, _)| end);
    model::printable(text.get(..end).unwrap_or_default()).into_owned()
}

impl From<Error> for AcmeError {
    fn from(error: Error) -> Self {
        let text = printable(&error.to_string());
        match error {
            Error::Api(problem) => Self::Refused(CaProblem::of(&problem)),
            Error::Other(error) => match error.downcast::<ClientError>() {
                Ok(error) => Self::Unreachable(*error),
                Err(_) => Self::Protocol(text),
            },
            Error::Timeout(_) => Self::Timeout(POLLING),
            // The library may add kinds: each is one more thing that is not understood.
            Error::Crypto
            | Error::KeyRejected
            | Error::Http(_)
            | Error::InvalidUri(_)
            | Error::Json(_)
            | Error::Unsupported(_)
            | Error::Str(_)
            | _ => Self::Protocol(text),
        }
    }
}

impl From<OutboundError> for AcmeError {
    fn from(error: OutboundError) -> Self {
        Self::Unreachable(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &str, status: u16) -> AcmeError {
        let problem =
            format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"d","status":{status}}}"#);
        Error::Api(serde_json::from_str(&problem).unwrap()).into()
    }

    #[test]
    fn problems_of_an_account_stop_all_of_its_orders() {
        for (kind, status, result, concerns) in [
            ("rateLimited", 429, OrderResult::RateLimited, Concerns::Account),
            ("serverInternal", 500, OrderResult::Unreachable, Concerns::Account),
            ("unknown", 503, OrderResult::Unreachable, Concerns::Account),
            ("externalAccountRequired", 403, OrderResult::Refused, Concerns::Account),
            ("rejectedIdentifier", 400, OrderResult::Refused, Concerns::Certificate),
            ("caa", 403, OrderResult::Refused, Concerns::Certificate),
        ] {
            let error = refused(kind, status);
            assert_eq!((error.result(), error.concerns()), (result, concerns), "{kind}");
        }
        assert!(refused("accountDoesNotExist", 400).is_lost_account());
    }

    #[test]
    fn what_a_ca_says_is_bounded_and_printable() {
        let problem = serde_json::json!({"type": "t\u{1b}[2J", "detail": "d\n".repeat(5000)});
        let problem = CaProblem::of(&serde_json::from_value(problem).unwrap());

        assert_eq!(problem.kind, "t\\u{1b}[2J");
        assert!(
            problem.detail.starts_with("d\\nd\\n") && problem.detail.len() < 2 * PROBLEM_CHARS,
            "{}",
            problem.detail.len()
        );
    }
}
