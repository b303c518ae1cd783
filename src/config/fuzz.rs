//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use std::path::{Path, PathBuf};

use super::{ConfigErrors, DenyFileError, Loaded, deny_file, load};
use crate::{model::UnixTime, policy::IpSet};

/// Compiles a text as [`super::load`] compiles the file at that path, without the tenant files that it names.
pub fn load_text(
    path: PathBuf,
    text: String,
    now: UnixTime,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    load::load_text(path, text, now, env)
}

/// Reads what a file of `deny_files` holds.
pub fn deny_text(path: &Path, bytes: &[u8]) -> Result<IpSet, DenyFileError> {
    deny_file::read_text(path, bytes)
}
