//! `octroi session …`: revokes, lists, inspects and mints sessions.

mod foreign;
mod inspect;
mod inspected;
mod list;
mod mint;
mod revoke;

use std::path::Path;

use super::{
    control::ControlArgs,
    instance::Effect,
    output::{Exit, Output},
};
use crate::{model::Clock, policy::Policy};

/// Revoke, list, inspect and mint sessions.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(subcommand)]
    pub(crate) command: SessionCommand,
}

/// What can be done with sessions.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum SessionCommand {
    Revoke(revoke::RevokeArgs),
    List(list::ListArgs),
    Inspect(inspected::InspectArgs),
    Mint(mint::MintArgs),
}

impl SessionArgs {
    /// Returns the socket that the command asks, and whether it changes something there; `None` where it
    /// needs the configuration in any case.
    pub(crate) fn asks(&self) -> Option<(&ControlArgs, Effect)> {
        match &self.command {
            SessionCommand::Revoke(args) => Some((&args.control, Effect::Change)),
            SessionCommand::List(args) => Some((&args.control, Effect::ReadOnly)),
            SessionCommand::Inspect(_) | SessionCommand::Mint(_) => None,
        }
    }
}

/// Runs the command. Revoking and listing need only the configuration's `state_dir`. Inspecting and minting
/// need the keys, so only they call `policy`.
pub(crate) fn run(
    args: &SessionArgs,
    state_dir: &Path,
    policy: impl FnOnce() -> anyhow::Result<Policy>,
    clock: &dyn Clock,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    match &args.command {
        SessionCommand::Revoke(args) => revoke::run(args, state_dir, output),
        SessionCommand::List(args) => list::run(args, state_dir, output),
        SessionCommand::Inspect(args) => inspect::run(args, &policy()?, clock, output),
        SessionCommand::Mint(args) => mint::run(args, state_dir, &policy()?, clock.now(), output),
    }
}
