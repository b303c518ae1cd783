//! Renews the TLS state from its files.

use std::{collections::HashMap, sync::Arc};

use rustls::crypto::CryptoProvider;

use super::{
    TlsError,
    certificate::LoadedCertificate,
    content::{self, Content, Files},
    setup::provider,
    source,
    state::{Parts, TlsState},
};
use crate::model::{Clock, UnixTime};
use crate::policy::{CertificateSource, Policy};

/// The result of reading the files again.
#[derive(Debug, Default)]
pub struct Renewal {
    /// The state with what was renewed, or `None` where nothing was.
    pub state: Option<TlsState>,
    /// What is new: certificates by name, OCSP responses and ticket secrets by file.
    pub renewed: Vec<String>,
    /// What is on disk and cannot be used. The version in use stays.
    pub refused: Vec<TlsError>,
}

impl TlsState {
    /// Reads the files of the current policy again. A pair that cannot be used does not affect the others.
    ///
    /// Blocks on files. A pair with unchanged files is not validated again.
    pub fn renew(&self, policy: &Policy, clock: &Arc<dyn Clock>) -> Renewal {
        let (provider, now) = (Arc::new(provider()), clock.now());
        let mut renewal = Renewal::default();
        let pairs = policy.tls.certificates.iter().flat_map(|certificate| {
            // The policy itself says which hosts an ACME certificate is for, and the renewer has compared
            // them.
            let whose = (!matches!(certificate.source, CertificateSource::Acme(_))).then_some(policy);
            source::pairs(&certificate.source, policy).into_iter().map(move |files| (files, whose))
        });
        let (mut loaded, mut changed, mut missing) = (Vec::new(), false, Vec::new());
        let in_force: HashMap<&Files, &Arc<LoadedCertificate>, ahash::RandomState> =
            self.loaded.iter().map(|one| (&one.files, one)).collect();
        for (files, whose) in pairs {
            let before = in_force.get(&files).map(|one| Arc::clone(one));
            let pair = match renewed(files.clone(), before.as_ref(), whose, &provider, now) {
                Ok(pair) => Some(pair),
                Err(error) => {
                    match before {
                        Some(_) => renewal.refused.push(error),
                        None => missing.push((files, error)),
                    }
                    before.clone()
                }
            };
            let Some(pair) = pair else { continue };
            let is_new = before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &pair));
            let (one, bad_staple) = Arc::clone(&pair).restapled(now);
            if is_new {
                renewal.renewed.push(one.expiry.name.clone());
            } else if !Arc::ptr_eq(&pair, &one) && one.staple.is_some() {
                renewal.renewed.extend(one.files.ocsp.iter().map(|path| path.display().to_string()));
            }
            changed |= is_new || !Arc::ptr_eq(&pair, &one);
            renewal.refused.extend(bad_staple);
            loaded.push(one);
        }
        let mut secrets = self.secrets.clone();
        if let Some(path) = &policy.tls.ticket_keys {
            match content::ticket_secrets(path) {
                Ok(same) if secrets.as_ref() == Some(&same) => {}
                Ok(new) => {
                    renewal.renewed.push(path.display().to_string());
                    secrets = Some(new);
                    changed = true;
                }
                Err(error) => renewal.refused.push(TlsError::Essential(Box::new(error))),
            }
        }
        if changed {
            // The CAs of clients belong to the policy, which is the same.
            let clients = Arc::clone(&self.clients);
            match Self::assemble(policy, Parts { loaded, secrets, provider, clients }, clock) {
                Ok(state) => renewal.state = Some(state.resuming(self)),
                Err(error) => renewal.refused.push(error),
            }
        }
        let in_force = renewal.state.as_ref().unwrap_or(self);
        let out: Vec<_> =
            missing.into_iter().map(|(files, cause)| in_force.out(&files, cause, policy)).collect();
        renewal.refused.extend(out);
        renewal
    }
}

/// Loads a pair again. Returns the same one where its files are unchanged. `whose` says which hosts must not
/// be lost.
fn renewed(
    files: Files,
    before: Option<&Arc<LoadedCertificate>>,
    whose: Option<&Policy>,
    provider: &CryptoProvider,
    now: UnixTime,
) -> Result<Arc<LoadedCertificate>, TlsError> {
    let content = Content::read(&files)?;
    if let Some(before) = before.filter(|before| before.content == content.digest()) {
        return Ok(Arc::clone(before));
    }
    let one = LoadedCertificate::judge(files, content, provider)?;
    // The certificate in use stays rather than one that clients reject.
    if let Some(why) = before.and_then(|before| one.worse_than(before, now)) {
        return Err(why);
    }
    match before.zip(whose).and_then(|(before, policy)| source::lost_host(before, &one, policy)) {
        Some(host) => Err(TlsError::LosesHost { path: one.files.cert, host }),
        None => Ok(Arc::new(one)),
    }
}
