//! The floors: a room imports rooms of lower floors only. This is the table of `architecture.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every room, by floor.
const FLOORS: &[&[&str]] = &[
    &["files", "wire"],
    &["model"],
    // A log opens its file through `files`.
    &["append_log", "session", "quota", "audit", "incident"],
    &["policy", "outbound"],
    &["checks", "config", "headers"],
    &["redis", "telemetry", "store", "sessions"],
    &["pipeline", "cluster", "notice", "retention"],
    &["upstream", "replay"],
    &["edge", "gateway", "admin", "report"],
    &["process"],
    &["acme", "upkeep", "hand_over"],
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
    (&["serde", "serde_json", "serde_yaml"], &["model", "wire", "policy", "checks", "headers", "pipeline"]),
    (
        &["tokio"],
        &["model", "session", "quota", "wire", "policy", "checks", "config", "headers", "pipeline", "replay"],
    ),
    (
        &["anyhow"],
        &[
            "model",
            "session",
            "wire",
            "quota",
            "policy",
            "checks",
            "config",
            "headers",
            "append_log",
            "redis",
            "telemetry",
            "store",
            "sessions",
            "pipeline",
            "cluster",
            "replay",
        ],
    ),
];

/// Files that may open a path themselves: they write to a log that may be a pipe, and make a secret that must not be there yet.
const OPENERS: &[&str] = &["telemetry/sink.rs", "edge/tls/dev.rs"];

#[test]
fn the_page_about_the_architecture_has_the_same_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/internals/architecture.md")).unwrap();
    let table = page.split("| floor | rooms |").nth(1).unwrap();
    // `| 7 | `upstream` (…) · `replay` (…) |`: a room is the first word in backticks of its part.
    let rooms = |row: &str| -> Vec<String> {
        let parts = row.split('|').nth(2).unwrap().split(" · ");
        parts.map(|part| part.split('`').nth(1).unwrap().to_owned()).collect()
    };
    let shown: Vec<Vec<String>> =
        table.lines().skip(2).take_while(|line| line.starts_with("| ")).map(rooms).collect();

    let is_built = |room: &&&str| {
        let source = root.join("src");
        source.join(room).is_dir() || source.join(format!("{room}.rs")).is_file()
    };
    let built: Vec<Vec<&str>> =
        FLOORS.iter().map(|floor| floor.iter().filter(is_built).copied().collect()).collect();
    assert_eq!(shown, built);
}

#[test]
fn nothing_but_the_files_room_opens_a_path() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    for file in files(&source) {
        let path = file.strip_prefix(&source).unwrap();
        let may = room_of(path) == "files" || OPENERS.iter().any(|opener| path == Path::new(opener));
        let text = fs::read_to_string(&file).unwrap();
        findings.extend(
            openings(&text).into_iter().filter(|_| !may).map(|found| format!("{}: {found}", file.display())),
        );
    }

    assert!(findings.is_empty(), "a named pipe would be waited for; use `files`:\n{}", findings.join("\n"));
}

#[test]
fn a_path_that_is_opened_is_found() {
    assert_eq!(openings("let a = File::open(path)?; // fs::read(path)"), ["File::open"]);
    assert_eq!(
        openings("let a = std::fs::read_to_string(path); let b = fs::read_dir(path);"),
        ["fs::read_to_string"]
    );
    assert_eq!(openings("use std::fs::{File, OpenOptions};"), ["OpenOptions"]);
    assert_eq!(
        openings("fn f(file: &mut File) { file.read(); fs::read_link(path); files::read(path, 7); }"),
        [""; 0]
    );
    assert_eq!(openings("#[cfg(test)]\nmod tests { fn f() { fs::write(path, text); } }"), [""; 0]);
}

/// Files that may make such a socket themselves: to sockets of octroi itself or of the service manager, without a runtime; and one
/// that sends nothing, by which the system says which address is its own.
const DIALLERS: &[&str] = &[
    "admin/control_socket.rs",
    "cli/health.rs",
    "config/compile/address.rs",
    "hand_over/channel.rs",
    "process/service_manager.rs",
];

#[test]
fn nothing_but_the_outbound_room_connects() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut findings, mut of_outbound) = (Vec::new(), 0);
    for file in files(&source) {
        let path = file.strip_prefix(&source).unwrap();
        let found = connects(&fs::read_to_string(&file).unwrap());
        if room_of(path) == "outbound" {
            of_outbound += found.len();
        } else if !DIALLERS.iter().any(|dialler| path == Path::new(dialler)) {
            findings.extend(found.into_iter().map(|found| format!("{}: {found}", file.display())));
        }
    }

    assert!(findings.is_empty(), "dial through `outbound`:\n{}", findings.join("\n"));
    // A reader that finds nothing finds nothing wrong.
    assert_eq!(of_outbound, 2, "one place connects over TCP, one to Unix sockets");
}

#[test]
fn what_connects_is_found() {
    assert_eq!(connects("let a = TcpStream::connect(address).await?;"), ["TcpStream::connect"]);
    assert_eq!(
        connects("net::UnixStream::connect_addr(a); TcpSocket::new_v4(); rustix::net::connect(&a, &b)?;"),
        ["UnixStream::connect_addr", "TcpSocket::new_v4", "net::connect"]
    );
    assert_eq!(
        connects("UdpSocket::bind(a)?; UnixDatagram::unbound()?;"),
        ["UdpSocket::bind", "UnixDatagram::unbound"]
    );
    assert_eq!(
        connects("tls.connect(stream); TcpListener::bind(a); net::listen(&a, 1); Channel::connect(a)"),
        [""; 0]
    );
    assert_eq!(connects("#[cfg(test)]\nmod tests { fn f() { TcpStream::connect(address); } }"), [""; 0]);
}

/// Lists what connects a socket, or makes one that can connect later, outside tests.
fn connects(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let words = words(&code(text));
    let dials = |of: &str, name: &str| match of {
        "TcpStream" | "UnixStream" | "net" => name.starts_with("connect"),
        "TcpSocket" | "UdpSocket" | "UnixDatagram" | "UnixSocket" => true,
        _ => false,
    };
    let found = words.windows(3).filter(|window| window[1] == "::" && dials(&window[0], &window[2]));
    found.map(|window| format!("{}::{}", window[0], window[2])).collect()
}

/// Files outside `telemetry` that may set gauges or timings of dependencies, or tell the metrics: no event has those.
const OBSERVERS: &[&str] = &[
    "app/gauges.rs",
    "app/health.rs",
    "app/observers.rs",
    "upkeep/refusals.rs",
    "upkeep/session_keys.rs",
    "upkeep/sweep.rs",
];

#[test]
fn lines_and_metrics_are_made_of_events_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    for file in files(&source) {
        let path = file.strip_prefix(&source).unwrap();
        if room_of(path) == "telemetry" || OBSERVERS.iter().any(|observer| path == Path::new(observer)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        findings.extend(recordings(&text).into_iter().map(|found| format!("{}: {found}", file.display())));
    }

    assert!(findings.is_empty(), "emit an event instead:\n{}", findings.join("\n"));
}

#[test]
fn what_is_recorded_without_an_event_is_found() {
    assert_eq!(recordings("log.write(&AccessLine { status, ..line });"), ["AccessLine {"]);
    assert_eq!(
        recordings("shared.metrics.bans(1, 2); app\n.metrics\n.redis.fresh(true);"),
        ["metrics.bans", "metrics.redis"]
    );
    assert_eq!(recordings("policy.metrics.map(bind); Metrics::new()?; // metrics.bans(1)"), [""; 0]);
}

/// Lists what makes an access line, or calls a method of the metrics, outside tests.
fn recordings(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let words = words(&code(text));
    let methods = methods_of_metrics();
    let mut findings = Vec::new();
    for window in words.windows(3) {
        match [window[0].as_str(), window[1].as_str(), window[2].as_str()] {
            ["AccessLine", "{", _] => findings.push("AccessLine {".to_owned()),
            ["metrics", ".", name] if name == "redis" || methods.iter().any(|method| method == name) => {
                findings.push(format!("metrics.{name}"))
            }
            _ => {}
        }
    }
    findings
}

/// The methods of the metrics that other rooms can call; those that count events are private to `telemetry`.
fn methods_of_metrics() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/metrics");
    let mut methods = Vec::new();
    for file in ["gauge.rs", "table.rs"] {
        let words = words(&code(&fs::read_to_string(folder.join(file)).unwrap()));
        let public = words.windows(3).filter(|window| window[0] == "pub" && window[1] == "fn");
        methods.extend(public.map(|window| window[2].clone()));
    }
    assert!(methods.len() > 20, "{methods:?}");
    methods
}

#[test]
fn rooms_import_lower_floors_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    for file in files(&source) {
        let room = room_of(file.strip_prefix(&source).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        findings
            .extend(judge(&room, &text).into_iter().map(|finding| format!("{}: {finding}", file.display())));
    }

    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(judge("checks", "use crate::pipeline::Permit;"), [upward("pipeline", "checks")]);
    assert_eq!(judge("model", "fn f(p: &crate::policy::Policy) {}"), [upward("policy", "model")]);
}

/// Returns the finding about an import of a room that is not on a lower floor.
fn upward(import: &str, room: &str) -> String {
    let floor = |room| floor(room).unwrap();
    format!("imports `{import}` (floor {}) from `{room}` (floor {})", floor(import), floor(room))
}

#[test]
fn an_import_on_the_same_floor_is_found() {
    assert_eq!(judge("gateway", "use crate::edge::Handler;"), [upward("edge", "gateway")]);
    assert_eq!(judge("sessions", "pub use crate::telemetry;"), [upward("telemetry", "sessions")]);
}

#[test]
fn a_grouped_import_is_found() {
    let text = "use crate::{\n    model::{Deny, Verdict},\n    pipeline::{self, judge}, // the order\n    edge as door,\n};";

    assert_eq!(judge("policy", text), [upward("pipeline", "policy"), upward("edge", "policy")]);
}

#[test]
fn an_unknown_room_is_found() {
    assert_eq!(
        judge("gateway", "use crate::utils::retry;"),
        ["imports `utils`, which is no room of the table"]
    );
    assert_eq!(judge("helpers", ""), ["`helpers` is no room of the table"]);
}

#[test]
fn an_import_through_the_library_is_found() {
    assert_eq!(judge("main", "use octroi::cli;"), [""; 0]);
    assert_eq!(judge("app", "use octroi::{cli};"), [upward("cli", "app")]);
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
            Some(other) if other >= floor => {
                findings.push(format!("imports `{import}` (floor {other}) from `{room}` (floor {floor})"))
            }
            Some(_) => {}
        }
    }
    for (at, word) in words.iter().enumerate() {
        let (before, after) =
            (at.checked_sub(1).map(|at| words[at].as_str()), words.get(at + 1).map(String::as_str));
        // A crate is named where a path begins, or alone in a `use`.
        let named = before != Some("::") && (after == Some("::") || before == Some("use"));
        if named && !may_name(room, word) {
            findings.push(format!("names the crate `{word}`"));
        }
    }
    findings.dedup();
    findings
}

/// Lists what opens a path by itself, outside tests.
fn openings(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let words = words(&code(text));
    let mut findings = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let name = match &words[at..] {
            [_, colons, name, ..] if colons == "::" => name.as_str(),
            _ => "",
        };
        let opens = match word.as_str() {
            "File" => matches!(name, "open" | "create" | "create_new" | "options"),
            "fs" => matches!(name, "read" | "read_to_string" | "write" | "copy" | "open" | "openat"),
            _ => false,
        };
        if opens {
            findings.push(format!("{word}::{name}"));
        } else if word == "OpenOptions" {
            findings.push(word.clone());
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
            Some(last) if touching && part_of_name(character) && last.chars().all(part_of_name) => {
                last.push(character)
            }
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
