//! CAs and revocation lists of clients that changed on disk: taken into force by themselves.

use std::sync::Arc;

use super::reload::Reload;
use crate::{
    files,
    gateway::Shared,
    model::error_chain,
    policy::Policy,
    process::{Blocking, RereadError},
};

/// What lies behind this much of a file is not looked at: the policy has none that is nearly as large.
const MAX_BYTES: u64 = 256 << 20;

/// Takes CAs and revocation lists of clients into force that differ from those of the policy. They are rules,
/// so this is a reload: all of it or nothing. Connections that are held are judged by them with their next
/// request.
pub(super) async fn renew(
    shared: &Shared,
    reading: &Blocking,
    reload: &dyn Reload,
) -> Result<(), RereadError> {
    let policy = Arc::clone(&shared.snapshot.load().policy);
    let differ = reading.run(move || differ(&policy)).await;
    match differ {
        Ok(false) => Ok(()),
        Ok(true) => {
            tracing::info!(
                "a CA or revocation list of client certificates changed; loading the configuration again"
            );
            // The reload itself logs a refusal; the rules in force stay.
            reload.reload().await
        }
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "the CAs of client certificates could not be read again");
            Err(RereadError)
        }
    }
}

/// Says whether a file of CAs or lists holds something else than the policy has of it. One that is gone
/// differs too.
fn differ(policy: &Policy) -> bool {
    let rules = || policy.tenants.iter().filter_map(|tenant| tenant.client_certificate.as_ref());
    let used = rules().filter_map(|rules| rules.trust.as_ref()).flat_map(|trust| &trust.files);
    let unusable = rules().filter_map(|rules| rules.unusable.as_ref()).flat_map(|trust| &trust.files);
    used.map(|file| (&file.path, Some(file.digest)))
        .chain(unusable.map(|(path, digest)| (path, *digest)))
        .any(|(path, held)| files::digest(path, MAX_BYTES).ok().map(|(digest, _)| digest) != held)
}
