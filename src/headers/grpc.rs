//! gRPC: which requests are calls, and how a call is ended in its own words.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::content_type::is_grpc;
use crate::model::{Deny, Reason};

/// Says whether a request is a call: those are POST.
pub fn is_call(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::POST && is_grpc(headers)
}

/// Says in trailers why a call ends that had begun to be answered. The status is the one that a client makes
/// of the HTTP status of the same refusal, were it said in a head.
pub fn error_trailers(deny: &Deny) -> HeaderMap {
    let (status, message) = match deny.reason.status() {
        401 => ("16", "the session has ended"),
        403 => ("7", "access has ended"),
        _ if deny.reason == Reason::StreamIdle => ("14", "silent for too long"),
        _ => ("14", "the call was ended"),
    };
    let fields = [("grpc-status", status), ("grpc-message", message)];
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn a_call_is_a_post_of_its_kind() {
        let says = |method: Method, kind: &'static str| {
            is_call(&method, &[(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect())
        };

        for kind in
            ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y", "application/grpc-web"]
        {
            assert!(says(Method::POST, kind), "{kind}");
        }
        assert!(!says(Method::POST, "application/json"));
        assert!(!says(Method::GET, "application/grpc"));
        assert!(!is_call(&Method::POST, &HeaderMap::new()));
    }

    #[test]
    fn a_call_is_ended_with_the_status_of_the_refusal() {
        let status = |reason| error_trailers(&Deny::new(reason, "x"))["grpc-status"].clone();

        assert_eq!(status(Reason::SessionRevoked), "16");
        assert_eq!(status(Reason::TenantSuspended), "7");
        assert_eq!(status(Reason::StreamIdle), "14");
    }
}
