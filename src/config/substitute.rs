//! `${…}` in scalars: `${NAME}`, `${NAME:-default}`, `${file:PATH}`, and `$${` for the two characters
//! themselves.
//!
//! Reading is done after YAML, in plain, quoted and block scalars alike, and once: what a variable or file
//! holds is not read again. A path may have variables in it, for what the service manager puts somewhere:
//! `${file:${CREDENTIALS_DIRECTORY:-keys}/session-1.key}`.

use super::parse::ScalarError;

/// A piece of a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// An environment variable.
    Variable {
        /// Its name.
        name: &'a str,
        /// What stands for it where it is not set, or empty.
        default: Option<&'a str>,
    },
    /// The text of a file, without one trailing newline. The path may have variables in it: [`path`].
    File(&'a str),
}

/// Says whether there is anything to substitute.
pub(super) fn has_reference(text: &str) -> bool {
    text.contains("${")
}

/// Says whether a scalar is one reference and nothing else, without a default: then it shows nothing of what
/// it stands for.
pub(super) fn is_reference(text: &str) -> bool {
    matches!(pieces(text).as_deref(), Ok([Piece::File(_) | Piece::Variable { default: None, .. }]))
}

/// Cuts a scalar into its pieces.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ScalarError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = rest.split_at(dollar);
        if let Some(before) = before.strip_suffix('$') {
            // `$${`: the first dollar escapes the second.
            pieces.push(Piece::Text(before));
            pieces.push(Piece::Text("${"));
            rest = after.get(2..).unwrap_or("");
            continue;
        }
        pieces.push(Piece::Text(before));
        let inside = after.get(2..).unwrap_or("");
        let Some((inside, behind)) = closed(inside) else {
            return Err(ScalarError::new("`${` without its `}`")
                .hint("write `$${` for the two characters themselves"));
        };
        pieces.push(reference(inside)?);
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

/// Puts in the variables that stand in the path of a file.
pub(super) fn path(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ScalarError> {
    let mut path = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => path.push_str(text),
            Piece::Variable { name, default } => path.push_str(&value(name, default, &variable)?),
            Piece::File(_) => {
                return Err(ScalarError::new("the path of a file has a `${file:…}` in it")
                    .hint("it may have variables: `${NAME}`"));
            }
        }
    }
    Ok(path)
}

/// Returns what stands for a variable, or its default where it is not set, or empty.
pub(super) fn value(
    name: &str,
    default: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, ScalarError> {
    let set = variable(name).filter(|value| !value.is_empty());
    set.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        ScalarError::new(format!("the variable `{name}` is not set, or empty"))
            .hint(format!("set it, or write `${{{name}:-default}}`"))
    })
}

/// Cuts at the brace that closes a reference. In the path of a file a reference may stand, which has its own.
fn closed(inside: &str) -> Option<(&str, &str)> {
    let mut end = inside.find('}')?;
    if inside.starts_with("file:") {
        let mut from = 0;
        while let Some(open) = inside.get(from..end).and_then(|text| text.find("${")) {
            from += open + 2;
            end += 1 + inside.get(end + 1..)?.find('}')?;
        }
    }
    let (inside, behind) = inside.split_at_checked(end)?;
    Some((inside, behind.get(1..)?))
}

/// Reads what stands between the braces.
fn reference(inside: &str) -> Result<Piece<'_>, ScalarError> {
    if let Some(path) = inside.strip_prefix("file:") {
        return if path.is_empty() {
            Err(ScalarError::new("`${file:}` names no file"))
        } else {
            Ok(Piece::File(path))
        };
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let fits = |(index, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
    };
    if name.is_empty() || !name.bytes().enumerate().all(fits) {
        let wrong = ScalarError::new(format!("`{name}` is not the name of a variable"));
        return Err(wrong.hint("write `${NAME}`, `${NAME:-default}` or `${file:PATH}`"));
    }
    Ok(Piece::Variable { name, default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_cut_out_of_the_text_around_them() {
        assert_eq!(
            pieces("a${B}c${D_1:-e:f}${file:g/h.key}$i"),
            Ok(vec![
                Piece::Text("a"),
                Piece::Variable { name: "B", default: None },
                Piece::Text("c"),
                Piece::Variable { name: "D_1", default: Some("e:f") },
                Piece::File("g/h.key"),
                Piece::Text("$i"),
            ])
        );
        assert_eq!(pieces("${X:-}"), Ok(vec![Piece::Variable { name: "X", default: Some("") }]));
    }

    #[test]
    fn the_path_of_a_file_may_have_variables_in_it() {
        let set = |name: &str| (name == "DIR").then(|| "/run/credentials".to_owned());
        let inner = "${DIR:-keys}/${NONE:-a}.key";

        assert_eq!(
            pieces("${file:${DIR:-keys}/${NONE:-a}.key} b}"),
            Ok(vec![Piece::File(inner), Piece::Text(" b}")])
        );
        assert_eq!(path(inner, set), Ok("/run/credentials/a.key".to_owned()));
        assert_eq!(path(inner, |_| None), Ok("keys/a.key".to_owned()));
        assert_eq!(path("${NONE}/a", set).unwrap_err().message, "the variable `NONE` is not set, or empty");
        assert_eq!(path("${file:a}", set).unwrap_err().message, "the path of a file has a `${file:…}` in it");
        // What a variable holds is not read again, and no other reference nests.
        assert_eq!(path("${DIR}", |_| Some("${OTHER}".to_owned())), Ok("${OTHER}".to_owned()));
        assert_eq!(
            pieces("${A:-${B}}"),
            Ok(vec![Piece::Variable { name: "A", default: Some("${B") }, Piece::Text("}")])
        );
    }

    #[test]
    fn two_dollars_stand_for_the_characters() {
        assert_eq!(pieces("a$${B}"), Ok(vec![Piece::Text("a"), Piece::Text("${"), Piece::Text("B}")]));
    }

    #[test]
    fn a_broken_reference_is_not_text() {
        for text in
            ["${", "${A", "a${}", "${1A}", "${A-b}", "${file:}", "${a b}", "${file:${A}", "${file:${${A}}"]
        {
            assert!(pieces(text).is_err(), "{text}");
        }
    }
}
