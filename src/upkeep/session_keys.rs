//! The session keys of the running gateway: how they are used, and those of a folder that changed.

use std::sync::Arc;

use super::reload::Reload;
use crate::{
    config::{self, FolderKey},
    gateway::Shared,
    model::{KeyRole, KeyStatus, UnixTime, error_chain},
    policy::{KeyDir, Policy, Sessions},
    process::{Blocking, RereadError},
    session::{KeyState, MasterKey},
    store::KeyUses,
};

/// Reads what is known of the keys, and takes over which there are.
pub(crate) fn open(policy: &Policy, now: UnixTime) -> KeyUses {
    let (uses, wrong) = KeyUses::open(&policy.state_dir);
    if let Some(error) = wrong {
        tracing::warn!(%error, "when session keys were used last cannot be read; they count as used just now");
    }
    uses.settle(policy.sessions.as_ref().map(|sessions| &sessions.ring), now);
    uses
}

/// Writes down when keys were used last: an operator who retires one needs it, after a restart too.
pub(crate) async fn write_uses(shared: &Arc<Shared>, writing: &Blocking) {
    let shared = Arc::clone(shared);
    let now = shared.clock.now();
    let written = writing.run(move || {
        let policy = Arc::clone(&shared.snapshot.load().policy);
        shared.key_uses.settle(policy.sessions.as_ref().map(|sessions| &sessions.ring), now);
        shared.key_uses.write()
    });
    let why = match written.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error_chain(&error),
    };
    tracing::warn!(error = %why, "when session keys were used last cannot be written; after a restart they count as used then");
}

/// Counts the uses of each key.
pub(crate) fn gauge(shared: &Shared) {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    let keys = policy.sessions.iter().flat_map(|sessions| sessions.ring.keys());
    shared.metrics.session_keys(keys.map(|key| (key.id, shared.key_uses.of(key.id).uses)));
}

/// Says what each key does, and from when on it may go.
pub(crate) fn status(shared: &Shared) -> Vec<KeyStatus> {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    let Some(sessions) = &policy.sessions else { return Vec::new() };
    // No session lives longer, whatever its token says.
    let longest = policy.longest_session();
    let keys = sessions.ring.keys().iter().map(|key| {
        let used = shared.key_uses.of(key.id);
        let role = role(sessions, key.id);
        KeyStatus {
            id: key.id,
            role,
            file: file(sessions, key.id),
            check: key.check(),
            since: used.since,
            minted: used.minted,
            opened: used.opened,
            uses: used.uses,
            retire_from: (role != KeyRole::Mints).then(|| used.quiet_since().plus(longest)),
        }
    });
    keys.collect()
}

fn role(sessions: &Sessions, id: u16) -> KeyRole {
    let minting = sessions.ring.minting().map(|key| key.id);
    if minting == Some(id) {
        return KeyRole::Mints;
    }
    let file = sessions.key_dir.iter().flat_map(|dir| &dir.files).find(|file| file.id == id);
    match file.map(|file| file.state) {
        Some(KeyState::MintFrom(from)) if minting.is_none_or(|minting| minting < id) => {
            KeyRole::Waits(Some(from))
        }
        Some(KeyState::Open) if minting.is_none_or(|minting| minting < id) => KeyRole::Waits(None),
        Some(_) | None => KeyRole::Opens,
    }
}

fn file(sessions: &Sessions, id: u16) -> Option<String> {
    let dir = sessions.key_dir.as_ref()?;
    dir.files
        .iter()
        .find(|file| file.id == id)
        .map(|file| dir.path.join(file.to_string()).display().to_string())
}

/// Takes the keys of the folder into force if they differ from those of the policy. They are a part of it, so
/// this is a reload: all of it or nothing.
pub(super) async fn renew(
    shared: &Shared,
    reading: &Blocking,
    reload: &dyn Reload,
) -> Result<(), RereadError> {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    let Some(sessions) = policy.sessions.clone() else { return Ok(()) };
    let Some(dir) = sessions.key_dir.clone() else { return Ok(()) };
    // A folder that was refused and has been repaired may hold the keys in force again.
    let refused = reload.was_refused();
    match reading.run(move || differ(&dir, &sessions)).await {
        Ok(false) if !refused => Ok(()),
        Ok(_) => {
            tracing::info!("the folder of session keys changed; loading the configuration again");
            // The reload itself logs a refusal; the keys in force stay.
            reload.reload().await
        }
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "the folder of session keys could not be read again");
            Err(RereadError)
        }
    }
}

/// Says whether a folder holds other keys than the policy has of it. One that cannot be used differs too.
fn differ(dir: &KeyDir, sessions: &Sessions) -> bool {
    let Ok(found) = config::read_key_folder(&dir.path) else { return true };
    let same = |found: &FolderKey| {
        let is_it = |key: &MasterKey| key.id == found.file.id && key.secret == found.secret;
        dir.files.contains(&found.file) && sessions.ring.keys().iter().any(is_it)
    };
    found.len() != dir.files.len() || !found.iter().all(same)
}
