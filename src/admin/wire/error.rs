//! Every answer that is none.

use serde::{Deserialize, Serialize};

/// The code of an order that came to a process which handed over before its turn: whoever serves by then may
/// be given it again.
pub const HANDED_OVER: &str = "handed_over";

/// Every answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One of a closed set, for programs.
    pub code: String,
    /// For people.
    pub message: String,
}
