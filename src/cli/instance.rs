//! Which running octroi a command means: the one of the configuration, where that can be read.

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

/// What a command does with the running octroi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only asks.
    ReadOnly,
    /// It changes something there.
    Change,
}

/// Finds the running octroi by the configuration, and runs a command there.
///
/// Where the configuration cannot be read, nobody knows which one is meant: the one at the default place may
/// be asked, and that is said; it is not given orders that were meant for another one, unless `--socket`
/// names it.
pub(super) fn with_instance(
    control: &ControlArgs,
    effect: Effect,
    config: &Path,
    output: &mut Output<'_>,
    run: impl FnOnce(&Path, &mut Output<'_>) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    if control.socket.is_some() {
        // The configuration says nothing that counts then.
        return run(Path::new(""), output);
    }
    let StateDirLookup { dir, unknown } = config::look_up_state_dir(config, &app::variable);
    if let Some(Problem { file, line, column, message, .. }) = unknown {
        let place = if line == 0 {
            file.display().to_string()
        } else {
            format!("{}:{line}:{column}", file.display())
        };
        let why = format!("{place}: {message}; so the configuration does not say where octroi is");
        if effect == Effect::Change {
            anyhow::bail!("{why}, and nothing is done; name its control socket with `--socket`");
        }
        output.say(&printable_lines(&format!(
            "warning: {why}, and the default state_dir, {}, is tried; name the control socket with `--socket`",
            dir.display()
        )));
    }
    run(&dir, output)
}
