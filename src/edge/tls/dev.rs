//! Certificates for demos and tests: a local CA, and one certificate per tenant.
//!
//! Whoever trusts `ca.pem` trusts everything that `ca.key` signs, so the folder is 0700 and the keys are
//! 0600. An existing key is never overwritten, nor is a certificate that this CA did not sign.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use x509_parser::certificate::X509Certificate;

use super::{
    TlsError,
    error::file,
    x509::{dns_names, not_after, parse, read_chain},
};
use crate::{
    files,
    model::{HostPattern, UnixTime},
};

/// The common name that identifies a CA of ours.
const CA_NAME: &str = "octroi development CA";
const DAY: Duration = Duration::from_secs(86_400);
/// The validity of a CA.
const CA_DAYS: u32 = 3650;
/// The validity of a certificate: below the 366 days that Mozilla's profiles and browsers accept.
const LEAF_DAYS: u32 = 365;
/// The largest key file: P-256 in PKCS#8 as PEM has 241 bytes, other keys have a few thousand.
const KEY_BYTES: u64 = 64 << 10;
/// A certificate is renewed when it is valid no longer than this.
const RENEW_DAYS: u32 = 30;

/// How long to wait for another process that makes certificates in the same folder: 100,000 tenants take a
/// minute.
const MAKING: Duration = Duration::from_secs(120);
const LOOKING: Duration = Duration::from_millis(20);

/// Says whether octroi's own CA made a certificate, which only its operator trusts.
pub(super) fn is_ours(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().iter_common_name().any(|name| name.as_str() == Ok(CA_NAME))
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A local CA that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the CA of a folder (`ca.pem`, `ca.key`), or creates it with its folder.
    pub fn open_or_make(dir: &Path, now: UnixTime) -> Result<Self, TlsError> {
        make_folder(dir)?;
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let signing = key_pair(&key)?;
        if holds_something(&cert)? {
            let chain = read_chain(&cert)?;
            let Some(der) = chain.first() else { return Err(TlsError::Empty { path: cert }) };
            let parsed = parse(der, &cert)?;
            let ours = parsed.subject().iter_common_name().any(|name| name.as_str() == Ok(CA_NAME));
            if !ours || parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&signing) {
                return Err(TlsError::ForeignCa { path: cert });
            }
            if not_after(&parsed) <= now {
                return Err(TlsError::Expired { path: cert });
            }
        } else {
            let made = ca_params(now)
                .self_signed(&signing)
                .map_err(|source| TlsError::Make { path: cert.clone(), source })?;
            replace(&cert, made.pem().as_bytes())?;
        }
        Ok(Self { issuer: Issuer::new(ca_params(now), signing) })
    }

    /// Makes a certificate for the hosts, unless the existing one is still suitable. Creates a missing key or
    /// folder.
    ///
    /// A certificate that this CA did not sign belongs to somebody else, and is left alone.
    pub fn make_pair(&self, files: &PairFiles, hosts: &[HostPattern], now: UnixTime) -> Result<(), TlsError> {
        let found = ExistingPair::read(files, hosts, now)?;
        if found == ExistingPair::Foreign {
            return Ok(());
        }
        if let Some(folder) = files.key.parent() {
            make_folder(folder)?;
        }
        let key = key_pair(&files.key)?;
        if found == ExistingPair::Serves(rcgen::PublicKeyData::subject_public_key_info(&key)) {
            return Ok(());
        }
        let make = |source| TlsError::Make { path: files.cert.clone(), source };
        let made = leaf_params(hosts, now).map_err(make)?.signed_by(&key, &self.issuer).map_err(make)?;
        replace(&files.cert, made.pem().as_bytes())
    }
}

/// The certificate that is already in place, if any.
#[derive(Debug, PartialEq, Eq)]
enum ExistingPair {
    Nothing,
    /// One that our CA did not sign.
    Foreign,
    /// One of ours, for other hosts or about to expire.
    Outdated,
    /// One of ours that is suitable, for this public key.
    Serves(Vec<u8>),
}

impl ExistingPair {
    fn read(files: &PairFiles, hosts: &[HostPattern], now: UnixTime) -> Result<Self, TlsError> {
        if !holds_something(&files.cert)? {
            return Ok(Self::Nothing);
        }
        let chain = read_chain(&files.cert)?;
        let Some(der) = chain.first() else { return Err(TlsError::Empty { path: files.cert.clone() }) };
        let parsed = parse(der, &files.cert)?;
        if !is_ours(&parsed) {
            return Ok(Self::Foreign);
        }
        let names: BTreeSet<HostPattern> = dns_names(&parsed).into_iter().collect();
        let fits = names.iter().eq(hosts.iter().collect::<BTreeSet<_>>())
            && not_after(&parsed) > now.plus(DAY * RENEW_DAYS);
        Ok(if fits { Self::Serves(parsed.public_key().raw.to_vec()) } else { Self::Outdated })
    }
}

/// Makes a certificate for each tenant that has hosts, signed by the CA of the folder. Returns the files, by
/// tenant.
pub fn provide<'a>(
    dir: &Path,
    tenants: impl Iterator<Item = (&'a str, &'a [HostPattern])>,
    now: UnixTime,
) -> Result<Vec<PairFiles>, TlsError> {
    make_folder(dir)?;
    let _one_at_a_time = lock(dir)?;
    let authority = Authority::open_or_make(dir, now)?;
    let mut made = Vec::new();
    for (name, hosts) in tenants.filter(has_hosts) {
        let files = pair(dir, name);
        authority.make_pair(&files, hosts, now)?;
        made.push(files);
    }
    Ok(made)
}

/// Returns the files of the certificates of a folder, by tenant, whether they exist or not.
pub(super) fn pairs<'a>(
    dir: &Path,
    tenants: impl Iterator<Item = (&'a str, &'a [HostPattern])>,
) -> impl Iterator<Item = PairFiles> {
    tenants.filter(has_hosts).map(|(name, _)| pair(dir, name))
}

fn pair(dir: &Path, tenant: &str) -> PairFiles {
    PairFiles { cert: dir.join(format!("dev-{tenant}.pem")), key: dir.join(format!("dev-{tenant}.key")) }
}

fn has_hosts(tenant: &(&str, &[HostPattern])) -> bool {
    !tenant.1.is_empty()
}

fn ca_params(now: UnixTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    date(&mut params, now, CA_DAYS);
    params.distinguished_name = named(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(hosts: &[HostPattern], now: UnixTime) -> Result<CertificateParams, rcgen::Error> {
    let sans: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(sans)?;
    date(&mut params, now, LEAF_DAYS);
    params.distinguished_name = named("octroi development certificate");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Sets the serial number and the validity: from an hour ago, since clocks differ, for so many days in all.
fn date(params: &mut CertificateParams, now: UnixTime, days: u32) {
    params.not_before =
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs().saturating_sub(3600));
    params.not_after = params.not_before + DAY * days;
    // Browsers reject a second certificate of one CA with the same serial number.
    let mut serial = [0; 16];
    params.serial_number = aws_lc_rs::rand::fill(&mut serial).ok().map(|()| {
        // A positive number of at most 20 octets (RFC 5280, section 4.1.2.2).
        serial[0] &= 0x7f;
        SerialNumber::from_slice(&serial)
    });
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Locks a folder against other processes: two nodes that start at once would each make a key, and a
/// certificate for one of them.
fn lock(dir: &Path) -> Result<File, TlsError> {
    let folder = files::open_folder(dir).map_err(|source| file(dir, source))?;
    let mut waited = Duration::ZERO;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(fs::TryLockError::WouldBlock) if waited < MAKING => {
                std::thread::sleep(LOOKING);
                waited += LOOKING;
            }
            Err(fs::TryLockError::WouldBlock) => return Err(file(dir, io::ErrorKind::TimedOut.into())),
            Err(fs::TryLockError::Error(source)) => return Err(file(dir, source)),
        }
    }
}

fn make_folder(dir: &Path) -> Result<(), TlsError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| file(dir, source))
}

/// Says whether a file exists and is not empty. A full disk or a loss of power leaves an empty file, which
/// may be replaced.
fn holds_something(path: &Path) -> Result<bool, TlsError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(!metadata.is_file() || metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(file(path, source)),
    }
}

/// Reads a key, or makes one where there is none. An existing file is never overwritten, unless it is empty.
fn key_pair(path: &Path) -> Result<KeyPair, TlsError> {
    let make = |source| TlsError::Make { path: path.to_owned(), source };
    if path.is_file() && !holds_something(path)? {
        fs::remove_file(path).map_err(|source| file(path, source))?;
    }
    match files::read_text(path, KEY_BYTES) {
        Ok(text) => KeyPair::from_pem(&text).map_err(make),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
            write_secret(path, key.serialize_pem().as_bytes()).map_err(|source| file(path, source))?;
            Ok(key)
        }
        Err(source) => Err(file(path, source)),
    }
}

/// Creates a file that only its owner can read and, where its folder is setgid, its group too: root makes the
/// keys of a service in a folder of the service's group. An existing file is an error.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::metadata(folder)?.mode() & 0o2000 != 0 {
        new.set_permissions(Permissions::from_mode(0o640))?;
    }
    new.write_all(bytes)?;
    new.sync_all()
}

/// Replaces a file atomically: readers see the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // Synced before the rename: otherwise a loss of power could leave an empty file.
    let write = || {
        let mut new = files::create_new(&beside, 0o666)?;
        new.write_all(bytes)?;
        new.sync_all()
    };
    write().and_then(|()| fs::rename(&beside, path)).map_err(|source| file(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn what_a_full_disk_left_empty_is_made_anew_and_anything_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let hosts: Vec<HostPattern> = vec!["acme.test".parse().unwrap()];
        let provided = || provide(dir.path(), std::iter::once(("acme", hosts.as_slice())), NOW);
        provided().unwrap();
        let names = ["ca.key", "ca.pem", "dev-acme.key", "dev-acme.pem"];

        for (empty, others) in [("dev-acme.pem", 3), ("dev-acme.key", 2)] {
            let before = names.map(|name| fs::read(dir.path().join(name)).unwrap());
            fs::write(dir.path().join(empty), "").unwrap();
            provided().unwrap();
            let after = names.map(|name| fs::read(dir.path().join(name)).unwrap());
            assert_eq!(
                before.iter().zip(&after).filter(|(before, after)| before == after).count(),
                others,
                "{empty}"
            );
            assert!(after.iter().all(|bytes| !bytes.is_empty()), "{empty}");
        }
        // A CA whose key is gone signs nothing any more: that is for its owner to say.
        fs::write(dir.path().join("ca.key"), "").unwrap();
        assert!(matches!(provided(), Err(TlsError::ForeignCa { .. })));

        for (name, junk) in
            [("ca.key", "junk"), ("dev-acme.key", "junk"), ("dev-acme.pem", "-----BEGIN CERTIFICATE-----\n")]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), junk).unwrap();
            assert!(provide(dir.path(), std::iter::once(("acme", hosts.as_slice())), NOW).is_err(), "{name}");
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), junk, "{name}");
        }
    }
}
