//! The account at a CA: opened again, or registered.

use std::{path::Path, sync::Arc};

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::{
    client::{CaClient, RetryAfter},
    error::AcmeError,
    store::{self, TempFile},
};
use crate::{model::Clock, policy::Acme, process::Blocking};

/// Opens the account of an entry at its CA, and registers one where there is none. The operator agreed to the
/// CA's terms by naming it.
pub(super) async fn open(
    acme: &Acme,
    state_dir: &Path,
    retry_after: &RetryAfter,
    clock: &Arc<dyn Clock>,
    blocking: &Blocking,
) -> Result<Account, AcmeError> {
    let path = state_dir.join(acme.account_file());
    let storage = |source| AcmeError::Storage { path: path.clone(), source };
    let (for_client, retry, clock) = (acme.clone(), retry_after.clone(), Arc::clone(clock));
    let client = blocking.run(move || CaClient::new(&for_client, retry, clock)).await??;
    let builder = Account::builder_with_http(Box::new(client));
    let reading = path.clone();
    if let Some(bytes) = blocking.run(move || store::read_account(&reading)).await?.map_err(storage)? {
        match serde_json::from_slice::<AccountCredentials>(&bytes) {
            Ok(credentials) => return Ok(builder.from_credentials(credentials).await?),
            // Cut short, or never written: another one costs a call. It is put aside, for whoever wants to
            // look.
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the account cannot be read; it is put aside, and another one is registered");
                let gone = path.clone();
                blocking.run(move || store::forget_account(&gone)).await?.map_err(storage)?;
            }
        }
    }
    let contact: Vec<&str> = acme.contact.as_deref().into_iter().collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let eab = acme.eab.as_ref().map(|eab| ExternalAccountKey::new(eab.kid.to_string(), eab.key.expose()));
    let (account, credentials) = builder.create(&new, acme.directory.to_string(), eab.as_ref()).await?;
    let bytes = serde_json::to_vec(&credentials).map_err(|error| storage(error.into()))?;
    let writing = path.clone();
    blocking.run(move || TempFile::write(&writing, &bytes)?.keep()).await?.map_err(storage)?;
    tracing::info!(directory = %acme.directory, account = %account.id(), file = %path.display(), "registered with the CA");
    Ok(account)
}
