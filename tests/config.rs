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

use base64::{Engine, engine::general_purpose::STANDARD};
use octroi::{
    config::{self, ConfigErrors, Loaded, Problem, ReferencedKind, Severity},
    model::UnixTime,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// 2027-01-15T08:00:00Z: before and after the dates in the files.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

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
        cases.write("open.key", &key(3), 0o644);
        cases.write("short.key", &STANDARD.encode([7_u8; 31]), 0o600);
        cases.write("weak.key", &STANDARD.encode([7_u8; 32]), 0o600);
        cases.write("reference.key", "${SECRET}", 0o600);
        cases.write("alice.token", &"alice-0123456789abcdefghijklmnopqrstuvwxyz\n".to_owned(), 0o600);
        cases.write("bob.token", &"bob-0123456789abcdefghijklmnopqrstuvwxyz\n".to_owned(), 0o600);
        cases.write("short.token", "too-short", 0o600);
        cases.certificate("acme", &["acme.example.test"], (2026, 2028));
        cases.certificate("globex", &["globex.example.test"], (2026, 2028));
        cases.certificate("shared", &["*.example.test"], (2026, 2028));
        cases.certificate("old", &["acme.example.test"], (2025, 2026));
        cases.certificate("future", &["acme.example.test"], (2028, 2029));
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
        let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem(), 0o644);
        self.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
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
        _ => None,
    }
}

/// 32 bytes that look random and are the same in every run.
fn key(seed: u8) -> String {
    let bytes: [u8; 32] =
        std::array::from_fn(|index| u8::try_from((index * index * 37 + index * 101 + usize::from(seed) * 59) % 256).unwrap());
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
