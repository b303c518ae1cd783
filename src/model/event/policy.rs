//! Loading of policies.

/// The result of loading a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChanged {
    /// It is in force.
    Loaded,
    /// The configuration is invalid, and the earlier policy stays in force.
    Refused,
}
