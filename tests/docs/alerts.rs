//! The expressions of deploy/prometheus/alerts.yaml ask for what there is. promtool judges them as a whole in `make suites`.

use std::collections::BTreeSet;

use super::{read, reference::declared};

/// What an expression has besides metrics, labels and numbers.
const WORDS: [&str; 12] =
    ["sum", "max", "count", "by", "rate", "increase", "time", "or", "and", "offset", "job", "instance"];
/// Metrics of Prometheus and of its library.
const FOREIGN: [&str; 2] = ["up", "process_max_fds"];

#[test]
fn expressions_name_metrics_labels_and_functions_that_exist() {
    let known = declared();
    let labels: BTreeSet<&str> =
        known.values().flat_map(|metric| metric.labels.iter().map(String::as_str)).collect();

    for (alert, expr) in expressions() {
        assert_eq!(unbalanced(&expr), None, "{alert}: {expr}");
        for selector in expr.match_indices('{').map(|(at, _)| at) {
            let name = expr[..selector].rsplit(|c| !is_word(c)).next().unwrap();
            let of = expr[selector + 1..].split('}').next().unwrap();
            for label in of.split("\",").map(|matcher| matcher.split(['=', '!']).next().unwrap().trim()) {
                let is_there = known.get(name).is_some_and(|metric| metric.labels.contains(label));
                assert!(is_there || name == "up" && label == "job", "{alert}: {name} has no label {label}");
            }
        }
        for word in words(&expr) {
            let is_there = known.contains_key(word) || labels.contains(word);
            assert!(is_there || WORDS.contains(&word) || FOREIGN.contains(&word), "{alert}: `{word}`");
        }
    }
}

#[test]
fn a_bracket_too_few_or_too_many_is_seen() {
    assert_eq!(unbalanced("sum(rate(a{b=\"(\"}[3m])) > 0"), None);
    for broken in ["sum(rate(a[3m]) > 0", "sum(a)) > 0", "a{b=\"c} > 0", "a[3m) > 0", ""] {
        assert!(unbalanced(broken).is_some(), "{broken}");
    }
}

/// Returns each alert's name and expression.
fn expressions() -> Vec<(String, String)> {
    let file = read("deploy/prometheus/alerts.yaml");
    let rules = file.split("- alert: ").skip(1);
    let found: Vec<_> = rules
        .map(|rule| {
            let (name, rest) = rule.split_once('\n').unwrap();
            let expr = rest.split_once("expr: ").unwrap_or_else(|| panic!("{name} has no expression")).1;
            let ends = ["\n        for:", "\n        annotations:", "\n        labels:"];
            let end = ends.iter().filter_map(|key| expr.find(key)).min().unwrap_or(expr.len());
            (name.trim().to_owned(), expr[..end].trim_start_matches('|').trim().to_owned())
        })
        .collect();
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Says what is wrong with the brackets and quotes of an expression.
fn unbalanced(expr: &str) -> Option<String> {
    if expr.is_empty() {
        return Some("empty".to_owned());
    }
    let mut open = Vec::new();
    for outside in expr.split('"').step_by(2) {
        for c in outside.chars() {
            match c {
                '(' => open.push(')'),
                '[' => open.push(']'),
                '{' => open.push('}'),
                ')' | ']' | '}' if open.pop() != Some(c) => return Some(format!("`{c}` closes nothing")),
                _ => {}
            }
        }
    }
    (!open.is_empty() || expr.matches('"').count() % 2 == 1).then(|| format!("{open:?} is missing"))
}

/// Returns the words outside of quotes and ranges of time; numbers and times are none.
fn words(expr: &str) -> Vec<&str> {
    let outside = expr.split('"').step_by(2);
    let words = outside.flat_map(|text| text.split(|c| !is_word(c)));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
