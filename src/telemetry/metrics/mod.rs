//! Metrics for Prometheus.

mod code;
mod count;
mod declare;
mod gauge;
mod named;
mod record;
mod redis;
mod series;
mod table;

pub use redis::RedisSeries;
pub use table::{Metrics, MetricsError};
