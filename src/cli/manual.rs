//! `octroi completion` and `octroi man`: made from the same description as `--help`.

use anyhow::Context;
use clap::{Args, Command};

use super::output::{Exit, Output};

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn completion(
    args: &CompletionArgs,
    mut program: Command,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "octroi", &mut script);
    output.text(&String::from_utf8(script)?)?;
    Ok(Exit::Fine)
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command whose page is printed: `session revoke`. Without one it is octroi(1).
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn man(args: &ManArgs, mut program: Command, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    // Gives every command the name of its page: octroi-session-revoke.
    program.build();
    let mut command = &program;
    for word in &args.command {
        command = command
            .find_subcommand(word)
            .with_context(|| format!("`{}` has no command `{word}`", command.get_name()))?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    output.text(&String::from_utf8(page)?)?;
    Ok(Exit::Fine)
}
