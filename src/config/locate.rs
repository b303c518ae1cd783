//! The key path of a place: `tenants.acme.ip_access.allow[3]`.

use super::{
    reader::joined,
    source::Span,
    tree::{Node, Value},
};

/// Walks from the top of a file to a place, one binary search per level.
///
/// An empty span at the beginning of a map means the map, not its first key.
pub(super) fn path_of(root: &Node, span: Span) -> String {
    let mut path = String::new();
    let mut node = root;
    loop {
        match &node.value {
            Value::Scalar { .. } => return path,
            Value::List(items) => {
                let after = items.partition_point(|item| item.span.start <= span.start);
                let Some((index, item)) =
                    after.checked_sub(1).and_then(|index| Some((index, items.get(index)?)))
                else {
                    return path;
                };
                path = format!("{path}[{index}]");
                node = item;
            }
            Value::Map(entries) => {
                let after = entries.partition_point(|entry| entry.span.start <= span.start);
                let Some(entry) = after.checked_sub(1).and_then(|index| entries.get(index)) else {
                    return path;
                };
                if span.start == span.end && span.start == node.span.start {
                    return path;
                }
                path = joined(&path, &entry.key);
                if span.start < entry.span.end {
                    return path;
                }
                node = &entry.node;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        finding::Findings,
        source::Source,
        tree::{Bounds, parse},
    };

    #[test]
    fn a_place_has_a_path() {
        let text = "a:\n  b: [x, {c: y}]\nd e: 1\nl:\n  - n: 1\n";
        let bounds = Bounds { nodes: 99, repeated: 9, depth: 9 };
        let root =
            parse(&Source::new("a.yaml".into(), text.into()), 0, bounds, &mut Findings::default()).unwrap();
        let at = |word: &str, width: usize| {
            let start = u32::try_from(text.find(word).unwrap()).unwrap();
            path_of(&root, Span { file: 0, start, end: start + u32::try_from(width).unwrap() })
        };

        assert_eq!(at("b:", 1), "a.b");
        assert_eq!(at("x", 1), "a.b[0]");
        assert_eq!(at("y", 1), "a.b[1].c");
        assert_eq!(at("{c", 0), "a.b[1]");
        assert_eq!(at("d e", 3), "\"d e\"");
        assert_eq!(at("n: 1", 1), "l[0].n");
        assert_eq!(at("n: 1", 0), "l[0]");
    }
}
