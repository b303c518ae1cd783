//! One HTTP/1.1 request, and its whole answer.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    Deadlines, OutboundError, Trust,
    dial::{Reach, dial, dial_plain},
};

/// The most bytes of an answer's head. hyper looks after each read, so that as many again may pass.
const HEAD_BYTES: usize = 64 << 10;
/// The most fields of an answer.
const FIELDS: usize = 100;

/// Asks others over HTTPS. Each request has a connection of its own; TLS sessions are resumed.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
    deadlines: Deadlines,
    most_bytes: usize,
    plain_here: bool,
}

impl Client {
    /// Trusts these CAs, waits no longer than this, and takes answers of at most so many bytes. May read the
    /// system's CAs: it blocks.
    pub fn new(trust: &Trust, deadlines: Deadlines, most_bytes: usize) -> Result<Self, OutboundError> {
        Ok(Self { tls: trust.client_config(&[b"http/1.1"])?, deadlines, most_bytes, plain_here: false })
    }

    /// Asks in clear text where a URL is http and names an address of this machine.
    pub fn with_plain_loopback(mut self) -> Self {
        self.plain_here = true;
        self
    }

    /// Sends a request and takes its answer, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutboundError> {
        let limit = self.deadlines.total;
        let late = |_| OutboundError::Timeout { step: "the exchange", limit };
        timeout(limit, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, OutboundError> {
        let Origin { host, port, plain } = origin(request.uri())?;
        if plain && !self.plain_here {
            return Err(OutboundError::Url(request.uri().to_string()));
        }
        let stream: Box<dyn Stream> = if plain {
            Box::new(dial_plain(&host, port, Reach::Loopback, &self.deadlines).await?)
        } else {
            Box::new(dial(&host, port, Arc::clone(&self.tls), &self.deadlines).await?)
        };
        in_origin_form(&mut request)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .max_headers(FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(OutboundError::Http)?;
        // The connection carries the exchange and ends with it; what goes wrong with it, the exchange says.
        let connection = async move {
            let _ = connection.await;
            std::future::pending().await
        };
        let answer = async {
            let (head, body) =
                sender.send_request(request.map(Full::new)).await.map_err(OutboundError::Http)?.into_parts();
            let body =
                Limited::new(body, self.most_bytes).collect().await.map_err(|error| self.broken(error))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::select! {
            answer = answer => answer,
            never = connection => never,
        }
    }

    fn broken(&self, error: Box<dyn std::error::Error + Send + Sync>) -> OutboundError {
        match error.downcast::<hyper::Error>() {
            Ok(error) => OutboundError::Http(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>(), "the bound is the only other thing that fails");
                OutboundError::TooLarge(self.most_bytes)
            }
        }
    }
}

/// A stream that was dialled.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    host: String,
    port: u16,
    /// Without TLS: then the host is an address of this machine.
    plain: bool,
}

/// Reads where an https URL leads, or an http one to an address of this machine. An address in brackets is an
/// address.
fn origin(uri: &Uri) -> Result<Origin, OutboundError> {
    let bad = || OutboundError::Url(uri.to_string());
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // A name could lead elsewhere tomorrow.
    let is_here = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    let plain = uri.scheme() == Some(&Scheme::HTTP) && is_here;
    if host.is_empty() || !(plain || uri.scheme() == Some(&Scheme::HTTPS)) {
        return Err(bad());
    }
    Ok(Origin {
        host: host.to_owned(),
        port: authority.port_u16().unwrap_or(if plain { 80 } else { 443 }),
        plain,
    })
}

/// Moves the authority from the URL into Host (RFC 9112, section 3.2.1).
fn in_origin_form(request: &mut Request<Bytes>) -> Result<(), OutboundError> {
    let uri = request.uri();
    let bad = || OutboundError::Url(uri.to_string());
    let host = uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        .ok_or_else(bad)?;
    let target: Uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| bad())?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    *request.uri_mut() = target;
    Ok(())
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("deadlines", &self.deadlines)
            .field("most_bytes", &self.most_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine_have_a_place() {
        let of = |uri: &str| origin(&uri.parse().unwrap()).ok();
        let at = |host: &str, port: u16, plain: bool| Some(Origin { host: host.to_owned(), port, plain });

        assert_eq!(of("https://ca.test/directory"), at("ca.test", 443, false));
        assert_eq!(of("https://[2001:db8::1]:14000/dir"), at("2001:db8::1", 14_000, false));
        assert_eq!(of("http://127.0.0.1:8080/"), at("127.0.0.1", 8080, true));
        assert_eq!(of("http://[::1]/"), at("::1", 80, true));
        assert_eq!(of("http://192.0.2.1/"), None);
        assert_eq!(of("http://localhost/"), None);
        assert_eq!(of("http://ca.test/directory"), None);
        assert_eq!(of("https://user@ca.test/"), None);
        assert_eq!(of("/directory"), None);
    }

    #[test]
    fn the_target_is_path_and_query_and_the_authority_goes_into_host() {
        let mut request = Request::get("https://ca.test:8443/a?b=c").body(Bytes::new()).unwrap();

        in_origin_form(&mut request).unwrap();

        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()[header::HOST], "ca.test:8443");
    }
}
