//! Watches the files that the policy names, and reads those that changed again.
//!
//! A feature that reads files adds them to [`named::files`], under its [`Group`]. What happens when a file of
//! a group changed is one arm of [`FileWatch::refresh`]. That also runs when a file is named for the first
//! time: a change between its reading and its watching would be missed otherwise. So it must be cheap, and
//! silent, where nothing changed.

mod fingerprint;
mod folders;
mod named;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use self::{fingerprint::Fingerprints, folders::FolderWatcher, named::Group};
use super::{
    certificates::CertificateRenewer, client_trust, deny_files::DenyFiles, reload::Reload, session_keys,
};
use crate::{
    gateway::Shared,
    model::{self, UnixTime},
    process::{Blocking, PolicySubscriber, Repeated, RereadError},
};

/// How long the folders must have been touched before the files are read: a renewal writes several.
const SETTLE: Duration = Duration::from_millis(200);
/// How often files are looked at that the kernel tells of: network file systems tell of nothing that other
/// machines do.
const SLOW_LOOK: Duration = Duration::from_secs(30);
/// How long a look is waited for: seconds for 100,000 files, on a busy machine more.
const LOOKING: Duration = Duration::from_secs(60);
/// How often files are read again that changed and could not be read: a file system hangs, and each try may
/// take a thread.
const RETRY: Duration = Duration::from_secs(60);
/// How often files are looked at that the kernel does not tell of.
const QUICK_LOOK: Duration = Duration::from_secs(2);

/// The handles of the file watch.
pub(crate) struct FileWatch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) certificates: Arc<CertificateRenewer>,
    pub(crate) deny_files: Arc<DenyFiles>,
    pub(crate) reload: Arc<dyn Reload>,
    pub(crate) reading: Blocking,
    /// Whether a successor serves in this process's place.
    pub(crate) handed_over: watch::Receiver<bool>,
}

impl FileWatch {
    /// Watches for ever.
    pub(crate) async fn run(self, mut changes: PolicySubscriber) {
        let mut look = FileScanner::new();
        // When the TLS state wants to be asked again by itself.
        let mut due: Option<Instant> = None;
        // Groups whose files changed and could not be read, and when to try again: no other change reports
        // them.
        let mut unread: BTreeMap<Group, Instant> = BTreeMap::new();
        loop {
            let files = named::files(&self.shared.snapshot.load().policy);
            let (changed, told) = look.at(files, self.shared.clock.now()).await;
            let is_due = due.is_some_and(|at| at <= Instant::now());
            for group in Group::ALL {
                let is_unread = unread.get(group).is_some_and(|again| *again <= Instant::now());
                let is_wanted = changed.contains(group) || is_unread || (is_due && *group == Group::Tls);
                if !is_wanted {
                    continue;
                }
                unread.remove(group);
                let read = self.refresh(*group, &mut due).await;
                // The successor has read them.
                if read.is_err() && !*self.handed_over.borrow() {
                    unread.insert(*group, Instant::now() + RETRY);
                }
            }
            let pause = if told { SLOW_LOOK } else { QUICK_LOOK };
            let next = due.map_or(pause, |at| at.saturating_duration_since(Instant::now()).min(pause));
            tokio::select! {
                () = look.folders.changed() => {
                    tokio::time::sleep(SETTLE).await;
                    look.folders.forget();
                }
                () = changes.changed() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    /// Reads the files of a group again.
    async fn refresh(&self, group: Group, due: &mut Option<Instant>) -> Result<(), RereadError> {
        match group {
            Group::ClientTrust => client_trust::renew(&self.shared, &self.reading, &*self.reload).await,
            Group::SessionKeys => session_keys::renew(&self.shared, &self.reading, &*self.reload).await,
            Group::Deny => self.deny_files.read_again().await,
            Group::Tls => {
                *due = self.certificates.renew().await.map(|wait| Instant::now() + wait);
                Ok(())
            }
        }
    }
}

/// Who looks at the files.
struct FileScanner {
    folders: Arc<FolderWatcher>,
    fingerprints: Fingerprints,
    /// One look at a time, in a thread that a file system may keep.
    looks: Repeated<(Fingerprints, BTreeSet<Group>, bool)>,
    hangs: bool,
}

impl FileScanner {
    fn new() -> Self {
        let looks = Repeated::new("looking at the files that the configuration names");
        Self {
            folders: Arc::new(FolderWatcher::open()),
            fingerprints: Fingerprints::default(),
            looks,
            hangs: false,
        }
    }

    /// Looks at the files. Returns whose files changed, and whether the kernel tells of the next change.
    ///
    /// A look that hangs keeps nobody from what is due by itself: it is waited for again, and what it finds
    /// in the end counts.
    async fn at(&mut self, files: Vec<(Group, PathBuf)>, now: UnixTime) -> (BTreeSet<Group>, bool) {
        let (folders, mut known) = (Arc::clone(&self.folders), std::mem::take(&mut self.fingerprints));
        let looked = self.looks.run(LOOKING, move || {
            // Folders first: what changes from here on wakes us, and what changed before is seen now.
            let told = folders.cover(files.iter().map(|(_, path)| path.as_path()));
            let changed = known.look(&files, now);
            (known, changed, told)
        });
        match looked.await {
            Ok((known, changed, told)) => {
                self.fingerprints = known;
                let hung = std::mem::take(&mut self.hangs);
                if hung {
                    tracing::info!("the files that the configuration names can be looked at again");
                }
                // What it was asked for may be of yesterday.
                (changed, told && !hung)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.hangs, true) {
                    tracing::error!(error = %model::error_chain(&error), "what changes in files is not seen until this ends");
                }
                (BTreeSet::new(), false)
            }
        }
    }
}
