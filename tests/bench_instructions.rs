//! What `make bench-instructions` says of what it counted. Counting takes a release build and valgrind, so here the tool that counts is a
//! script that says how much it was; the program and its client are the real ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

/// Takes 1000 instructions for each request that it judges, and some before.
const COUNTS: &str = r#"
for word; do
    case $word in --callgrind-out-file=*) out=${word#*=} ;; esac
    last=$word
done
[ -z "$out" ] || echo "totals: $((5000 + 1000 * last))" >"$out"
"#;
/// Runs what it is given, and counts nothing.
const RUNS: &str = r#"while [[ $1 == --* ]]; do shift; done; exec "$@""#;

fn tool(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Counts one scenario with these tools before the system's, beside a baseline.
fn counted(scenario: &str, tools: &[(&str, &str)], baseline: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in tools {
        tool(folder.path(), name, text);
    }
    // Nobody listens where the app should: the demo app ends at once.
    fs::create_dir_all(folder.path().join("debug/examples")).unwrap();
    tool(&folder.path().join("debug/examples"), "demo_app", "");
    tool(folder.path(), "judges", "");
    fs::write(folder.path().join("baseline"), baseline).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench-instructions.sh"))
        .arg(scenario)
        .env("PATH", path)
        .env("CARGO", "true")
        .env("CARGO_TARGET_DIR", folder.path())
        .env("OCTROI", env!("CARGO_BIN_EXE_octroi"))
        .env("PIPELINE", folder.path().join("judges"))
        .env("BASELINE", folder.path().join("baseline"))
        .output()
        .unwrap()
}

fn judged(tools: &[(&str, &str)], baseline: &str) -> (Option<i32>, String) {
    let output = counted("session_h1", tools, baseline);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

const TOOLS: [(&str, &str); 3] = [("valgrind", COUNTS), ("vgdb", ""), ("h2load", "")];

#[test]
fn what_is_dearer_by_more_than_three_percent_fails_and_says_what_to_do() {
    for (baseline, change, code) in
        [(1000, "+0.0 %", 0), (971, "+3.0 %", 0), (970, "+3.1 %", 1), (2000, "-50.0 %", 0)]
    {
        let (status, said) = judged(&TOOLS, &format!("# made by nobody\nsession_h1 {baseline}\n"));

        assert_eq!(status, Some(code), "{baseline}: {said}");
        let row: Vec<_> =
            said.lines().find(|line| line.starts_with("session_h1")).unwrap().split_whitespace().collect();
        assert_eq!(row.join(" "), format!("session_h1 1000 {baseline} {change}"));
        assert_eq!(said.contains("BLESS=1 make bench-instructions"), code == 1, "{said}");
    }
}

#[test]
fn what_has_no_baseline_is_said_and_does_not_fail() {
    let (status, said) = judged(&TOOLS, "");

    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("another compiler or valgrind"), "{said}");
}

#[test]
fn what_cannot_be_counted_fails() {
    let without = |broken: &'static str| {
        TOOLS.map(|(name, text)| (name, if name == "valgrind" { broken } else { text }))
    };
    // It ends with an error, and it counts nothing.
    for broken in ["exit 1", "exit 0"] {
        let (status, said) = judged(&without(broken), "session_h1 1000\n");
        assert_eq!(status, Some(69), "{said}");
        assert!(said.contains("error:"), "{said}");
    }
    let output = counted("no_such", &TOOLS, "");
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn a_request_without_200_fails() {
    let tools = TOOLS.map(|(name, text)| (name, if name == "valgrind" { RUNS } else { text }));

    let output = counted("handshake", &tools, "handshake 1\n");

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("handshake: 0 of 60 requests were answered with 200"), "{said}");
    assert!(said.contains("502"), "{said}");
}

/// A machine without valgrind, on which nothing can be installed.
#[test]
fn no_valgrind_fails() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["bash", "env", "dirname", "id", "h2load", "curl", "cmake", "cc", "cargo"] {
        tool(folder.path(), name, "");
        let found = ["/usr/bin", "/bin"]
            .map(|place| Path::new(place).join(name))
            .into_iter()
            .find(|path| path.exists());
        if let Some(found) = found {
            fs::remove_file(folder.path().join(name)).unwrap();
            std::os::unix::fs::symlink(found, folder.path().join(name)).unwrap();
        }
    }

    let output = Command::new("/usr/bin/env")
        .args(["bash", concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/bench-instructions.sh")])
        .env("PATH", folder.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("valgrind"), "{said}");
}
