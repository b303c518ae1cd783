//! The handles that ACME needs.

use std::sync::Arc;

use super::status_board::AcmeStatusBoard;
use crate::{gateway::Shared, model::BoxFuture, process::Blocking};

/// The handles that ACME needs.
#[derive(Clone)]
pub(crate) struct AcmeDeps {
    /// The policy in force, the table of challenges, the clock and the metrics.
    pub(crate) shared: Arc<Shared>,
    /// Where the status of each certificate is kept.
    pub(crate) board: Arc<AcmeStatusBoard>,
    /// Reading and writing accounts and certificates.
    pub(crate) blocking: Blocking,
    /// Puts a certificate that was just written into force.
    pub(crate) put_into_force: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}
