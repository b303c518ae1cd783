//! A new key for assertions.

use std::path::Path;

use anyhow::Context;
use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::Engine;

use crate::{edge::dev, model::Secret};

/// Writes an Ed25519 key into a new file that only its owner can read: PKCS#8 as PEM, as OpenSSL writes it.
pub(super) fn make(path: &Path) -> anyhow::Result<()> {
    let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("the system's random generator does not work"))?;
    // 48 bytes: one line (RFC 7468, section 2).
    let text = Secret::new(base64::engine::general_purpose::STANDARD.encode(der.as_ref()));
    let pem =
        Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", text.expose()));
    dev::write_secret(path, pem.expose().as_bytes()).with_context(|| format!("making {}", path.display()))
}
