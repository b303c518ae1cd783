//! What README.md and docs/operations.md say is what the program does.
//!
//! The table of refusals is made from `Reason::ALL`, the tables of keys from the schema; `BLESS=1 cargo test --test readme` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![cfg(feature = "gateway")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use octroi::{
    config,
    edge::EdgeRefusal,
    gateway::{DEFAULT_FIELDS, OWN_FIELDS},
    model::{Cut, Reason},
    policy::request_fields::{Claim, families},
};

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
    let mut table = String::from("| status | code | stage | when |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        writeln!(table, "| {} | `{}` | {} | {} |", reason.status(), reason.code(), reason.stage(), reason.meaning()).unwrap();
    }

    holds("README.md", "refusals", &table);
}

#[test]
fn the_families_of_fields_in_the_operations_guide_are_the_program_s_own() {
    let mut table = String::from("| what it says | fields |\n|---|---|\n");
    for claim in Claim::ALL {
        let names: Vec<String> = families().filter(|(_, said)| *said == claim).map(|(family, _)| format!("`{family}`")).collect();
        writeln!(table, "| {} | {} |", claim.meaning(), names.join(" ")).unwrap();
    }

    holds("docs/operations.md", "request fields", &table);
}

#[test]
fn the_default_fields_in_the_operations_guide_are_the_program_s_own() {
    let head = "| field | value | where |\n|---|---|---|\n";
    let rows = |rows: Vec<(&str, &str, &str)>| {
        rows.into_iter().map(|(name, value, place)| format!("| `{name}` | `{value}` | {place} |\n")).collect::<String>()
    };
    let answers = DEFAULT_FIELDS.iter().map(|(name, value, place)| (name.as_str(), *value, *place)).collect();

    holds("docs/operations.md", "answer fields", &format!("{head}{}", rows(answers)));
    holds("docs/operations.md", "own fields", &format!("{head}{}", rows(OWN_FIELDS.to_vec())));
}

/// Holds what stands in a page between two marks against what the program says; `BLESS=1` writes it there.
fn holds(page: &str, name: &str, made: &str) {
    let (begin, end) = (format!("<!-- {name}: begin"), format!("<!-- {name}: end -->"));
    let text = read(page);
    let (before, rest) = text.split_once(&begin).unwrap();
    let (marker, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(&end).unwrap();

    let expected = format!("{before}{begin}{marker}\n{made}{end}{after}");

    if std::env::var_os("BLESS").is_some() {
        fs::write(path(page), &expected).unwrap();
    } else {
        assert!(text == expected, "{page}, {name}: not what the program says; run `BLESS=1 cargo test --test readme`");
    }
}

/// The maps of a configuration, each with the places where it stands: `tenants.NAME.sessions`.
fn places(schema: &serde_json::Value) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = vec![("root".to_owned(), vec![String::new()])];
    let mut next = 0;
    while next < found.len() {
        let (map, at) = (found[next].0.clone(), found[next].1[0].clone());
        for (key, property) in schema["$defs"][&map]["properties"].as_object().into_iter().flatten() {
            let dot = if at.is_empty() { "" } else { "." };
            inner(property, &format!("{at}{dot}{key}"), &mut found);
        }
        next += 1;
    }
    found
}

/// Notes the maps that a value may be.
fn inner(value: &serde_json::Value, place: &str, found: &mut Vec<(String, Vec<String>)>) {
    if let Some(map) =
        value["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")).filter(|name| !["reference", "variable"].contains(name))
    {
        match found.iter_mut().find(|(known, _)| known == map) {
            Some((_, at)) => at.push(place.to_owned()),
            None => found.push((map.to_owned(), vec![place.to_owned()])),
        }
    }
    inner_of(&value["additionalProperties"], &format!("{place}.NAME"), found);
    inner_of(&value["items"], &format!("{place}[]"), found);
    for form in value["anyOf"].as_array().into_iter().flatten() {
        inner(form, place, found);
    }
}

fn inner_of(value: &serde_json::Value, place: &str, found: &mut Vec<(String, Vec<String>)>) {
    if value.is_object() {
        inner(value, place, found);
    }
}

/// Says whether this version takes a key at all.
fn is_taken(property: &serde_json::Value) -> bool {
    property["not"] != serde_json::json!({})
}

#[test]
fn every_key_is_in_the_operations_guide() {
    let schema = config::schema();
    let places = places(&schema);
    let mut tables = String::new();
    for (map, at) in &places {
        let Some(properties) = schema["$defs"][map]["properties"].as_object() else { continue };
        let at: Vec<String> = at.iter().filter(|place| !place.is_empty()).map(|place| format!("`{place}`")).collect();
        let title = if at.is_empty() { "At the top:".to_owned() } else { format!("{}:", at.join(", ")) };
        writeln!(tables, "{title}\n\n| key | what it says |\n|---|---|").unwrap();
        for (key, property) in properties.iter().filter(|(_, property)| is_taken(property)) {
            writeln!(tables, "| `{key}` | {} |", property["description"].as_str().unwrap().replace('|', "\\|")).unwrap();
        }
        tables.push('\n');
    }
    // None is left out: what cannot be reached from the top would stand in no table.
    let reached: Vec<&str> = places.iter().map(|(map, _)| map.as_str()).collect();
    let maps = schema["$defs"].as_object().unwrap().keys().map(String::as_str);

    assert_eq!(maps.filter(|map| !["reference", "variable"].contains(map) && !reached.contains(map)).collect::<Vec<_>>(), [""; 0]);
    holds("docs/operations.md", "keys", &tables);
}

#[test]
fn every_key_is_in_the_full_example() {
    let schema = config::schema();
    let example = read("conf/octroi.yaml");
    // In comments, too. Whether it stands in its own map is for `tests/config.rs` to say.
    let words: Vec<&str> = example.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).collect();
    let maps = schema["$defs"].as_object().unwrap().iter();
    let keys = maps.flat_map(|(map, definition)| definition["properties"].as_object().into_iter().flatten().map(move |key| (map, key)));

    let missing: Vec<String> = keys
        .filter(|(_, (key, property))| is_taken(property) && !words.contains(&&*format!("{key}:")))
        .map(|(map, (key, _))| format!("{map}.{key}"))
        .collect();

    assert_eq!(missing, [""; 0]);
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
    let names = metrics();
    let names = names.iter().map(String::as_str);

    assert_eq!(missing(&read("docs/operations.md"), names, |name| format!("| `{name}` |")), [""; 0]);
}

/// The metrics that the program declares.
fn metrics() -> Vec<String> {
    let sources: String = ["table", "redis"]
        .map(|file| read(&format!("src/telemetry/metrics/{file}.rs")))
        .map(|source| without_tests(&source).to_owned())
        .concat();
    let names: Vec<String> = between(&sources, "\"octroi_", "\"").map(|name| format!("octroi_{name}")).collect();
    assert!(names.len() > 50, "{names:?}");
    names
}

#[test]
fn every_metric_that_is_written_of_exists() {
    let known = metrics();
    // Other things that are called so: the package's file, and the folder of an example.
    let others = ["octroi_0", "octroi_VERSION_ARCH", "octroi_assertion"];
    for page in
        ["README.md", "docs/operations.md", "docs/assertion.md", "docs/performance.md", "conf/octroi.yaml", "deploy/debian/README.Debian"]
    {
        let text = read(page);
        let named = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("octroi_"));
        let is_known = |name: &str| {
            let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            others.contains(&name) || known.iter().any(|known| known == name || Some(known.as_str()) == of_histogram)
        };

        assert_eq!(named.filter(|name| !is_known(name)).collect::<Vec<_>>(), [""; 0], "{page}");
    }
}

#[test]
fn every_reason_that_is_written_of_exists() {
    for page in ["README.md", "docs/operations.md", "docs/assertion.md"] {
        let text = read(page);
        // As in: 403 `ip_denied`.
        let pairs = text.match_indices(" `").filter_map(|(at, _)| {
            let status = text[..at].rsplit(|c: char| !c.is_ascii_digit()).next().filter(|status| status.len() == 3)?;
            let code = text[at + 2..].split('`').next().filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_'))?;
            Some((status.parse::<u16>().unwrap(), code))
        });
        let pairs: Vec<(u16, &str)> = pairs.collect();
        // What commands get from the admin API has codes of its own.
        let of_commands = [(503, "unavailable")];
        let exists = |(status, code): &(u16, &str)| Reason::ALL.iter().any(|reason| (reason.status(), reason.code()) == (*status, *code));

        assert!(page != "docs/operations.md" || pairs.len() > 25, "{pairs:?}");
        let unknown: Vec<_> = pairs.iter().filter(|pair| !exists(pair) && !of_commands.contains(pair)).collect();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }
}

/// Those of connections that are refused, and of what deadlines end: each has a row, and each row is of one.
#[test]
fn every_code_of_a_table_is_the_program_s_own() {
    let readme = read("README.md");
    let table = between(&readme, "| `cap_listener` |", "\n\n").next().unwrap();
    let rows: Vec<&str> = std::iter::once("cap_listener").chain(between(table, "\n| `", "`")).collect();
    let codes: Vec<&str> = EdgeRefusal::ALL.iter().map(|refusal| refusal.code()).collect();
    assert_eq!(rows.iter().filter(|row| !codes.contains(row)).collect::<Vec<_>>(), [&""; 0]);

    let guide = read("docs/operations.md");
    let deadlines = between(&guide, "\n## Deadlines\n", "\n## ").next().unwrap();
    let cuts = Cut::ALL.iter().filter(|cut| **cut != Cut::Banned).map(|cut| cut.code());
    assert_eq!(missing(deadlines, cuts, |code| format!("`{code}`")), [""; 0]);
}

#[test]
fn every_field_of_the_access_line_is_in_the_operations_guide() {
    let source = read("src/telemetry/line.rs");
    let source = without_tests(&source);
    let kinds = ["text", "octets", "number", "address", "millis", "literal"];
    let begins: Vec<String> = kinds.iter().map(|kind| format!("line.{kind}(\"")).collect();
    let names: Vec<&str> = begins.iter().flat_map(|begin| between(source, begin, "\"")).collect();

    assert!(names.len() > 30, "{names:?}");
    let guide = read("docs/operations.md");
    assert_eq!(missing(&guide, names.iter().copied(), |name| format!("| `{name}` |")), [""; 0]);
    let table = between(&guide, "\n## Access lines\n", "\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name)).collect();
    assert!(rows.len() > 30, "{rows:?}");
    // Every line begins with its time.
    assert_eq!(rows.into_iter().filter(|row| *row != "time" && !names.contains(row)).collect::<Vec<_>>(), [""; 0], "made up");
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
            assert!(checked.stdout.starts_with(b"ok: "), "{page}, example {number}");
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
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: std::collections::BTreeSet<&str> =
        rows.flat_map(|row| row.split('|').next().unwrap().split([',', '`', ' ']).filter(|code| !code.is_empty())).collect();
    let offences: std::collections::BTreeSet<&str> =
        Reason::ALL.iter().filter(|reason| reason.breaks_protocol()).map(|reason| reason.code()).collect();

    assert_eq!(named, offences);
}
