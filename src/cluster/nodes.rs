//! The nodes that visits have found.

use std::{collections::BTreeMap, time::Duration};

use super::script::LIVES_MILLIS;
use crate::model::{NodeStatus, UnixTime};

/// How many nodes are remembered: far more than anybody runs. Whoever can write to Redis can add any number
/// of names.
const MOST: usize = 100;

/// How long a node is listed after it is gone, as in Redis.
const NAMED_FOR: Duration = Duration::from_secs(86_400);

/// How long a visit shows which nodes live. There is one each second, unless a full comparison delays it.
const UNKNOWN_BEHIND: Duration = Duration::from_secs(10);

/// The nodes that were seen since the start of the process. A node that shut down is no longer in Redis, but
/// stays listed here.
#[derive(Debug)]
pub(super) struct Nodes {
    seen: BTreeMap<String, (UnixTime, bool)>,
    /// When Redis was last visited; before the first visit, when this began.
    asked: UnixTime,
    /// Whether another process uses the name of this node.
    pub(super) is_namesake: bool,
}

impl Nodes {
    /// Before the first visit.
    pub(super) const fn new(now: UnixTime) -> Self {
        Self { seen: BTreeMap::new(), asked: now, is_namesake: false }
    }

    /// Returns when Redis was last visited.
    pub(super) const fn asked(&self) -> UnixTime {
        self.asked
    }

    /// Returns since when it is unknown which nodes live: there was no visit for so long that any may have
    /// gone or come.
    pub(super) fn unknown_since(&self, now: UnixTime) -> Option<UnixTime> {
        (now.since(self.asked) > UNKNOWN_BEHIND).then_some(self.asked)
    }

    /// Takes over what a visit found: names, and how many milliseconds ago each node visited.
    pub(super) fn found(&mut self, nodes: impl IntoIterator<Item = (String, u64)>, now: UnixTime) {
        self.asked = now;
        self.seen.retain(|_, (heard, _)| now.since(*heard) < NAMED_FOR);
        for (_, lives) in self.seen.values_mut() {
            *lives = false;
        }
        for (name, age) in nodes {
            if self.seen.len() < MOST || self.seen.contains_key(&name) {
                self.seen
                    .insert(name, (now.minus(Duration::from_millis(age)), age <= u64::from(LIVES_MILLIS)));
            }
        }
    }

    /// Lists the nodes by name.
    pub(super) fn list(&self) -> Vec<NodeStatus> {
        self.seen
            .iter()
            .map(|(name, &(heard, lives))| NodeStatus { name: name.clone(), heard, lives })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(nodes: &Nodes) -> Vec<(String, u64, bool)> {
        nodes.list().into_iter().map(|node| (node.name, node.heard.as_secs(), node.lives)).collect()
    }

    #[test]
    fn who_lives_is_not_known_once_nobody_has_asked_for_a_while() {
        let at = UnixTime::from_secs;
        let mut nodes = Nodes::new(at(100));
        assert_eq!(
            [110, 111].map(|now| nodes.unknown_since(at(now))),
            [None, Some(at(100))],
            "Redis was never reached"
        );

        nodes.found([("a".to_owned(), 0)], at(200));
        assert_eq!([200, 210, 211].map(|now| nodes.unknown_since(at(now))), [None, None, Some(at(200))]);
        assert!(told(&nodes)[0].2, "what was so then stays told");
        nodes.found([("a".to_owned(), 0)], at(300));
        assert_eq!(nodes.unknown_since(at(300)), None);
    }

    #[test]
    fn who_left_or_fell_silent_is_named_for_a_day() {
        let mut nodes = Nodes::new(UnixTime::default());
        let node = |name: &str, age| (name.to_owned(), age);
        let at = UnixTime::from_secs;

        nodes.found([node("a", 0), node("b", 4_000), node("c", 5_000)], at(100_000));
        assert_eq!(
            told(&nodes),
            [
                ("a".to_owned(), 100_000, true),
                ("b".to_owned(), 99_996, true),
                ("c".to_owned(), 99_995, false)
            ]
        );

        nodes.found([node("a", 0)], at(100_010));
        assert_eq!(told(&nodes)[1], ("b".to_owned(), 99_996, false), "it left");
        nodes.found([node("a", 0), node("b", 0)], at(100_020));
        assert_eq!(told(&nodes)[1], ("b".to_owned(), 100_020, true), "it is back");

        nodes.found([node("a", 0)], at(99_995 + 86_400));
        assert_eq!(told(&nodes).len(), 2, "c is forgotten");
        nodes.found((0..1000).map(|number| node(&number.to_string(), 0)), at(200_000));
        assert_eq!(told(&nodes).len(), MOST);
    }
}
