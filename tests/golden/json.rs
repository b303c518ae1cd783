//! JSON that keeps the order of its keys, with values that differ from run to run replaced by their kind.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`, a number or a word, as it is written; or what stands for a value.
    Plain(String),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns a text, or what is written of another value.
    pub fn text(&self) -> String {
        match self {
            Self::Plain(text) | Self::Text(text) => text.clone(),
            Self::List(_) | Self::Map(_) => panic!("no text: {self:?}"),
        }
    }

    /// Replaces values by their keys: whatever `kind` names, at any depth.
    pub fn mask(&mut self, kind: &impl Fn(&str, &Self) -> Option<&'static str>) {
        match self {
            Self::Plain(_) | Self::Text(_) => {}
            Self::List(values) => values.iter_mut().for_each(|value| value.mask(kind)),
            Self::Map(members) => {
                for (name, value) in members {
                    match kind(name, value) {
                        Some(kind) => *value = Self::Plain(format!("<{kind}>")),
                        None => value.mask(kind),
                    }
                }
            }
        }
    }

    /// Writes it in lines.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, "\n");
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, line: &str) {
        let deeper = format!("{line}  ");
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&serde_json::to_string(text).unwrap()),
            Self::List(values) if values.is_empty() => out.push_str("[]"),
            Self::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    out.push_str(&deeper);
                    value.write(out, &deeper);
                }
                out.push_str(line);
                out.push(']');
            }
            Self::Map(members) if members.is_empty() => out.push_str("{}"),
            Self::Map(members) => {
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    out.push_str(&deeper);
                    out.push_str(&format!("{name:?}: "));
                    value.write(out, &deeper);
                }
                out.push_str(line);
                out.push('}');
            }
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
        Ok(Json::Plain("null".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Plain(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Json::Map(map))
    }
}

/// What stands for a value of an access line that differs from run to run, or whose wording may change. How many octets a refusal has
/// depends on its wording.
pub fn of_access_line(line: &Json) -> impl Fn(&str, &Json) -> Option<&'static str> + use<> {
    let is_refusal = line.get("reason").is_some();
    move |name, _| {
        Some(match name {
            "time" => "time",
            "request.id" => "id",
            "connection" => "number",
            "session" => "hash",
            "duration_ms" | "upstream.duration_ms" => "ms",
            "upstream.addr" => "address",
            "policy.revision" => "revision",
            "detail" => "text",
            "tls.client.sha256" => "digest",
            "tls.client.serial" => "serial",
            "bytes.out" if is_refusal => "octets",
            _ => return None,
        })
    }
}
