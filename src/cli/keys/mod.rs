//! `octroi keys …`: makes keys, says how they are used, exchanges them.

mod assertion_key;
mod folder;
mod init;
mod list;
mod retire;
mod rotate;

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{
    control::{Client, ControlArgs, Refused, Unreachable},
    output::{Exit, Output},
};
use crate::{
    admin::wire::{KeyBody, KeysBody, ReloadedBody},
    policy::{KeyDir, Policy, Sessions},
};

/// Make keys; list, rotate and retire the keys of sessions.
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

/// Returns the rules of sessions.
fn sessions(policy: &Policy) -> anyhow::Result<&Sessions> {
    policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no session keys")
}

/// Asks the running octroi for its keys; nothing where none runs.
fn ask(control: &ControlArgs, state_dir: &Path) -> anyhow::Result<Option<Vec<KeyBody>>> {
    match Client::new(control.socket(state_dir)).get("/v1/keys") {
        Ok(reply) => match reply.read::<KeysBody>()? {
            Ok(body) => Ok(Some(body.keys)),
            Err(refused) => Err(refusal(&refused)),
        },
        Err(Unreachable::Connect { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Has the running octroi take the folder into force; says so where none runs.
fn take_into_force(control: &ControlArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let reply = match Client::new(control.socket(state_dir)).post("/v1/reload", &serde_json::json!({})) {
        Ok(reply) => reply,
        Err(Unreachable::Connect { .. }) => {
            output.say("octroi does not run here; the folder is read at its start");
            return Ok(Exit::Fine);
        }
        Err(error) => return Err(error.into()),
    };
    match reply.read::<ReloadedBody>()? {
        Ok(reloaded) => {
            output.say(&format!("the running octroi has taken it into force, revision {}", reloaded.revision));
            Ok(Exit::Fine)
        }
        Err(refused) => {
            output.say(&refused.body.error.message);
            output.say("the running octroi refused the configuration with it; the keys in force are the same as before");
            Ok(Exit::Problem)
        }
    }
}

fn refusal(refused: &Refused) -> anyhow::Error {
    anyhow::anyhow!("the running octroi refused: {}", refused.body.error.message)
}

/// Returns the path of a key's file.
fn path(dir: &KeyDir, file: crate::session::KeyFile) -> PathBuf {
    dir.path.join(file.to_string())
}
