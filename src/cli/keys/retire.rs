//! `octroi keys retire`: destroys a session key that is no longer needed.

use super::{
    folder,
    running::{ask, sessions, take_into_force},
};
use crate::{
    admin::wire::{self, KeyBody},
    cli::{
        control::ControlArgs,
        output::{Exit, Output},
    },
    model::{Clock, SystemClock, UnixTime},
    policy::Policy,
};

/// Destroy a session key of the key folder. Refused while the key mints, or while sessions sealed with it
/// may be alive.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RetireArgs {
    /// The key's number
    #[arg(value_name = "KEY")]
    key: u16,
    /// Retire the key even if sessions sealed with it may be alive: they end
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Runs the command.
pub(super) fn run(args: &RetireArgs, policy: &Policy, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let sessions = sessions(policy)?;
    let id = args.key;
    if !sessions.ring.keys().iter().any(|key| key.id == id) {
        output.say(&format!("error: there is no session key {id}"));
        return Ok(Exit::Problem);
    }
    let running = ask(&args.control, &policy.state_dir)?;
    let now = SystemClock::new().now();
    let minting = sessions.ring.minting().is_some_and(|key| key.id == id);
    if let Some(why) = objection(id, minting, running.as_deref(), args.force, now) {
        output.say(&format!("error: {why}"));
        // The running octroi may know; the files do not.
        return Ok(if running.is_none() && !minting { Exit::Unreachable } else { Exit::Problem });
    }
    let file =
        sessions.key_dir.as_ref().and_then(|dir| Some((dir, *dir.files.iter().find(|file| file.id == id)?)));
    let Some((dir, file)) = file else {
        output.say(&format!("key {id} is no longer needed. It is listed in sessions.keys: remove it there, then `octroi reload`."));
        return Ok(Exit::Problem);
    };
    let removed = folder::remove(&dir.path, file)?;
    output.text(&format!("removed {}", removed.display()))?;
    take_into_force(&args.control, &policy.state_dir, output)
}

/// Says why a key must not be retired yet.
fn objection(
    id: u16,
    minting: bool,
    running: Option<&[KeyBody]>,
    force: bool,
    now: UnixTime,
) -> Option<String> {
    let known = running.and_then(|keys| keys.iter().find(|key| key.id == id));
    if minting || known.is_some_and(|key| key.state == "mints") {
        return Some(format!("key {id} mints; `octroi keys rotate` puts a new one in its place first"));
    }
    if force {
        return None;
    }
    if running.is_none() {
        return Some("octroi is not running here, so it is unknown whether the key is in use; --force retires it anyway".to_owned());
    }
    let from = known.and_then(|key| key.retire_from.as_deref())?;
    if wire::read_time(from).is_some_and(|from| from <= now) {
        return None;
    }
    let opened = known.and_then(|key| key.opened.as_deref());
    let used = opened
        .map_or_else(|| "it has opened none here".to_owned(), |at| format!("it last opened one at {at}"));
    Some(format!("sessions that key {id} sealed may live until {from} ({used}); --force ends them"))
}
