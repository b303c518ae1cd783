//! What commands read: the policy, and certificates that the command line names.

use std::path::Path;

use anyhow::Context;
use rustls_pki_types::CertificateDer;

use crate::{
    app, config, files,
    model::{Clock, SystemClock, pem_chain},
    policy::Policy,
};

/// Loads the policy for a command that needs it.
pub(super) fn policy(config: &Path) -> anyhow::Result<Policy> {
    let loaded = config::load_to_start(config, SystemClock::new().now(), &app::variable)
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    Ok(loaded.policy)
}

/// The largest PEM file that the command line may name.
const PEM_BYTES: u64 = 4 << 20;

/// Reads the certificates of a PEM file.
pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading the certificates of {}", path.display());
    let text = files::read_named(path, PEM_BYTES).with_context(reading)?;
    let chain = pem_chain(&text.bytes).with_context(reading)?;
    Ok(chain.into_iter().map(CertificateDer::from).collect())
}
