//! What the running octroi knows of its keys, and where they are stored.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{
    admin::wire::{KeyBody, KeysBody, ReloadedBody},
    cli::{
        control::{Client, ControlArgs, Refused, Unreachable},
        output::{Exit, Output},
    },
    policy::{KeyDir, Policy, Sessions},
    session::KeyFile,
};

/// Returns the policy's session rules.
pub(super) fn sessions(policy: &Policy) -> anyhow::Result<&Sessions> {
    policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no session keys")
}

/// Asks the running octroi for its keys; `None` where none is running.
pub(super) fn ask(control: &ControlArgs, state_dir: &Path) -> anyhow::Result<Option<Vec<KeyBody>>> {
    ask_by(&Client::new(control.socket(state_dir)))
}

/// Does the same through a given client.
pub(super) fn ask_by(client: &Client) -> anyhow::Result<Option<Vec<KeyBody>>> {
    match client.get("/v1/keys") {
        Ok(reply) => match reply.read::<KeysBody>()? {
            Ok(body) => Ok(Some(body.keys)),
            Err(refused) => Err(refusal(&refused)),
        },
        Err(Unreachable::Connect { source, .. })
            if matches!(
                source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the running octroi load the folder; says so where none is running.
pub(super) fn take_into_force(
    control: &ControlArgs,
    state_dir: &Path,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let reply = match Client::patient(control.socket(state_dir)).post("/v1/reload", &serde_json::json!({})) {
        Ok(reply) => reply,
        Err(Unreachable::Connect { .. }) => {
            output.say("octroi is not running here; the folder is read at its start");
            return Ok(Exit::Fine);
        }
        Err(error) => return Err(error.into()),
    };
    match reply.read::<ReloadedBody>()? {
        Ok(reloaded) => {
            output.say(&format!("the running octroi has loaded it, revision {}", reloaded.revision));
            Ok(Exit::Fine)
        }
        Err(refused) => {
            output.say(&refused.body.error.message);
            output
                .say("the running octroi refused the configuration with it; the keys in force are unchanged");
            Ok(Exit::Problem)
        }
    }
}

fn refusal(refused: &Refused) -> anyhow::Error {
    anyhow::anyhow!("the running octroi refused: {}", refused.body.error.message)
}

/// Returns the path of a key's file.
pub(super) fn path(dir: &KeyDir, file: KeyFile) -> PathBuf {
    dir.path.join(file.to_string())
}
