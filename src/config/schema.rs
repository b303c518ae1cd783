//! The JSON Schema (draft 2020-12) of a configuration, from the same declarations that read it.

use serde_json::{Map, Value, json};

use super::{reader::Wire, unenforced, wire::Root};

/// Returns the schema that `octroi schema` prints.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "reference".to_owned(),
        json!({
            "type": "string", "pattern": "\\$\\{",
            "description": "`${NAME}`, `${NAME:-default}` or `${file:PATH}`, put in when the configuration is read.",
        }),
    );
    let root = Root::schema(&mut definitions);
    let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "octroi", "$defs": definitions});
    merge(&mut schema, root);
    schema
}

/// Adds a definition of a map with fixed keys, and returns a reference to it.
pub(super) fn object(
    definitions: &mut Map<String, Value>,
    name: &'static str,
    doc: &str,
    properties: impl FnOnce(&mut Map<String, Value>) -> Vec<(&'static str, Value, bool)>,
) -> Value {
    let reference = json!({"$ref": format!("#/$defs/{name}")});
    if definitions.contains_key(name) {
        return reference;
    }
    let properties = properties(definitions);
    let required: Vec<&str> = properties.iter().filter(|(.., required)| *required).map(|(key, ..)| *key).collect();
    let mut keys: Map<String, Value> = properties.iter().map(|(key, value, _)| ((*key).to_owned(), value.clone())).collect();
    for (_, key, doc) in unenforced::KEYS.iter().filter(|(map, ..)| *map == name) {
        // Nothing fits "not anything": an editor marks the key and shows why.
        keys.insert((*key).to_owned(), json!({"not": {}, "description": format!("{doc} Not enforced by this version yet.")}));
    }
    let mut definition = json!({"type": "object", "description": doc.trim(), "additionalProperties": false, "properties": keys});
    if !required.is_empty() {
        merge(&mut definition, json!({"required": required}));
    }
    definitions.insert(name.to_owned(), definition);
    reference
}

/// Describes one key: its schema with its doc text, and whether it must be there.
pub(super) fn property<T: Wire>(definitions: &mut Map<String, Value>, key: &'static str, doc: &str) -> (&'static str, Value, bool) {
    let mut schema = T::schema(definitions);
    merge(&mut schema, json!({"description": doc.trim()}));
    (key, schema, T::absent().is_none())
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_refuses_unknown_keys_and_describes_its_own() {
        let schema = schema();

        for (name, definition) in schema["$defs"].as_object().unwrap() {
            let Some(properties) = definition["properties"].as_object() else { continue };
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (key, property) in properties {
                assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}.{key}");
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
