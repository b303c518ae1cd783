//! The JSON Schema (draft 2020-12) of a configuration, from the same declarations that read it.

use serde_json::{Map, Value, json};

use super::{describe::merge, reader::Wire, wire::Root};

/// Returns the schema that `octroi schema` prints.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "reference".to_owned(),
        json!({
            "type": "string", "pattern": "\\$\\{",
            "description": "`${NAME}` or `${file:PATH}`, put in when the configuration is read. PATH may have variables in it.",
        }),
    );
    definitions.insert(
        "variable".to_owned(),
        json!({
            "type": "string", "pattern": "\\$\\{",
            "description": "`${NAME}` or `${NAME:-default}`, put in when the configuration is read.",
        }),
    );
    let root = Root::schema(&mut definitions);
    let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "octroi", "$defs": definitions});
    merge(&mut schema, root);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unenforced;

    #[test]
    fn every_map_refuses_unknown_keys_and_describes_its_own() {
        let schema = schema();

        for (name, definition) in schema["$defs"].as_object().unwrap() {
            let Some(properties) = definition["properties"].as_object() else { continue };
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (key, property) in properties {
                assert!(
                    property["description"].as_str().is_some_and(|text| text.ends_with('.')),
                    "{name}.{key}"
                );
            }
        }
        assert_eq!(schema["$ref"], "#/$defs/root");
    }

    #[test]
    fn every_unenforced_key_belongs_to_a_map_that_exists() {
        let schema = schema();

        for (map, key, _) in unenforced::KEYS {
            assert_eq!(schema["$defs"][map]["properties"][key]["not"], json!({}), "{map}.{key}");
        }
    }
}
