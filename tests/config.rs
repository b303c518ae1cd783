//! Configurations that are taken, and mistakes with the exact words that are said of them.
//!
//! `reject/NAME.yaml` is loaded and what is said compared with `reject/NAME.stderr`; `accept/NAME.yaml` must be taken, with the
//! warnings of `accept/NAME.stderr` where that file is there. `BLESS=1` writes the files anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail loudly"
)]
#![cfg(feature = "gateway")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use octroi::{
    config::{self, ConfigErrors, Loaded, Problem, ReferencedKind},
    model::UnixTime,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// 2027-01-15T08:00:00Z: before and after the dates in the files.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// What a variable holds that nobody may see.
const HIDDEN: &str = "S3cret-word-of-a-variable.example";

/// RFC 8037, appendix A.2.
const ED25519_JWK: &str =
    r#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// RFC 8410, section 10.3.
const RFC_8410_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

/// A folder with the cases, and with the keys and certificates that they name: nothing secret is committed.
struct Cases {
    folder: TempDir,
}

impl Cases {
    fn new(kind: &str) -> Self {
        let cases = Self { folder: TempDir::new().unwrap() };
        copy(&cases_of(kind), cases.folder.path());
        for id in [1_u8, 2] {
            cases.write(&format!("session-{id}.key"), &key(id), 0o600);
        }
        for folder in ["keys", "keys-waiting", "keys-empty", "keys-named", "keys-shared"] {
            fs::create_dir(cases.folder.path().join(folder)).unwrap();
        }
        for (name, seed) in [
            ("keys/3.open.key", 13),
            ("keys/2.key", 12),
            ("keys-waiting/4.open.key", 14),
            ("keys-waiting/3.from-20990101T000000Z.key", 13),
            ("keys-named/one.key", 11),
            ("keys-shared/3.key", 1),
        ] {
            cases.write(name, &key(seed), 0o600);
        }
        cases.write("open.key", &key(3), 0o644);
        cases.write("empty.key", "", 0o600);
        cases.write("short.key", &STANDARD.encode([7_u8; 31]), 0o600);
        cases.write("weak.key", &STANDARD.encode([7_u8; 32]), 0o600);
        cases.write("reference.key", "${SECRET}", 0o600);
        cases.write("eab.key", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n", 0o600);
        cases.write("eab-short.key", "zWNDZM6eQGHWpSRTPal5eI-UYFTu7EajVIoguysq\n", 0o600);
        cases.write("alice.token", "alice-0123456789abcdefghijklmnopqrstuvwxyz\n", 0o600);
        cases.write("bob.token", "bob-0123456789abcdefghijklmnopqrstuvwxyz\n", 0o600);
        cases.write("short.token", "too-short", 0o600);
        cases.write("app.secret", "0123456789abcdef0123456789abcdef", 0o600);
        cases.write(
            "app-2.secret",
            "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\n",
            0o600,
        );
        cases.write("insecure.secret", "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz!@#$", 0o600);
        cases.write("same.secret", &"ab".repeat(32), 0o600);
        cases.write(
            "oct.jwk",
            &format!(r#"{{"kty": "oct", "k": "{}"}}"#, URL_SAFE_NO_PAD.encode(key(4))),
            0o600,
        );
        for name in ["assertion.pem", "assertion-2.pem"] {
            cases.write(name, &ed25519(), 0o600);
        }
        cases.write("assertion-open.pem", &ed25519(), 0o644);
        cases.write("assertion-example.pem", RFC_8410_PEM, 0o600);
        cases.write(
            "assertion-rsa.pem",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            0o600,
        );
        cases.write("jwt.pem", &KeyPair::generate().unwrap().public_key_pem(), 0o644);
        cases.write("jwt.jwk", ED25519_JWK, 0o644);
        cases.write("jwt-private.jwk", &ED25519_JWK.replace("\"x\"", "\"d\": \"AAAA\", \"x\""), 0o644);
        cases.pem();
        cases.certificate("acme", &["acme.example.test"], (2026, 2028));
        cases.certificate("globex", &["globex.example.test"], (2026, 2028));
        cases.certificate("shared", &["*.example.test"], (2026, 2028));
        cases.certificate("old", &["acme.example.test"], (2025, 2026));
        cases.certificate("future", &["acme.example.test"], (2028, 2029));
        cases.certificate("lobby", &["www.example.test"], (2026, 2028));
        cases.client_cas();
        cases.write(
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            0o600,
        );
        // The beginnings of a certificate and of a PKCS#12 store (RFC 7292, section 4).
        fs::write(
            cases.folder.path().join("acme.der"),
            [&[0x30, 0x82, 1, 0, 0x30, 0x81, 0xf0][..], &[7; 253]].concat(),
        )
        .unwrap();
        fs::write(
            cases.folder.path().join("acme.p12"),
            [&[0x30, 0x82, 1, 0, 2, 1, 3][..], &[7; 253]].concat(),
        )
        .unwrap();
        cases.chmod("acme.p12", 0o600);
        let open = cases.folder.path().join("acme.key");
        fs::copy(&open, cases.folder.path().join("acme-open.key")).unwrap();
        cases.chmod("acme-open.key", 0o644);
        cases
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.folder.path().join(name), text).unwrap();
        self.chmod(name, mode);
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn certificate(&self, name: &str, hosts: &[&str], (from, to): (i32, i32)) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem(), 0o644);
        self.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    }

    /// CAs of clients, and lists of what they have revoked.
    fn client_cas(&self) {
        let ca = |name: &str, from: i32, to: rcgen::CertificateParams| {
            let key = KeyPair::generate().unwrap();
            let mut params = to;
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            let pem = params.self_signed(&key).unwrap().pem();
            (pem, rcgen::Issuer::new(params, key))
        };
        let until = |year: i32, month: u8, day: u8| {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.not_after = rcgen::date_time_ymd(year, month, day);
            params
        };
        let list = |issuer: &rcgen::Issuer<'_, KeyPair>,
                    (year, month, day): (i32, u8, u8),
                    (to_year, to_month, to_day): (i32, u8, u8)| {
            let params = rcgen::CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(year, month, day),
                next_update: rcgen::date_time_ymd(to_year, to_month, to_day),
                crl_number: rcgen::SerialNumber::from(7_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            params.signed_by(issuer).unwrap().pem().unwrap()
        };
        let (acme_pem, acme) = ca("Acme CA", 2026, until(2028, 1, 1));
        let (globex_pem, globex) = ca("Globex CA", 2026, until(2028, 1, 1));
        let (_, forger) = ca("Acme CA", 2026, until(2028, 1, 1));
        let month = ((2027, 1, 14), (2027, 2, 14));
        let acme_list = list(&acme, month.0, month.1);
        for (name, text) in [
            ("acme-ca.pem", acme_pem.clone()),
            ("globex-ca.pem", globex_pem.clone()),
            ("both-ca.pem", acme_pem + &globex_pem),
            ("old-ca.pem", ca("Old CA", 2025, until(2026, 1, 1)).0),
            ("ends-ca.pem", ca("Acme CA 1", 2026, until(2027, 1, 20)).0),
            ("half.crl", acme_list.get(..acme_list.len() / 2).unwrap().to_owned()),
            ("twice.crl", acme_list.repeat(2)),
            ("both.crl", acme_list.clone() + &list(&globex, month.0, month.1)),
            ("acme.crl", acme_list),
            ("globex.crl", list(&globex, month.0, month.1)),
            ("old.crl", list(&acme, (2026, 12, 1), (2027, 1, 1))),
            ("old-forged.crl", list(&forger, (2026, 12, 1), (2027, 1, 1))),
            ("soon.crl", list(&acme, (2027, 1, 1), (2027, 1, 16))),
            ("future.crl", list(&acme, (2027, 2, 1), (2027, 3, 1))),
            ("forged.crl", list(&forger, month.0, month.1)),
        ] {
            self.write(name, &text, 0o644);
        }
    }

    /// Files of PEM that a reader could take for something else than they are.
    fn pem(&self) {
        let made: Vec<_> = ["first", "second"]
            .iter()
            .map(|name| {
                let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
                params.distinguished_name.push(rcgen::DnType::CommonName, *name);
                params.not_before = rcgen::date_time_ymd(2026, 1, 1);
                params.not_after = rcgen::date_time_ymd(2030, 1, 1);
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
            })
            .collect();
        let both = made.concat();
        for (name, text) in [
            ("joined-ca.pem", both.replacen("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----", 1)),
            ("bom-ca.pem", format!("\u{feff}{both}")),
            ("bom-within-ca.pem", made.join("\u{feff}")),
            ("cut.pem", both.get(..both.len() / 4).unwrap().to_owned()),
            ("cut-ca.pem", both.trim_end().trim_end_matches("-----END CERTIFICATE-----").to_owned()),
            ("dashes-ca.pem", both.replacen("-----BEGIN CERTIFICATE-----", "----BEGIN CERTIFICATE----", 1)),
            ("trusted-ca.pem", both.replacen("CERTIFICATE", "TRUSTED CERTIFICATE", 2)),
            ("honest-ca.pem", format!("# ours\nsubject=CN = first\n{}\r\n", both.replace('\n', "  \r\n"))),
        ] {
            self.write(name, &text, 0o644);
        }
        self.write("bom.secret", &format!("\u{feff}{}", "0123456789abcdef".repeat(2)), 0o600);
        self.write("bom.key", &format!("\u{feff}{}", key(1)), 0o600);
        self.write("pem.secret", &made[0], 0o600);
        self.write("bom.txt", "\u{feff}192.0.2.0/24\n", 0o644);
        self.write(
            "two.key",
            &[KeyPair::generate().unwrap().serialize_pem(), KeyPair::generate().unwrap().serialize_pem()]
                .concat(),
            0o600,
        );
    }

    /// Every case by name, in order.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn load(&self, name: &str) -> Result<Loaded, ConfigErrors> {
        config::load(&self.folder.path().join(format!("{name}.yaml")), NOW, &variable)
    }

    /// Takes the folder out of what is said.
    fn plain(&self, text: &str) -> String {
        let folder = format!("{}/", self.folder.path().display());
        text.replace(&folder, "").replace(folder.trim_end_matches('/'), ".")
    }
}

fn variable(name: &str) -> Option<String> {
    match name {
        "APP_PORT" => Some("9000".into()),
        "EMPTY" => Some(String::new()),
        "HIDDEN" => Some(HIDDEN.into()),
        "HIDDEN_URL" => Some(format!("redis://{HIDDEN}:6379")),
        _ => None,
    }
}

/// A new key of Ed25519, PKCS#8 as PEM.
fn ed25519() -> String {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()
}

/// 32 bytes that look random and are the same in every run.
fn key(seed: u8) -> String {
    let bytes: [u8; 32] = std::array::from_fn(|index| {
        u8::try_from((index * index * 37 + index * 101 + usize::from(seed) * 59) % 256).unwrap()
    });
    STANDARD.encode(bytes)
}

fn cases_of(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Compares what is said with what stands in the file, or writes the file.
fn compare(kind: &str, name: &str, said: &str) -> bool {
    let path = cases_of(kind).join(format!("{name}.stderr"));
    if std::env::var_os("BLESS").is_some() {
        if said.is_empty() {
            let _missing = fs::remove_file(&path);
        } else {
            fs::write(&path, format!("{said}\n")).unwrap();
        }
        return true;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected.trim_end() == said {
        return true;
    }
    eprintln!("--- {kind}/{name}");
    for line in diff(expected.trim_end(), said) {
        eprintln!("{line}");
    }
    false
}

/// Lines that only one of two texts has; enough to see what moved.
fn diff(expected: &str, said: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), said.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("-{line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+{line}"));
    gone.chain(come).collect()
}

fn show(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn every_mistake_is_said_in_the_same_words() {
    let cases = Cases::new("reject");
    let wrong: Vec<_> = cases
        .names()
        .into_iter()
        .filter(|name| match cases.load(name) {
            Ok(_) => panic!("reject/{name}.yaml is taken"),
            Err(errors) => {
                assert!(errors.count() > 0, "{name}");
                !compare("reject", name, &cases.plain(&errors.to_string()))
            }
        })
        .collect();

    assert_eq!(wrong, Vec::<String>::new(), "BLESS=1 writes the expected words anew");
    assert!(cases.names().len() >= 40);
}

#[test]
fn what_references_stand_for_is_never_said() {
    let cases = Cases::new("reject");
    let keys = [key(1), HIDDEN.to_owned(), HIDDEN.to_lowercase()];
    for name in cases.names() {
        let errors = cases.load(&name).unwrap_err();
        let said = [errors.to_string(), serde_json::to_string(&errors).unwrap()].concat();
        assert!(!keys.iter().any(|secret| said.contains(secret)), "{name}: {said}");
    }
}

#[test]
fn what_is_right_is_taken() {
    let cases = Cases::new("accept");
    let wrong: Vec<_> = cases
        .names()
        .into_iter()
        .filter(|name| match cases.load(name) {
            Ok(loaded) => !compare("accept", name, &cases.plain(&show(&loaded.warnings))),
            Err(errors) => panic!("accept/{name}.yaml is refused:\n{errors}"),
        })
        .collect();

    assert_eq!(wrong, Vec::<String>::new(), "BLESS=1 writes the expected words anew");
}

#[test]
fn expiry_is_judged_at_the_time_of_loading() {
    let cases = Cases::new("accept");

    let policy = cases.load("expiry").unwrap().policy;

    let ranges: Vec<_> = policy
        .tenants
        .named("acme")
        .unwrap()
        .ip_access
        .allowed()
        .unwrap()
        .iter()
        .map(|rule| rule.range.to_string())
        .collect();
    assert_eq!(ranges, ["198.51.100.0/24", "203.0.113.0/24"]);
    assert_eq!(policy.tenants.named("globex").unwrap().ip_access.allowed(), Some(&[][..]));
    assert_eq!(
        policy.admin.unwrap().principals.iter().map(|one| one.name.clone()).collect::<Vec<_>>(),
        ["alice"]
    );
    // The end of 2027-01-15, UTC.
    assert_eq!(policy.next_expiry, Some(UnixTime::from_secs(1_800_057_600)));
}

#[test]
fn rules_know_where_they_were_written() {
    let cases = Cases::new("accept");

    let policy = cases.load("tenants_in_files").unwrap().policy;

    let place =
        |name: &str| cases.plain(&policy.locate(policy.tenants.named(name).unwrap().origin).to_string());
    assert_eq!(place("lobby"), "tenants_in_files.yaml:13");
    assert_eq!(place("no"), "tenants_in_files.d/b.yaml:1");
    assert_eq!(policy.node, "${node}-edge");
}

#[test]
fn the_revision_is_of_the_bytes_that_were_read() {
    let cases = Cases::new("accept");
    let revision = || cases.load("minimal").unwrap().policy.revision;
    let before = revision();

    assert_eq!(before.len(), 16);
    assert_eq!(revision(), before);
    cases.write("session-1.key", &key(9), 0o600);
    assert_ne!(revision(), before);
}

/// Copies `conf/`, makes what it names, and loads it.
#[test]
fn the_examples_are_silent_once_their_keys_exist() {
    for name in ["octroi", "minimal"] {
        let cases = Cases::new("accept");
        let conf = cases.folder.path().join("conf");
        fs::create_dir(&conf).unwrap();
        fs::create_dir(cases.folder.path().join("certs")).unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conf"), &conf);
        let file = conf.join(format!("{name}.yaml"));
        for referenced in config::referenced_files(&file, &variable).unwrap() {
            let path = cases.plain(referenced.path.to_str().unwrap());
            match referenced.kind {
                ReferencedKind::SessionKey { .. } | ReferencedKind::TicketKeys => {
                    cases.write(&path, &key(u8::try_from(path.len()).unwrap() + path.as_bytes()[13]), 0o600)
                }
                ReferencedKind::KeyDir { .. } => panic!("the examples list their keys"),
                ReferencedKind::AssertionKey => cases.write(&path, &ed25519(), 0o600),
                ReferencedKind::AdminToken { principal } => {
                    cases.write(&path, &format!("{principal}-0123456789abcdefghijklmnopqrstuvwxyz"), 0o600)
                }
                ReferencedKind::Certificate { key, hosts } => {
                    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                    let stem = path.strip_suffix(".pem").unwrap();
                    cases.certificate(stem, &hosts, (2026, 2028));
                    assert_eq!(cases.plain(key.to_str().unwrap()), format!("{stem}.key"));
                    assert_eq!(hosts.len(), 1, "{path}");
                }
            }
        }

        let loaded = config::load(&file, NOW, &variable).unwrap_or_else(|errors| panic!("{errors}"));

        assert_eq!(show(&loaded.warnings), "", "{name}");
    }
    let minimal =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/minimal.yaml")).unwrap();
    assert!(minimal.lines().count() < 20);
}

#[test]
fn where_a_file_is_no_text_is_told_by_line_and_column() {
    let cases = Cases::new("reject");
    fs::write(cases.folder.path().join("latin.yaml"), b"version: 1\nnode: caf\xe9\n").unwrap();

    let errors = cases.load("latin").unwrap_err();

    assert_eq!(
        errors.problems[0].message,
        "this file is not UTF-8 text: what stands in line 2 at column 10 cannot be read"
    );
}

/// Every key of `conf/octroi.yaml` is in the schema, and every key of the schema is accepted or refused by name.
#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let schema = config::schema();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/octroi.yaml")).unwrap();
    let written: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let mut seen = BTreeSet::new();
    walk(&schema, &schema, &written, "", &mut seen);
    for (map, definition) in schema["$defs"].as_object().unwrap() {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            let place = format!("{map}.{key}");
            let refused = property["not"] == serde_json::json!({});
            assert!(
                refused || seen.contains(&place) || UNWRITTEN.contains(&&*place),
                "{place} stands in no example"
            );
        }
    }
}

/// Keys that `conf/octroi.yaml` shows in comments only, or not at all; the cases write each of them.
const UNWRITTEN: &[&str] = &[
    "acme.ca",
    "acme.challenge",
    "acme.contact",
    "acme.directory",
    "acme.eab",
    "acme.hosts",
    "acme.renew_before",
    "acme.retry_after",
    "acme_eab.key",
    "acme_eab.kid",
    "access_log.path",
    "access_log.rotate",
    "app_key.id",
    "app_key.secret",
    "app_key.tenants",
    "admin.tls",
    "admin_tls.cert",
    "admin_tls.key",
    "certificate.acme",
    "certificate.dev",
    "certificate.dir",
    "client_certificate.ca",
    "client_certificate.crl",
    "client_certificate.mode",
    "client_certificate.sans",
    "client_certificate.subjects",
    "django.claims",
    "django.cookie",
    "django.digest",
    "django.keys",
    "django.max_age",
    "django.salt",
    "express.require",
    "express.claims",
    "express.cookie",
    "express.digest",
    "express.keys",
    "express.max_age",
    "express.style",
    "itsdangerous.claims",
    "itsdangerous.cookie",
    "itsdangerous.digest",
    "itsdangerous.key_derivation",
    "itsdangerous.keys",
    "itsdangerous.max_age",
    "itsdangerous.salt",
    "jwt.audience",
    "jwt.bearer",
    "jwt.claims",
    "jwt.cookie",
    "jwt.issuer",
    "jwt.keys",
    "jwt.max_age",
    "jwt_key.algorithm",
    "jwt_key.id",
    "jwks.algorithms",
    "jwks.ca",
    "jwks.max_age",
    "jwks.refresh",
    "jwks.url",
    "jwt_key.jwks",
    "jwt_key.key",
    "jwt_key.secret",
    "jwt_key.tenants",
    "certificate.ocsp",
    "certificate.shared",
    "listener.plaintext",
    "listener.tls_in_front",
    "root.tenant_files",
    "rotate.keep",
    "rotate.size",
    "rule.allow_double_encoding",
    "rule.allow_encoded_slash",
    "rule.allow_path_parameters",
    "rule.merge_slashes",
    "tenant.client_certificate",
    "sessions.key_dir",
    "session_claims.auth_time",
    "session_claims.roles",
    "session_claims.session",
    "session_claims.tenant",
    "session_claims.user",
    "sessions.django",
    "sessions.express",
    "sessions.itsdangerous",
    "sessions.jwt",
    "tenant_file.tenants",
    "tenant_routes.case_sensitive",
    "tenant_routes.unmatched",
    "tenant_sessions.absolute",
    "tenant_sessions.bind",
    "upstream.plaintext",
    "upstream.tls",
    "upstream_tls.ca",
    "upstream_tls.sni",
    "redis.ca",
    "redis.plaintext",
    "redis.replicas",
    "redis.timeout",
    "redis.url",
    "root.redis",
    "revocation.on_stale",
    "revocation.stale_after",
];

/// Follows a value through the schema and notes each key it meets as `map.key`.
fn walk(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    value: &serde_json::Value,
    path: &str,
    seen: &mut BTreeSet<String>,
) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        let definition = &root["$defs"][name];
        for (key, inner) in value.as_object().into_iter().flatten() {
            let property = &definition["properties"][key];
            assert!(property.is_object(), "{path}.{key} is not in the schema");
            seen.insert(format!("{name}.{key}"));
            walk(root, property, inner, &format!("{path}.{key}"), seen);
        }
        return;
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        if schema["additionalProperties"].is_object() {
            walk(root, &schema["additionalProperties"], inner, &format!("{path}.{key}"), seen);
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        if schema["items"].is_object() {
            walk(root, &schema["items"], inner, &format!("{path}[{index}]"), seen);
        }
    }
    // A range or a set of rules has a short form and a long one.
    if value.is_object() {
        for form in
            schema["anyOf"].as_array().into_iter().flatten().filter(|form| form["$ref"] != "#/$defs/variable")
        {
            walk(root, form, value, path, seen);
        }
    }
}

#[test]
fn the_keys_that_no_example_shows_are_read() {
    let cases = Cases::new("accept");

    let policy = cases.load("rare_keys").unwrap().policy;

    assert!(policy.admin.unwrap().tls.is_some());
    assert_eq!(policy.access_log.len(), 1);
}

/// 100,000 tenants load in seconds. Slow without optimisation, so it runs when it is asked for: `cargo test -- --ignored`.
#[test]
#[ignore = "measures; takes a minute without optimisation"]
fn many_tenants_load_in_seconds() {
    use std::fmt::Write;

    let cases = Cases::new("accept");
    let mut text = fs::read_to_string(cases.folder.path().join("minimal.yaml"))
        .unwrap()
        .replace("{cert: acme.pem, key: acme.key}", "{dev: true, dir: certs}");
    for tenant in 0..100_000 {
        write!(text, "  t{tenant}:\n    hosts: [t{tenant}.example.test]\n    upstream: app\n    ip_access:\n      allow:\n").unwrap();
        for range in 0..10 {
            writeln!(text, "        - 10.{}.{}.{range}/32", tenant / 250 % 250, tenant % 250).unwrap();
        }
    }
    cases.write("many.yaml", &text, 0o644);
    let start = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();

    let loaded = cases.load("many").unwrap();

    assert_eq!(loaded.policy.tenants.len(), 100_001);
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - start;
    eprintln!("{took:?} for {} MiB", text.len() >> 20);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 200, ..Default::default() })]

    /// A file that was cut, spliced or scribbled over is refused or taken, never a panic, and every place lies in the file.
    #[test]
    fn a_damaged_file_is_judged(from in 0_usize..9000, cut in 0_usize..200, put in "[-\\[\\]{}:,#&*!|>'\"%@`$ \n\ta-z0-9é]{0,12}") {
        let folder = TempDir::new().unwrap();
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/octroi.yaml")).unwrap();
        let characters: Vec<char> = text.chars().collect();
        let from = from.min(characters.len());
        let damaged: String = characters[..from].iter().copied().chain(put.chars()).chain(characters[(from + cut).min(characters.len())..].iter().copied()).collect();
        let file = folder.path().join("a.yaml");
        fs::write(&file, &damaged).unwrap();

        let lines = u32::try_from(damaged.lines().count()).unwrap() + 1;
        if let Err(errors) = config::load(&file, NOW, &variable) {
            proptest::prop_assert!(errors.count() > 0);
            for problem in &errors.problems {
                proptest::prop_assert!(problem.line <= lines, "{problem}");
            }
        }
    }
}
