//! The tables of the reference: made from the program's own where it has them, held against them elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use octroi::{
    admin::wire::{RevokedBody, StatusBody},
    edge::EdgeRefusal,
    headers::{DEFAULT_FIELDS, OWN_FIELDS},
    model::{CutReason, Reason},
    policy::request_fields::{Claim, families},
};

use super::{between, files, holds, missing, read, without_tests};

#[test]
fn the_reasons_are_the_program_s_own() {
    let mut table = String::from("| status | code | stage | when |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let again = reason
            .retry_after()
            .map_or_else(String::new, |wait| format!(" `Retry-After: {}`.", wait.as_secs()));
        let code = reason.code();
        writeln!(
            table,
            "| {} | [`{code}`](../runbooks/reasons.md#{code}) | {} | {}{again} |",
            reason.status(),
            reason.stage(),
            reason.meaning()
        )
        .unwrap();
    }

    holds("docs/reference/reasons.md", "reasons", &table);
}

/// Those of connections that are refused, and of what deadlines end: each has a row, and each row is of one.
#[test]
fn every_refused_connection_has_a_row_and_each_row_is_of_one() {
    let page = read("docs/reference/reasons.md");
    let table = between(&page, "\n## Connections\n", "\n## ").next().unwrap();
    let rows: Vec<&str> = between(table, "\n| `", "`").collect();
    let codes: Vec<&str> = EdgeRefusal::ALL.iter().map(|refusal| refusal.code()).collect();

    assert_eq!(rows.iter().filter(|row| !codes.contains(row)).collect::<Vec<_>>(), [&""; 0]);
    assert_eq!(codes.iter().filter(|code| !rows.contains(code)).collect::<Vec<_>>(), [&""; 0]);

    let deadlines = read("docs/reference/deadlines.md");
    let cuts = CutReason::ALL.iter().filter(|cut| **cut != CutReason::Banned).map(|cut| cut.code());
    assert_eq!(missing(&deadlines, cuts, |code| format!("`{code}`")), [""; 0]);
}

/// `octroi explain` and the table of reasons lead there.
#[test]
fn every_reason_has_its_runbook_in_the_order_of_the_table() {
    let page = read("docs/runbooks/reasons.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();

    assert_eq!(headings, codes);
}

#[test]
fn the_request_fields_that_are_removed_are_the_program_s_own() {
    let mut table = String::from("| what it says | fields |\n|---|---|\n");
    for claim in Claim::ALL {
        let names: Vec<String> =
            families().filter(|(_, said)| *said == claim).map(|(family, _)| format!("`{family}`")).collect();
        writeln!(table, "| {} | {} |", claim.meaning(), names.join(" ")).unwrap();
    }

    holds("docs/reference/request-fields.md", "request fields", &table);
}

#[test]
fn the_response_fields_are_the_program_s_own() {
    let head = "| field | value | where |\n|---|---|---|\n";
    let rows = |rows: Vec<(&str, &str, &str)>| {
        rows.into_iter()
            .map(|(name, value, place)| format!("| `{name}` | `{value}` | {place} |\n"))
            .collect::<String>()
    };
    let answers = DEFAULT_FIELDS.iter().map(|(name, value, place)| (name.as_str(), *value, *place)).collect();

    let page = "docs/reference/response-fields.md";
    holds(page, "answer fields", &format!("{head}{}", rows(answers)));
    holds(page, "own fields", &format!("{head}{}", rows(OWN_FIELDS.to_vec())));
}

#[test]
fn the_metrics_are_the_program_s_own() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let mut table =
        String::from("| series | type | labels | what it counts | alerts |\n|---|---|---|---|---|\n");
    for (name, Declared { kind, labels, help }) in declared() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let of: Vec<String> = alerts
            .split("- alert: ")
            .skip(1)
            .filter(|rule| between(rule, &name, "\n").any(|rest| !rest.starts_with(is_word)))
            .map(|rule| {
                let alert = rule.lines().next().unwrap().trim();
                format!("[{alert}](../runbooks/alerts.md#{})", alert.to_lowercase())
            })
            .collect();
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} | {} |", of.join(" ")).unwrap();
    }

    holds("docs/reference/metrics.md", "metrics", &table);
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A metric as the program declares it.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) kind: &'static str,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) help: String,
}

/// Returns the metrics that the program declares, by name.
pub(crate) fn declared() -> BTreeMap<String, Declared> {
    let mut found = BTreeMap::new();
    for file in files("src/telemetry", "rs") {
        let source = read(&file);
        let source = without_tests(&source);
        for (at, _) in source.match_indices("\"octroi_") {
            // `METHOD("NAME", "HELP", &["LABEL"])`: what else is called so has no text behind it.
            let Some((name, rest)) = source[at + 1..].split_once('"') else { continue };
            let Some(rest) =
                rest.strip_prefix(',').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'))
            else {
                continue;
            };
            let (help, rest) = rest.split_once('"').unwrap();
            let method =
                source[..at].trim_end().trim_end_matches('(').rsplit(|c| !is_word(c)).next().unwrap();
            let kind = match method {
                "counter" | "counters" | "results" | "labelled" => "counter",
                "gauge" | "gauges" | "float" | "floats" => "gauge",
                "histograms" => "histogram",
                _ => panic!("{file}: {name}: `{method}` makes no known type"),
            };
            let labels = match method {
                "counter" | "gauge" | "float" => BTreeSet::new(),
                "results" | "labelled" => BTreeSet::from(["result".to_owned()]),
                _ => {
                    let list = rest.trim_start_matches(',').trim_start().strip_prefix("&[");
                    let list = list.unwrap_or_else(|| panic!("{file}: {name} has no list of labels"));
                    between(list.split(']').next().unwrap(), "\"", "\"")
                        .step_by(2)
                        .map(str::to_owned)
                        .collect()
                }
            };
            let help = one_line(help).replace('|', "\\|");
            found.insert(name.to_owned(), Declared { kind, labels, help });
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

/// Returns a literal as the compiler reads it: a backslash at the end of a line takes the next line's indent away.
fn one_line(literal: &str) -> String {
    let mut lines = literal.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// `tests/golden` has seen the series: their types and labels are those that the declarations say.
#[test]
fn the_declarations_are_read_as_the_program_means_them() {
    let declared = declared();
    let mut compared = 0;
    for (name, (kind, labels)) in families_of_metrics() {
        // The library declares those of the process.
        let Some(read) = declared.get(&name) else { continue };
        compared += 1;
        assert_eq!((read.kind, &read.labels), (kind.as_str(), &labels), "{name}");
        assert!(!read.help.contains(['\n', '\\']), "{name}: {}", read.help);
    }
    assert!(compared > 50, "{compared}");
}

/// The type of each metric and the names of its labels, as `tests/golden` has seen them.
fn families_of_metrics() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut name = String::new();
    for line in read("tests/golden/metrics.txt").lines() {
        if let Some(series) = line.strip_prefix("  {") {
            let labels =
                series.split(['{', ',']).filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            found.get_mut(&name).unwrap().1.extend(labels);
        } else if let Some((family, kind)) = line.split_once(' ').filter(|_| line.starts_with("octroi_")) {
            family.clone_into(&mut name);
            found.insert(name.clone(), (kind.to_owned(), BTreeSet::new()));
        }
    }
    found
}

#[test]
fn every_alert_has_its_runbook() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let names: Vec<&str> = between(&alerts, "- alert: ", "\n").map(str::trim).collect();
    let page = read("docs/runbooks/alerts.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();

    assert_eq!(headings, names);
}

#[test]
fn every_field_of_the_access_line_has_a_row_and_each_row_is_of_one() {
    let source: String =
        files("src/telemetry", "rs").iter().map(|file| without_tests(&read(file)).to_owned()).collect();
    let kinds = ["text", "octets", "number", "address", "millis", "literal"];
    let begins: Vec<String> = kinds.iter().map(|kind| format!("line.{kind}(\"")).collect();
    let names: Vec<&str> = begins.iter().flat_map(|begin| between(&source, begin, "\"")).collect();

    assert!(names.len() > 30, "{names:?}");
    let page = read("docs/reference/access-log.md");
    assert_eq!(missing(&page, names.iter().copied(), |name| format!("| `{name}` |")), [""; 0]);
    let rows: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name))
        .collect();
    assert!(rows.len() > 30, "{rows:?}");
    // Every line begins with its time.
    assert_eq!(
        rows.into_iter().filter(|row| *row != "time" && !names.contains(row)).collect::<Vec<_>>(),
        [""; 0],
        "made up"
    );
}

#[test]
fn the_answers_of_the_admin_api_are_whole() {
    let text = read("docs/reference/admin-api.md");
    let example = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap();
    let (status, revoked) = (example("{\"version\":"), example("{\"nodes\":"));

    let read: StatusBody = serde_json::from_str(status).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), status);
    let read: RevokedBody = serde_json::from_str(revoked).unwrap();
    assert_eq!((serde_json::to_string(&read).unwrap().as_str(), read.known), (revoked, Some(0)));
}

#[test]
fn every_call_and_every_error_of_the_admin_api_has_its_row() {
    let page = read("docs/reference/admin-api.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let rooms = ["endpoint", "refusal", "caller", "ban", "session", "api"];
    let source: String = rooms
        .iter()
        .map(|file| read(&format!("src/admin/{file}.rs")))
        .fold(String::new(), |all, text| all + text.split("\n#[cfg(test)]").next().unwrap());
    let quoted = |text: &str| text.split('"').skip(1).step_by(2).next().unwrap_or_default().to_owned();

    let paths: BTreeSet<String> =
        source.match_indices("\"/v1/").map(|(at, _)| quoted(&source[at..])).collect();
    let codes: BTreeSet<String> = source
        .match_indices("refusal(")
        .map(|(at, begin)| source[at + begin.len()..].trim_start())
        .filter(|call| call.starts_with(['4', '5']))
        .map(|call| quoted(&call[..call.len().min(60)]))
        .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !code.is_empty())
        .collect();

    assert!(paths.len() == 9 && codes.len() > 15, "{paths:?} {codes:?}");
    let without = |text: &String| !rows.iter().any(|row| row.contains(text.as_str()));
    assert_eq!(paths.iter().filter(|path| without(path)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(codes.iter().filter(|code| without(code)).collect::<Vec<_>>(), Vec::<&String>::new());
    // Each role, as the program asks for it.
    let viewers = rows.iter().filter(|row| row.contains(" | viewer | "));
    assert!(viewers.clone().all(|row| row.starts_with("| `GET /v1/")), "{:?}", viewers.collect::<Vec<_>>());
}

#[test]
fn the_offences_are_the_program_s_own() {
    let guide = read("docs/guides/bans.md");
    let table = between(&guide, "\n## Offences\n", "\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').next().unwrap().split([',', '`', ' ']).filter(|code| !code.is_empty()))
        .collect();
    let offences: BTreeSet<&str> =
        Reason::ALL.iter().filter(|reason| reason.breaks_protocol()).map(|reason| reason.code()).collect();

    assert_eq!(named, offences);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let table = between(&manifest, "\n[dependencies]\n", "\n[").next().unwrap();
    let named: Vec<&str> =
        table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    let page = read("docs/internals/dependencies.md");
    let rows: Vec<&str> = between(&page, "\n| ", " |").flat_map(|row| row.split(", ")).collect();

    let unexplained: Vec<&str> = named.into_iter().filter(|name| !rows.contains(name)).collect();

    assert_eq!(unexplained, [""; 0]);
}

#[test]
fn every_unenforced_key_is_owned_up_to() {
    let source = read("src/config/unenforced.rs");
    let (keys, words) = without_tests(&source).split_once("pub(super) const WORDS").unwrap();
    // `("map", "key", …` and `("what", "word")`.
    let second = |tables: &'static str| move |row: &str| row.split('"').nth(2).unwrap_or(tables).to_owned();
    let names: Vec<String> =
        between(keys, "    (\"", "),").chain(between(words, "    (\"", ",\n")).map(second("")).collect();
    let page = read("docs/reference/not-yet.md");

    assert!(names.len() > 10, "{names:?}");
    // Said in words there, not by the value that the key would take.
    let in_words = ["syslog", "ecs", "combined", "http2", "address"];
    let names = names.iter().map(String::as_str).filter(|name| !in_words.contains(name));
    assert_eq!(missing(&page, names, |name| name.to_owned()), [""; 0]);
}

/// Calls, methods and roles as `src/admin/endpoint.rs` has them.
#[test]
fn the_calls_of_the_admin_api_and_their_roles_are_the_program_s_own() {
    let source = read("src/admin/endpoint.rs");
    let (find, role) = source.split_once("fn role(").unwrap();
    let role_of = |variant: &str| {
        let arm = role
            .split("Self::")
            .position(|rest| rest.split(|c| !is_word(c)).next() == Some(variant))
            .unwrap_or_else(|| panic!("{variant} has no role"));
        let behind: String = role.split("Self::").skip(arm).collect();
        between(&behind, "Role::", "\n").next().unwrap().trim_end_matches(',').trim().to_lowercase()
    };
    let calls: BTreeSet<(String, String, String)> = find
        .lines()
        .filter_map(|line| line.trim().split_once(" => (Self::"))
        .map(|(pattern, rest)| {
            let path = if pattern.contains("TENANT_PATH") {
                "/v1/tenants/NAME"
            } else {
                pattern.split('"').nth(1).unwrap()
            };
            let method = if format!("{pattern}{rest}").contains("\"GET\"") { "GET" } else { "POST" };
            (method.to_owned(), path.to_owned(), role_of(rest.split(',').next().unwrap()))
        })
        .collect();
    assert!(calls.len() > 8, "{calls:?}");

    let page = read("docs/reference/admin-api.md");
    let rows: BTreeSet<(String, String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(call, rest)| {
            let (method, path) = call.split_once(' ')?;
            Some((method.to_owned(), path.to_owned(), rest.split(" |").next()?.to_owned()))
        })
        .filter(|(_, path, _)| path.starts_with("/v1/"))
        .collect();

    assert_eq!(rows, calls);
}

#[test]
fn the_exit_codes_are_the_program_s_own() {
    let source = read("src/cli/output.rs");
    let numbers = between(&source, "Self::", "\n").filter_map(|line| line.split_once(" => "));
    let numbers: BTreeSet<u8> =
        numbers.filter_map(|(_, number)| number.trim_end_matches(',').parse().ok()).collect();
    assert!(numbers.len() > 4, "{numbers:?}");
    // The parser of the command line ends with 2 by itself.
    let numbers: BTreeSet<u8> = numbers.into_iter().chain([2]).collect();

    let page = read("docs/reference/exit-codes.md");
    let rows: BTreeSet<u8> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();

    assert_eq!(rows, numbers);
}
