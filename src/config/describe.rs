//! Says in JSON Schema what a wire type is: the part of `schema` that the wire types themselves call.

use serde_json::{Map, Value, json};

use super::{reader::Wire, unenforced};

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
    let required: Vec<&str> =
        properties.iter().filter(|(.., required)| *required).map(|(key, ..)| *key).collect();
    let mut keys: Map<String, Value> =
        properties.iter().map(|(key, value, _)| ((*key).to_owned(), value.clone())).collect();
    for (_, key, doc) in unenforced::KEYS.iter().filter(|(map, ..)| *map == name) {
        // Nothing fits "not anything": an editor marks the key and shows why.
        keys.insert(
            (*key).to_owned(),
            json!({"not": {}, "description": format!("{doc} Not enforced by this version yet.")}),
        );
    }
    let mut definition = json!({"type": "object", "description": doc.trim(), "additionalProperties": false, "properties": keys});
    if !required.is_empty() {
        merge(&mut definition, json!({"required": required}));
    }
    definitions.insert(name.to_owned(), definition);
    reference
}

/// Describes one key: its schema with its doc text, and whether it must be there.
pub(super) fn property<T: Wire>(
    definitions: &mut Map<String, Value>,
    key: &'static str,
    doc: &str,
) -> (&'static str, Value, bool) {
    let mut schema = T::schema(definitions);
    merge(&mut schema, json!({"description": doc.trim()}));
    (key, schema, T::absent().is_none())
}

/// Adds the members of one object to another.
pub(super) fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
