//! What references stand for: known here so that nothing that is said shows it. The reference stands in its
//! place.

use std::cell::RefCell;

/// From how many characters on a value is taken out of whatever stands around it. A shorter one could be a
/// part of a word.
const TELLING: usize = 8;
/// From how many characters on a value is taken out where it stands as a word of its own.
const WORD: usize = 3;

/// Values, and the references that stand for them.
#[derive(Debug, Default)]
pub(super) struct Redactor(RefCell<Vec<Pair>>);

#[derive(Debug)]
struct Pair {
    value: String,
    reference: String,
}

impl Redactor {
    /// Remembers what the variable of a name holds.
    pub(super) fn variable(&self, name: &str, value: &str) {
        let reference = format!("${{{name}}}");
        let mut pairs = self.0.borrow_mut();
        if value.is_empty() || pairs.iter().any(|pair| pair.value == value) {
            return;
        }
        // The longest first: one may stand in another.
        let at = pairs.partition_point(|pair| pair.value.len() >= value.len());
        pairs.insert(at, Pair { value: value.to_owned(), reference });
    }

    /// Puts references in the place of what they stand for.
    pub(super) fn mask(&self, text: String) -> String {
        self.0.borrow().iter().fold(text, |text, pair| pair.mask(text))
    }
}

impl Pair {
    fn mask(&self, text: String) -> String {
        // Names of hosts are read in small letters.
        let (folded, value) = (text.to_ascii_lowercase(), self.value.to_ascii_lowercase());
        if !folded.contains(&value) {
            return text;
        }
        let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
        for (at, _) in folded.match_indices(&value) {
            let end = at.saturating_add(value.len());
            let (before, behind) = (text.get(..at).unwrap_or_default(), text.get(end..).unwrap_or_default());
            if at < done || !self.stands_out(before, behind) {
                continue;
            }
            masked.push_str(text.get(done..at).unwrap_or_default());
            masked.push_str(&self.reference);
            done = end;
        }
        masked.push_str(text.get(done..).unwrap_or_default());
        masked
    }

    /// Says whether what stands there is the value, and not a piece of a word that happens to be the same.
    fn stands_out(&self, before: &str, behind: &str) -> bool {
        let length = self.value.chars().count();
        if length >= TELLING || before.ends_with('`') && behind.starts_with('`') {
            return true;
        }
        let is_word = !before.ends_with(char::is_alphanumeric) && !behind.starts_with(char::is_alphanumeric);
        is_word && length >= WORD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let redactor = Redactor::default();
        for (name, value) in [
            ("PORT", "80"),
            ("HOST", "app.internal"),
            ("LONG", "hunter2hunter2"),
            ("WORD", "the"),
            ("NONE", ""),
        ] {
            redactor.variable(name, value);
        }
        redactor.mask(text.to_owned())
    }

    #[test]
    fn a_reference_stands_in_the_place_of_its_value() {
        assert_eq!(masked("not a port: `80`"), "not a port: `${PORT}`");
        assert_eq!(masked("no host `APP.internal`, app.internal:443"), "no host `${HOST}`, ${HOST}:443");
        assert_eq!(masked("xhunter2hunter2y"), "x${LONG}y");
    }

    #[test]
    fn a_word_that_has_the_value_in_it_stays() {
        assert_eq!(
            masked("at most 80 of them, 1800 in all, whether or not"),
            "at most 80 of them, 1800 in all, whether or not"
        );
        assert_eq!(masked("in the way"), "in ${WORD} way", "the value could be meant");
    }
}
