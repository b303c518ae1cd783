//! Metrics for Prometheus.

mod code;
mod event;
mod named;
mod record;
mod redis;
mod series;
mod table;

pub use event::{AppCookie, FetchResult, HeaderDrop, OrderResult, QuotaVerdict, RevocationWrite, SessionEvent};
pub use redis::RedisSeries;
pub use series::{TenantSeries, UpstreamSeries};
pub use table::{Metrics, MetricsError};
