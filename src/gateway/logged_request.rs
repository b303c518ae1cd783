//! What the access line says of a request: what it asked for.

use http::{HeaderValue, Method, Uri, header};
use pingora::http::RequestHeader;

use super::view;
use crate::model::HttpVersion;

/// What is kept of a request for its access line: where a task is ended under way, the library drops the
/// request. Nothing is copied but references.
#[derive(Clone, Debug)]
pub(super) struct LoggedRequest {
    pub(super) method: Method,
    pub(super) version: HttpVersion,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl LoggedRequest {
    pub(super) fn of(request: &RequestHeader) -> Self {
        let field = |name: header::HeaderName| request.headers.get(name).cloned();
        Self {
            method: request.method.clone(),
            version: view::version(request),
            uri: request.uri.clone(),
            host: field(header::HOST),
            user_agent: field(header::USER_AGENT),
            referer: field(header::REFERER),
        }
    }

    /// Returns the host as it was asked for.
    pub(super) fn host(&self) -> Option<&[u8]> {
        self.host.as_ref().map(HeaderValue::as_bytes).or(self.uri.host().map(str::as_bytes))
    }

    /// Returns the target. An illegal one is not what came; then the head as received has it.
    pub(super) fn target(&self) -> &[u8] {
        self.uri.path_and_query().map_or(b"/", |target| target.as_str().as_bytes())
    }

    pub(super) fn user_agent(&self) -> Option<&[u8]> {
        self.user_agent.as_ref().map(HeaderValue::as_bytes)
    }

    pub(super) fn referer(&self) -> Option<&[u8]> {
        self.referer.as_ref().map(HeaderValue::as_bytes)
    }
}
