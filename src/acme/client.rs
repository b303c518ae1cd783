//! How the protocol's messages travel: through `outbound`, to the one host that the directory is on.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{
    model::{Clock, UnixTime},
    outbound::{Client, Deadlines, OutboundError, Trust},
    policy::Acme,
};

/// A CA thinks longer than it talks: a minute covers the slowest of them.
const DEADLINES: Deadlines = Deadlines {
    resolve: Duration::from_secs(5),
    connect: Duration::from_secs(10),
    handshake: Duration::from_secs(10),
    total: Duration::from_secs(60),
};
/// A chain has 10 KiB; nothing that a CA sends is longer.
const MOST_BYTES: usize = 256 << 10;
/// Who we are (RFC 8555, section 6.1).
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("octroi/", env!("CARGO_PKG_VERSION"), " (instant-acme)"));

/// Why a message does not go out.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The CA sends us to another host. Whoever runs a directory runs its resources; anything else may be a
    /// host of our own network.
    #[error("the CA names `{0}`, which is another host than its directory's")]
    OtherHost(String),
    /// The exchange failed.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
}

/// When the CA wants to be asked again, as its last answer said.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<Duration>>>);

impl RetryAfter {
    /// Returns what the last refusal said.
    pub(super) fn last(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, wait: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
    }
}

/// Talks to one CA.
pub(super) struct CaClient {
    client: Client,
    authority: Box<str>,
    retry_after: RetryAfter,
    clock: Arc<dyn Clock>,
}

impl CaClient {
    /// Makes a client for the CA of an entry. Blocks on the system's CAs.
    pub(super) fn new(
        acme: &Acme,
        retry_after: RetryAfter,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let trust = acme.roots.as_ref().map_or(Trust::System, |roots| Trust::Only(roots.clone()));
        let client = Client::new(&trust, DEADLINES, MOST_BYTES)?;
        let uri: Uri = acme.directory.parse().map_err(|_| OutboundError::Url(acme.directory.to_string()))?;
        let authority = uri.authority().map_or("", http::uri::Authority::as_str).into();
        Ok(Self { client, authority, retry_after, clock })
    }
}

impl HttpClient for CaClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (client, retry_after, clock) =
            (self.client.clone(), self.retry_after.clone(), Arc::clone(&self.clock));
        let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
        if authority != &*self.authority {
            let error = ClientError::OtherHost(authority.chars().take(255).collect());
            return Box::pin(std::future::ready(Err(Error::Other(Box::new(error)))));
        }
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.headers.insert(header::USER_AGENT, USER_AGENT);
            let Ok(body) = body.collect().await;
            let answer = client.send(Request::from_parts(head, body.to_bytes())).await;
            let answer = answer.map_err(|error| Error::Other(Box::new(ClientError::from(error))))?;
            let refused = answer.status().is_client_error() || answer.status().is_server_error();
            retry_after.note(if refused { wait(answer.headers(), clock.now()) } else { None });
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

/// Reads Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
fn wait(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixTime::from_secs(at.as_secs()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
            wait(&headers, UnixTime::from_secs(784_111_777))
        };

        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(wait(&HeaderMap::new(), UnixTime::from_secs(0)), None);
    }
}
