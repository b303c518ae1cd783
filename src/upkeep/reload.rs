//! The reload that upkeep asks for.

use crate::{model::BoxFuture, process::RereadError};

/// Loads the configuration again because something that it names changed or expired.
pub(crate) trait Reload: Send + Sync {
    /// Loads it: all of it or nothing. Fails only where the files were not read; a refusal is in the log
    /// already.
    fn reload(&self) -> BoxFuture<'_, Result<(), RereadError>>;

    /// Returns whether the last load was refused.
    fn was_refused(&self) -> bool;
}
