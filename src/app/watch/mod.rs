//! Watches the files that the policy names, and tells the part of the gateway that each belongs to.
//!
//! A feature that reads files adds them to [`named::files`], under its [`Group`]; what happens when one of a group changed is one
//! arm of [`App::refresh`]. It is called, too, when a file is named for the first time: what changed between its reading and its
//! watching would be missed otherwise. So it must be cheap, and silent, where nothing changed.

mod fingerprint;
mod folders;
mod named;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{fingerprint::Fingerprints, folders::Folders, named::Group};
use super::{client_trust, control::App, deny, renew, session_keys};
use crate::model::UnixTime;

/// How long the folders must have been touched before the files are read: a renewal writes several.
const SETTLE: Duration = Duration::from_millis(200);
/// How often files are looked at that the kernel tells of: network file systems tell of nothing that other machines do.
const SLOW_LOOK: Duration = Duration::from_secs(30);
/// How often files are looked at that the kernel does not tell of.
const QUICK_LOOK: Duration = Duration::from_secs(2);

/// Watches for ever.
pub(super) async fn watch(app: Arc<App>) {
    let folders = Arc::new(Folders::open());
    let mut fingerprints = Fingerprints::default();
    // When the TLS state wants to be asked again by itself.
    let mut due: Option<Instant> = None;
    loop {
        let files = named::files(&app.shared.snapshot.load().policy);
        let (changed, told) = look(&folders, &mut fingerprints, files, app.shared.clock.now()).await;
        let is_due = due.is_some_and(|at| at <= Instant::now());
        for group in Group::ALL {
            if changed.contains(group) || (is_due && *group == Group::Tls) {
                app.refresh(*group, &mut due).await;
            }
        }
        let pause = if told { SLOW_LOOK } else { QUICK_LOOK };
        let next = due.map_or(pause, |at| at.saturating_duration_since(Instant::now()).min(pause));
        tokio::select! {
            () = folders.changed() => {
                tokio::time::sleep(SETTLE).await;
                folders.forget();
            }
            () = app.policy_changed.notified() => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

impl App {
    /// Reads the files of a group again.
    async fn refresh(&self, group: Group, due: &mut Option<Instant>) {
        match group {
            Group::ClientTrust => client_trust::renew(self).await,
            Group::SessionKeys => session_keys::renew(self).await,
            Group::Deny => deny::read_again(self).await,
            Group::Tls => *due = renew::certificates(self).await.map(|wait| Instant::now() + wait),
        }
    }
}

/// Looks at the files. Returns whose files changed, and whether the kernel tells of the next change.
async fn look(
    folders: &Arc<Folders>,
    fingerprints: &mut Fingerprints,
    files: Vec<(Group, PathBuf)>,
    now: UnixTime,
) -> (BTreeSet<Group>, bool) {
    let (folders, mut known) = (Arc::clone(folders), std::mem::take(fingerprints));
    let looked = tokio::task::spawn_blocking(move || {
        // Folders first: what changes from here on wakes us, and what changed before is seen now.
        let told = folders.cover(files.iter().map(|(_, path)| path.as_path()));
        let changed = known.look(&files, now);
        (known, changed, told)
    });
    match looked.await {
        Ok((known, changed, told)) => {
            *fingerprints = known;
            (changed, told)
        }
        Err(error) => {
            tracing::error!(%error, "the files that the configuration names cannot be looked at");
            (BTreeSet::new(), false)
        }
    }
}
