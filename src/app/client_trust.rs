//! CAs and revocation lists of clients that changed on disk: taken into force by themselves.

use std::{
    io::{self, BufRead},
    path::Path,
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    control::App,
    reload::{Cause, read, reload},
};
use crate::{files, policy::Policy};

/// Takes CAs and revocation lists of clients into force that differ from those of the policy. They are rules, so this is a reload:
/// all of it or nothing. Connections that are held are judged by them with their next request.
pub(super) async fn renew(app: &App) {
    let policy = Arc::clone(&app.shared.snapshot.load().policy);
    let differ = read(app, move || differ(&policy)).await;
    match differ {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!("a CA or revocation list of client certificates changed; loading the configuration again");
            // A refusal is written down by the reload itself; the rules in force stay.
            let _ = reload(app, Cause::Itself).await;
        }
        Err(error) => tracing::error!(error, "the CAs of client certificates could not be read again"),
    }
}

/// Says whether a file of CAs or lists holds something else than the policy has of it. One that is gone differs too.
fn differ(policy: &Policy) -> bool {
    let rules = || policy.tenants.iter().filter_map(|tenant| tenant.client_certificate.as_ref());
    let used = rules().filter_map(|rules| rules.trust.as_ref()).flat_map(|trust| &trust.files);
    let unusable = rules().filter_map(|rules| rules.unusable.as_ref()).flat_map(|trust| &trust.files);
    used.map(|file| (&file.path, Some(file.digest)))
        .chain(unusable.map(|(path, digest)| (path, *digest)))
        .any(|(path, held)| digest(path).ok() != held)
}

/// Digests a file, in bounded memory whatever lies there now.
fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (file, _) = files::open(path)?;
    let mut file = io::BufReader::new(file);
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
