//! The reference of the configuration: every key, what it says, its default and the reason for that.

use std::{collections::BTreeSet, fmt::Write};

use octroi::config;
use serde_json::Value;

use super::{holds, read, without_tests};

/// Which declaration of `src/config/default.rs` a key's default is: map, key, constant, field of it.
const DEFAULTS: &[(&str, &str, &str, &str)] = &[
    ("bans", "after", "BANS", "after"),
    ("bans", "within", "BANS", "within"),
    ("bans", "for", "BANS", "lasts"),
    ("config_limits", "file_bytes", "FILE_BYTES", ""),
    ("config_limits", "files", "FILES", ""),
    ("config_limits", "values", "BOUNDS", "nodes"),
    ("limits", "handshake_timeout", "LIMITS", "handshake_timeout"),
    ("limits", "header_timeout", "LIMITS", "header_timeout"),
    ("limits", "header_bytes", "LIMITS", "header_bytes"),
    ("limits", "header_count", "LIMITS", "header_count"),
    ("limits", "field_bytes", "LIMITS", "field_bytes"),
    ("limits", "path_bytes", "LIMITS", "path_bytes"),
    ("limits", "uri_bytes", "LIMITS", "uri_bytes"),
    ("limits", "idle_timeout", "LIMITS", "idle_timeout"),
    ("limits", "write_stall", "LIMITS", "write_stall"),
    ("limits", "write_min_rate", "LIMITS", "write_min_rate"),
    ("http2", "streams", "HTTP2", "streams"),
    ("http2", "stream_window", "HTTP2", "stream_window"),
    ("http2", "connection_window", "HTTP2", "connection_window"),
    ("http2", "send_buffer", "HTTP2", "send_buffer"),
    ("http2", "resets", "HTTP2", "resets"),
    ("http2", "errors", "HTTP2", "errors"),
    ("http2", "settings", "HTTP2", "settings"),
    ("http2", "pings", "HTTP2", "pings"),
    ("http2", "priorities", "HTTP2", "priorities"),
    ("http2", "window_updates", "HTTP2", "window_updates"),
    ("http2", "empty_data", "HTTP2", "empty_data"),
    ("http2", "continuations", "HTTP2", "continuations"),
    ("http2", "starved", "HTTP2", "starved"),
    ("request_limits", "body_bytes", "REQUEST_LIMITS", "body_bytes"),
    ("request_limits", "body_min_rate", "REQUEST_LIMITS", "body_min_rate"),
    ("request_limits", "websocket_idle", "REQUEST_LIMITS", "websocket_idle"),
    ("timeouts", "connect", "UPSTREAM_TIMEOUTS", "connect"),
    ("timeouts", "first_byte", "UPSTREAM_TIMEOUTS", "first_byte"),
    ("timeouts", "between_bytes", "UPSTREAM_TIMEOUTS", "between_bytes"),
    ("redis", "timeout", "REDIS_TIMEOUT", ""),
    ("redis", "url", "REDIS_PORT", ""),
    ("revocation", "stale_after", "STALE_AFTER", ""),
    ("upstream", "retries", "RETRIES", ""),
    ("server", "drain", "DRAIN", ""),
    ("server", "clock_hold", "CLOCK_HOLD", ""),
    ("server", "state_dir", "STATE_DIR", ""),
    ("listener", "max_connections", "MAX_CONNECTIONS", ""),
    ("listener", "max_connections_per_client", "MAX_CONNECTIONS_PER_CLIENT", ""),
    ("sessions", "cookie", "COOKIE", ""),
    ("sessions", "idle", "IDLE", ""),
    ("sessions", "absolute", "ABSOLUTE", ""),
    ("assertion", "issuer", "ASSERTION_ISSUER", ""),
    ("jwks", "refresh", "KEY_SET_REFRESH", ""),
    ("jwks", "max_age", "KEY_SET_MAX_AGE", ""),
    ("itsdangerous", "cookie", "FLASK_COOKIE", ""),
    ("itsdangerous", "salt", "FLASK_SALT", ""),
    ("itsdangerous", "max_age", "FLASK_MAX_AGE", ""),
    ("django", "cookie", "DJANGO_COOKIE", ""),
    ("django", "salt", "DJANGO_SALT", ""),
    ("django", "max_age", "DJANGO_MAX_AGE", ""),
    ("express", "max_age", "EXPRESS_MAX_AGE", ""),
    ("acme", "retry_after", "ACME_RETRY", ""),
];

/// Declarations there that are no key's default: bounds of what may be written, and of what nobody can write.
const NO_KEY: &[&str] = &[
    "REDIS_TIMEOUTS",
    "STALE_AFTERS",
    "LONG_ABSOLUTE",
    "MIN_KEY_SET_REFRESH",
    "MAX_KEY_SET_REFRESH",
    "CRL_NOTICE",
    "CRL_SKEW",
];

/// Returns the comment above a constant, or above one of its fields, as one text.
fn reason(source: &str, constant: &str, field: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let declares = |line: &str| {
        line.split_once("const ").is_some_and(|(_, rest)| rest.starts_with(&format!("{constant}:")))
    };
    let mut at = lines.iter().position(|line| declares(line)).unwrap_or_else(|| panic!("no {constant}"));
    if !field.is_empty() {
        let within = lines[at..].iter().position(|line| line.trim_start().starts_with(&format!("{field}:")));
        at += within.unwrap_or_else(|| panic!("no {constant}.{field}"));
    }
    let above = lines[..at].iter().rev().map(|line| line.trim_start());
    let mut words: Vec<&str> = above
        .take_while(|line| line.starts_with("//"))
        .map(|line| line.trim_start_matches('/').trim())
        .collect();
    words.reverse();
    words.join(" ")
}

/// The maps of a configuration, each with the places where it stands: `tenants.NAME.sessions`.
pub(crate) fn places(schema: &Value) -> Vec<(String, Vec<String>)> {
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
fn inner(value: &Value, place: &str, found: &mut Vec<(String, Vec<String>)>) {
    if let Some(map) = value["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("#/$defs/"))
        .filter(|name| !["reference", "variable"].contains(name))
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

fn inner_of(value: &Value, place: &str, found: &mut Vec<(String, Vec<String>)>) {
    if value.is_object() {
        inner(value, place, found);
    }
}

/// Says whether this version takes a key at all.
pub(crate) fn is_taken(property: &Value) -> bool {
    property["not"] != serde_json::json!({})
}

/// Takes the default out of what a key says: `How long. Default: 5s.` is `How long.` and `5s`.
fn default_of(description: &str) -> (String, String) {
    let Some((says, rest)) = description.split_once("Default: ") else {
        return (description.to_owned(), String::new());
    };
    let (default, more) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
    let says = [says.trim_end(), more].join(" ");
    (says.trim().to_owned(), default.to_owned())
}

#[test]
fn every_key_stands_in_the_reference_with_its_default_and_the_reason() {
    let schema = config::schema();
    let defaults = read("src/config/default.rs");
    let places = places(&schema);
    let mut tables = String::new();
    for (map, at) in &places {
        let definition = &schema["$defs"][map];
        let Some(properties) = definition["properties"].as_object() else { continue };
        if properties.is_empty() {
            continue;
        }
        let at: Vec<String> =
            at.iter().filter(|place| !place.is_empty()).map(|place| format!("`{place}`")).collect();
        let title = if at.is_empty() { "The top".to_owned() } else { at.join(", ") };
        let what = definition["description"].as_str().unwrap();
        writeln!(tables, "## {title}\n\n{what}\n\n| key | what it says | default | why |\n|---|---|---|---|")
            .unwrap();
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in properties.iter().filter(|(_, property)| is_taken(property)) {
            let (says, default) = default_of(property["description"].as_str().unwrap());
            let default = if required.contains(&key.as_str()) { "required".to_owned() } else { default };
            let of = DEFAULTS.iter().find(|of| (of.0, of.1) == (map, key));
            let why = of.map_or_else(String::new, |(.., constant, field)| reason(&defaults, constant, field));
            let row = [key.as_str(), &says, &default, &why].map(|cell| cell.replace('|', "\\|"));
            writeln!(tables, "| `{}` | {} | {} | {} |", row[0], row[1], row[2], row[3]).unwrap();
        }
        tables.push('\n');
    }
    // None is left out: what cannot be reached from the top would stand in no table.
    let reached: Vec<&str> = places.iter().map(|(map, _)| map.as_str()).collect();
    let maps = schema["$defs"].as_object().unwrap().keys().map(String::as_str);

    assert_eq!(
        maps.filter(|map| !["reference", "variable"].contains(map) && !reached.contains(map))
            .collect::<Vec<_>>(),
        [""; 0]
    );
    holds("docs/reference/configuration.md", "keys", &tables);
}

#[test]
fn every_default_has_its_key_and_its_reason() {
    let source = read("src/config/default.rs");
    let schema = config::schema();
    let declared: BTreeSet<&str> = without_tests(&source)
        .split("const ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(':')?.0))
        .collect();
    let used: BTreeSet<&str> =
        DEFAULTS.iter().map(|default| default.2).chain(NO_KEY.iter().copied()).collect();

    assert_eq!(declared.difference(&used).collect::<Vec<_>>(), [&""; 0], "of no key");
    for (map, key, constant, field) in DEFAULTS {
        assert!(schema["$defs"][map]["properties"][key].is_object(), "there is no {map}.{key}");
        assert!(!reason(&source, constant, field).is_empty(), "{constant}.{field} has no reason");
    }
}

#[test]
fn every_key_is_in_the_full_example() {
    let schema = config::schema();
    let example = read("conf/octroi.yaml");
    // In comments, too. Whether it stands in its own map is for `tests/config.rs` to say.
    let words: Vec<&str> =
        example.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).collect();
    let maps = schema["$defs"].as_object().unwrap().iter();
    let keys = maps.flat_map(|(map, definition)| {
        definition["properties"].as_object().into_iter().flatten().map(move |key| (map, key))
    });

    let missing: Vec<String> = keys
        .filter(|(_, (key, property))| is_taken(property) && !words.contains(&&*format!("{key}:")))
        .map(|(map, (key, _))| format!("{map}.{key}"))
        .collect();

    assert_eq!(missing, [""; 0]);
}
