//! `octroi session …`: ends, reads and makes sessions.

mod foreign;
mod inspect;
mod mint;
mod revoke;

use std::path::Path;

use super::output::{Exit, Output};
use crate::{model::Clock, policy::Policy};

/// End, read and make sessions.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(subcommand)]
    pub(crate) command: SessionCommand,
}

/// What can be done with sessions.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum SessionCommand {
    Revoke(revoke::RevokeArgs),
    Inspect(inspect::InspectArgs),
    Mint(mint::MintArgs),
}

/// Runs the command. Revoking needs no configuration but its `state_dir`; reading and making need the keys, so `policy` is asked
/// for only then.
pub(crate) fn run(
    args: &SessionArgs,
    state_dir: &Path,
    policy: impl FnOnce() -> anyhow::Result<Policy>,
    clock: &dyn Clock,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    match &args.command {
        SessionCommand::Revoke(args) => revoke::run(args, state_dir, output),
        SessionCommand::Inspect(args) => inspect::run(args, &policy()?, clock, output),
        SessionCommand::Mint(args) => mint::run(args, state_dir, &policy()?, clock.now(), output),
    }
}
