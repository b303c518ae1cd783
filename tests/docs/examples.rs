//! The examples: configurations hold, fragments of them have keys that exist, code is what is tested.

use std::fs;

use octroi::config;
use serde_json::{Map, Value};

use super::{between, octroi, pages, read};

#[test]
fn every_example_configuration_holds() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        let examples = between(&text, "```yaml\n", "```").filter(|example| example.starts_with("version: 1"));
        for (number, example) in examples.enumerate() {
            seen += 1;
            let folder = tempfile::tempdir().unwrap();
            let conf = folder.path().join("conf");
            fs::create_dir(&conf).unwrap();
            fs::write(conf.join("octroi.yaml"), example).unwrap();

            let made = octroi(&conf, &["keys", "init", "--config", "octroi.yaml"]);
            let checked = octroi(&conf, &["check", "octroi.yaml"]);

            assert!(made.status.success(), "{page}, {number}: {}", String::from_utf8_lossy(&made.stderr));
            assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "{page}, example {number}");
            assert!(checked.stdout.starts_with(b"ok: "), "{page}, example {number}");
            assert!(checked.status.success());
        }
    }
    assert!(seen > 3, "{seen}");
}

/// A part of a configuration is one of some map: each of its keys, and of those within, is a key there.
#[test]
fn every_part_of_a_configuration_has_keys_that_exist() {
    let schema = config::schema();
    let maps = schema["$defs"].as_object().unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for example in between(&text, "```yaml\n", "```").filter(|example| !is_foreign(example)) {
            seen += 1;
            let value: Value = match serde_yaml::from_str(&dedented(example)) {
                Ok(value) => value,
                Err(error) => panic!("{page}: {error}\n{example}"),
            };
            // Rules stand in a list.
            let value = value.as_array().map_or(&value, |entries| &entries[0]).clone();
            let fits = maps
                .keys()
                .any(|map| fits(&value, &serde_json::json!({"$ref": format!("#/$defs/{map}")}), maps));
            if !fits {
                wrong.push(format!("{page}:\n{example}"));
            }
        }
    }

    assert!(seen > 20, "{seen}");
    assert!(wrong.is_empty(), "no map has these keys:\n{}", wrong.join("\n"));
}

/// Compose files and Prometheus rules are not octroi's.
fn is_foreign(example: &str) -> bool {
    ["scrape_configs:", "services:", "groups:", "apiVersion:"].iter().any(|word| example.contains(word))
}

fn dedented(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let indent = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or_default();
    text.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

/// Says whether the keys of a value are those of a schema.
fn fits(value: &Value, schema: &Value, maps: &Map<String, Value>) -> bool {
    if let Some(map) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        return maps.get(map).is_some_and(|map| fits(value, map, maps));
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        return forms.iter().any(|form| fits(value, form, maps));
    }
    match value {
        Value::Object(entries) => {
            let known = schema["properties"].as_object();
            let others = &schema["additionalProperties"];
            let is_map = known.is_some() || others.is_object() || schema["type"] == "object";
            is_map
                && entries.iter().all(|(key, value)| match known.and_then(|known| known.get(key)) {
                    Some(property) => fits(value, property, maps),
                    None => others.is_object() && fits(value, others, maps),
                })
        }
        Value::Array(entries) => {
            let items = &schema["items"];
            items.is_object() && entries.iter().all(|entry| fits(entry, items, maps))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            schema["properties"].is_null() && schema["items"].is_null()
        }
    }
}

/// `make full` runs the files; the guide shows parts of them.
#[test]
fn the_code_of_the_guide_stands_in_the_tested_apps() {
    let guide = read("docs/guides/assertion.md");
    let files = ["node/octroi.mjs", "node/app.mjs", "python/flask_app.py", "python/django_app.py"];
    let files: String = files.iter().map(|file| read(&format!("examples/assertion/{file}"))).collect();
    let shown: Vec<&str> =
        ["```js\n", "```python\n"].iter().flat_map(|begin| between(&guide, begin, "```")).collect();

    assert_eq!(shown.len(), 4);
    assert_eq!(shown.into_iter().filter(|code| !files.contains(code)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_first_example_is_the_minimal_configuration() {
    let readme = read("README.md");
    let example = between(&readme, "```yaml\n", "```").next().unwrap();
    let file = read("conf/minimal.yaml");
    let file: String =
        file.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();

    assert_eq!(example, file);
}
