//! The subject or issuer of a certificate: a distinguished name in the text form of RFC 4514.

use std::{fmt, str::FromStr};

/// Why a text is not a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFormError {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// A part without `=`, or with an empty side.
    #[error("each part is `TYPE=value`; a comma within a value is written `\\,`")]
    Part,
    /// A type that is neither a known name nor an OID.
    #[error("`{0}` is no type of an attribute; the types are {types} and OIDs such as 2.5.4.5", types = known_types())]
    Type(String),
    /// A `\` that no valid escape follows.
    #[error("behind `\\` stands one of `,+\"\\<>;=#`, a space, or two hexadecimal digits")]
    Escape,
}

/// One attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its type: the short name of RFC 4514 where it has one, otherwise the OID with dots.
    pub kind: Box<str>,
    /// Its value; `None` where it is not text.
    pub value: Option<Box<str>>,
}

/// The attributes of a distinguished name, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName(Box<[Attribute]>);

/// The attribute types with short names, and their OIDs.
const TYPES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("ST", "2.5.4.8"),
    ("L", "2.5.4.7"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("serialNumber", "2.5.4.5"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

fn known_types() -> String {
    TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl DistinguishedName {
    /// Builds a name from dotted OIDs and values.
    pub fn new(attributes: impl IntoIterator<Item = (String, Option<Box<str>>)>) -> Self {
        let attributes = attributes.into_iter().map(|(oid, value)| {
            let short = TYPES.iter().find(|(_, known)| *known == oid).map(|(name, _)| (*name).into());
            Attribute { kind: short.unwrap_or_else(|| oid.into_boxed_str()), value }
        });
        Self(attributes.collect())
    }

    /// Says whether another name matches this one. For each type in this name, the other has exactly the same
    /// values, in this order; types that are not in this name may have any value.
    ///
    /// The comparison is case-sensitive. Values that are not text equal nothing.
    pub fn covers(&self, other: &Self) -> bool {
        let of = |name: &Self, kind: &str| -> Option<Vec<Box<str>>> {
            name.0
                .iter()
                .filter(|attribute| *attribute.kind == *kind)
                .map(|attribute| attribute.value.clone())
                .collect()
        };
        !self.0.is_empty()
            && self.0.iter().all(|attribute| {
                of(self, &attribute.kind).is_some_and(|own| of(other, &attribute.kind) == Some(own))
            })
    }
}

impl FromStr for DistinguishedName {
    type Err = NameFormError;

    fn from_str(text: &str) -> Result<Self, NameFormError> {
        if text.trim().is_empty() {
            return Err(NameFormError::Empty);
        }
        let mut attributes = Vec::new();
        let mut rest = text;
        loop {
            let (kind, value) = rest.split_once('=').ok_or(NameFormError::Part)?;
            let kind = type_of(kind.trim())?;
            let (value, after) = value_of(value.trim_start())?;
            attributes.push(Attribute { kind, value: Some(value) });
            match after {
                Some(after) => rest = after,
                None => return Ok(Self(attributes.into())),
            }
        }
    }
}

/// Reads the type of an attribute, in any case; an OID of a known type becomes its short name.
fn type_of(text: &str) -> Result<Box<str>, NameFormError> {
    let known = TYPES.iter().find(|(name, oid)| name.eq_ignore_ascii_case(text) || *oid == text);
    if let Some((name, _)) = known {
        return Ok((*name).into());
    }
    let is_oid = text.contains('.')
        && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()));
    if is_oid { Ok(text.into()) } else { Err(NameFormError::Type(text.to_owned())) }
}

/// Reads a value up to a comma or `+`, and returns the rest. Spaces at its end belong to it only where
/// escaped.
fn value_of(text: &str) -> Result<(Box<str>, Option<&str>), NameFormError> {
    let mut value: Vec<u8> = Vec::new();
    // The length of the value without unescaped spaces at its end.
    let mut kept = 0;
    let mut rest = text;
    let mut after = None;
    while let Some(character) = rest.chars().next() {
        let (_, behind) = rest.split_at(character.len_utf8());
        rest = behind;
        match character {
            ',' | '+' => {
                after = Some(rest);
                break;
            }
            '\\' => {
                rest = escaped(rest, &mut value)?;
                kept = value.len();
            }
            ' ' => value.push(b' '),
            other => {
                value.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    let value = String::from_utf8(value).map_err(|_| NameFormError::Escape)?;
    if value.is_empty() { Err(NameFormError::Part) } else { Ok((value.into_boxed_str(), after)) }
}

/// Reads the escape behind a `\`, and returns the rest.
fn escaped<'t>(text: &'t str, value: &mut Vec<u8>) -> Result<&'t str, NameFormError> {
    if let Some((pair, rest)) = text.split_at_checked(2)
        && let Ok(byte) = u8::from_str_radix(pair, 16)
    {
        value.push(byte);
        return Ok(rest);
    }
    match text.split_at_checked(1) {
        Some((special, rest)) if ",+\"\\<>;=# ".contains(special) => {
            value.extend_from_slice(special.as_bytes());
            Ok(rest)
        }
        _ => Err(NameFormError::Escape),
    }
}

impl fmt::Display for DistinguishedName {
    /// Writes the name so that a comma within a value cannot be read as its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attribute { kind, value }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{kind}=")?;
            let Some(value) = value else {
                f.write_str("?")?;
                continue;
            };
            for character in value.chars() {
                match character {
                    ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => write!(f, "\\{character}")?,
                    control if control.is_control() => write!(f, "\\{:02X}", u32::from(control))?,
                    plain => write!(f, "{plain}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let written = r"CN=Meyer\, Anna,OU=R\26D+O=Acme\=x,2.5.4.97=VAT";

        assert_eq!(name(written).to_string(), r"CN=Meyer\, Anna,OU=R&D,O=Acme\=x,2.5.4.97=VAT");
        assert_eq!(name("cn = robot , 2.5.4.10= Acme Inc ").to_string(), "CN=robot,O=Acme Inc");
        assert_eq!(name(r"CN=a\ ").to_string(), "CN=a ");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, error) in [
            ("", NameFormError::Empty),
            ("robot", NameFormError::Part),
            ("CN=", NameFormError::Part),
            ("CN=a,,O=b", NameFormError::Type(",O".to_owned())),
            ("CN=a,", NameFormError::Part),
            ("NAME=a", NameFormError::Type("NAME".to_owned())),
            ("2..5=a", NameFormError::Type("2..5".to_owned())),
            (r"CN=a\", NameFormError::Escape),
            (r"CN=a\x", NameFormError::Escape),
            (r"CN=\ff\fe", NameFormError::Escape),
        ] {
            assert_eq!(text.parse::<DistinguishedName>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn every_type_that_is_named_has_exactly_its_values() {
        let robot = name("C=CA,O=Acme,OU=Robots,OU=East,CN=robot-1");

        for met in ["CN=robot-1", "O=Acme", "CN=robot-1,O=Acme,C=CA", "OU=Robots,OU=East"] {
            assert!(name(met).covers(&robot), "{met}");
        }
        for unmet in [
            "CN=robot-2",
            "CN=Robot-1",
            "OU=Robots",
            "OU=East,OU=Robots",
            "CN=robot-1,L=Montreal",
            "CN=robot",
            "CN=robot-1,CN=robot-1",
        ] {
            assert!(!name(unmet).covers(&robot), "{unmet}");
        }
        assert!(!name("CN=admin").covers(&name("CN=evil,CN=admin")));
        assert!(!DistinguishedName::default().covers(&robot));
    }

    #[test]
    fn values_that_are_no_text_are_equal_to_nothing() {
        let odd = DistinguishedName::new([
            ("2.5.4.3".to_owned(), None),
            ("2.5.4.10".to_owned(), Some("Acme".into())),
        ]);

        assert!(!odd.covers(&odd));
        assert!(name("O=Acme").covers(&odd));
        assert_eq!(odd.to_string(), "CN=?,O=Acme");
    }

    #[test]
    fn a_value_cannot_look_like_two_parts() {
        let sly = DistinguishedName::new([("2.5.4.3".to_owned(), Some("a,O=Acme\n".into()))]);

        assert_eq!(sly.to_string(), r"CN=a\,O\=Acme\0A");
        assert!(!name("O=Acme").covers(&sly));
    }
}
