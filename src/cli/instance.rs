//! Which running octroi a command addresses: the one of the configuration, if that can be read.

use std::path::Path;

use super::{
    control::ControlArgs,
    output::{Exit, Output},
};
use crate::{
    app,
    config::{self, Problem, StateDirLookup},
    model::printable_lines,
};

/// Whether a command changes the running octroi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads.
    ReadOnly,
    /// It changes something.
    Change,
}

/// Finds the running octroi through the configuration, and runs a command there.
///
/// If the configuration cannot be read, it is unknown which octroi is meant. A command that only reads then
/// tries the default state directory and says so. A command that changes something could hit another octroi,
/// so it requires `--socket`.
pub(super) fn with_instance(
    control: &ControlArgs,
    effect: Effect,
    config: &Path,
    output: &mut Output<'_>,
    run: impl FnOnce(&Path, &mut Output<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    if control.socket.is_some() {
        // The configuration does not matter then.
        return run(Path::new(""), output);
    }
    let StateDirLookup { dir, unknown } = config::look_up_state_dir(config, &app::variable);
    if let Some(Problem { file, line, column, message, .. }) = unknown {
        let place = if line == 0 {
            file.display().to_string()
        } else {
            format!("{}:{line}:{column}", file.display())
        };
        let why = format!("{place}: {message}; so the state_dir is unknown");
        if effect == Effect::Change {
            anyhow::bail!("{why}, and nothing is done; name the control socket with `--socket`");
        }
        output.say(&printable_lines(&format!(
            "warning: {why}, and the default state_dir, {}, is tried; name the control socket with `--socket`",
            dir.display()
        )));
    }
    run(&dir, output)
}
