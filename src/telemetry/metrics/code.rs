//! Counters by status code, a closed set of labels.

use std::sync::OnceLock;

use prometheus::IntCounter;

/// The status codes that have their own label value (those of IANA, and 499); others share one per class.
const CODES: [(u16, &str); 54] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (203, "203"),
    (204, "204"),
    (205, "205"),
    (206, "206"),
    (207, "207"),
    (300, "300"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (417, "417"),
    (421, "421"),
    (422, "422"),
    (423, "423"),
    (424, "424"),
    (425, "425"),
    (426, "426"),
    (428, "428"),
    (429, "429"),
    (431, "431"),
    (451, "451"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
    (507, "507"),
    (508, "508"),
    (510, "510"),
    (511, "511"),
];

/// The label values of other codes: 1xx to 5xx, and `other` for what is not a status.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Counters by status code, each created at first use.
#[derive(Debug)]
pub(super) struct ByCode([OnceLock<IntCounter>; CODES.len() + CLASSES.len()]);

impl ByCode {
    pub(super) fn new() -> Self {
        Self([const { OnceLock::new() }; CODES.len() + CLASSES.len()])
    }

    pub(super) fn count(&self, status: u16, find: impl FnOnce(&'static str) -> IntCounter) {
        let place = CODES.binary_search_by_key(&status, |(code, _)| *code).unwrap_or_else(|_| {
            let class = usize::from(status / 100).wrapping_sub(1);
            CODES.len() + class.min(CLASSES.len() - 1)
        });
        if let Some(slot) = self.0.get(place) {
            slot.get_or_init(|| find(label(place))).inc();
        }
    }

    /// Returns the label values that have a counter.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().enumerate().filter(|(_, slot)| slot.get().is_some()).map(|(place, _)| label(place))
    }
}

fn label(place: usize) -> &'static str {
    let class = || CLASSES.get(place.saturating_sub(CODES.len())).copied();
    CODES.get(place).map(|(_, text)| *text).or_else(class).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_for_the_search() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(CODES.iter().all(|(code, text)| code.to_string() == *text));
    }

    #[test]
    fn odd_codes_share_the_label_of_their_class() {
        let counted = |status| {
            let codes = ByCode::new();
            codes.count(status, |_| IntCounter::new("c", "c").unwrap());
            codes.labels().next()
        };

        assert_eq!(counted(200), Some("200"));
        assert_eq!(counted(299), Some("2xx"));
        assert_eq!(counted(103), Some("1xx"));
        assert_eq!(counted(599), Some("5xx"));
        assert_eq!(
            (counted(0), counted(99), counted(600), counted(u16::MAX)),
            (Some("other"), Some("other"), Some("other"), Some("other"))
        );
    }
}
