//! The session cookie: found in a request, taken out of what is forwarded, set and cleared in a response.
//!
//! Octets in, octets out: browsers, back ends and this parser must not read one header in two ways
//! (`threat-model.md` 2.7). Lines are read as if joined with `; `, pairs end at `;`, only SP and TAB are
//! trimmed, the first `=` ends a name, quotes mean nothing.

mod lookalike;
mod pair;

use std::{fmt, ops::Deref, time::Duration};

use memchr::memmem::Finder;

use super::token::{MAX_BODY_CHARS, MIN_BODY_CHARS, TOKEN_PREFIX};

pub(super) use lookalike::Readings;

use lookalike::same;
use pair::{Pair, Pairs, is_blank, split, trimmed};

/// What stands between the name of the session cookie and the number of a sign-in.
pub(super) const SUFFIX: &str = "-sign-in-";

/// How long the end of the name of such a cookie is.
const SUFFIX_BYTES: usize = SUFFIX.len() + 8;

/// Most cookies of a request; empty ones count too.
const MAX_PAIRS: usize = 100;

/// Most bytes of cookies of a request, all lines joined.
const MAX_BYTES: usize = 16 * 1024;

/// What a request's cookies hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No session cookie.
    None,
    /// One, and its value begins as a token does and is as long as one. Whether it is one, opening it says.
    One(&'a [u8]),
    /// The name stands more than once: somebody shadows a cookie with another.
    Ambiguous,
    /// One, whose value is no token.
    Malformed,
    /// More than 100 cookies, or more than 16 KiB of them.
    TooLarge,
}

/// The name of the session cookie, ready to be looked for. A name has no blank, no `;` and no `=`.
#[derive(Clone)]
pub struct Name {
    text: Box<str>,
    finder: Finder<'static>,
}

impl Name {
    /// Prepares to look for a name.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), finder: Finder::new(text).into_owned() }
    }

    /// Returns the values of the cookies of that name in a line.
    fn values<'a>(&self, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        // What is still to be searched, and whether it is the beginning of a cookie.
        let (mut rest, mut begins) = (line, true);
        std::iter::from_fn(move || {
            while let Some((before, found)) = self.finder.find(rest).and_then(|at| rest.split_at_checked(at))
            {
                if !trimmed(before, is_blank).last().map_or(begins, |&last| last == b';') {
                    (rest, begins) = (found.get(self.text.len()..)?, false);
                    continue;
                }
                let (piece, after) = split(found, b';');
                (rest, begins) = (after.unwrap_or_default(), true);
                let pair = Pair::of(piece);
                if pair.name == self.text.as_bytes() {
                    return Some(pair.value);
                }
            }
            None
        })
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Finds the session cookie in the `Cookie` lines of a request.
///
/// Cookies are counted and the name is searched for, both many octets at once; only where the name stands, a
/// pair is read.
pub fn find<'a>(lines: impl Iterator<Item = &'a [u8]>, name: &Name) -> Found<'a> {
    let mut found = Found::None;
    let (mut pairs, mut bytes) = (0_usize, 0_usize);
    for line in lines {
        bytes = bytes.saturating_add(line.len()).saturating_add(if bytes == 0 { 0 } else { 2 });
        pairs = pairs.saturating_add(memchr::memchr_iter(b';', line).count()).saturating_add(1);
        if bytes > MAX_BYTES || pairs > MAX_PAIRS {
            return Found::TooLarge;
        }
        for value in name.values(line) {
            found = match found {
                Found::None if is_like_a_token(value) => Found::One(value),
                Found::None => Found::Malformed,
                Found::One(_) | Found::Ambiguous | Found::Malformed | Found::TooLarge => Found::Ambiguous,
            };
        }
    }
    found
}

/// What a request's cookies say under a name that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing, or no more than an empty value.
    None,
    /// One value, of characters that cookies have.
    One(&'a str),
    /// The name stands more than once.
    Ambiguous,
    /// One, with characters that cookies do not have: quotes, which some back ends take off, blanks, commas,
    /// backslashes, and whatever is not ASCII (RFC 6265, section 4.1.1).
    Malformed,
}

/// Reads another cookie than ours. Lines that [`find`] called too large are not to be read.
pub fn value<'a>(lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Value<'a> {
    let mut values = lines
        .flat_map(|line| Pairs(Some(line)))
        .filter(|pair| pair.name == name.as_bytes())
        .map(|pair| pair.value);
    let octet = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    match (values.next(), values.next()) {
        (None, _) | (Some([]), None) => Value::None,
        (Some(_), Some(_)) => Value::Ambiguous,
        (Some(value), None) if value.iter().all(octet) => {
            std::str::from_utf8(value).map_or(Value::Malformed, Value::One)
        }
        (Some(_), None) => Value::Malformed,
    }
}

/// Returns the cookies that mark sign-ins which began here, names and values, where `own` is the name of the
/// session cookie.
pub fn sign_in_cookies<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    own: &str,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    lines
        .flat_map(|line| Pairs(Some(line)))
        .filter(move |pair| is_sign_in_cookie(pair.name, own))
        .map(|pair| (pair.name, pair.value))
}

/// Says whether a name is that of a cookie which marks a sign-in. Case does not count: what reads so to
/// anybody is nobody else's.
pub fn is_sign_in_cookie(name: &[u8], own: &str) -> bool {
    name.len() == own.len().saturating_add(SUFFIX_BYTES)
        && name.split_at_checked(own.len()).is_some_and(|(begin, rest)| {
            begin.eq_ignore_ascii_case(own.as_bytes())
                && rest
                    .get(..SUFFIX.len())
                    .is_some_and(|middle| middle.eq_ignore_ascii_case(SUFFIX.as_bytes()))
        })
}

/// Returns the `Set-Cookie` value that marks a sign-in. A form of another site brings only what says `None`
/// (RFC 6265bis, section 5.5.7).
pub fn sign_in_cookie(name: &str, value: &str, form: bool, max_age: Duration) -> String {
    let same_site = if form { "None" } else { "Lax" };
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={}", max_age.as_secs())
}

/// The cookies that carry sessions.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Ours, which never reaches an upstream.
    pub own: &'a str,
    /// Those in which apps keep their own logins.
    pub foreign: &'a [Box<str>],
    /// Whether an app gets its own: not where what they say was refused.
    pub keep_foreign: bool,
}

impl Names<'_> {
    fn fate(&self, name: &[u8]) -> CookieDecision {
        if name == self.own.as_bytes() || is_rfc2965(name) || is_sign_in_cookie(name, self.own) {
            return CookieDecision::Take;
        }
        let readings = Readings::of(name);
        if readings.any(|name| same(name, self.own.as_bytes()) || is_sign_in_cookie(name, self.own)) {
            return CookieDecision::Lookalike;
        }
        match self.foreign.iter().find(|foreign| readings.any(|name| same(name, foreign.as_bytes()))) {
            None => CookieDecision::Keep,
            Some(foreign)
                if name != foreign.as_bytes()
                    && !self.foreign.iter().any(|foreign| name == foreign.as_bytes()) =>
            {
                CookieDecision::Lookalike
            }
            Some(_) if self.keep_foreign => CookieDecision::Keep,
            Some(_) => CookieDecision::Take,
        }
    }
}

/// What becomes of a cookie on its way to the upstream.
enum CookieDecision {
    Keep,
    Take,
    Lookalike,
}

/// What is left of a request's cookies for the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// The other cookies in one line; `None` if there are none, and then the field goes too.
    pub rest: Option<Vec<u8>>,
    /// How many were taken out because a back end might read their name as ours.
    pub lookalikes: u32,
}

/// Takes the session cookie out of the `Cookie` lines of a request, and what back ends could take for it.
///
/// A lookalike has our name in other letter case, or with octets around it that some parsers trim and some
/// keep: Unicode spaces (octets from 0x80), controls, blanks, quotes; or it is percent-encoded, as Rack and
/// PHP decode names, once or twice; or it has `.`, a blank, `+` or `[` where PHP reads `_`, or an array's key
/// behind it. `$Version`, `$Path`, `$Domain` and `$Port` (RFC 2965) go too: they make some parsers read
/// quotes again. What looks like a foreign session's cookie goes as well: we judged the one that bears the
/// exact name. So do the marks of sign-ins.
pub fn strip<'a>(lines: impl Iterator<Item = &'a [u8]>, names: Names<'_>) -> Stripped {
    let mut stripped = Stripped::default();
    for pair in lines.flat_map(|line| Pairs(Some(line))) {
        match names.fate(pair.name) {
            CookieDecision::Keep => {}
            CookieDecision::Take => continue,
            CookieDecision::Lookalike => {
                stripped.lookalikes = stripped.lookalikes.saturating_add(1);
                continue;
            }
        }
        match &mut stripped.rest {
            Some(rest) => rest.extend_from_slice(b"; "),
            None => stripped.rest = Some(Vec::with_capacity(256)),
        }
        if let Some(rest) = &mut stripped.rest {
            rest.extend_from_slice(pair.whole);
        }
    }
    stripped
}

/// Returns the `Set-Cookie` value that gives the browser a token, for the time it runs or until `max_age` is
/// over.
pub fn set(name: &str, token: &str, max_age: Option<Duration>) -> String {
    let mut value = format!("{name}={token}; Path=/; Secure; HttpOnly; SameSite=Lax");
    if let Some(age) = max_age {
        value.push_str(&format!("; Max-Age={}", age.as_secs()));
    }
    value
}

/// Returns the `Set-Cookie` value that takes the token from the browser.
pub fn clear(name: &str) -> String {
    set(name, "", Some(Duration::ZERO))
}

fn is_rfc2965(name: &[u8]) -> bool {
    [b"$Version".as_slice(), b"$Path", b"$Domain", b"$Port"]
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// Reads `^oct1\..{20,2000}$`.
fn is_like_a_token(value: &[u8]) -> bool {
    value
        .strip_prefix(TOKEN_PREFIX.as_bytes())
        .is_some_and(|body| (MIN_BODY_CHARS..=MAX_BODY_CHARS).contains(&body.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "__Host-octroi";
    const TOKEN: &str = "oct1.abcdefghijklmnopqrst";

    fn found<'a>(lines: &[&'a str]) -> Found<'a> {
        find(lines.iter().map(|line| line.as_bytes()), &Name::new(NAME))
    }

    fn one(token: &str) -> Found<'_> {
        Found::One(token.as_bytes())
    }

    const OURS: Names<'static> = Names { own: NAME, foreign: &[], keep_foreign: false };

    fn stripped(lines: &[&[u8]]) -> (Option<String>, u32) {
        let stripped = strip(lines.iter().copied(), OURS);
        (stripped.rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()), stripped.lookalikes)
    }

    fn ours(rest: &str) -> String {
        format!("{NAME}={rest}")
    }

    #[test]
    fn one_cookie_is_found_wherever_it_stands() {
        let alone = ours(TOKEN);
        let between = format!("a=b;\t{alone} ;c=d");

        assert_eq!(found(&[&alone]), one(TOKEN));
        assert_eq!(found(&[&between]), one(TOKEN));
        assert_eq!(found(&["a=b", &alone]), one(TOKEN));
        assert_eq!(found(&[&format!("{NAME} = {TOKEN}")]), one(TOKEN));
        assert_eq!(found(&["a=b", ""]), Found::None);
        assert_eq!(found(&[]), Found::None);
    }

    #[test]
    fn two_cookies_are_ambiguous_even_if_equal() {
        let alone = ours(TOKEN);

        assert_eq!(found(&[&alone, &alone]), Found::Ambiguous);
        assert_eq!(found(&[&format!("{alone}; {NAME}=")]), Found::Ambiguous);
        assert_eq!(found(&[&format!("{NAME}; {alone}")]), Found::Ambiguous);
        assert_eq!(found(&[&format!("a=\"; {alone}; b=\"; {alone}")]), Found::Ambiguous);
    }

    #[test]
    fn only_the_exact_name_is_ours() {
        assert_eq!(found(&[&ours(TOKEN).to_lowercase()]), Found::None);
        assert_eq!(found(&[&format!("\u{2000}{}", ours(TOKEN))]), Found::None);
        assert_eq!(found(&[&format!("x{}", ours(TOKEN))]), Found::None);
        assert_eq!(found(&[&format!("={}", ours(TOKEN))]), Found::None);
        assert_eq!(found(&[&format!("a={}", ours(TOKEN))]), Found::None);
    }

    #[test]
    fn a_value_that_is_no_token_is_malformed() {
        for value in [
            "",
            "x",
            "oct1.",
            "oct1.abcdefghijklmnopqrs",
            "\"oct1.abcdefghijklmnopqrst\"",
            "oct2.abcdefghijklmnopqrst",
        ] {
            assert_eq!(found(&[&ours(value)]), Found::Malformed, "{value}");
        }
        let longest = ours(&format!("oct1.{}", "a".repeat(2000)));

        assert_eq!(found(&[&longest]), one(&longest[NAME.len() + 1..]));
        assert_eq!(found(&[&format!("{longest}a")]), Found::Malformed);
    }

    #[test]
    fn cookies_are_bounded() {
        let pairs = vec!["a=b"; 100].join("; ");
        let bytes = "a".repeat(MAX_BYTES);

        assert_eq!(found(&[&pairs]), Found::None);
        assert_eq!(found(&[&pairs, "c=d"]), Found::TooLarge);
        assert_eq!(found(&[&bytes]), Found::None);
        assert_eq!(found(&[&format!("{bytes}a")]), Found::TooLarge);
        assert_eq!(found(&[&bytes[..MAX_BYTES - 2], "a"]), Found::TooLarge);
    }

    #[test]
    fn ours_does_not_reach_the_upstream() {
        assert_eq!(stripped(&[ours(TOKEN).as_bytes()]), (None, 0));
        assert_eq!(
            stripped(&[format!("a=b;{}; c=\"d e\"", ours(TOKEN)).as_bytes(), b"f=g"]),
            (Some("a=b; c=\"d e\"; f=g".into()), 0)
        );
        assert_eq!(stripped(&[format!("{0}; {0}; {NAME}", ours("x")).as_bytes()]), (None, 0));
        assert_eq!(stripped(&[b"a=b"]), (Some("a=b".into()), 0));
        assert_eq!(stripped(&[]), (None, 0));
    }

    #[test]
    fn marks_of_sign_ins_are_ours_alone() {
        let line = "a=1; __Host-octroi-sign-in-0123abcd=x; b=2; __HOST-octroi-sign-in-0123abcd=y; __Host-octroi-sign-in-0123abcd[z]=y";
        let near = "__Host-octroi-sign-in-0123abc=x; __Host-octroi-sign-in-0123abcde=x; __Host-octroi-sign_in-0123abcd=x";

        assert_eq!(stripped(&[line.as_bytes()]), (Some("a=1; b=2".into()), 1));
        assert_eq!(stripped(&[near.as_bytes()]), (Some(near.into()), 0));
        let found: Vec<_> = sign_in_cookies([line.as_bytes(), near.as_bytes()].into_iter(), NAME)
            .map(|(_, value)| value)
            .collect();
        assert_eq!(found, [b"x", b"y"]);
        assert_eq!(
            sign_in_cookie("n", "v", true, Duration::from_secs(600)),
            "n=v; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=600"
        );
    }

    #[test]
    fn names_that_back_ends_decode_are_lookalikes_of_an_app_s_session() {
        let foreign: [Box<str>; 3] = ["sessionid".into(), "connect.sid".into(), "PHP_ID".into()];
        let left = |line: &str| {
            let names = Names { own: NAME, foreign: &foreign, keep_foreign: true };
            let stripped = strip(std::iter::once(line.as_bytes()), names);
            (stripped.rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()), stripped.lookalikes)
        };

        for name in [
            "sessioni%64",
            "sessioni%44",
            "%73essionid",
            "%2573essionid",
            "sessioni%25%36%34",
            "%20sessionid",
            "sessionid%00",
            "sessionid%00.x",
            "sessionid[a]",
            "sessionid%5Ba%5D",
            "SESSIONID",
            "connect_sid",
            "connect%2esid",
            "connect sid",
            "connect[sid",
            "PHP.ID",
            "PHP ID",
            "PHP+ID",
            "php%20id",
            "PHP.ID[x]",
        ] {
            assert_eq!(
                left(&format!("a=b; {name}=x; sessionid=1")),
                (Some("a=b; sessionid=1".into()), 1),
                "{name}"
            );
        }
        for line in [
            "sessionid=1",
            "connect.sid=1",
            "PHP_ID=1",
            "session-id=1",
            "sessionid2=1",
            "connect-sid=1",
            "my.sessionid=1",
            "sessioni%252564=1",
        ] {
            assert_eq!(left(line), (Some(line.into()), 0), "{line}");
        }
    }

    #[test]
    fn what_a_back_end_could_take_for_ours_goes_too() {
        for name in [
            "__HOST-OCTROI",
            "\u{2000}__Host-octroi",
            "__Host-octroi\u{a0}",
            "\u{2000}__host-OCTROI\u{3000}",
            "\x0b__Host-octroi",
            "\"__Host-octroi\"",
            "__Host-octroi \u{85}",
            "__Host%2doctroi",
            "%5f%5fHost-octroi",
            "__Host-octro%69",
            "__Host-octro%2569",
            "__Host-octroi%00x",
            "%20__Host-octroi%0d",
            "__Host-octroi[x]",
            "__Host-octroi%5Bx",
        ] {
            assert_eq!(stripped(&[format!("a=b; {name}=x").as_bytes()]), (Some("a=b".into()), 1), "{name:?}");
        }
        assert_eq!(
            stripped(&[b"$Version=1; $path=/; a=b; $Domain=x; $Port=1; $other=c"]),
            (Some("a=b; $other=c".into()), 0)
        );
        for others in [
            "__Host-octroi2=x",
            "__Host-octro=x",
            "__Host-octroi%=x",
            "__Host-octroi%2=x",
            "__Host-octro%252569=x",
            "a%=x; b[c]=d; e.f=g",
        ] {
            assert_eq!(stripped(&[others.as_bytes()]), (Some(others.into()), 0));
        }
    }

    #[test]
    fn another_cookie_is_read_by_its_exact_name() {
        let read = |lines: &[&'static str]| value(lines.iter().map(|line| line.as_bytes()), "sid");

        assert_eq!(read(&["a=b; sid=x.y:z%3A=; c"]), Value::One("x.y:z%3A="));
        assert_eq!(read(&["Sid=x", "sid.sig=y"]), Value::None);
        assert_eq!((read(&["sid="]), read(&["sid"]), read(&[])), (Value::None, Value::None, Value::None));
        assert_eq!((read(&["sid=x; sid=x"]), read(&["sid=x", "sid"])), (Value::Ambiguous, Value::Ambiguous));
        for odd in ["sid=\"x\"", "sid=x y", "sid=x,y", "sid=x\\y", "sid=é"] {
            assert_eq!(read(&[odd]), Value::Malformed, "{odd}");
        }
    }

    #[test]
    fn an_app_gets_its_own_cookie_and_none_that_looks_like_it() {
        let foreign: [Box<str>; 2] = ["sid".into(), "sid.sig".into()];
        let left = |keep_foreign, line: &str| {
            let stripped =
                strip(std::iter::once(line.as_bytes()), Names { own: NAME, foreign: &foreign, keep_foreign });
            (stripped.rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()), stripped.lookalikes)
        };
        let line = format!(
            "a=b; {}; sid=x; SID=y; \u{2000}sid=z; \"sid\"=q; sid.sig=s; Sid.Sig=t; sid2=w",
            ours(TOKEN)
        );

        assert_eq!(left(true, &line), (Some("a=b; sid=x; sid.sig=s; sid2=w".into()), 4));
        assert_eq!(left(false, &line), (Some("a=b; sid2=w".into()), 4));
    }

    #[test]
    fn the_cookie_is_set_with_every_guard() {
        assert_eq!(set(NAME, TOKEN, None), format!("{NAME}={TOKEN}; Path=/; Secure; HttpOnly; SameSite=Lax"));
        assert_eq!(clear(NAME), format!("{NAME}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"));

        let text = set(NAME, TOKEN, Some(Duration::from_secs(1800)));
        let read = ::cookie::Cookie::parse(text).unwrap();
        assert_eq!((read.name(), read.value(), read.path(), read.domain()), (NAME, TOKEN, Some("/"), None));
        assert_eq!(
            (read.secure(), read.http_only(), read.same_site()),
            (Some(true), Some(true), Some(::cookie::SameSite::Lax))
        );
        assert_eq!(read.max_age().map(|age| age.whole_seconds()), Some(1800));
    }

    /// What a browser sends reads as the same pairs, and ours is found among them. `tests/third_party.rs`
    /// asks the same of the IETF's cases.
    #[test]
    fn browsers_headers_read_as_browsers_meant_them() {
        for header in [
            "sid=1",
            "sid=",
            "sid==",
            "sid=a=b; theme=dark; _ga=GA1.2.3.4",
            "sid=one; sid=two; sid=one",
            "=no-name",
            "no-value",
            "no-value; sid=1",
            "list=a, b=c, d; sid=1",
            "open=\"x; sid=1",
            "both=\"x y\"; inner=x\"y\"z; gap=a   b",
            "path=/a?b=c&d=e#f; at=a@b; odd=(x)[y]{z}<w>!%^*|~",
            "tab=a\tb; sid=1",
            "été=là; 名=値; emoji=🍪",
            "octroi=x; host-octroi=y; __Host-octroi2=z; __Secure-octroi=w",
        ] {
            let with = format!("{header}; {}", ours(TOKEN));
            let before = format!("{}; {header}", ours(TOKEN));
            let plain = stripped(&[header.as_bytes()]);

            assert_eq!(found(&[header]), Found::None, "{header}");
            assert_eq!((found(&[&with]), found(&[&before])), (one(TOKEN), one(TOKEN)), "{with}");
            assert_eq!(
                (stripped(&[with.as_bytes()]), stripped(&[before.as_bytes()])),
                (plain.clone(), plain.clone()),
                "{with}"
            );
            assert_eq!(plain, (Some(header.to_owned()), 0), "what a browser writes is forwarded as it is");
        }
    }

    proptest! {
        /// Searching finds what reading all pairs finds.
        #[test]
        fn ours_is_searched_for_as_pairs_are_read(line in "((__Host-octroi|x|=|;| |\t|a=b|oct1\\.){0,4}(;|; |=| )?){0,6}") {
            let read: Vec<&[u8]> = Pairs(Some(line.as_bytes())).filter(|pair| pair.name == NAME.as_bytes()).map(|pair| pair.value).collect();

            prop_assert_eq!(Name::new(NAME).values(line.as_bytes()).collect::<Vec<_>>(), read);
        }

        #[test]
        fn nothing_that_reads_as_ours_is_left(
            lines in prop::collection::vec("(__Host-octroi|__HOST-octroi|a|\\$Version|\u{2000}|[ -~]){0,6}(=|;| |\t|\"){0,3}[ -~]{0,12}", 0..5)
        ) {
            let once = strip(lines.iter().map(|line| line.as_bytes()), OURS);
            let rest = once.rest.clone().unwrap_or_default();

            prop_assert_eq!(find(std::iter::once(rest.as_slice()), &Name::new(NAME)), Found::None);
            prop_assert_eq!(strip(std::iter::once(rest.as_slice()), OURS), Stripped { rest: once.rest, lookalikes: 0 });
        }
    }
}
