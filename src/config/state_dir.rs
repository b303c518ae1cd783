//! Where a running octroi is to be found, whatever else is wrong with its configuration.

use std::path::{Path, PathBuf};

use super::{default, finding::Findings, input::Inputs, read::read, source::Source};

/// Returns the state directory that a configuration names, for commands that only look for the control socket there.
///
/// The rest of the file need not hold: `octroi reload` is how an operator learns what is wrong with it. A file that cannot be read
/// at all leaves `$STATE_DIRECTORY` or the default.
pub fn state_dir(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let inputs = Inputs::new(env);
    let contents = read(path, &inputs, &mut Findings::default());
    let named = contents.root.as_ref().and_then(|root| root.server.as_ref()?.state_dir.as_ref());
    match named {
        Some(dir) => contents.sources.file(dir.span.file).map(Source::folder).unwrap_or_default().join(&dir.value.0),
        None => default_dir(env),
    }
}

/// Returns the service manager's directory, else ours. It may name several with colons between them; the first counts.
pub(super) fn default_dir(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let given = env("STATE_DIRECTORY").unwrap_or_default();
    let first = given.split(':').next().unwrap_or_default();
    PathBuf::from(if first.is_empty() { default::STATE_DIR } else { first })
}
