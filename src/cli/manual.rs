//! `octroi completion` and `octroi man`: made from the same description as `--help`.

use clap::{Args, CommandFactory};

use super::{
    Cli,
    output::{Exit, Output},
};

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn completion(args: &CompletionArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "octroi", &mut script);
    output.text(&String::from_utf8(script)?)?;
    Ok(Exit::Fine)
}

pub(crate) fn man(output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output.text(&String::from_utf8(page)?)?;
    Ok(Exit::Fine)
}
