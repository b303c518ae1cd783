//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use std::path::PathBuf;

use super::{ConfigErrors, Loaded, load};
use crate::model::UnixTime;

/// Compiles a text as [`super::load`] compiles the file at that path, without the tenant files that it names.
pub fn load_text(path: PathBuf, text: String, now: UnixTime, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    load::load_text(path, text, now, env)
}
