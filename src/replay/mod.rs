//! The pipeline without traffic: what would octroi decide of a request, at which step, by which rule?
//!
//! It runs the real [`judge`](crate::pipeline::judge) over a request that somebody described, never charges a
//! quota, and says which revision of the policy it judged by.

mod explain;
mod request;

pub use explain::{Asked, Explained, Outcome, Refusal, Told, explain};
pub use request::{DescribeError, Described, Request, Sni};
