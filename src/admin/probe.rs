//! The metrics listener: `/metrics` for Prometheus, health for orchestrators, public keys for apps. It
//! serves no secret and takes no token.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    exchange::{Answer, Fault, Head, NO_STORE},
    phase::Phase,
};
use crate::telemetry::MetricsError;

/// The source of the metrics listener's answers; `app` implements it.
pub trait HealthSource: Send + Sync {
    /// Returns why requests are not served; `None` when they are: the policy is loaded, the listeners are
    /// up, the issuers' keys were fetched, and no drain has begun.
    fn not_ready(&self) -> Option<String>;
    /// Describes the dependencies that are degraded, one line each, for people. It does not affect
    /// readiness.
    fn remarks(&self) -> Vec<String>;
    /// Updates the gauges and writes every metric in Prometheus's text format. It may take long, so it runs
    /// off the workers.
    fn metrics(&self) -> Result<String, MetricsError>;
    /// Returns the public keys that verify assertions as a JSON Web Key Set; `None` where assertions are not
    /// signed.
    fn key_set(&self) -> Option<String>;
}

/// The path at which apps fetch the keys that verify assertions.
const KEY_SET: &str = "/.well-known/jwks.json";

/// The metrics listener's answers.
pub struct Probes {
    source: Arc<dyn HealthSource>,
}

impl Probes {
    /// Answers from what `source` knows.
    pub fn new(source: Arc<dyn HealthSource>) -> Self {
        Self { source }
    }

    /// Answers the one request of a connection.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, phase: Phase) {
        match Head::read(&mut stream).await {
            Ok(head) => {
                phase.works();
                let answer = self.answer(&head).await;
                phase.answered();
                answer.write(&mut stream, head.method == "HEAD").await;
            }
            Err(Fault::Gone) => {}
            Err(Fault::Timeout) => Answer::text(408, "too slow\n").write(&mut stream, false).await,
            Err(Fault::HeadTooLarge) => Answer::text(431, "too large\n").write(&mut stream, false).await,
            Err(Fault::Malformed | Fault::BodyTooLarge | Fault::LengthRequired) => {
                Answer::text(400, "malformed\n").write(&mut stream, false).await;
            }
        }
    }

    async fn answer(&self, head: &Head) -> Answer {
        let path = head.path.as_str();
        match (path, head.method.as_str()) {
            ("/metrics" | "/healthz" | "/livez" | "/readyz" | KEY_SET, "GET" | "HEAD") => {}
            ("/metrics" | "/healthz" | "/livez" | "/readyz" | KEY_SET, _) => {
                return Answer::text(405, "method not allowed\n").with("Allow", "GET, HEAD");
            }
            _ => return Answer::text(404, "not found\n"),
        }
        match path {
            "/metrics" => self.metrics().await,
            KEY_SET => self.source.key_set().map_or_else(|| Answer::text(404, "not found\n"), key_set),
            "/readyz" => match self.source.not_ready() {
                Some(what) => {
                    Answer { body: format!("not ready: {what}\n").into_bytes(), ..Answer::text(503, "") }
                }
                None => {
                    let remarks = self
                        .source
                        .remarks()
                        .into_iter()
                        .fold("ok\n".to_owned(), |text, line| text + &line + "\n");
                    Answer { body: remarks.into_bytes(), ..Answer::text(200, "") }
                }
            },
            _ => Answer::text(200, "ok\n"),
        }
    }

    async fn metrics(&self) -> Answer {
        let source = Arc::clone(&self.source);
        match tokio::task::spawn_blocking(move || source.metrics()).await {
            Ok(Ok(text)) => Answer {
                status: 200,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                cache: NO_STORE,
                fields: Vec::new(),
                body: text.into_bytes(),
            },
            Ok(Err(_)) | Err(_) => Answer::text(500, "the metrics cannot be told\n"),
        }
    }
}

/// Answers with a key set (RFC 7517, section 8.5), cacheable for five minutes. An operator who publishes a
/// new key that much before it signs leaves no app without it.
fn key_set(keys: String) -> Answer {
    let (content_type, cache) = ("application/jwk-set+json", "public, max-age=300");
    Answer { status: 200, content_type, cache, fields: Vec::new(), body: keys.into_bytes() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{admin::fixture::ask, telemetry::Metrics};

    struct Fake {
        ready: AtomicBool,
        metrics: Metrics,
        key_set: Option<&'static str>,
    }

    impl HealthSource for Fake {
        fn not_ready(&self) -> Option<String> {
            (!self.ready.load(Ordering::Relaxed)).then(|| "it drains".to_owned())
        }

        fn remarks(&self) -> Vec<String> {
            vec!["redis: away".to_owned()]
        }

        fn metrics(&self) -> Result<String, MetricsError> {
            self.metrics.encode()
        }

        fn key_set(&self) -> Option<String> {
            self.key_set.map(str::to_owned)
        }
    }

    fn fake() -> (Arc<Fake>, Probes) {
        let source =
            Arc::new(Fake { ready: AtomicBool::new(true), metrics: Metrics::new().unwrap(), key_set: None });
        (Arc::clone(&source), Probes::new(source))
    }

    async fn status(probes: &Probes, request: &str) -> u16 {
        ask(|stream| probes.serve(stream, Phase::default()), request).await.status
    }

    #[tokio::test]
    async fn metrics_and_health_are_told() {
        let (_, probes) = fake();

        let metrics =
            ask(|stream| probes.serve(stream, Phase::default()), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .await;

        assert_eq!(metrics.status, 200);
        assert!(metrics.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        assert!(metrics.body.contains("octroi_build_info"));
        assert_eq!(
            ask(|stream| probes.serve(stream, Phase::default()), "GET /readyz HTTP/1.1\r\n\r\n").await.body,
            "ok\nredis: away\n"
        );
        for path in ["/healthz", "/livez", "/readyz", "/readyz?verbose"] {
            assert_eq!(status(&probes, &format!("GET {path} HTTP/1.1\r\n\r\n")).await, 200, "{path}");
        }
    }

    #[tokio::test]
    async fn keys_are_published_where_there_are_any() {
        let (_, without) = fake();
        let fake = Fake {
            ready: AtomicBool::new(false),
            metrics: Metrics::new().unwrap(),
            key_set: Some("{\"keys\":[]}\n"),
        };
        let with = Probes::new(Arc::new(fake));
        let request = "GET /.well-known/jwks.json HTTP/1.1\r\n\r\n";

        let told = ask(|stream| with.serve(stream, Phase::default()), request).await;

        assert_eq!((told.status, told.body.as_str()), (200, "{\"keys\":[]}\n"));
        assert!(told.head.contains("Content-Type: application/jwk-set+json\r\n"));
        assert!(told.head.contains("Cache-Control: public, max-age=300\r\n"));
        assert_eq!(status(&without, request).await, 404);
        assert_eq!(status(&with, &request.replace("GET", "PUT")).await, 405);
    }

    #[tokio::test]
    async fn draining_is_alive_but_not_ready() {
        let (source, probes) = fake();

        source.ready.store(false, Ordering::Relaxed);

        let told = ask(|stream| probes.serve(stream, Phase::default()), "GET /readyz HTTP/1.1\r\n\r\n").await;
        assert_eq!((told.status, told.body.as_str()), (503, "not ready: it drains\n"));
        assert_eq!(status(&probes, "GET /healthz HTTP/1.1\r\n\r\n").await, 200);
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let (_, probes) = fake();

        assert_eq!(status(&probes, "GET / HTTP/1.1\r\n\r\n").await, 404);
        assert_eq!(status(&probes, "GET /metrics/ HTTP/1.1\r\n\r\n").await, 404);
        assert_eq!(status(&probes, "POST /metrics HTTP/1.1\r\n\r\n").await, 405);
        assert_eq!(status(&probes, "nonsense\r\n\r\n").await, 400);
    }

    #[tokio::test]
    async fn a_head_request_gets_a_length_and_no_body() {
        let (_, probes) = fake();

        let answer =
            ask(|stream| probes.serve(stream, Phase::default()), "HEAD /healthz HTTP/1.1\r\n\r\n").await;

        assert!(answer.head.contains("Content-Length: 3\r\n"));
        assert_eq!(answer.body, "");
    }
}
