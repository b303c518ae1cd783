//! Hands decrypted streams to pingora's proxy.

use std::{sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerOptions, ServerApp},
    protocols::{Stream, http::v2::server::default_h2_options},
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};
use tokio::sync::watch;

use crate::{
    edge::Handler,
    gateway::{Gateway, Shared},
    model::{BoxFuture, Connection},
    policy::{Limits, Policy},
};

/// Requests per connection before it is closed, so that a connection's memory does not live for ever (nginx's default).
const REQUESTS_PER_CONNECTION: u32 = 1000;
/// Streams at once on one HTTP/2 connection: RFC 9113, section 6.5.2 recommends no fewer than 100.
const STREAMS: u32 = 100;
/// Idle connections kept towards all upstreams: more than the requests in flight, or each burst opens new ones.
const POOL: usize = 2048;

/// The proxy behind every listener. All share one pool of upstream connections.
pub(super) struct HttpDoor {
    proxy: Arc<HttpProxy<Gateway>>,
}

impl HttpDoor {
    pub(super) fn new(shared: Arc<Shared>, policy: &Policy) -> Self {
        let conf = ServerConf {
            threads: policy.threads,
            // One retry is octroi's own count; this bound only ends what that count would miss.
            max_retries: 3,
            upstream_keepalive_pool_size: POOL,
            ..ServerConf::default()
        };
        let mut proxy = http_proxy(&Arc::new(conf), Gateway::new(shared));
        proxy.server_options = Some(server_options(&policy.limits));
        let mut h2 = default_h2_options();
        h2.max_header_list_size(u32::try_from(policy.limits.header_bytes).unwrap_or(u32::MAX));
        h2.max_concurrent_streams(STREAMS);
        proxy.h2_options = Some(h2);
        Self { proxy: Arc::new(proxy) }
    }

    /// Ends the connections that wait for another request.
    pub(super) async fn close_idle(&self) {
        self.proxy.cleanup().await;
    }
}

fn server_options(limits: &Limits) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    options.h2_idle_timeout = Some(limits.idle_timeout.max(Duration::from_secs(1)));
    options
}

impl Handler for HttpDoor {
    fn serve(self: Arc<Self>, stream: Stream, _connection: Arc<Connection>, shutdown: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut stream = Some(stream);
            while let Some(open) = stream {
                stream = self.proxy.process_new(open, &shutdown).await;
            }
        })
    }
}
