//! `octroi keys …`: creates keys, shows how they are used, rotates and retires them.

mod assertion_key;
mod folder;
mod init;
mod list;
mod retire;
mod rotate;
mod running;

use std::path::Path;

use super::{
    control::ControlArgs,
    output::{Exit, Output},
};
use crate::policy::Policy;

/// Create keys; list, rotate and retire session keys.
#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    Init(init::InitArgs),
    List(list::ListArgs),
    Rotate(rotate::RotateArgs),
    Retire(retire::RetireArgs),
}

impl KeysArgs {
    /// Returns the socket that the command asks; `None` where it needs the configuration in any case.
    pub(crate) fn asks(&self) -> Option<ControlArgs> {
        if let KeysCommand::List(args) = &self.command { Some(args.control.clone()) } else { None }
    }
}

pub(crate) fn run(
    config: &Path,
    args: KeysArgs,
    state_dir: &Path,
    policy: impl FnOnce() -> anyhow::Result<Policy>,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    match args.command {
        KeysCommand::Init(args) => init::run(config, args, output),
        KeysCommand::List(args) => list::run(&args, state_dir, policy, output),
        KeysCommand::Rotate(args) => rotate::run(&args, &policy()?, output),
        KeysCommand::Retire(args) => retire::run(&args, &policy()?, output),
    }
}
