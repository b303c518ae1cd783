//! The pipeline without traffic: how would octroi decide a request, at which step, by which rule?
//!
//! It runs the real [`judge`](crate::pipeline::judge) over a described request, never charges a quota, and
//! says which revision of the policy decided.

mod explain;
mod request;

pub use explain::{Asked, Explained, Outcome, Refusal, Told, explain};
pub use request::{DescribeError, Described, Request, Sni};
