//! The answers to ACME challenges, while an order runs.
//!
//! Only our own orders put entries into the table, so strangers cannot fill it; it is bounded all the same.
//! Each entry is removed when its [`Running`] is dropped, even if the order fails or is abandoned.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use sha2::{Digest, Sha256};

use crate::{
    model::{ChallengeAnswer, Host},
    policy::{AcmeChallenge, MOST_ACME_HOSTS},
};

/// The most challenges at once: those of ten accounts with one order of the largest size each.
const MOST: usize = 10 * MOST_ACME_HOSTS;
/// The longest token. RFC 8555, section 8.3 asks for 128 bits of randomness, which are 22 characters.
const TOKEN_BYTES: usize = 256;

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// The token is not base64url, or too long: it would be part of a path.
    #[error("the CA's token is not base64url of at most {TOKEN_BYTES} characters")]
    Token,
    /// Too many challenges run already.
    #[error("{MOST} challenges run already")]
    Full,
}

/// The challenges that run.
#[derive(Debug, Default)]
pub struct Challenges {
    /// How many there are. Without any, which is nearly always, the table is not locked.
    count: AtomicUsize,
    next: AtomicU64,
    table: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    host: Host,
    kind: AcmeChallenge,
    token: Box<str>,
    answer: Arc<str>,
}

/// A challenge that is answered until this is dropped.
#[derive(Debug)]
pub struct Running {
    number: u64,
    challenges: Arc<Challenges>,
}

impl Challenges {
    /// Answers a challenge from now on. `key_authorization` is `TOKEN.THUMBPRINT` (RFC 8555, section 8.1).
    pub fn begin(
        self: &Arc<Self>,
        host: &Host,
        kind: AcmeChallenge,
        token: &str,
        key_authorization: &str,
    ) -> Result<Running, ChallengeError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > TOKEN_BYTES || !token.bytes().all(fits) {
            return Err(ChallengeError::Token);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MOST {
            return Err(ChallengeError::Full);
        }
        table.push(Entry {
            number,
            host: host.clone(),
            kind,
            token: token.into(),
            answer: key_authorization.into(),
        });
        self.count.store(table.len(), Ordering::Release);
        Ok(Running { number, challenges: Arc::clone(self) })
    }

    /// Returns the answer to a request for a token of a host over HTTP (RFC 8555, section 8.3).
    pub fn over_http(&self, host: &Host, token: &str) -> ChallengeAnswer {
        let of_host = |entry: &Entry| entry.kind == AcmeChallenge::Http01 && entry.host == *host;
        match self.find(|entry| of_host(entry) && *entry.token == *token) {
            Some(text) => ChallengeAnswer::Answer(text),
            None if self.find(of_host).is_some() => ChallengeAnswer::OtherToken,
            None => ChallengeAnswer::None,
        }
    }

    /// Returns what the certificate in a handshake for a host must contain: the SHA-256 of the key
    /// authorization (RFC 8737, section 3). The newest challenge counts.
    pub fn over_tls(&self, host: &Host) -> Option<[u8; 32]> {
        let answer = self.find(|entry| entry.kind == AcmeChallenge::TlsAlpn01 && entry.host == *host)?;
        Some(Sha256::digest(answer.as_bytes()).into())
    }

    fn find(&self, fits: impl Fn(&Entry) -> bool) -> Option<Arc<str>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().rev().find(|entry| fits(entry)).map(|entry| Arc::clone(&entry.answer))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut table = self.challenges.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|entry| entry.number != self.number);
        self.challenges.count.store(table.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        name.parse().unwrap()
    }

    #[test]
    fn a_challenge_is_answered_for_its_host_and_token_while_it_runs() {
        let challenges = Arc::new(Challenges::default());
        let running =
            challenges.begin(&host("a.test"), AcmeChallenge::Http01, "token", "token.print").unwrap();

        assert_eq!(
            challenges.over_http(&host("a.test"), "token"),
            ChallengeAnswer::Answer("token.print".into())
        );
        assert_eq!(challenges.over_http(&host("b.test"), "token"), ChallengeAnswer::None);
        assert_eq!(challenges.over_http(&host("a.test"), "other"), ChallengeAnswer::OtherToken);
        assert_eq!(challenges.over_tls(&host("a.test")), None);

        drop(running);
        assert_eq!(challenges.over_http(&host("a.test"), "token"), ChallengeAnswer::None);
    }

    #[test]
    fn a_handshake_shows_the_digest_of_the_newest() {
        let challenges = Arc::new(Challenges::default());
        let digest = |text: &str| Some(Sha256::digest(text).into());
        let _old = challenges.begin(&host("a.test"), AcmeChallenge::TlsAlpn01, "old", "old.print").unwrap();
        let new = challenges.begin(&host("a.test"), AcmeChallenge::TlsAlpn01, "new", "new.print").unwrap();

        assert_eq!(challenges.over_tls(&host("a.test")), digest("new.print"));
        drop(new);
        assert_eq!(challenges.over_tls(&host("a.test")), digest("old.print"));
        assert_eq!(challenges.over_http(&host("a.test"), "old"), ChallengeAnswer::None);
    }

    #[test]
    fn tokens_are_base64url_and_challenges_are_bounded() {
        let challenges = Arc::new(Challenges::default());
        let begin = |token: &str| challenges.begin(&host("a.test"), AcmeChallenge::Http01, token, "x");

        for bad in ["", "a/b", "a.b", "..", "a b", "é", &"t".repeat(TOKEN_BYTES + 1)] {
            assert_eq!(begin(bad).err(), Some(ChallengeError::Token), "{bad}");
        }
        let held: Vec<Running> = (0..MOST).map(|number| begin(&format!("t{number}")).unwrap()).collect();
        assert_eq!(begin("one-more").err(), Some(ChallengeError::Full));
        drop(held);
        assert!(begin(&"t".repeat(TOKEN_BYTES)).is_ok());
    }
}
