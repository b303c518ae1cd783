//! The floors: a room imports rooms of lower floors only. This is the table of `design.md`, section 3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every room, by floor.
const FLOORS: &[&[&str]] = &[
    &["model", "files"],
    &["session", "proxy_protocol", "quota", "audit", "incident"],
    &["policy", "outbound"],
    &["checks", "config", "state", "telemetry"],
    &["pipeline", "notice", "retention"],
    &["edge", "gateway", "admin", "replay", "report"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Crates that only some rooms may name.
const ONLY_IN: &[(&[&str], &[&str])] = &[
    (&["pingora", "pingora_core", "pingora_http", "pingora_proxy"], &["edge", "gateway", "admin", "app"]),
    (&["rustls", "tokio_rustls"], &["edge", "outbound"]),
];

/// Crates that some rooms may not name.
const NOT_IN: &[(&[&str], &[&str])] = &[
    (&["serde", "serde_json", "serde_yaml"], &["model", "policy", "checks", "pipeline"]),
    (&["tokio"], &["model", "session", "proxy_protocol", "quota", "policy", "checks", "config", "pipeline", "replay"]),
    (
        &["anyhow"],
        &["model", "session", "proxy_protocol", "quota", "policy", "checks", "config", "state", "telemetry", "pipeline", "replay"],
    ),
];

#[test]
fn rooms_import_lower_floors_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    for file in files(&source) {
        let room = room_of(file.strip_prefix(&source).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        findings.extend(judge(&room, &text).into_iter().map(|finding| format!("{}: {finding}", file.display())));
    }

    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(judge("checks", "use crate::pipeline::Permit;"), ["imports `pipeline` (floor 4) from `checks` (floor 3)"]);
    assert_eq!(judge("model", "fn f(p: &crate::policy::Policy) {}"), ["imports `policy` (floor 2) from `model` (floor 0)"]);
}

#[test]
fn an_import_on_the_same_floor_is_found() {
    assert_eq!(judge("gateway", "use crate::edge::Handler;"), ["imports `edge` (floor 5) from `gateway` (floor 5)"]);
    assert_eq!(judge("state", "pub use crate::telemetry;"), ["imports `telemetry` (floor 3) from `state` (floor 3)"]);
}

#[test]
fn a_grouped_import_is_found() {
    let text = "use crate::{\n    model::{Deny, Verdict},\n    pipeline::{self, judge}, // the order\n    edge as door,\n};";

    assert_eq!(
        judge("policy", text),
        ["imports `pipeline` (floor 4) from `policy` (floor 2)", "imports `edge` (floor 5) from `policy` (floor 2)"]
    );
}

#[test]
fn an_unknown_room_is_found() {
    assert_eq!(judge("gateway", "use crate::utils::retry;"), ["imports `utils`, which is no room of the table"]);
    assert_eq!(judge("helpers", ""), ["`helpers` is no room of the table"]);
}

#[test]
fn an_import_through_the_library_is_found() {
    assert_eq!(judge("main", "use octroi::cli;"), [""; 0]);
    assert_eq!(judge("app", "use octroi::{cli};"), ["imports `cli` (floor 7) from `app` (floor 6)"]);
}

#[test]
fn what_is_no_import_is_none() {
    let text = r##"
        //! Links to [`crate::pipeline::judge`] are words.
        // use crate::edge::Door;
        /* crate::app */
        use super::crate_path;
        const TEXT: &str = "crate::app::start \" crate::cli";
        const RAW: &str = r#"crate::app""#;
        fn f<'a>(quote: char) -> &'a str { if quote == '"' || quote == '\'' { "" } else { crate::model::NAME } }
        pub(crate) fn g() {}
        use crate::{checks::quota};
    "##;

    assert_eq!(judge("pipeline", text), [""; 0]);
}

#[test]
fn a_crate_in_the_wrong_room_is_found() {
    assert_eq!(judge("pipeline", "use pingora::proxy::Session;"), ["names the crate `pingora`"]);
    assert_eq!(judge("checks", "fn f() -> rustls::Error {}"), ["names the crate `rustls`"]);
    assert_eq!(judge("policy", "#[derive(serde::Serialize)] struct A;"), ["names the crate `serde`"]);
    assert_eq!(judge("checks", "use {std::fmt, serde::Serialize};"), ["names the crate `serde`"]);
    assert_eq!(judge("replay", "use tokio;"), ["names the crate `tokio`"]);
    assert_eq!(judge("edge", "use rustls::ServerConfig; use pingora::Result;"), [""; 0]);
    assert_eq!(judge("config", "use serde::Deserialize; use rustls_pki_types::pem;"), [""; 0]);
}

/// Lists what is wrong with the imports of one file.
fn judge(room: &str, text: &str) -> Vec<String> {
    if room == "lib" {
        return Vec::new();
    }
    let Some(floor) = floor(room) else { return vec![format!("`{room}` is no room of the table")] };
    let words = words(&code(text));
    let mut findings = Vec::new();
    for import in imports(&words).into_iter().filter(|import| import != room) {
        match self::floor(&import) {
            None => findings.push(format!("imports `{import}`, which is no room of the table")),
            Some(other) if other >= floor => findings.push(format!("imports `{import}` (floor {other}) from `{room}` (floor {floor})")),
            Some(_) => {}
        }
    }
    for (at, word) in words.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).map(|at| words[at].as_str()), words.get(at + 1).map(String::as_str));
        // A crate is named where a path begins, or alone in a `use`.
        let named = before != Some("::") && (after == Some("::") || before == Some("use"));
        if named && !may_name(room, word) {
            findings.push(format!("names the crate `{word}`"));
        }
    }
    findings.dedup();
    findings
}

fn may_name(room: &str, name: &str) -> bool {
    ONLY_IN.iter().all(|(names, rooms)| !names.contains(&name) || rooms.contains(&room))
        && NOT_IN.iter().all(|(names, rooms)| !names.contains(&name) || !rooms.contains(&room))
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Finds the rooms behind every `crate::` and `octroi::`, in groups too.
fn imports(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, pair) in words.windows(2).enumerate() {
        let begins = at == 0 || words[at - 1] != "::";
        if !begins || !matches!(pair[0].as_str(), "crate" | "octroi") || pair[1] != "::" {
            continue;
        }
        let rest = &words[at + 2..];
        match rest.first().map(String::as_str) {
            Some("{") => found.extend(group(rest)),
            Some(name) if is_name(name) => found.push(name.to_owned()),
            _ => {}
        }
    }
    found
}

/// Finds the first word of each element of a group.
fn group(words: &[String]) -> Vec<String> {
    let (mut depth, mut first, mut found) = (0, true, Vec::new());
    for word in words {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => first = true,
            name if depth == 1 && first && is_name(name) => {
                first = false;
                found.extend(Some(name.to_owned()).filter(|name| name != "self"));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Says whether a word names a room: what begins in upper case is a macro or a type of the crate's root.
fn is_name(word: &str) -> bool {
    word.starts_with(|character: char| character.is_ascii_lowercase())
}

/// Splits code into names, `::` and single characters.
fn words(code: &str) -> Vec<String> {
    let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut found: Vec<String> = Vec::new();
    let mut touching = false;
    for character in code.chars() {
        match found.last_mut() {
            _ if character.is_whitespace() => {}
            Some(last) if touching && part_of_name(character) && last.chars().all(part_of_name) => last.push(character),
            Some(last) if touching && character == ':' && last == ":" => last.push(':'),
            _ => found.push(character.to_string()),
        }
        touching = !character.is_whitespace();
    }
    found
}

/// Leaves comments and what stands in quotes out.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let behind_a_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let cut = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_text(rest).filter(|_| !behind_a_name) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').unwrap() + 1;
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if character == '"' || (character == '\'' && is_character(rest)) {
            quoted(rest, character)
        } else {
            code.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[cut..];
    }
    code
}

/// Returns the number of `#` where a raw text begins.
fn raw_text(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then_some(hashes)
}

/// Returns where a text or character ends.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Tells a character from a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// The room that a file of `src/` belongs to: its folder, or the file itself.
fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
