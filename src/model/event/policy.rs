//! What becomes of a policy.

/// What became of a policy that was to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChanged {
    /// It is in force.
    Loaded,
    /// The configuration is bad, and the policy before stays in force.
    Refused,
}
