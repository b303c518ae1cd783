//! Lists and maps of wire types, and keys that need not or must be written.

use serde_json::{Map, Value as Json, json};

use super::{
    parse::Scalar,
    reader::{Reader, Spanned, Wire},
    tree::{Node, Value},
};

/// A key that must be written. Nothing is in it where that went wrong, which has been said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required<T>(pub(super) Option<T>);

/// A list of at least one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NonEmpty<T>(pub(super) Vec<T>);

/// A list that may be short of what could not be read, and tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartialList<T> {
    /// What could be read.
    pub(super) items: Vec<T>,
    /// Whether that is all that is written.
    pub(super) is_complete: bool,
}

/// One item, or a list of at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

/// A map from names that the operator chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<K, T>(pub(super) Vec<NamedEntry<K, T>>);

/// One name and what it stands for: nothing where that could not be read, so that references to it are not
/// called unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedEntry<K, T> {
    /// The name.
    pub(super) name: Spanned<K>,
    /// What it stands for.
    pub(super) value: Option<T>,
}

impl<T: Wire> Wire for Option<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        Some(T::read(node, reader))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        T::schema(definitions)
    }
}

impl<T: Wire> Wire for Required<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        Some(Self(T::read(node, reader)))
    }

    fn broken() -> Option<Self> {
        Some(Self(None))
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        T::schema(definitions)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.wrong_kind(node, "a list");
            return None;
        };
        let read = items.iter().enumerate().filter_map(|(index, item)| reader.item(index, item));
        Some(read.collect())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        json!({"type": "array", "items": T::schema(definitions)})
    }
}

impl<T: Wire> Wire for PartialList<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let items = Vec::read(node, reader).unwrap_or_default();
        let is_complete = matches!(&node.value, Value::List(written) if written.len() == items.len());
        Some(Self { items, is_complete })
    }

    fn absent() -> Option<Self> {
        Some(Self { items: Vec::new(), is_complete: true })
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        Vec::<T>::schema(definitions)
    }
}

impl<T: Wire> Wire for NonEmpty<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            reader.error(node.span, "the list is empty").hint("name at least one, or leave the key out");
            return None;
        }
        Vec::read(node, reader).map(Self)
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        json!({"type": "array", "minItems": 1, "items": T::schema(definitions)})
    }
}

impl<T: Wire> Wire for OneOrMore<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => NonEmpty::read(node, reader).map(|NonEmpty(list)| Self(list)),
            Value::Scalar { .. } | Value::Map(_) => T::read(node, reader).map(|one| Self(vec![one])),
        }
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        let one = T::schema(definitions);
        json!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

impl<K: Scalar, T: Wire> Wire for Named<K, T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.wrong_kind(node, "a map");
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            if let (Some(name), value) = reader.named(entry) {
                named.push(NamedEntry { name: Spanned { value: name, span: entry.span }, value });
            }
        }
        Some(Self(named))
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        json!({"type": "object", "propertyNames": K::schema(), "additionalProperties": T::schema(definitions)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{finding::Findings, input::Inputs, source::Source, tree};

    fn read<T: Wire>(text: &str) -> (Option<T>, Vec<String>) {
        let mut findings = Findings::default();
        let bounds = tree::Bounds { nodes: 99, repeated: 9, depth: 9 };
        let node = tree::parse(&Source::new("a.yaml".into(), text.into()), 0, bounds, &mut findings).unwrap();
        let inputs = Inputs::new(&|name| (name == "PORT").then(|| "80".to_owned()));
        let value = T::read(&node, &mut Reader::new(&mut findings, &inputs, 0));
        (value, findings.messages())
    }

    #[test]
    fn a_scalar_is_what_the_key_wants() {
        let (text, _) = read::<Vec<Spanned<String>>>("- no\n- 1.20\n- '${PORT}'\n- ${PORT}1\n- $${PORT}\n");
        let values: Vec<_> = text.unwrap().into_iter().map(|at| at.value).collect();
        assert_eq!(values, ["no", "1.20", "80", "801", "${PORT}"]);

        let (ports, problems) = read::<Vec<Spanned<u16>>>("['80', 80, \"${PORT}\", eighty]");
        assert_eq!(ports.unwrap().len(), 3);
        assert_eq!(problems, ["not a whole number from 1 to 65535: `eighty`"]);
    }

    #[test]
    fn a_list_keeps_what_could_be_read_and_says_the_rest() {
        let (list, problems) = read::<NonEmpty<Spanned<bool>>>("[true, maybe, [], {}]");

        assert_eq!(list.unwrap().0.len(), 1);
        assert_eq!(problems.len(), 3);
        assert_eq!(read::<NonEmpty<Spanned<bool>>>("[]").1, ["the list is empty"]);
    }

    #[test]
    fn a_name_stays_known_where_its_value_is_broken() {
        let (named, problems) = read::<Named<u16, Spanned<bool>>>("{1: true, 2: maybe, x: true}");

        let names: Vec<_> = named
            .unwrap()
            .0
            .into_iter()
            .map(|entry| (entry.name.value, entry.value.map(|at| at.value)))
            .collect();
        assert_eq!(names, [(1, Some(true)), (2, None)]);
        assert_eq!(problems.len(), 2);
    }
}
