//! Route tables: the most specific rule wins, whatever the order in the file, and a path is checked in every
//! form in which an app may see it.

mod fold;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use fold::folded;

use fold::{folded_up_to, is_settled};

use super::Route;
use crate::model::{Origin, Path, PathError, Reading, readings_of, shortened_length};

/// The rules of one tenant, indexed.
#[derive(Clone, Debug)]
pub struct RouteTable {
    rules: Index,
    /// For paths that apps may see in other forms: the rules by every form of their paths, where a rule's own
    /// path has any.
    read: Option<Box<Index>>,
    /// The same for apps that ignore case, where a rule's path is not in lower case.
    folded: Option<Box<Index>>,
    unmatched: Entry,
    case_sensitive: bool,
}

/// Rules by path.
#[derive(Clone, Debug, Default)]
struct Index {
    exact: BTreeMap<Box<str>, Entry>,
    /// Prefixes by path, each ending in `/`.
    prefixes: BTreeMap<Box<str>, Entry>,
    /// The length of the longest prefix: a path may have thousands of segments, but no rule has.
    longest: usize,
    /// The length of the longest path here.
    reach: usize,
}

/// The rules at one path.
#[derive(Clone, Debug)]
struct Entry {
    route: Arc<Route>,
    /// Rules that apply too: neither is as strict as the other.
    alternates: Vec<Arc<Route>>,
    /// Whether the rule was written for this path, and does not only cover it.
    written: bool,
    /// The length of the rule's path ([`shortened_length`]); `None` where it has none.
    length: Option<usize>,
}

/// The rules for one path.
#[derive(Clone, Debug)]
pub struct Matched<'p> {
    /// The rule for the path as requested. It decides what is allowed, and its bounds apply to the request.
    pub route: &'p Arc<Route>,
    /// The other rules that must let the request pass: their requirements apply too, their quotas are
    /// charged, and the smallest body limit counts. Only rules that add something are here.
    pub alternates: Vec<AlternateMatch<'p>>,
}

/// A rule that applies in addition to the one for the path as requested.
#[derive(Clone, Debug)]
pub struct AlternateMatch<'p> {
    /// The rule.
    pub route: &'p Arc<Route>,
    /// The path as an app may see it; `None` where the rule covers the path as requested.
    pub reading: Option<Box<str>>,
}

impl<'p> Matched<'p> {
    /// Returns every rule that must let the request pass, the one for the path as requested first.
    pub fn rules(&self) -> impl Iterator<Item = &'p Arc<Route>> + Clone {
        std::iter::once(self.route).chain(self.alternates.iter().map(|alternate| alternate.route))
    }

    /// Says whether a request may pass while it is unknown if its session is valid.
    pub fn needs_no_session(&self) -> bool {
        self.rules().all(|route| route.needs_no_session())
    }

    /// Adds the rules for one form of the path, if their paths are at least that long and they add something.
    /// Only then is the form stored.
    fn add(&mut self, entry: &'p Entry, least: Option<usize>, reading: impl Fn() -> Box<str>) {
        if entry.length < least {
            return;
        }
        for route in std::iter::once(&entry.route).chain(&entry.alternates) {
            let says = |known: &Arc<Route>| {
                Arc::ptr_eq(known, route) || (known.asks_at_least(route) && known.bounds_at_least(route))
            };
            if !self.rules().any(says) {
                self.alternates.push(AlternateMatch { route, reading: Some(reading()) });
            }
        }
    }
}

impl RouteTable {
    /// Finds the rule for a decoded path as written: the exact one, else the longest prefix, else the
    /// unmatched rule.
    ///
    /// A path that ends in `/` is a prefix of everything below it; any other path is exact. So a prefix ends
    /// on a segment boundary by construction. A rule covers its path with and without a slash at the end,
    /// unless another rule is written for that, or the rule that would match otherwise is stricter. Cost: one
    /// look-up per segment.
    pub fn find(&self, path: &str) -> &Arc<Route> {
        &self.entry(&self.rules, path).route
    }

    /// Finds every rule that must let a request for the path pass, if its own rule permits the path:
    /// [`RouteTable::match_path`] and [`RouteTable::match_readings`] in one.
    pub fn match_all(&self, path: &Path<'_>) -> Result<Matched<'_>, PathError> {
        let mut matched = self.match_path(path);
        self.match_readings(path, &mut matched)?;
        Ok(matched)
    }

    /// Finds the rules for the path as requested, and for its lower-case form unless the app distinguishes
    /// case (Express, IIS and ASP.NET do not). It costs no more than a path of the length of the longest
    /// rule.
    pub fn match_path(&self, path: &Path<'_>) -> Matched<'_> {
        let asked = self.entry(&self.rules, path.matching());
        let mut matched = Matched { route: &asked.route, alternates: Vec::new() };
        for route in &asked.alternates {
            matched.alternates.push(AlternateMatch { route, reading: None });
        }
        self.in_lower_case(path.matching(), None, &mut matched);
        matched
    }

    /// Adds the rules for the other forms in which an app may see the path.
    ///
    /// An app may decode an encoded slash, decode twice, or remove parameters later than we do. Each such
    /// form is looked up, and the rules found there apply too. A plain path costs nothing more.
    pub fn match_readings<'t>(&'t self, path: &Path<'_>, matched: &mut Matched<'t>) -> Result<(), PathError> {
        // A path that its own rule does not permit is refused in any form.
        if path.permit(matched.route.path).is_err() {
            return Ok(());
        }
        // A rule that was written for exactly this path decides, whatever page it may hold the data of.
        let is_said = self.rules.exact.get(path.matching()).is_some_and(|entry| entry.written);
        // The length of the rule for the form that a shortened form is made of.
        let mut whole = self.entry(&self.rules, path.matching()).length;
        let index = self.read.as_deref().unwrap_or(&self.rules);
        path.read(|why, reading| {
            let entry = self.entry(index, reading);
            let least = match why {
                Reading::Spelled => {
                    whole = entry.length;
                    None
                }
                Reading::Shortened => whole,
                // Rules for the place of data (`/_next/`) do not concern pages, and neither do their lengths.
                Reading::Page if is_said => return,
                Reading::Page => None,
            };
            matched.add(entry, least, || reading.into());
            self.in_lower_case(reading, least, matched);
        })
    }

    /// Returns every rule as written, exact ones first, the unmatched one last.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.written().map(|(_, route)| route).chain(std::iter::once(&self.unmatched.route))
    }

    /// Returns every rule with its decoded path, exact ones first.
    pub fn written(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        let all = self.rules.exact.iter().chain(&self.rules.prefixes);
        all.filter(|(_, entry)| entry.written).map(|(path, entry)| (&**path, &entry.route))
    }

    /// Returns the rule for what is below a path: `/a` or `/a/`.
    pub fn below(&self, path: &str) -> &Arc<Route> {
        let folder = path.strip_suffix('/').unwrap_or(path);
        self.rules.prefix(&format!("{folder}/")).map_or(&self.unmatched.route, |entry| &entry.route)
    }

    /// Returns the rule that would match a path if none covered it with, or without, a slash at its end.
    pub fn otherwise(&self, path: &str) -> Option<&Arc<Route>> {
        let entry = self.rules.exact.get(path).filter(|entry| !entry.written)?;
        Some(self.rules.prefix(path).map_or(&self.unmatched.route, |other| &other.route))
            .filter(|other| !Arc::ptr_eq(other, &entry.route))
    }

    /// Says whether two tables have equal rules for the same paths.
    pub fn is_like(&self, other: &Self) -> bool {
        let says = |route: &Route| (route.grant, route.revoke, route.websocket, route.path);
        let same = |one: &Route, other: &Route| {
            one.asks_at_least(other)
                && other.asks_at_least(one)
                && one.access == other.access
                && says(one) == says(other)
        };
        self.case_sensitive == other.case_sensitive
            && self.routes().count() == other.routes().count()
            && self
                .written()
                .zip(other.written())
                .all(|((path, one), (same_path, other))| path == same_path && same(one, other))
            && same(&self.unmatched.route, &other.unmatched.route)
    }

    /// Returns the unmatched rule.
    pub fn unmatched(&self) -> &Arc<Route> {
        &self.unmatched.route
    }

    /// Says whether the app distinguishes two paths that differ in case only.
    pub fn is_case_sensitive(&self) -> bool {
        self.case_sensitive
    }

    fn entry<'t>(&'t self, index: &'t Index, path: &str) -> &'t Entry {
        index.find(path).unwrap_or(&self.unmatched)
    }

    /// Adds the rules that an app finds if it ignores case, if their paths are at least that long. A path in
    /// lower case has been looked up before, unless a rule is not in lower case.
    fn in_lower_case<'t>(&'t self, text: &str, least: Option<usize>, matched: &mut Matched<'t>) {
        if self.case_sensitive {
            return;
        }
        let index = self.folded.as_deref().unwrap_or(&self.rules);
        // A path longer than every rule's path is found by as much of it.
        let near = beginning(text, index.reach.saturating_add(1));
        if self.folded.is_none() && is_settled(near) {
            return;
        }
        let mut room = [0; USUAL_PATH_BYTES];
        let entry = match room.get_mut(..near.len()) {
            Some(room) => {
                room.copy_from_slice(near.as_bytes());
                room.make_ascii_lowercase();
                // ASCII letters do not occur within other characters in UTF-8.
                self.entry(index, std::str::from_utf8(room).unwrap_or_default())
            }
            None => self.entry(index, &near.to_ascii_lowercase()),
        };
        matched.add(entry, least, || text.to_ascii_lowercase().into());
        if !near.is_ascii() {
            matched.add(self.entry(index, &folded_up_to(text, index.reach)), least, || folded(text).into());
        }
    }
}

/// Returns this many octets of a text, or up to three more, so that it ends at a character boundary.
fn beginning(text: &str, mut octets: usize) -> &str {
    while !text.is_char_boundary(octets.min(text.len())) {
        octets = octets.saturating_add(1);
    }
    text.get(..octets).unwrap_or(text)
}

impl Index {
    fn find(&self, path: &str) -> Option<&Entry> {
        self.exact.get(path).or_else(|| self.prefix(path))
    }

    /// Finds the longest prefix.
    fn prefix(&self, path: &str) -> Option<&Entry> {
        let mut end = self.longest.min(path.len());
        while !path.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let mut rest = path.get(..end).unwrap_or("");
        while let Some(slash) = rest.rfind('/') {
            if let Some(entry) = path.get(..=slash).and_then(|prefix| self.prefixes.get(prefix)) {
                return Some(entry);
            }
            rest = rest.get(..slash).unwrap_or("");
        }
        None
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().chain(self.prefixes.keys()).map(|path| &**path)
    }

    /// Builds the index by every form of each path.
    fn by(&self, forms: impl Fn(&str) -> BTreeSet<String>) -> Self {
        let mut made = Self::default();
        for (paths, into) in [(&self.exact, &mut made.exact), (&self.prefixes, &mut made.prefixes)] {
            for (path, entry) in paths {
                for form in forms(path) {
                    match into.get_mut(&*form) {
                        Some(held) => held
                            .alternates
                            .extend(std::iter::once(&entry.route).chain(&entry.alternates).cloned()),
                        None => drop(into.insert(form.into(), entry.clone())),
                    }
                }
            }
        }
        made.measured()
    }

    /// Records the lengths of the longest prefix and of the longest path.
    fn measured(mut self) -> Self {
        self.longest = self.prefixes.keys().map(|path| path.len()).max().unwrap_or(0);
        self.reach = self.paths().map(str::len).max().unwrap_or(0);
        self
    }
}

/// Most paths in lower case fit into this buffer on the stack.
const USUAL_PATH_BYTES: usize = 256;

/// Collects rules into a table.
#[derive(Clone, Debug, Default)]
pub struct RouteTableBuilder {
    rules: Index,
    case_sensitive: bool,
}

/// Two rules of one set have the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameRoute {
    /// Where the first one is in the configuration.
    pub first: Origin,
}

impl RouteTableBuilder {
    /// Adds a rule under its decoded path. With `refines` it replaces a rule of an earlier set, which is how
    /// a tenant refines a shared set; two rules of one set are a mistake.
    pub fn add(&mut self, path: &str, route: Arc<Route>, refines: bool) -> Result<(), SameRoute> {
        let map = if path.ends_with('/') { &mut self.rules.prefixes } else { &mut self.rules.exact };
        match map.insert(
            path.into(),
            Entry { route, alternates: Vec::new(), written: true, length: Some(shortened_length(path)) },
        ) {
            Some(first) if !refines => Err(SameRoute { first: first.route.origin }),
            Some(_) | None => Ok(()),
        }
    }

    /// Sets whether the app distinguishes two paths that differ in case only.
    pub fn case_sensitive(&mut self, case_sensitive: bool) {
        self.case_sensitive = case_sensitive;
    }

    /// Finishes the table with the unmatched route.
    pub fn build(self, unmatched: Arc<Route>) -> RouteTable {
        let Self { rules, case_sensitive } = self;
        let mut rules = rules.measured();
        let covered: Vec<(Box<str>, Entry)> = covered(&rules, &unmatched);
        rules.exact.extend(covered);
        let rules = rules.measured();
        let forms = |path: &str| {
            let mut forms = readings_of(path);
            forms.insert(path.to_owned());
            forms
        };
        let read = rules.paths().any(|path| path.contains('%')).then(|| Box::new(rules.by(forms)));
        let is_folded = !case_sensitive && (read.is_some() || !rules.paths().all(is_settled));
        let folded = is_folded.then(|| {
            let folds = |path: &str| {
                let of = |form: String| [form.to_ascii_lowercase(), folded(&form)];
                forms(path).into_iter().flat_map(of).collect()
            };
            Box::new(rules.by(folds))
        });
        RouteTable {
            rules,
            read,
            folded,
            unmatched: Entry { route: unmatched, alternates: Vec::new(), written: true, length: None },
            case_sensitive,
        }
    }
}

/// Finds which rules cover their path with, or without, a slash at the end.
fn covered(rules: &Index, unmatched: &Arc<Route>) -> Vec<(Box<str>, Entry)> {
    let without =
        rules.prefixes.iter().filter_map(|(path, entry)| Some((path.strip_suffix('/')?.to_owned(), entry)));
    let with = rules.exact.iter().map(|(path, entry)| (format!("{path}/"), entry));
    let all = without.chain(with).filter(|(path, _)| !path.is_empty() && !rules.exact.contains_key(&**path));
    let covers = |(path, entry): (String, &Entry)| {
        if rules.prefixes.contains_key(&*path) {
            return None;
        }
        let (own, other) = (&entry.route, rules.prefix(&path).map_or(unmatched, |entry| &entry.route));
        let alternates = match (own.asks_at_least(other), other.asks_at_least(own)) {
            (true, _) => Vec::new(),
            (false, true) => return None,
            (false, false) => vec![Arc::clone(other)],
        };
        Some((
            path.into(),
            Entry { route: Arc::clone(own), alternates, written: false, length: entry.length },
        ))
    };
    all.filter_map(covers).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{PathRules, RouteId},
        policy::{OriginCheck, RouteAccess as Access},
    };

    fn route(path: &str) -> Arc<Route> {
        Arc::new(Route {
            id: RouteId::new(path),
            origin: Origin { file: 0, line: 7 },
            access: Access::Session,
            methods: Box::default(),
            grant: crate::policy::Granting::default(),
            begins_sign_in: false,
            revoke: false,
            max_auth_age: None,
            websocket: false,
            body: false,
            origin_check: OriginCheck::default(),
            origins: Box::default(),
            path: PathRules::default(),
            quotas: Box::default(),
            limits: None,
        })
    }

    fn table(paths: &[&str]) -> RouteTable {
        let mut builder = RouteTableBuilder::default();
        for path in paths {
            builder.add(path, route(path), false).unwrap();
        }
        builder.build(route("*"))
    }

    #[test]
    fn the_most_specific_rule_wins_whatever_the_order() {
        for paths in [["/a/", "/a/b/", "/a/b/c", "/"], ["/", "/a/b/c", "/a/b/", "/a/"]] {
            let table = table(&paths);
            let find = |path| table.find(path).id.as_str().to_owned();

            assert_eq!(find("/a/b/c"), "/a/b/c");
            assert_eq!(find("/a/b/d"), "/a/b/");
            assert_eq!(find("/a/b/"), "/a/b/");
            assert_eq!(find("/a/x"), "/a/");
            assert_eq!(find("/x"), "/");
        }
    }

    #[test]
    fn a_prefix_ends_on_a_segment_boundary() {
        let table = table(&["/public/", "/login"]);

        assert_eq!(table.find("/publicx").id.as_str(), "*");
        assert_eq!(table.find("/public").id.as_str(), "/public/");
        assert_eq!(table.find("/public/x").id.as_str(), "/public/");
        assert_eq!(table.find("/login/x").id.as_str(), "*");
        assert_eq!(table.find("/Login").id.as_str(), "*");
        assert_eq!(table.find("/login/").id.as_str(), "/login");
    }

    #[test]
    fn two_rules_for_one_path_are_a_mistake_in_a_set_and_a_refinement_across_sets() {
        let mut builder = RouteTableBuilder::default();

        assert_eq!(builder.add("/a", route("/a"), false), Ok(()));
        assert_eq!(
            builder.add("/a", route("/a"), false),
            Err(SameRoute { first: Origin { file: 0, line: 7 } })
        );
        assert_eq!(builder.add("/a", route("/a"), true), Ok(()));
    }

    fn asking(path: &str, access: Access) -> Arc<Route> {
        Arc::new(Route { access, ..Arc::unwrap_or_clone(route(path)) })
    }

    fn roles(name: &str) -> Access {
        Access::Roles(Box::new([name.into()]))
    }

    fn made(routes: Vec<Arc<Route>>, unmatched: Access) -> RouteTable {
        let mut builder = RouteTableBuilder::default();
        for route in routes {
            builder.add(route.id.as_str(), Arc::clone(&route), false).unwrap();
        }
        builder.build(asking("*", unmatched))
    }

    /// The rules for a path, the one for the path as requested first, and the forms of the others.
    fn match_all(table: &RouteTable, path: &str) -> Vec<String> {
        let path = Path::parse(path.as_bytes()).unwrap();
        let matched = table.match_all(&path).unwrap();
        let alternates = matched.alternates.iter().map(|alternate| {
            format!("{} for {}", alternate.route.id.as_str(), alternate.reading.as_deref().unwrap_or("-"))
        });
        std::iter::once(matched.route.id.as_str().to_owned()).chain(alternates).collect()
    }

    #[test]
    fn a_rule_covers_its_path_with_and_without_a_slash() {
        let table = made(
            vec![asking("/admin/", roles("a")), asking("/ops", roles("o")), asking("/", Access::Public)],
            Access::Public,
        );

        for (path, rule) in [
            ("/admin", "/admin/"),
            ("/admin/x", "/admin/"),
            ("/ops", "/ops"),
            ("/ops/", "/ops"),
            ("/ops/x", "/"),
        ] {
            assert_eq!(table.find(path).id.as_str(), rule, "{path}");
        }
        assert_eq!(table.routes().count(), 4, "what is covered is no rule of its own");
    }

    #[test]
    fn a_rule_for_just_that_path_and_a_stricter_one_stay() {
        let written =
            made(vec![asking("/admin/", roles("a")), asking("/admin", Access::Public)], Access::Session);
        let stricter =
            made(vec![asking("/public/", Access::Public), asking("/login", Access::Public)], Access::Session);
        let nobody = made(vec![asking("/public/", Access::Public)], Access::Nobody);

        assert_eq!(written.find("/admin").id.as_str(), "/admin");
        assert_eq!(written.find("/admin/").id.as_str(), "/admin/");
        assert_eq!((stricter.find("/public").id.as_str(), stricter.find("/login/").id.as_str()), ("*", "*"));
        assert_eq!(nobody.find("/public").id.as_str(), "*");
    }

    #[test]
    fn of_two_that_cannot_be_compared_both_hold() {
        let aged = Arc::new(Route {
            max_auth_age: Some(Duration::from_secs(60)),
            ..Arc::unwrap_or_clone(route("/"))
        });
        let table = made(vec![asking("/admin/", roles("a")), aged], Access::Public);

        assert_eq!(match_all(&table, "/admin"), ["/admin/", "/ for -"]);
        assert_eq!(match_all(&table, "/admin/"), ["/admin/"]);
    }

    #[test]
    fn who_does_not_tell_case_apart_finds_the_rule() {
        let rules = || {
            vec![asking("/ops/", roles("o")), asking("/Files/", Access::Session), asking("/été/", roles("e"))]
        };
        let table = made(rules(), Access::Public);
        let mut builder = RouteTableBuilder::default();
        builder.case_sensitive(true);
        for route in rules() {
            builder.add(route.id.as_str(), Arc::clone(&route), false).unwrap();
        }
        let sensitive = builder.build(asking("*", Access::Public));

        assert_eq!(match_all(&table, "/OPS/x"), ["*", "/ops/ for /ops/x"]);
        assert_eq!(match_all(&table, "/OPS"), ["*", "/ops/ for /ops"]);
        assert_eq!(match_all(&table, "/ops/X"), ["/ops/"]);
        assert_eq!(match_all(&table, "/files/x"), ["*", "/Files/ for /files/x"]);
        assert_eq!(match_all(&table, "/Files/x"), ["/Files/"]);
        assert_eq!(match_all(&table, "/%C3%89T%C3%A9/x"), ["*", "/été/ for /été/x"]);
        assert_eq!(match_all(&table, "/op%C5%BF/x"), ["*", "/ops/ for /ops/x"], "a long s");
        assert_eq!(
            match_all(&table, &format!("/OPS/{}", "X".repeat(300))).len(),
            2,
            "longer than what fits on the stack"
        );
        assert_eq!(match_all(&sensitive, "/OPS/x"), ["*"]);
        assert_eq!(match_all(&sensitive, "/ops/x"), ["/ops/"]);
    }

    #[test]
    fn whatever_any_mapping_of_case_makes_an_ascii_letter_is_that_letter() {
        let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
        let upper = |text: &str| text.chars().flat_map(char::to_uppercase).collect::<String>();
        let mut other = Vec::new();
        for character in ('\0'..=char::MAX).filter(|character| !character.is_ascii()) {
            if character.to_lowercase().eq([character]) && character.to_uppercase().eq([character]) {
                continue;
            }
            let (text, fold) = (character.to_string(), folded(&character.to_string()));
            let (low, up) = (lower(&text), upper(&text));
            for mapped in [lower(&low), upper(&low), lower(&up), upper(&up), low, up] {
                let first = mapped.chars().next().unwrap();
                if first.is_ascii_alphabetic() {
                    assert!(
                        fold.starts_with(first.to_ascii_lowercase()),
                        "{character:?} is {fold}, not {mapped}"
                    );
                    other.push(character);
                }
                assert_eq!(folded(&mapped), fold, "{character:?} and {mapped}");
            }
        }
        // Characters that the simple and Turkish mappings make one letter become that letter and nothing
        // more.
        for (character, letter) in [('\u{130}', "i"), ('\u{131}', "i"), ('\u{17f}', "s"), ('\u{212a}', "k")] {
            assert!(other.contains(&character), "{character:?}");
            assert_eq!(folded(&character.to_string()), letter);
        }
        assert_eq!(
            (folded("\u{1e9e}"), folded("\u{fb01}"), folded("\u{e9}")),
            ("ss".into(), "fi".into(), "\u{e9}".into())
        );
    }

    #[test]
    fn a_dotted_capital_i_finds_the_rule() {
        let table =
            made(vec![asking("/admin/", roles("a")), asking("/\u{130}x", roles("x"))], Access::Public);

        for path in ["/adm%C4%B0n/x", "/ADM%C4%B0N/x", "/adm%C4%B1n/x", "/admi%CC%87n/x"] {
            assert!(match_all(&table, path)[1].starts_with("/admin/ for"), "{path}");
        }
        assert_eq!(match_all(&table, "/ix"), ["*", "/\u{130}x for /ix"]);
        assert_eq!(match_all(&table, "/adm%C3%AEn/x"), ["*"], "another letter");
    }

    #[test]
    fn whoever_keeps_parameters_is_judged_by_what_it_reads() {
        let with = |path: &str| {
            let mut route = Arc::unwrap_or_clone(asking(path, Access::Public));
            route.path.allow_path_parameters = true;
            Arc::new(route)
        };
        let table = made(
            vec![with("/pub/"), with("/login"), with("/a/b"), asking("/", Access::Session)],
            Access::Nobody,
        );

        for path in ["/pub;/account", "/pub%3B/account", "/pub;x/account", "/pub%3Bx/"] {
            assert!(match_all(&table, path).iter().any(|rule| rule.starts_with("/ for")), "{path}");
        }
        for path in ["/a;x/b", "/login%3Bx", "/a%3Bx/b;y"] {
            assert!(match_all(&table, path).iter().any(|rule| rule.starts_with("/ for")), "{path}");
        }
        for path in
            ["/login;jsessionid=1", "/a/b;x", "/pub/a;x", "/pub/a;x/b", "/pub/a%3Bx/b", "/pub/;x", "/pub;x"]
        {
            assert_eq!(match_all(&table, path).len(), 1, "{path}");
        }
    }

    #[test]
    fn what_stands_before_an_encoded_query_or_fragment_is_judged_alone() {
        let table = made(
            vec![asking("/admin", roles("a")), asking("/ops/", roles("o")), asking("/", Access::Public)],
            Access::Nobody,
        );

        for (path, rule) in [
            ("/admin%3fx", "/admin for /admin"),
            ("/Admin%23x", "/admin for /admin"),
            ("/ops%3F", "/ops/ for /ops"),
        ] {
            assert_eq!(match_all(&table, path)[1..], [rule.to_owned()], "{path}");
        }
        assert_eq!(match_all(&table, "/%EF%BD%8Fps/x"), ["/", "/ops/ for /ops/x"]);
        assert_eq!(match_all(&table, "/%EF%BC%AFPS%E2%88%95x"), ["/", "/ops/ for /ops/x"]);
        for path in ["/wiki/C%23", "/wiki/What%3F", "/adminx%3F", "/%E3%81%82", "/%EF%BC%91"] {
            assert_eq!(match_all(&table, path), ["/"], "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_is_judged_decoded_too() {
        let mut open = Arc::unwrap_or_clone(asking("/", Access::Public));
        open.path.allow_encoded_slash = true;
        let mut exact = Arc::unwrap_or_clone(asking("/a%2Fb", Access::Public));
        exact.path.allow_encoded_slash = true;
        let table = made(vec![Arc::new(open), asking("/ops/", roles("o"))], Access::Session);
        let closed = made(vec![Arc::new(exact), asking("/ops/", roles("o"))], Access::Nobody);

        assert_eq!(match_all(&table, "/ops%2Fusers"), ["/", "/ops/ for /ops/users"]);
        assert_eq!(match_all(&table, "/OPS%2fusers"), ["/", "/ops/ for /ops/users"]);
        assert_eq!(match_all(&table, "/x%2Fy"), ["/"]);
        assert_eq!(match_all(&closed, "/a%2Fb"), ["/a%2Fb"], "the rule is for the decoded path too");
        assert_eq!(match_all(&closed, "/a%2fb"), ["/a%2Fb"]);
        assert_eq!(match_all(&closed, "/A%2fb")[0], "*");
    }

    #[test]
    fn what_servers_leave_out_of_a_path_is_judged_without_it() {
        let table = made(
            vec![asking("/admin", roles("a")), asking("/ops/", roles("o")), asking("/", Access::Public)],
            Access::Nobody,
        );

        for path in [
            "/index.php/admin",
            "/(S(x))/admin",
            "/Index.PHP/ADMIN",
            "/admin.",
            "/admin%20",
            "/(S(x))/index.php/admin%20",
        ] {
            assert_eq!(match_all(&table, path)[1..], ["/admin for /admin"], "{path}");
        }
        assert_eq!(match_all(&table, "/ops./x"), ["/", "/ops/ for /ops/x"]);
        for path in ["/index.php/x", "/index.php", "/(S(x))/", "/x./y", "/admin.php", "/(ops)/x"] {
            assert_eq!(match_all(&table, path), ["/"], "{path}");
        }
    }

    #[test]
    fn a_rule_that_is_written_with_its_script_is_one() {
        let rules = || {
            vec![
                asking("/index.php/login", Access::Public),
                asking("/index.php/s/", Access::Public),
                asking("/admin", roles("a")),
            ]
        };
        let front = || [rules(), vec![asking("/", Access::Session)]].concat();
        let open = || [rules(), vec![asking("/index.php/", Access::Public)]].concat();

        for table in [made(rules(), Access::Session), made(front(), Access::Nobody)] {
            for (path, rule) in
                [("/index.php/login", "/index.php/login"), ("/index.php/s/x", "/index.php/s/")]
            {
                assert_eq!(match_all(&table, path), [rule], "{path}");
            }
            assert!(match_all(&table, "/index.php/admin").contains(&"/admin for /admin".to_owned()));
        }
        assert_eq!(match_all(&made(rules(), Access::Nobody), "/index.php/login"), ["/index.php/login"]);
        assert_eq!(
            match_all(&made(open(), Access::Session), "/index.php/admin"),
            ["/index.php/", "/admin for /admin"]
        );
        assert_eq!(match_all(&made(open(), Access::Session), "/index.php/x"), ["/index.php/"]);
    }

    #[test]
    fn the_data_of_a_page_are_judged_as_the_page_whatever_covers_where_they_lie() {
        let open = ["/_next/", "/_next/data/", "/docs/_next/", "/longer.data", "/open/"]
            .map(|path| asking(path, Access::Public));
        let guarded = [
            asking("/me", roles("m")),
            asking("/fr/me", roles("f")),
            asking("/docs/me", roles("d")),
            asking("/a/me", roles("a")),
        ];
        let rules = || [&open[..], &guarded].concat();
        let front = made([rules(), vec![asking("/", Access::Session)]].concat(), Access::Public);
        let rest = made(rules(), Access::Session);

        for (path, page) in [
            ("/_next/data/B/me.json", "/me"),
            ("/_next/data/B/ME.json", "/me"),
            ("/_next/data/B/%256de.json", "/me"),
            ("/_next/data/B/index/me.json", "/me"),
            ("/_next/data/B/fr/me.json", "/fr/me"),
            ("/docs/_next/data/B/me.json", "/docs/me"),
            ("/me.rsc", "/me"),
            ("/me.prefetch.rsc", "/me"),
            ("/me.segments/_tree.segment.rsc", "/me"),
            ("/me.data", "/me"),
            ("/me/_.data", "/me"),
            ("/me/__data.json", "/me"),
            ("/me/_payload.json", "/me"),
            ("/_next/data/B/me.json/", "/me"),
            ("/me.data/", "/me"),
            ("/ME/__DATA.json", "/me"),
            ("/me.html__data.json", "/me"),
            ("/page-data/me/page-data.json", "/me"),
            ("/a/me.rsc", "/a/me"),
        ] {
            for table in [&front, &rest] {
                let judged = match_all(table, path);
                assert!(
                    judged.iter().any(|rule| rule.starts_with(&format!("{page} for "))),
                    "{path}: {judged:?}"
                );
            }
        }
        for path in ["/_next/data/B/index.json", "/_next/data/B/x.json", "/open/__data.json"] {
            for (table, rule) in [(&front, "/ for "), (&rest, "* for ")] {
                let judged = match_all(table, path);
                assert!(judged.iter().any(|said| said.starts_with(rule)), "{path}: {judged:?}");
            }
        }
        for path in [
            "/_next/static/x.js",
            "/_next/static/x.json",
            "/longer.data",
            "/open/x.rsc",
            "/open/x/__data.json",
            "/docs/_next/x.css",
        ]
        .into_iter()
        .chain(["/_next/static/me/payload.js", "/docs/_next/page-data.json", "/open/_payload"])
        {
            for table in [&front, &rest] {
                assert_eq!(match_all(table, path).len(), 1, "{path}");
            }
        }
    }

    #[test]
    fn a_shorter_form_is_measured_by_what_it_is_made_of() {
        let mut with = Arc::unwrap_or_clone(asking("/public/", Access::Public));
        with.path.allow_path_parameters = true;
        let table = made(
            vec![Arc::new(with), asking("/me", roles("m")), asking("/", Access::Public)],
            Access::Nobody,
        );

        assert!(match_all(&table, "/public;.php/me").contains(&"/me for /me".to_owned()));
        assert_eq!(match_all(&table, "/public;x/me"), ["/public/"]);
    }

    #[test]
    fn what_its_rule_does_not_permit_is_not_read_on() {
        let table = made(vec![asking("/", Access::Public), asking("/ops/", roles("o"))], Access::Session);

        assert_eq!(match_all(&table, "/ops%2Fusers"), ["/"]);
    }

    #[test]
    fn a_path_of_many_segments_is_looked_up_as_far_as_rules_go() {
        let table = made(vec![asking("/é/b/", roles("o")), asking("/é/", roles("p"))], Access::Public);
        let deep = "/x".repeat(4000);

        for (path, rule) in [
            ("/é/b/c", "/é/b/"),
            ("/é/b/", "/é/b/"),
            ("/é/bé/", "/é/"),
            ("/é/é", "/é/"),
            ("/éé/", "*"),
            (&*deep, "*"),
        ] {
            assert_eq!(table.find(path).id.as_str(), rule, "{path}");
        }
        assert_eq!(table.find(&format!("/é/b{deep}")).id.as_str(), "/é/b/");
        assert_eq!(made(vec![], Access::Public).find(&deep).id.as_str(), "*");
    }

    #[test]
    fn what_is_decoded_twice_is_judged_without_any_option() {
        let table = made(vec![asking("/ops/", roles("o"))], Access::Public);

        assert_eq!(match_all(&table, "/%256fps/x"), ["*", "/ops/ for /ops/x"]);
        assert_eq!(match_all(&table, "/100%25"), ["*"]);
    }
}
