//! What it means that a stream, or the connection under it, has failed.

use pingora::ErrorType;

use crate::gateway::exchange::failed::Failed;

/// Tells whether the server has done nothing yet: then any request may go to another (RFC 9113, section 8.7).
pub(super) fn of_stream(error: h2::Error) -> Failed {
    // A stream above the last one that GOAWAY names is failed with it; the others go on.
    let untouched = error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
    Failed::new(kind(&error), untouched, error.to_string())
}

/// The library's word for it: our own and the server's faults of protocol, or a connection that has ended.
pub(super) fn kind(error: &h2::Error) -> ErrorType {
    match () {
        () if error.is_io() => ErrorType::ConnectionClosed,
        () if error.is_go_away() && error.is_remote() => ErrorType::ConnectionClosed,
        () => ErrorType::H2Error,
    }
}
