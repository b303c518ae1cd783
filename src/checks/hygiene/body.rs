//! The body that a head announces.

/// The body that a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    Absent,
    /// This many bytes.
    Length(u64),
    /// Its end is known only when it comes: chunks, or HTTP/2 without a Content-Length.
    Unknown,
}
