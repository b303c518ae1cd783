//! JSON as a signed payload holds it: no member twice, bounded.

use std::{fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::UnixTime;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Vec<Json>),
    /// A map, in the order of the text.
    Map(Vec<(Box<str>, Json)>),
}

/// Most members of one map: a claim set has a dozen, and looking for duplicates takes the square.
const MAX_MEMBERS: usize = 128;

impl Json {
    /// Reads a whole text; `None` where it is not JSON, names a member twice, or has more than 128 members in
    /// one map.
    ///
    /// RFC 7519, section 4 lets a reader refuse duplicates. App and gateway might each take another one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Returns a member of a map.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(key, _)| **key == *name).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Whole(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => {
                None
            }
        }
    }

    /// Returns a text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Whole(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => {
                None
            }
        }
    }

    /// Returns a time that is written as seconds since 1970, with or without a fraction (RFC 7519, section 2:
    /// NumericDate).
    pub fn time(&self) -> Option<UnixTime> {
        match self {
            Self::Whole(secs) => Some(UnixTime::from_secs(*secs)),
            Self::Number(secs) => {
                Duration::try_from_secs_f64(*secs).ok().map(|since| UnixTime::default().plus(since))
            }
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        match (u64::try_from(value), i32::try_from(value)) {
            (Ok(whole), _) => Ok(Json::Whole(whole)),
            (Err(_), Ok(small)) => Ok(Json::Number(f64::from(small))),
            // No claim of ours is a number this far below zero; what it is exactly does not matter.
            (Err(_), Err(_)) => Ok(Json::Number(f64::MIN)),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut map: Vec<(Box<str>, Json)> = Vec::new();
        while let Some((name, value)) = members.next_entry::<Box<str>, Json>()? {
            if map.len() >= MAX_MEMBERS || map.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member stands twice, or there are too many"));
            }
            map.push((name, value));
        }
        Ok(Json::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let json = Json::parse(br#" {"a": [1, -2, 1.5, null, true], "b": {"c": "d"}} "#).unwrap();

        assert_eq!(
            json.member("a"),
            Some(&Json::List(vec![
                Json::Whole(1),
                Json::Number(-2.0),
                Json::Number(1.5),
                Json::Null,
                Json::Bool(true)
            ]))
        );
        assert_eq!(json.member("b").and_then(|b| b.member("c")).and_then(Json::text), Some("d"));
        assert_eq!((json.member("c"), json.text(), Json::Null.member("a")), (None, None, None));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            "{} {}",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
            "",
            "{\"a\":1,}",
        ] {
            assert_eq!(Json::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Json::parse(b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn maps_and_depth_are_bounded() {
        let map = |members: usize| {
            format!("{{{}}}", (0..members).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","))
        };

        assert!(Json::parse(map(128).as_bytes()).is_some());
        assert_eq!(Json::parse(map(129).as_bytes()), None);
        assert_eq!(Json::parse("[".repeat(10_000).as_bytes()), None);
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(Json::Whole(2).time(), Some(UnixTime::from_secs(2)));
        assert_eq!(Json::Number(2.5).time(), Some(UnixTime::from_millis(2500)));
        assert_eq!(Json::Whole(u64::MAX).time(), Some(UnixTime::from_millis(u64::MAX)));
        assert_eq!(
            (Json::Number(-1.0).time(), Json::Number(f64::NAN).time(), Json::Number(1e300).time()),
            (None, None, None)
        );
        assert_eq!(Json::Text("2".into()).time(), None);
    }
}
