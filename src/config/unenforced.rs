//! What the contract names and this version does not enforce yet. Each is an error by name: a rule that is
//! accepted and not enforced is a hole. A row leaves when its feature comes.

use super::parse::ScalarError;

/// Keys: the map they stand in, the key, what it will do.
pub(super) const KEYS: &[(&str, &str, &str)] = &[
    ("root", "audit", "The audit trail."),
    ("root", "regions", "Addresses of a region."),
    ("root", "smtp", "Where notices go out."),
    ("redis", "region", "Where it stands."),
    ("upstream", "health_check", "Asks servers whether they are well."),
    ("jwks", "region", "Where the keys come from."),
    ("upstream", "region", "Where the upstream stands."),
    ("quota", "on_failure", "What happens when the shared store is away."),
    ("tenant", "contacts", "Who is told of incidents."),
    ("tenant", "residency", "Regions that data may reach."),
    ("access_log", "address", "Where syslog listens."),
    ("access_log", "region", "Where the log goes."),
];

/// Words: what they are a value of, the word.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("balance", "least_connections"),
    ("balance", "consistent_hash"),
    ("quota store", "redis"),
    ("log target", "syslog"),
    ("log format", "ecs"),
    ("log format", "combined"),
];

/// Says what a key will do, if it is one of those.
pub(super) fn key(map: &str, key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(in_map, name, _)| *in_map == map && *name == key).map(|(_, _, doc)| *doc)
}

/// Says what is wrong with a word that is none of those a key has.
pub(super) fn word(of: &str, word: &str, known: &[&str]) -> ScalarError {
    let choice = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if WORDS.contains(&(of, word)) {
        return ScalarError::new(format!("the {of} `{word}` is not enforced by this version yet"))
            .hint(format!("this version has {choice}"));
    }
    ScalarError::new(format!("not {} {of}: `{word}`", if of.starts_with('a') { "an" } else { "a" }))
        .hint(format!("write {choice}").replace(", ", " or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_word_of_later_is_told_from_an_unknown_one() {
        assert_eq!(
            word("balance", "consistent_hash", &["round_robin"]).message,
            "the balance `consistent_hash` is not enforced by this version yet"
        );
        assert_eq!(word("balance", "random", &["round_robin"]).message, "not a balance: `random`");
    }
}
