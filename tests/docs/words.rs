//! What the pages write of exists: metrics, reasons, keys.

use octroi::{
    config,
    model::{CutReason, Reason},
};
use serde_json::Value;

use super::{between, configuration::is_taken, files, pages, read, reference::declared, without_tests};

#[test]
fn every_metric_that_is_written_of_exists() {
    let known = declared();
    // Other things that are called so: the package's file, and the folder of an example.
    let others = ["octroi_0", "octroi_VERSION_ARCH", "octroi_assertion"];
    for page in pages().into_iter().chain([
        "conf/octroi.yaml".into(),
        "deploy/debian/README.Debian".into(),
        "deploy/prometheus/alerts.yaml".into(),
    ]) {
        let text = read(&page);
        let named = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("octroi_"));
        let is_known = |name: &str| {
            let of_histogram =
                ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            others.contains(&name)
                || known.contains_key(name)
                || of_histogram.is_some_and(|of| known.contains_key(of))
        };

        assert_eq!(named.filter(|name| !is_known(name)).collect::<Vec<_>>(), [""; 0], "{page}");
    }
}

#[test]
fn every_reason_that_is_written_of_exists() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        // As in: 403 `ip_denied`.
        let pairs = text.match_indices(" `").filter_map(|(at, _)| {
            let status =
                text[..at].rsplit(|c: char| !c.is_ascii_digit()).next().filter(|status| status.len() == 3)?;
            let code = text[at + 2..]
                .split('`')
                .next()
                .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_'))?;
            Some((status.parse::<u16>().unwrap(), code))
        });
        let pairs: Vec<(u16, &str)> = pairs.collect();
        seen += pairs.len();
        // What commands get from the admin API has codes of its own.
        let of_commands = [(503, "unavailable"), (503, "handed_over")];
        let exists = |(status, code): &(u16, &str)| {
            Reason::ALL.iter().any(|reason| (reason.status(), reason.code()) == (*status, *code))
        };

        let unknown: Vec<_> =
            pairs.iter().filter(|pair| !exists(pair) && !of_commands.contains(pair)).collect();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }
    assert!(seen > 60, "{seen}");
}

/// Which part of octroi says a line is nobody's contract: it changes with the code, and an example of it goes stale.
#[test]
fn no_example_of_a_log_line_names_a_part_of_the_program() {
    for page in pages() {
        let text = read(&page);
        let lines = text.lines().filter(|line| {
            ["INFO", "WARN", "ERROR"].iter().any(|level| line.contains(&format!("{level} octroi::")))
        });
        assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "{page}: write `…` for the time and the part");
    }
}

/// A dotted name that begins as one of the configuration's maps is a key there: `limits.header_bytes`.
#[test]
fn every_key_that_is_written_of_exists() {
    let schema = config::schema();
    let root = schema["$defs"]["root"]["properties"].as_object().unwrap();
    // Fields of access lines, and files of the state directory, that begin as maps do.
    let others = ["tls.", "tenants.missing", "tenants.d", "sessions.rs"];
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        // Source files are no keys, and neither is what runs over lines: code that a fence has put out of step.
        for code in text.split('`').filter(|code| !code.contains(['\n', '/', ' '])) {
            let name = code.trim_end_matches("[]");
            let Some((first, _)) = name.split_once('.') else { continue };
            if !root.contains_key(first.trim_end_matches("[]"))
                || others.iter().any(|other| name.starts_with(other))
            {
                continue;
            }
            seen += 1;
            if !is_key(name, &schema) {
                wrong.push(format!("{page}: `{code}`"));
            }
        }
    }

    assert!(seen > 50, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_key(name: &str, schema: &Value) -> bool {
    let mut at = vec![&schema["$defs"]["root"]];
    for part in name.split('.') {
        let key = part.trim_end_matches("[]");
        at = at
            .into_iter()
            .flat_map(|value| steps(value, schema))
            .flat_map(|value| {
                let property = &value["properties"][key];
                let named = &value["additionalProperties"];
                [property, named].into_iter().filter(|next| next.is_object() && is_taken(next))
            })
            .collect();
    }
    !at.is_empty()
}

/// Returns the maps that a value may be: itself, what it refers to, its forms, its entries.
fn steps<'s>(value: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut found = vec![value];
    if let Some(map) = value["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        found.extend(steps(&schema["$defs"][map], schema));
    }
    for form in value["anyOf"].as_array().into_iter().flatten() {
        found.extend(steps(form, schema));
    }
    if value["items"].is_object() {
        found.extend(steps(&value["items"], schema));
    }
    found
}

#[test]
fn a_key_that_does_not_exist_is_found() {
    let schema = config::schema();

    assert!(is_key("limits.http2.streams", &schema));
    assert!(is_key("tenants.NAME.sessions.max_per_user", &schema));
    assert!(is_key("tls.certificates[].cert", &schema));
    assert!(!is_key("limits.header_byte", &schema));
    assert!(!is_key("sessions.idle.length", &schema));
    assert!(CutReason::ALL.iter().all(|cut| !is_key(cut.code(), &schema)));
}

/// What a part of a reload refuses stands in the guide about reloads, by its key.
#[test]
fn every_key_that_only_a_restart_changes_stands_in_the_guide() {
    let guide = read("docs/guides/reload.md");
    let row = guide.lines().find(|line| line.contains("only a restart can change it")).unwrap();
    let mut keys = Vec::new();
    for file in files("src/app/part", "rs") {
        let text = read(&file);
        for list in between(without_tests(&text), "refuse_changed(&[", "])") {
            // `("server.threads", old.threads != new.threads),`
            keys.extend(between(list, "(\"", "\"").map(str::to_owned));
        }
    }

    assert!(keys.len() > 6, "{keys:?}");
    let lost: Vec<&String> = keys.iter().filter(|key| !row.contains(&format!("`{key}`"))).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
