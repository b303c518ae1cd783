//! Certificates that are read again while others are in force.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use octroi::{
    edge::{Renewal, TlsState},
    model::{Clock, ManualClock, Origin, UnixTime},
    policy::{Certificate, CertificateSource, ListenerKind, Policy},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use tempfile::TempDir;

use crate::{
    ocsp::{Responder, Word},
    support,
    test_listener::{clock, patterns, plan, policy},
};

const HOSTS: &[&str] = &["b.test", "*.b.test"];

/// A pair as text.
#[derive(Clone)]
struct Pair {
    cert: String,
    key: String,
}

fn pair(hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params =
        CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Two pairs on disk, a policy that names them, and the state that was built from it.
struct Disk {
    dir: TempDir,
    policy: Policy,
    state: TlsState,
}

impl Disk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let entry = |name: &str| Certificate {
            origin: Origin::default(),
            source: CertificateSource::Files {
                cert: path(&dir, name, "pem"),
                key: path(&dir, name, "key"),
                ocsp: None,
            },
        };
        let mut policy = policy(&plan(ListenerKind::Tls), vec![entry("a"), entry("b")]);
        policy.tenants.add(Arc::new(support::tenant("b", &["b.test", "www.b.test"])));
        write(dir.path(), "a", &pair(&["a.test"], |_| {}), 0o600);
        write(dir.path(), "b", &pair(HOSTS, |_| {}), 0o600);
        let state = TlsState::build(&policy, &clock()).unwrap();
        Self { dir, policy, state }
    }

    /// The same, with an answer of a CA for b.test.
    fn stapling(ca: &Responder) -> Self {
        let mut disk = Self::new();
        let (cert, key) = ca.issue(0x21, HOSTS);
        write(disk.dir.path(), "b", &Pair { cert, key }, 0o600);
        fs::write(path(&disk.dir, "b", "der"), ca.answer(0x21, Word::Good, true)).unwrap();
        let CertificateSource::Files { ocsp, .. } = &mut disk.policy.tls.certificates[1].source else {
            unreachable!()
        };
        *ocsp = Some(path(&disk.dir, "b", "der"));
        disk.state = TlsState::build(&disk.policy, &clock()).unwrap();
        disk
    }

    fn renew(&self) -> Renewal {
        self.state.renew(&self.policy, &clock())
    }

    /// Writes a pair for b.test, and returns what is said of it.
    fn refused(&self, pair: &Pair, mode: u32) -> String {
        write(self.dir.path(), "b", pair, mode);
        let renewal = self.renew();
        assert!(renewal.state.is_none() && renewal.renewed.is_empty(), "{renewal:?}");
        let said: Vec<String> =
            renewal.refused.iter().map(|error| octroi::model::error_chain(error)).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        said[0].replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn path(dir: &TempDir, name: &str, kind: &str) -> PathBuf {
    dir.path().join(format!("{name}.{kind}"))
}

fn write(dir: &Path, name: &str, pair: &Pair, mode: u32) {
    let key = dir.join(format!("{name}.key"));
    fs::write(dir.join(format!("{name}.pem")), &pair.cert).unwrap();
    fs::write(&key, &pair.key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_that_hold_what_they_held_change_nothing() {
    let disk = Disk::new();

    let renewal = disk.renew();

    assert!(
        renewal.state.is_none() && renewal.renewed.is_empty() && renewal.refused.is_empty(),
        "{renewal:?}"
    );
}

#[test]
fn every_kind_of_bad_pair_is_refused_by_name() {
    let disk = Disk::new();
    let good = pair(HOSTS, |_| {});
    let dated = |from, to| {
        pair(HOSTS, |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        })
    };

    let other_key = Pair { key: pair(HOSTS, |_| {}).key, ..good.clone() };
    assert_eq!(
        disk.refused(&other_key, 0o600),
        "b.pem and b.key do not belong together: the key is another one"
    );
    assert_eq!(disk.refused(&dated(2020, 2021), 0o600), "b.pem: the certificate has expired");
    assert_eq!(disk.refused(&dated(2098, 2099), 0o600), "b.pem: the certificate is not valid yet");
    let fewer = disk.refused(&pair(&["b.test", "other.b.test"], |_| {}), 0o600);
    assert_eq!(
        fewer,
        "b.pem: the one before it was for `www.b.test`, this one is not; a reload takes it all the same"
    );
    assert_eq!(disk.refused(&rsa(1024), 0o600), "b.pem: the RSA key has 1024 bits; at least 2048 are needed");
    assert_eq!(disk.refused(&good, 0o604), "b.key: everybody can read this key; `chmod 600` it");
    assert_eq!(
        disk.refused(&Pair { cert: String::new(), ..good.clone() }, 0o600),
        "b.pem: holds no certificate"
    );
    let half = Pair { cert: good.cert[..good.cert.len() / 2].to_owned(), ..good.clone() };
    assert_eq!(disk.refused(&half, 0o600), "b.pem:1: the block that begins here has no end");
    assert_eq!(
        disk.refused(&Pair { key: String::new(), ..good.clone() }, 0o600),
        "b.key: holds no private key"
    );
    let joined = Pair { cert: format!("{}{}", good.cert.trim_end(), good.cert), ..good.clone() };
    assert!(disk.refused(&joined, 0o600).ends_with("must stand alone on its line"), "no half of a chain");
    let noise = Pair { cert: good.cert.replace("MII", "AAA"), ..good.clone() };
    assert!(disk.refused(&noise, 0o600).starts_with("b.pem: the certificate cannot be read"));
    write(disk.dir.path(), "b", &good, 0o600);
    fs::remove_file(path(&disk.dir, "b", "pem")).unwrap();
    assert!(matches!(&disk.renew().refused[..], [octroi::edge::TlsError::File { .. }]));
    write(disk.dir.path(), "b", &good, 0o640);
    assert_eq!(disk.renew().renewed, ["b.test"], "just inside: a group may read the key");
}

#[test]
fn a_bad_pair_holds_no_other_one_back() {
    let disk = Disk::new();
    write(disk.dir.path(), "a", &pair(&["a.test", "new.test"], |_| {}), 0o600);
    write(disk.dir.path(), "b", &Pair { key: String::new(), ..pair(HOSTS, |_| {}) }, 0o600);

    let renewal = disk.renew();

    let state = renewal.state.unwrap();
    assert_eq!((renewal.renewed, renewal.refused.len()), (vec!["a.test".to_owned()], 1));
    for host in patterns(&["new.test", "b.test", "x.b.test"]) {
        assert!(state.covers(&host), "{host}");
    }
}

#[test]
fn a_certificate_may_lose_names_that_no_tenant_has() {
    let disk = Disk::new();
    write(disk.dir.path(), "b", &pair(&["b.test", "www.b.test"], |_| {}), 0o600);

    let renewal = disk.renew();

    assert_eq!((renewal.renewed, renewal.refused.len()), (vec!["b.test".to_owned()], 0));
}

#[test]
fn rsa_of_2048_bits_is_taken() {
    let disk = Disk::new();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let params =
        CertificateParams::new(HOSTS.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    write(
        disk.dir.path(),
        "b",
        &Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() },
        0o600,
    );

    assert_eq!(disk.renew().renewed, ["b.test"]);
}

/// Makes a pair as weak as no library of ours would.
fn rsa(bits: u32) -> Pair {
    let dir = TempDir::new().unwrap();
    let (key, cert) = (dir.path().join("weak.key"), dir.path().join("weak.pem"));
    let run = |args: &[&str]| {
        assert!(Command::new("openssl").args(args).output().unwrap().status.success(), "{args:?}")
    };
    run(&["genrsa", "-out", key.to_str().unwrap(), &bits.to_string()]);
    let names = "subjectAltName=DNS:b.test,DNS:*.b.test";
    run(&[
        "req",
        "-x509",
        "-key",
        key.to_str().unwrap(),
        "-days",
        "30",
        "-subj",
        "/CN=b.test",
        "-addext",
        names,
        "-out",
        cert.to_str().unwrap(),
    ]);
    Pair { cert: fs::read_to_string(cert).unwrap(), key: fs::read_to_string(key).unwrap() }
}

#[test]
fn an_answer_is_stapled_until_it_ends() {
    let ca = Responder::new();
    let disk = Disk::stapling(&ca);
    let hours = |hours: u64| -> Arc<dyn Clock> {
        Arc::new(ManualClock::new(clock().now().plus(Duration::from_secs(hours * 3600))))
    };
    let until = disk.state.next_staple_expiry().unwrap();
    assert_eq!(disk.state.certificate_expiries()[1].staple_until, Some(until));
    assert_eq!(disk.state.certificate_expiries()[0].staple_until, None, "nobody asked for one");

    let before = disk.state.renew(&disk.policy, &hours(23));
    assert!(before.state.is_none() && before.refused.is_empty(), "{before:?}");
    let after = disk.state.renew(&disk.policy, &hours(25));

    assert!(
        after.renewed.is_empty() && matches!(&after.refused[..], [error] if error.is_staple_expiry()),
        "{after:?}"
    );
    let state = after.state.unwrap();
    assert_eq!(state.next_staple_expiry(), None);
    assert_eq!(state.certificate_expiries()[1].staple_until, Some(UnixTime::from_secs(0)));

    // At the start, too, one that has ended is none, and no reason not to serve.
    let started = TlsState::build(&disk.policy, &hours(25)).unwrap();
    assert_eq!(started.certificate_expiries()[1].staple_until, Some(UnixTime::from_secs(0)));
}

#[test]
fn a_bad_answer_is_refused_by_name() {
    let ca = Responder::new();
    let disk = Disk::stapling(&ca);
    let good = ca.answer(0x21, Word::Good, true);
    let cases: [(Vec<u8>, &str); 5] = [
        (ca.answer(0x21, Word::Revoked, true), "says that the certificate is revoked"),
        (ca.answer(0x22, Word::Good, true), "is for another certificate"),
        (ca.answer(0x21, Word::Good, false), "does not say until when it holds"),
        (good[..good.len() / 2].to_vec(), "is no OCSP answer in DER form"),
        (b"-----BEGIN OCSP RESPONSE-----".to_vec(), "is no OCSP answer in DER form"),
    ];

    for (answer, words) in cases {
        fs::write(path(&disk.dir, "b", "der"), answer).unwrap();
        let renewal = disk.renew();
        assert!(renewal.state.is_none(), "{words}: the one before it stays");
        let said: Vec<String> =
            renewal.refused.iter().map(|error| octroi::model::error_chain(error)).collect();
        assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
        let errors = TlsState::build(&disk.policy, &clock()).unwrap_err();
        assert_eq!(errors.len(), 1, "at the start nothing is served with it: {errors:?}");
    }
}
