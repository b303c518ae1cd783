//! Metrics for Prometheus.

mod acme;
mod code;
mod count;
mod declare;
mod deny;
mod gauge;
mod key_set;
mod named;
mod record;
mod redis;
mod series;
mod table;
mod tls;

pub use redis::RedisSeries;
pub use table::{Metrics, MetricsError};
