//! The two macros that make a wire type: one text for the struct, the reader, the schema and its
//! descriptions, so that none of them can drift from the others.

/// Declares maps with fixed keys. The name in quotes is the one that `unenforced` and the schema use.
macro_rules! wire {
    ($(
        $(#[doc = $doc:literal])+
        $type:ident $name:literal {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $field_type:ty, )*
        }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $type {
            at: $crate::config::source::Span,
            $( $(#[doc = $field_doc])+ pub(in crate::config) $field: $field_type, )*
        }

        impl $crate::config::reader::HasSpan for $type {
            fn span(&self) ->$crate::config::source::Span {
                self.at
            }
        }

        impl $type {
            const KEYS: &[&str] = &[$($crate::config::shape::key(stringify!($field))),*];
        }

        impl $crate::config::reader::Wire for $type {
            fn read<'t>(
                node: &'t $crate::config::tree::Node,
                reader: &mut $crate::config::reader::Reader<'t, '_>,
            ) -> Option<Self> {
                let entries = reader.map(node, $name, Self::KEYS)?;
                let at = reader.spot(node);
                // All keys are read before any of them can end the reading, so that all problems are found.
                $( let $field = reader.field::<$field_type>(node, entries, $crate::config::shape::key(stringify!($field)), Self::KEYS, concat!($($field_doc),+)); )*
                let _: &[$crate::config::tree::Entry] = entries;
                Some(Self { at, $( $field: $field?, )* })
            }

            fn schema(definitions: &mut serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
                $crate::config::describe::object(
                    definitions,
                    $name,
                    concat!($($doc),+),
                    |_definitions| vec![ $( $crate::config::describe::property::<$field_type>(
                        _definitions,
                        $crate::config::shape::key(stringify!($field)),
                        concat!($($field_doc),+),
                    ) ),* ],
                )
            }
        }
    )+ };
}

/// Declares the words of an enum of the policy.
macro_rules! words {
    ($( $type:ty, $name:literal { $( $word:literal => $value:expr, )+ } )+) => { $(
        impl $crate::config::parse::Scalar for $type {
            fn parse(text: &str) -> Result<Self, $crate::config::parse::ScalarError> {
                match text {
                    $( $word => Ok($value), )+
                    _ => Err($crate::config::unenforced::word($name, text, &[$($word),+])),
                }
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": [$($word),+]})
            }
        }
    )+ };
}

pub(super) use {wire, words};

/// Returns the key of a field: `r#use` is written `use`.
pub(super) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}
