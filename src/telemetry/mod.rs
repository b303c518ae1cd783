//! Observability: metrics, the access log, the process log.
//!
//! Floor 3. Lines are formatted on the request path and written by other threads; metric handles are looked
//! up once and kept.

#[cfg(feature = "gateway")]
mod access_log;
#[cfg(feature = "gateway")]
mod escape;
#[cfg(feature = "gateway")]
mod event_line;
#[cfg(feature = "gateway")]
mod line;
#[cfg(feature = "gateway")]
mod metrics;
mod process_log;
#[cfg(feature = "gateway")]
mod recorder;
#[cfg(feature = "gateway")]
mod refusal_summary;
#[cfg(feature = "gateway")]
mod sink;
pub mod tracing;
#[cfg(feature = "gateway")]
mod writer;

#[cfg(feature = "gateway")]
pub use access_log::{AccessLog, LogError};
#[cfg(feature = "gateway")]
pub use metrics::{Metrics, MetricsError, RedisSeries};
#[cfg(feature = "gateway")]
pub use recorder::Recorder;
#[cfg(feature = "gateway")]
use refusal_summary::{RefusalCount, RefusalSummary};
