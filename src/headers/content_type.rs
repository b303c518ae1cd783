//! What the type of the content says about a message: whether it is gRPC, and whether it streams.

use http::{HeaderMap, HeaderValue, header};

/// Says whether a message is one of gRPC: `application/grpc`, and every type that begins so (gRPC-Web too).
pub fn is_grpc(headers: &HeaderMap) -> bool {
    content_type(headers).get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

const GRPC: &[u8] = b"application/grpc";

/// Says whether an answer goes on for long by its type, whatever its length: events, calls, and content that
/// comes piece by piece without an end.
pub fn streams(headers: &HeaderMap) -> bool {
    let essence = content_type(headers).split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    STREAMS.iter().any(|name| essence.eq_ignore_ascii_case(name.as_bytes())) || is_grpc(headers)
}

const STREAMS: [&str; 6] = [
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
];

fn content_type(headers: &HeaderMap) -> &[u8] {
    headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_type() {
        let says = |kind: &'static str| {
            streams(&[(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect())
        };

        for kind in [
            "text/event-stream",
            "Text/Event-Stream ; charset=utf-8",
            "application/grpc+proto",
            "application/jsonl",
        ] {
            assert!(says(kind), "{kind}");
        }
        for kind in ["text/html", "application/json", "text/event-stream2", ""] {
            assert!(!says(kind), "{kind}");
        }
        assert!(!streams(&HeaderMap::new()));
    }
}
