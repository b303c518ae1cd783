//! An entry point for the fuzz targets. It is not documented.

use super::bounds;

/// Reads along with what Redis sends. Says whether it stands between two messages, or what is too large.
pub fn reads_along(pieces: &[&[u8]]) -> Result<bool, &'static str> {
    bounds::reads_along(pieces)
}
