//! Comparing paths without case, as Unicode software does.

/// Says whether a text is unchanged where case is ignored.
pub(super) fn is_settled(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// Folds case as Unicode software does, which reads `\u{212a}` as `k`, `\u{17f}` as `s`, and `\u{130}` and
/// `\u{131}` as `i`.
///
/// Two texts that any case mapping makes equal, simple, full or Turkish, are equal here. Lower case comes
/// first, since a capital sharp s has no other capital; the dot that the full mapping leaves over `i` is
/// removed, which the simple one (`equalsIgnoreCase` in Java, `re.I` in Python) and the Turkish one do not
/// have.
pub fn folded(text: &str) -> String {
    folded_up_to(text, usize::MAX)
}

/// Stops folding once there are more octets than `most`.
pub(super) fn folded_up_to(text: &str, most: usize) -> String {
    let mut folded = String::with_capacity(text.len().min(most));
    for character in
        text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase)
    {
        if folded.len() > most {
            break;
        }
        if !(character == '\u{307}' && folded.ends_with('i')) {
            folded.push(character);
        }
    }
    folded
}
