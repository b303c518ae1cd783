//! Metrics for Prometheus.

mod code;
mod event;
mod named;
mod record;
mod series;
mod table;

pub use event::{FetchResult, HeaderDrop, OrderResult, QuotaVerdict, SessionEvent};
pub use series::{TenantSeries, UpstreamSeries};
pub use table::{Metrics, MetricsError};
