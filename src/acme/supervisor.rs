//! Which accounts there are, and that only one process orders with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    deps::AcmeDeps,
    renewer::{self, Wanted},
    store,
};
use crate::{
    files,
    policy::{Acme, CertificateSource, Policy},
    process::{Blocking, PolicySubscriber},
};

/// How often it is tried to become the one who orders: a predecessor leaves within its drain.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Keeps certificates by ACME, as the policy in force wants them, for ever.
pub(crate) async fn supervise(deps: AcmeDeps, mut changes: PolicySubscriber) {
    let mut accounts: BTreeMap<PathBuf, Account> = BTreeMap::new();
    let mut lock = None;
    loop {
        let policy = Arc::clone(&deps.shared.snapshot.load().policy);
        let wanted = by_account(&policy);
        if !wanted.is_empty() && lock.is_none() {
            lock = Some(the_only_one(&policy.state_dir, &deps.blocking).await);
        }
        let ids: BTreeSet<&str> = wanted.values().flatten().map(|one| &*one.certificate.id).collect();
        deps.board.retain(|id| ids.contains(id));
        accounts.retain(|account, _| wanted.contains_key(account));
        for (account, wanted) in wanted {
            match accounts.get(&account) {
                Some(running) => {
                    running.wanted.send_replace(wanted);
                }
                None => {
                    accounts.insert(account, Account::start(&deps, wanted));
                }
            }
        }
        changes.changed().await;
    }
}

/// A task that orders with one account; it ends with this.
struct Account {
    wanted: watch::Sender<Vec<Wanted>>,
    task: JoinHandle<()>,
}

impl Account {
    fn start(deps: &AcmeDeps, wanted: Vec<Wanted>) -> Self {
        let (wanted, watched) = watch::channel(wanted);
        Self { wanted, task: tokio::spawn(renewer::run(deps.clone(), watched)) }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sorts what is wanted by the account that it is ordered with.
fn by_account(policy: &Policy) -> BTreeMap<PathBuf, Vec<Wanted>> {
    let mut accounts: BTreeMap<PathBuf, Vec<Wanted>> = BTreeMap::new();
    for certificate in &policy.tls.certificates {
        let CertificateSource::Acme(acme) = &certificate.source else { continue };
        let alone = Arc::new(Acme { certificates: Vec::new(), ..Acme::clone(acme) });
        let wanted = acme
            .certificates
            .iter()
            .map(|certificate| Wanted { acme: Arc::clone(&alone), certificate: Arc::clone(certificate) });
        accounts.entry(acme.account_file()).or_default().extend(wanted);
    }
    accounts.retain(|_, wanted| !wanted.is_empty());
    accounts
}

/// Waits until no other process orders with this state folder: two would register two accounts and order
/// everything twice.
async fn the_only_one(state_dir: &Path, blocking: &Blocking) -> File {
    let path = state_dir.join("acme/lock");
    let mut said = false;
    loop {
        let tried = path.clone();
        let locked = blocking.run(move || lock(&tried)).await;
        match locked.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Some(file)) => return file,
            Ok(None) if !said => {
                tracing::info!(file = %path.display(), "another process keeps the certificates; waiting for its end")
            }
            Ok(None) => {}
            Err(error) if !said => {
                tracing::error!(file = %path.display(), %error, "no certificate can be had: the state folder cannot be written")
            }
            Err(_) => {}
        }
        said = true;
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

fn lock(path: &Path) -> io::Result<Option<File>> {
    store::make_folder_of(path)?;
    let file = files::open_or_make(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
