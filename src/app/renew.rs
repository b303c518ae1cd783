//! Certificates and revocation lists that were renewed on disk: taken into force by themselves.

use std::{
    fs,
    io::{self, BufRead},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::control::App;
use crate::{edge::TlsState, model::Control, policy::Policy};

/// Reads the certificates again. New connections see what was renewed; those that are open go on. Says when to ask again.
pub(super) async fn certificates(app: &App) -> Option<Duration> {
    let _no_reload_meanwhile = app.reloading.lock().await;
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let now = app.shared.clock.now();
    match tokio::task::spawn_blocking(move || TlsState::build(&policy, now)).await {
        Ok(Ok(built)) => {
            app.shared.metrics.certificates(super::witness::expiries(&built).iter().map(|(name, not_after)| (name.as_str(), *not_after)));
            app.tls.store(built.or_keep(&app.tls.load_full()));
        }
        Ok(Err(errors)) => {
            for error in errors {
                tracing::error!(%error, "a certificate on disk is refused; the old ones stay in force");
            }
        }
        Err(error) => tracing::error!(%error, "the certificates could not be read again"),
    }
    None
}

/// Takes CAs and revocation lists of clients into force that differ from those of the policy. They are rules, so this is a reload:
/// all of it or nothing. Connections that are held are judged by them with their next request.
pub(super) async fn client_trust(app: &App) {
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let differ = tokio::task::spawn_blocking(move || differ(&policy)).await;
    match differ {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!("a CA or revocation list of client certificates changed; loading the configuration again");
            // A refusal is written down by the reload itself; the rules in force stay.
            let _ = app.reload().await;
        }
        Err(error) => tracing::error!(%error, "the CAs of client certificates could not be read again"),
    }
}

/// Says whether a file of CAs or lists holds something else than the policy has of it. One that is gone differs too.
fn differ(policy: &Policy) -> bool {
    let trusts = policy.tenants.iter().filter_map(|tenant| tenant.client_certificate.as_ref()?.trust.as_ref());
    trusts.flat_map(|trust| &trust.files).any(|file| digest(&file.path).ok() != Some(file.digest))
}

/// Digests a file, in bounded memory whatever lies there now.
fn digest(path: &Path) -> io::Result<[u8; 32]> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut file = io::BufReader::new(fs::File::open(path)?);
    let mut digest = Sha256::new();
    loop {
        let read = file.fill_buf()?;
        if read.is_empty() {
            return Ok(digest.finalize().into());
        }
        digest.update(read);
        let bytes = read.len();
        file.consume(bytes);
    }
}
