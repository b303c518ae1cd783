//! Hands decrypted streams to pingora's proxy.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::{
    apps::{HttpServerOptions, ServerApp},
    protocols::{
        Stream,
        http::v2::server::{H2Options, default_h2_options},
    },
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};
use tokio::sync::watch;

use crate::{
    edge::Handler,
    gateway::{Gateway, Shared},
    model::{BoxFuture, Connection, FIELD_TABLE_BYTES, field_list_bytes},
    policy::{Limits, Policy},
    wire::http2::FRAME_BYTES,
};

/// Requests per connection before it is closed, so that a connection's memory does not live for ever (nginx's
/// default).
const REQUESTS_PER_CONNECTION: u32 = 1000;
/// Streams that we reset, which are remembered for so long: the library's own numbers.
const RESET_REMEMBERED: usize = 50;
const RESET_REMEMBERED_FOR: Duration = Duration::from_secs(1);
/// The library's own idle timeout only has to be longer than ours, which it does not count.
const IDLE_SLACK: Duration = Duration::from_secs(30);
/// Idle connections kept towards all upstreams: more than the requests in flight, or each burst opens new
/// ones.
const POOL: usize = 2048;

/// The proxy behind every listener. All share one pool of upstream connections.
///
/// The library takes some limits when a proxy is built. Where a reload changes one of them, connections from
/// then on get a proxy of their own; the old one serves those that it has, and goes with the last of them.
pub(super) struct HttpHandler {
    shared: Arc<Shared>,
    threads: usize,
    current: ArcSwap<Built>,
    built: Mutex<Vec<Weak<HttpProxy<Gateway>>>>,
}

/// A proxy, and the limits that it was built with.
struct Built {
    limits: Limits,
    proxy: Arc<HttpProxy<Gateway>>,
}

impl HttpHandler {
    pub(super) fn new(shared: Arc<Shared>, policy: &Policy) -> Self {
        let first = Built::new(&shared, policy.threads, policy.limits);
        let built = Mutex::new(vec![Arc::downgrade(&first.proxy)]);
        Self { shared, threads: policy.threads, current: ArcSwap::from_pointee(first), built }
    }

    /// Ends the connections that wait for another request.
    pub(super) async fn close_idle(&self) {
        let built: Vec<_> = self
            .built
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for proxy in built {
            proxy.cleanup().await;
        }
    }

    /// Returns the proxy for a new connection.
    fn proxy(&self) -> Arc<HttpProxy<Gateway>> {
        let limits = self.shared.snapshot.load().policy.limits;
        let current = self.current.load();
        if current.fits(&limits) {
            return Arc::clone(&current.proxy);
        }
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        if current.fits(&limits) {
            return Arc::clone(&current.proxy);
        }
        let next = Built::new(&self.shared, self.threads, limits);
        let proxy = Arc::clone(&next.proxy);
        built.retain(|proxy| proxy.strong_count() > 0);
        built.push(Arc::downgrade(&proxy));
        self.current.store(Arc::new(next));
        proxy
    }
}

impl Built {
    fn new(shared: &Arc<Shared>, threads: usize, limits: Limits) -> Self {
        let conf = ServerConf {
            threads,
            // One retry is octroi's own count; this bound only ends what that count would miss.
            max_retries: 3,
            upstream_keepalive_pool_size: POOL,
            ..ServerConf::default()
        };
        let mut proxy = http_proxy(&Arc::new(conf), Gateway::new(Arc::clone(shared)));
        proxy.server_options = Some(server_options(&limits));
        proxy.h2_options = Some(h2_options(&limits));
        Self { limits, proxy: Arc::new(proxy) }
    }

    fn fits(&self, limits: &Limits) -> bool {
        let ours =
            |limits: &Limits| (limits.idle_timeout, limits.header_bytes, limits.header_count, limits.http2);
        ours(&self.limits) == ours(limits)
    }
}

fn server_options(limits: &Limits) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // The library counts how often a connection is used again, behind its first request.
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION.saturating_sub(1));
    // CONNECT comes to our own check, which refuses it always (`checks/hygiene`): what the library refuses
    // reaches no log.
    options.allow_connect_method_proxying = true;
    options.h2_idle_timeout = Some(limits.idle_timeout.saturating_add(IDLE_SLACK));
    options
}

/// Every bound of the library, none of them left to it.
fn h2_options(limits: &Limits) -> H2Options {
    let mut h2 = default_h2_options();
    let number = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let bounds = limits.http2;
    h2.max_header_list_size(number(field_list_bytes(limits.header_bytes, limits.header_count)))
        .header_table_size(number(FIELD_TABLE_BYTES))
        .max_frame_size(number(FRAME_BYTES))
        .max_concurrent_streams(bounds.streams)
        .initial_window_size(bounds.stream_window)
        .initial_connection_window_size(bounds.connection_window)
        .max_send_buffer_size(usize::try_from(bounds.send_buffer).unwrap_or(usize::MAX))
        // Those that the client has reset again before they were taken up: edge gives it no more at once.
        .max_pending_accept_reset_streams(usize::try_from(bounds.streams).unwrap_or(usize::MAX))
        .max_concurrent_reset_streams(RESET_REMEMBERED)
        .reset_stream_duration(RESET_REMEMBERED_FOR)
        // Edge gives it few small frames of a stream that nobody has taken up. Its own bound ends the
        // connection, and is never given back for what comes on streams that were reset.
        .data_frame_budget(usize::MAX)
        // Counted over the whole life of a connection, and that of a balancer lives long: `errors` counts
        // them over ten seconds.
        .max_local_error_reset_streams(None);
    h2
}

impl Handler for HttpHandler {
    fn serve(
        self: Arc<Self>,
        stream: Stream,
        _connection: Arc<Connection>,
        shutdown: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let proxy = self.proxy();
            let mut stream = Some(stream);
            while let Some(open) = stream {
                stream = proxy.process_new(open, &shutdown).await;
            }
        })
    }
}
