//! The session cookie: found the same way however the lines are cut, and gone from what is forwarded.

use std::path::Path;

use octroi::session::{
    MAX_TOKEN_BYTES, TOKEN_PREFIX,
    cookie::{Found, Name, Names, find, strip},
};

use super::input::lines;

const NAME: &str = "__Host-octroi";
const NAMES: Names<'static> = Names { own: NAME, foreign: &[], keep_foreign: true };

/// Judges one input: the lines of a `Cookie` field.
pub fn run(data: &[u8]) {
    let lines = lines(data);
    let joined = lines.join(b"; ".as_slice());
    let name = Name::new(NAME);
    let found = find(lines.iter().copied(), &name);
    let found_joined = find([joined.as_slice()].into_iter(), &name);
    if found != Found::TooLarge && found_joined != Found::TooLarge {
        assert_eq!(found, found_joined);
    }
    if let Found::One(token) = found {
        assert!(token.starts_with(TOKEN_PREFIX.as_bytes()) && token.len() <= MAX_TOKEN_BYTES);
    }

    let stripped = strip(lines.iter().copied(), NAMES);
    assert_eq!(stripped, strip([joined.as_slice()].into_iter(), NAMES));
    let Some(rest) = stripped.rest else { return };
    // `a;b` is forwarded as `a; b`.
    assert!(
        !rest.is_empty() && rest.len() <= joined.len() + joined.iter().filter(|byte| **byte == b';').count()
    );
    assert!(matches!(find([rest.as_slice()].into_iter(), &name), Found::None | Found::TooLarge));
    // Whatever a back end trims off a name, none is left that it could take for ours.
    for pair in rest.split(|byte| *byte == b';') {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let trimmed =
            name.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '\u{fffd}');
        assert!(!trimmed.eq_ignore_ascii_case(NAME), "{name:?} is forwarded");
    }
    let again = strip([rest.as_slice()].into_iter(), NAMES);
    assert_eq!((again.rest, again.lookalikes), (Some(rest), 0));
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let token = format!("{TOKEN_PREFIX}{}", "A".repeat(200));
    [
        format!("{NAME}={token}"),
        format!("a=b; {NAME}={token}; c=d"),
        format!("a=b\n{NAME}={token}\nc"),
        format!("{NAME}={token}; {NAME}={token}"),
        format!("__host-OCTROI={token}; \u{a0}{NAME}={token}; \"{NAME}\"=x; {NAME}\t =y"),
        format!("$Version=1; {NAME}=\"{token}\"; $Path=/"),
        format!("{NAME}; ={NAME}; ;;; =; a=\"b; {NAME}={token}\""),
        vec!["a=b"; 101].join("; "),
    ]
    .map(String::into_bytes)
    .into()
}
