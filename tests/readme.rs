//! What README.md and docs/operations.md say is what the program does.
//!
//! The table of refusals is made from `Reason::ALL`; `BLESS=1 cargo test --test readme` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![cfg(feature = "gateway")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use octroi::{edge::EdgeRefusal, model::Reason};

const BEGIN: &str = "<!-- refusals: begin";
const END: &str = "<!-- refusals: end -->";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn octroi(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_octroi")).current_dir(folder).env_clear().args(args).output().unwrap()
}

/// Returns what stands between `begin` and `end` each time they stand in a text.
fn between<'t>(text: &'t str, begin: &'t str, end: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(begin).skip(1).map(move |rest| rest.split(end).next().unwrap())
}

/// Returns the part of a source file above its tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().unwrap()
}

/// Names what of `wanted` does not stand in `text`, as `form` writes it.
fn missing<'n>(text: &str, wanted: impl IntoIterator<Item = &'n str>, form: impl Fn(&str) -> String) -> Vec<&'n str> {
    wanted.into_iter().filter(|name| !text.contains(&form(name))).collect()
}

#[test]
fn the_table_of_refusals_is_the_programs_own() {
    let readme = read("README.md");
    let mut table = String::from("| status | code | stage | when |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        writeln!(table, "| {} | `{}` | {} | {} |", reason.status(), reason.code(), reason.stage(), reason.meaning()).unwrap();
    }
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (marker, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(END).unwrap();

    let expected = format!("{before}{BEGIN}{marker}\n{table}{END}{after}");

    if std::env::var_os("BLESS").is_some() {
        fs::write(path("README.md"), &expected).unwrap();
    } else {
        assert!(readme == expected, "the table of refusals is not the program's; run `BLESS=1 cargo test --test readme`");
    }
}

#[test]
fn every_refused_connection_is_in_the_readme() {
    let codes = EdgeRefusal::ALL.iter().map(|refusal| refusal.code());

    assert_eq!(missing(&read("README.md"), codes, |code| format!("| `{code}` |")), [""; 0]);
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = read("README.md");
    for within in ["", "session", "keys", "ban"] {
        let args: Vec<&str> = within.split_whitespace().chain(["--help"]).collect();
        let help = String::from_utf8(octroi(&path("."), &args).stdout).unwrap();
        let listed = between(&help, "Commands:\n", "\n\n").next().unwrap();
        // A description that goes on in another line is indented further.
        let lines = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let commands: Vec<&str> = lines.map(|line| line.split_whitespace().next().unwrap()).collect();

        assert!(!commands.is_empty());
        let inner = if within.is_empty() { "" } else { " " };
        // `session`, `keys` and `ban` are named with their own commands.
        let commands = commands.into_iter().filter(|command| !["session", "keys", "ban"].contains(command));
        assert_eq!(missing(&readme, commands, |command| format!("| `octroi {within}{inner}{command}")), [""; 0], "octroi {within}");
    }
}

#[test]
fn every_metric_is_in_the_operations_guide() {
    let source = read("src/telemetry/metrics/table.rs");
    let names: Vec<&str> = between(without_tests(&source), "\"octroi_", "\"").collect();

    assert!(names.len() > 20, "{names:?}");
    assert_eq!(missing(&read("docs/operations.md"), names, |name| format!("| `octroi_{name}` |")), [""; 0]);
}

#[test]
fn every_field_of_the_access_line_is_in_the_operations_guide() {
    let source = read("src/telemetry/line.rs");
    let source = without_tests(&source);
    let kinds = ["text", "octets", "number", "address", "millis", "literal"];
    let begins: Vec<String> = kinds.iter().map(|kind| format!("line.{kind}(\"")).collect();
    let names: Vec<&str> = begins.iter().flat_map(|begin| between(source, begin, "\"")).collect();

    assert!(names.len() > 30, "{names:?}");
    assert_eq!(missing(&read("docs/operations.md"), names, |name| format!("| `{name}` |")), [""; 0]);
}

#[test]
fn every_dependency_has_its_reason_in_the_readme() {
    let manifest = read("Cargo.toml");
    let readme = read("README.md");
    let table = between(&manifest, "\n[dependencies]\n", "\n[").next().unwrap();
    let named = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let reasons = between(&readme, "\n## Dependencies\n", "\n## ").next().unwrap();
    let rows: Vec<&str> = between(reasons, "\n| ", " |").flat_map(|row| row.split(", ")).collect();

    let unexplained: Vec<&str> = named.filter(|name| !rows.contains(name)).collect();

    assert_eq!(unexplained, [""; 0]);
}

#[test]
fn every_unenforced_key_is_owned_up_to() {
    let source = read("src/config/unenforced.rs");
    let (keys, words) = without_tests(&source).split_once("pub(super) const WORDS").unwrap();
    // `("map", "key", …` and `("what", "word")`.
    let second = |tables: &'static str| move |row: &str| row.split('"').nth(2).unwrap_or(tables).to_owned();
    let names: Vec<String> = between(keys, "    (\"", "),").chain(between(words, "    (\"", ",\n")).map(second("")).collect();
    let readme = read("README.md");
    let gaps = between(&readme, "## What is not there yet", "\n## ").next().unwrap();

    assert!(names.len() > 10, "{names:?}");
    // Said in words there, not by the value that the key would take.
    let in_words = ["syslog", "ecs", "combined", "http2", "address"];
    let names = names.iter().map(String::as_str).filter(|name| !in_words.contains(name));
    assert_eq!(missing(gaps, names, |name| name.to_owned()), [""; 0]);
}

#[test]
fn every_example_configuration_holds() {
    for (page, least) in [("README.md", 2), ("docs/operations.md", 1)] {
        let text = read(page);
        let examples: Vec<&str> = between(&text, "```yaml\n", "```").filter(|example| example.starts_with("version: 1")).collect();
        assert!(examples.len() >= least, "{page} has {} examples", examples.len());
        for (number, example) in examples.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let conf = folder.path().join("conf");
            fs::create_dir(&conf).unwrap();
            fs::write(conf.join("octroi.yaml"), example).unwrap();

            let made = octroi(&conf, &["keys", "init", "--config", "octroi.yaml"]);
            let checked = octroi(&conf, &["check", "octroi.yaml"]);

            assert!(made.status.success(), "{page}, example {number}: {}", String::from_utf8_lossy(&made.stderr));
            assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "{page}, example {number}");
            assert!(checked.status.success());
        }
    }
}

/// `make full` runs the files; the guide shows parts of them.
#[test]
fn the_code_of_the_guide_stands_in_the_tested_apps() {
    let guide = read("docs/assertion.md");
    let files = ["node/octroi.mjs", "node/app.mjs", "python/flask_app.py", "python/django_app.py"];
    let files: String = files.iter().map(|file| read(&format!("examples/assertion/{file}"))).collect();
    let shown: Vec<&str> = ["```js\n", "```python\n"].iter().flat_map(|begin| between(&guide, begin, "```")).collect();

    assert_eq!(shown.len(), 4);
    assert_eq!(shown.into_iter().filter(|code| !files.contains(code)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_first_example_is_the_minimal_configuration() {
    let readme = read("README.md");
    let example = between(&readme, "```yaml\n", "```").next().unwrap();
    let file = read("conf/minimal.yaml");
    let file: String = file.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();

    assert_eq!(example, file);
}

#[test]
fn the_offences_in_the_operations_guide_are_the_program_s_own() {
    let guide = read("docs/operations.md");
    let table = between(&guide, "\n### Bans\n", "\nNothing else counts").next().unwrap();
    let row = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
        let mut codes: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        codes.sort_unstable();
        codes
    };
    let sorted = |mut codes: Vec<&'static str>| {
        codes.sort_unstable();
        codes
    };
    let requests = Reason::ALL.iter().filter(|reason| reason.breaks_protocol()).map(|reason| reason.code()).collect();
    let connections = EdgeRefusal::ALL.iter().filter(|refusal| refusal.breaks_protocol()).map(|refusal| refusal.code()).collect();

    assert_eq!((row("request"), row("connection")), (sorted(requests), sorted(connections)));
}
