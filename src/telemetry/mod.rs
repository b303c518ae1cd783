//! What octroi tells about itself: metrics, the access log, its own log.
//!
//! Floor 3. Lines are formatted on the request path and written off it; metrics are counters that are found once and kept.

mod access_log;
mod escape;
mod line;
#[cfg(feature = "gateway")]
mod metrics;
mod own_log;
mod sink;
mod tally;
pub mod tracing;
mod writer;

pub use access_log::{AccessLog, LogError};
pub use line::{AccessLine, Event, UpstreamFacts};
#[cfg(feature = "gateway")]
pub use metrics::{
    AppCookie, FetchResult, HeaderDrop, Metrics, MetricsError, OrderResult, QuotaVerdict, RedisSeries, RevocationWrite, SessionEvent,
    TenantSeries, UpstreamSeries,
};
pub use tally::{Noted, Sum, TALLY_CLIENTS, TALLY_WINDOW, Tally};
