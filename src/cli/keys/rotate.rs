//! `octroi keys rotate`: a new session key, known everywhere before it mints.

use anyhow::Context;

use super::{
    folder,
    running::{path, sessions, take_into_force},
};
use crate::{
    cli::{
        control::ControlArgs,
        output::{Exit, Output},
    },
    config,
    model::{Clock, SystemClock, UnixTime},
    policy::{KeyDir, Policy, Sessions},
    session::{KeyFile, KeyState},
};

/// Create a session key that only opens tokens; run again, let it mint.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RotateArgs {
    /// Let the new key mint by itself after this time, without a second run; 0s: at once, for a single node
    #[arg(long, value_name = "TIME", value_parser = duration)]
    mint_after: Option<std::time::Duration>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Runs the command.
pub(super) fn run(args: &RotateArgs, policy: &Policy, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let sessions = sessions(policy)?;
    let Some(dir) = &sessions.key_dir else {
        output.say(&by_hand(sessions));
        return Ok(Exit::Problem);
    };
    let now = SystemClock::new().now();
    // A key that already waits is promoted: two waiting keys at once would be one too many.
    match waiting(sessions, dir) {
        Some(file) => let_mint(args, dir, file, now, output)?,
        None => make(args, sessions, dir, now, output)?,
    }
    take_into_force(&args.control, &policy.state_dir, output)
}

fn make(
    args: &RotateArgs,
    sessions: &Sessions,
    dir: &KeyDir,
    now: UnixTime,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let newest = sessions.ring.keys().iter().map(|key| key.id).max().unwrap_or(0);
    let id = newest
        .checked_add(1)
        .context("no number is left for another key; retire all of them and begin with 1")?;
    let state = match args.mint_after {
        None => KeyState::Open,
        Some(wait) => minting(wait, now),
    };
    let file = KeyFile { id, state };
    let made = folder::add(&dir.path, file)?;
    output.text(&format!("made {}", made.display()))?;
    match state {
        KeyState::Open => {
            output.say(&format!("key {id} opens and does not mint yet."));
            output.say(&format!(
                "Every other node needs the same file first: copy {} into its key_dir.",
                made.display()
            ));
            output.say(&format!("Then, on every node: octroi keys rotate; key {id} mints from then on, and older keys only open."));
        }
        KeyState::MintFrom(_) => {
            let wait = args.mint_after.map_or(0, |wait| wait.as_secs());
            output.say(&format!(
                "key {id} opens, and mints by itself in {wait} s. Copy the file to every other node until then, with its name."
            ));
        }
        KeyState::Mint => output.say(&format!(
            "key {id} mints, and older keys only open. A node without it refuses its sessions."
        )),
    }
    Ok(())
}

fn let_mint(
    args: &RotateArgs,
    dir: &KeyDir,
    file: KeyFile,
    now: UnixTime,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let to = KeyFile { state: args.mint_after.map_or(KeyState::Mint, |wait| minting(wait, now)), ..file };
    let renamed = folder::change(&dir.path, file, to)?;
    output.text(&format!("renamed {} to {}", path(dir, file).display(), renamed.display()))?;
    match to.state {
        KeyState::Mint => {
            output.say(&format!(
                "key {} mints, and older keys only open. `octroi keys list` says from when on they may be retired.",
                file.id
            ));
        }
        KeyState::MintFrom(_) | KeyState::Open => {
            let wait = args.mint_after.map_or(0, |wait| wait.as_secs());
            output.say(&format!("key {} mints by itself in {wait} s", file.id));
        }
    }
    Ok(())
}

/// Finds the key that is newer than the minting one. An older key that only opens has minted before.
fn waiting(sessions: &Sessions, dir: &KeyDir) -> Option<KeyFile> {
    let minting = sessions.ring.minting();
    let of_dir = minting.and_then(|key| dir.files.iter().find(|file| file.id == key.id));
    let newest = dir.files.first().filter(|file| file.state != KeyState::Mint)?;
    // A listed key that mints is older than every key of the folder, which comes first.
    of_dir.is_none_or(|file| file.id < newest.id).then_some(*newest)
}

fn minting(wait: std::time::Duration, now: UnixTime) -> KeyState {
    if wait.is_zero() {
        return KeyState::Mint;
    }
    // Whole seconds, rounded up: never too early.
    KeyState::MintFrom(UnixTime::from_secs(now.plus(wait).as_secs().saturating_add(1)))
}

/// Prints what the operator must write into the configuration, which octroi does not edit.
fn by_hand(sessions: &Sessions) -> String {
    let keys = sessions.ring.keys();
    let id = keys.iter().map(|key| key.id).max().unwrap_or(0).saturating_add(1);
    let old: String =
        keys.iter().map(|key| format!("    - {{id: {}, secret: …, open_only: true}}\n", key.id)).collect();
    let minting = sessions.ring.minting().map_or(0, |key| key.id);
    let kept = old.replacen(
        &format!("id: {minting}, secret: …, open_only: true"),
        &format!("id: {minting}, secret: …"),
        1,
    );
    format!(
        "the session keys are listed in the configuration, which octroi does not write.\n\
         By hand, in two steps, each on every node before the next one (`octroi keys init` makes the file, `octroi reload` takes it):\n\
         \x20 keys:                                     # 1. the new key opens\n\
         \x20   - {{id: {id}, secret: \"${{file:session-{id}.key}}\", open_only: true}}\n{kept}\
         \x20 keys:                                     # 2. it mints\n\
         \x20   - {{id: {id}, secret: \"${{file:session-{id}.key}}\"}}\n{old}\
         Or name a folder beside them, `key_dir: keys`: its keys are managed by `octroi keys rotate` and `octroi keys retire`."
    )
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    if text == "0s" {
        return Ok(std::time::Duration::ZERO);
    }
    config::duration(text)
        .ok_or_else(|| format!("not a duration: `{text}`; write `10m`, or `0s` for at once"))
}
