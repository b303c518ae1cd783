//! Accounts and certificates on disk: ours alone, and whole or not at all.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;

use crate::files;

/// The most bytes of an account file.
const ACCOUNT_BYTES: u64 = 64 << 10;
/// What a certificate file begins with; the URL of the directory follows. Text before the first boundary is
/// nobody's (RFC 7468, section 2).
const FROM: &str = "Had by octroi from ";
/// How long the first line of a certificate file may be.
const FIRST_LINE_BYTES: u64 = 4 << 10;

/// Makes the folder of a file, and whatever is missing above it, for our eyes only.
pub(super) fn make_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Writes a file of our own beside the one that it is to replace, so that nothing is lost if it turns out to
/// be bad.
#[derive(Debug)]
pub(super) struct TempFile {
    beside: PathBuf,
    place: PathBuf,
}

impl TempFile {
    /// Writes it through to the disk, readable by us alone.
    pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        make_folder_of(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let beside = PathBuf::from(name);
        let temp = Self { beside, place: path.to_owned() };
        let mut file = files::create_new(&temp.beside, 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temp)
    }

    /// Returns where it lies until it is kept.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Puts it in the place of the old one: who reads sees one or the other.
    pub(super) fn keep(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.place)?;
        // The name is on the disk when the folder is.
        self.place.parent().map_or(Ok(()), files::sync_folder)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Kept, it is not there any more.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Reads an account; nothing if there is none.
pub(super) fn read_account(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let held = match files::read(path, ACCOUNT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        held => held?,
    };
    if held.mode & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others can read this key; `chmod 600` it",
        ));
    }
    Ok(Some(held.bytes))
}

/// Puts an account aside that the CA does not know any more.
pub(super) fn forget_account(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension("json.gone"))
}

/// Writes what a certificate file holds: who gave it, the key, the chain. Only certificates are taken over
/// from the CA's text.
pub(super) fn pair(directory: &str, key_pem: &str, chain: &[CertificateDer<'_>]) -> String {
    let mut text = format!("{FROM}{directory}\n{}\n", key_pem.trim_end());
    for certificate in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut encoded = STANDARD.encode(certificate);
        while !encoded.is_empty() {
            let rest = encoded.split_off(encoded.len().min(64));
            text.push_str(&encoded);
            text.push('\n');
            encoded = rest;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Returns the directory that gave the certificate of a file, as far as the file says.
pub(super) fn directory_of(path: &Path) -> Option<String> {
    let mut first = Vec::new();
    files::open(path).ok()?.0.take(FIRST_LINE_BYTES).read_to_end(&mut first).ok()?;
    let text = String::from_utf8_lossy(&first);
    Some(text.lines().next()?.strip_prefix(FROM)?.to_owned())
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_ours_alone_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme/certificates/tenants/a.pem");

        TempFile::write(&path, b"first").unwrap().keep().unwrap();
        let temp = TempFile::write(&path, b"second").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(temp.beside()).unwrap()),
            (b"first".to_vec(), b"second".to_vec())
        );
        assert_eq!((mode(temp.beside()), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(temp);

        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(path.with_extension("pem.new"), b"left by a crash").unwrap();
        TempFile::write(&path, b"third").unwrap().keep().unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"third".to_vec(), 0o600));
    }

    #[test]
    fn a_pair_is_one_file_that_tells_its_directory() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");

        fs::write(
            &path,
            pair("https://ca.test/dir", &key.serialize_pem(), &[made.der().clone(), made.der().clone()]),
        )
        .unwrap();

        let chain: Vec<_> = CertificateDer::pem_file_iter(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(chain, [made.der().clone(), made.der().clone()]);
        assert_eq!(PrivateKeyDer::from_pem_file(&path).unwrap().secret_der(), key.serialized_der());
        assert_eq!(directory_of(&path).as_deref(), Some("https://ca.test/dir"));
        assert_eq!(directory_of(&dir.path().join("none.pem")), None);
    }

    #[test]
    fn an_account_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("account.json");

        assert_eq!(read_account(&path).unwrap(), None);
        fs::write(&path, b"{}").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_account(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_account(&path).unwrap().as_deref(), Some(&b"{}"[..]));
    }
}
