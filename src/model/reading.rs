//! How an app may understand a path that parsers interpret differently.
//!
//! A rule that allows `%2F` in a segment compares it as these three characters; an app behind it may decode
//! it, and then sees another path, for which another rule was written. So such a path is checked in each form
//! that an app may see.

use std::{
    hash::{BuildHasher, RandomState},
    mem,
};

use super::{
    odd_path::{Odd, is_odd, without},
    page_data,
    path_text::{
        Slash, before_query, decoded, escapes, has_encoded_slash, has_escape, hides, is_climbing, is_wide,
        last_stripped, merged, narrowed, stripped,
    },
};

/// How often an app may decode. An escape that is left after that is refused (CWE-174).
const DECODINGS: u8 = 2;

/// How many octets are read and written to find the forms of one path: as many as twelve paths of the usual
/// bound have, so that no path costs more than a few plain ones of its length.
///
/// A path of 8 KiB that holds a URL within a URL, encoded twice with all its slashes and queries, as image
/// proxies get it, needs less. What needs more mixes parameters, slashes, queries and full-width letters,
/// each in several encodings.
pub(super) const MAX_OCTETS: usize = 96 << 10;

/// What a form costs in addition to its octets, in octets: it is built, compared with the others and looked
/// up.
const FORM_OCTETS: usize = 256;

/// Why a path has another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Some software decodes or splits it differently.
    Spelled,
    /// Some servers leave parts of it out: `/(S(…))/`, a script before more segments, blanks and dots. The
    /// form that this one shortens, if it is not the path as requested, is reported just before.
    Shortened,
    /// It requests the data of this page (`page_data`), whose path replaces its own.
    Page,
}

/// Why a path is refused for one of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has a dot segment, `.` or `..`.
    Climbs,
    /// It is still encoded, or contains a backslash or a NUL.
    Hides,
    /// The forms exceed the bound.
    TooMany,
}

/// Reports every form of a path, other than the one it is `asked` as, in which an app may see it; some more
/// than once.
///
/// The forms are the results of these steps, in every order: decode, at most twice, and keep `%2F` or decode
/// it too; remove the parameters of each segment; keep only what precedes a `?` or `#`, since software that
/// forwards a decoded path makes a query of the rest; replace full-width characters by those that they stand
/// for, once. Each form is reported with empty segments merged, and without what some servers leave out
/// ([`is_odd`]). What precedes the first `;` is read alone, too: in Fastify before version 5 and restify a
/// query begins there.
///
/// Literal parameters of the last segment (`/login;jsessionid=1`) are always removed: software that keeps
/// them has no such page, or one for every name. `%3B` is data (RFC 3986, section 2.2), so it is kept as
/// well.
///
/// At most `octets` are read for it. No form is longer than three times the path.
pub(super) fn all(
    raw: &str,
    asked: &str,
    octets: usize,
    tell: &mut dyn FnMut(Reading, &str),
) -> Result<(), Refused> {
    let mut walk = Walk {
        asked,
        tell,
        left: octets,
        key: RandomState::new().hash_one(0_u8),
        hashes: Vec::new(),
        forms: Vec::new(),
    };
    if is_odd(asked) {
        let each: [&[Odd]; 4] = [&[Odd::Session], &[Odd::Script], &[Odd::End], &Odd::ALL];
        for parts in each {
            walk.spend(asked)?;
            let read = without(asked, parts);
            if read != asked {
                (walk.tell)(Reading::Shortened, &read);
                walk.tell_pages(&read)?;
            }
        }
        walk.tell_pages(asked)?;
    }
    let last = last_stripped(raw);
    walk.add(Form { text: last.to_owned(), ..Form::default() })?;
    if last.len() != raw.len() {
        walk.add(Form { text: raw.to_owned(), written: true, ..Form::default() })?;
    }
    if let Some((before, _)) = raw.split_once(';') {
        walk.add(Form { text: before.to_owned(), ..Form::default() })?;
    }
    walk.steps()
}

/// A path as some parser sees it.
#[derive(Debug, Default)]
struct Form {
    text: String,
    /// How often it was decoded.
    decoded: u8,
    /// Whether full-width characters were replaced.
    narrowed: bool,
    /// Whether the literal parameters of the last segment are still there.
    written: bool,
}

impl Form {
    /// Says whether every result of another form of the same text is also a result of this one.
    fn leads_wherever(&self, other: &Self) -> bool {
        self.decoded <= other.decoded
            && self.narrowed <= other.narrowed
            && self.written == other.written
            && self.text == other.text
    }
}

struct Walk<'a> {
    asked: &'a str,
    tell: &'a mut dyn FnMut(Reading, &str),
    /// How many octets may still be read.
    left: usize,
    /// A random key, so that nobody can send many texts with one hash. Equal hashes are compared in full, so
    /// the hash need not be strong.
    key: u64,
    /// The hashes of the forms.
    hashes: Vec<u64>,
    forms: Vec<Form>,
}

impl Walk<'_> {
    /// Takes every step from every form, including new ones.
    fn steps(&mut self) -> Result<(), Refused> {
        let mut at = 0;
        while let Some(form) = self.forms.get_mut(at) {
            // No step leads to the same text, so it is not missed here.
            let text = mem::take(&mut form.text);
            let (decoded, narrowed, written) = (form.decoded, form.narrowed, form.written);
            self.steps_from(&text, &|text| Form { text, decoded, narrowed, written })?;
            if let Some(form) = self.forms.get_mut(at) {
                form.text = text;
            }
            at = at.saturating_add(1);
        }
        Ok(())
    }

    fn steps_from(&mut self, text: &str, form: &dyn Fn(String) -> Form) -> Result<(), Refused> {
        let Form { decoded: times, narrowed: is_narrowed, .. } = form(String::new());
        if times < DECODINGS && has_escape(text) {
            let times = times.saturating_add(1);
            let read = decoded(text, Slash::Decoded);
            if hides(&read) || (times == DECODINGS && has_escape(&read)) {
                return Err(Refused::Hides);
            }
            self.spend(text)?;
            self.add(Form { decoded: times, ..form(read) })?;
            if has_encoded_slash(text) {
                self.spend(text)?;
                self.add(Form { decoded: times, ..form(decoded(text, Slash::Kept)) })?;
            }
        }
        if text.contains(';') {
            self.spend(text)?;
            self.add(Form { written: false, ..form(stripped(text)) })?;
        }
        let before = before_query(text);
        if before.len() < text.len() {
            self.add(form(before.to_owned()))?;
        }
        if !is_narrowed && is_wide(text) {
            let read = narrowed(text);
            // A slash that stays encoded was one before, too.
            if times == DECODINGS && escapes(read.as_bytes()).count() > escapes(text.as_bytes()).count() {
                return Err(Refused::Hides);
            }
            self.spend(text)?;
            self.add(Form { narrowed: true, ..form(read) })?;
        }
        Ok(())
    }

    fn spend(&mut self, text: &str) -> Result<(), Refused> {
        self.left = self.left.checked_sub(text.len()).ok_or(Refused::TooMany)?;
        Ok(())
    }

    /// Notes a form that adds something, and reports it.
    fn add(&mut self, form: Form) -> Result<(), Refused> {
        self.left =
            self.left.checked_sub(form.text.len().saturating_add(FORM_OCTETS)).ok_or(Refused::TooMany)?;
        let hash = hash(self.key, form.text.as_bytes());
        // Software compares a path with rules only after it has decoded it once.
        let is_read = |form: &Form| form.decoded > 0 || !has_escape(&form.text);
        let mut same =
            self.hashes.iter().zip(&self.forms).filter(|(known, _)| **known == hash).map(|(_, known)| known);
        let known = same.find(|known| known.leads_wherever(&form));
        let (is_known, is_told) = (known.is_some(), known.is_some_and(is_read));
        if is_climbing(&form.text) {
            return Err(Refused::Climbs);
        }
        if !is_told && is_read(&form) {
            self.note(if form.written { last_stripped(&form.text) } else { &form.text })?;
            if form.written {
                // In frameworks they are a part of the name, and what follows them may be the extension of
                // data.
                self.tell_pages(&merged(&form.text))?;
            }
        }
        if !is_known {
            self.hashes.push(hash);
            self.forms.push(form);
        }
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<(), Refused> {
        let read = merged(text);
        if read != self.asked {
            (self.tell)(Reading::Spelled, &read);
            if is_odd(&read) {
                self.spend(&read)?;
                let short = without(&read, &Odd::ALL);
                (self.tell)(Reading::Shortened, &short);
                self.tell_pages(&short)?;
                if short != read {
                    self.tell_pages(&read)?;
                }
            }
        }
        Ok(())
    }

    /// Reports the pages whose data a form is, also without what parsers remove from an end: the end of a
    /// page is not the end of the form. `/_next/data/B/a;x.json` is the data of `/a;x`, and without its
    /// parameters that of nothing.
    fn tell_pages(&mut self, text: &str) -> Result<(), Refused> {
        let mut told = Ok(());
        page_data::pages(text, &mut |page| {
            told = told.and_then(|()| {
                self.tell_page(&page)?;
                let before = before_query(&page);
                if before != page {
                    self.tell_page(before)?;
                }
                if page.contains(';') { self.tell_page(&stripped(&page)) } else { Ok(()) }
            });
        });
        told
    }

    /// Reports a page, which may not climb: Remix parses `/a/..` as a URL again once it has removed `.data`.
    fn tell_page(&mut self, page: &str) -> Result<(), Refused> {
        self.spend(page)?;
        if is_climbing(page) {
            return Err(Refused::Climbs);
        }
        (self.tell)(Reading::Page, &merged(page));
        let short = without(page, &Odd::ALL);
        if short != page {
            self.spend(page)?;
            (self.tell)(Reading::Page, &short);
        }
        Ok(())
    }
}

/// Hashes a text eight octets at a time, with both halves of a product.
fn hash(key: u64, text: &[u8]) -> u64 {
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let [low @ .., _, _, _, _, _, _, _, _] = product.to_le_bytes();
        let [_, _, _, _, _, _, _, _, high @ ..] = product.to_le_bytes();
        u64::from_le_bytes(low) ^ u64::from_le_bytes(high)
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let all = words.iter().fold(key, |hash, word| fold(hash, u64::from_le_bytes(*word)));
    fold(fold(all, u64::from_le_bytes(last)), u64::try_from(text.len()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: &str, octets: usize) -> Result<Vec<String>, Refused> {
        let asked = merged(&stripped(&decoded(raw, Slash::Kept))).into_owned();
        let mut found: Vec<String> = Vec::new();
        all(raw, &asked, octets, &mut |_, text| found.push(text.to_owned()))?;
        found.retain(|text| *text != asked);
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn read(raw: &str) -> Vec<String> {
        told(raw, MAX_OCTETS).unwrap()
    }

    #[test]
    fn a_slash_is_decoded_or_kept() {
        assert_eq!(read("/ops%2Fusers"), ["/ops/users"]);
        assert_eq!(read("/ops%2f%2Fusers"), ["/ops/users"]);
        assert_eq!(read("/ops/users"), [""; 0]);
        assert_eq!(read("/%C3%A9t%C3%A9"), [""; 0]);
    }

    #[test]
    fn parameters_are_taken_off_before_or_after() {
        assert_eq!(read("/a;x%2Fb"), ["/a/b", "/a;x/b"]);
        assert_eq!(read("/a;x"), [""; 0]);
        assert_eq!(read("/a/b;x"), [""; 0]);
    }

    #[test]
    fn parameters_are_kept_but_those_of_the_last_segment() {
        assert_eq!(read("/a;x/b"), ["/a", "/a;x/b"]);
        assert_eq!(read("/a;x/b;y"), ["/a", "/a;x/b"]);
        assert_eq!(read("/a%3Bx/b"), ["/a;x/b"]);
        assert_eq!(read("/a%3Bx"), ["/a;x"]);
        assert_eq!(read("/a%3Bx;y"), ["/a;x"]);
        assert_eq!(read("/a;/"), ["/a", "/a;/"]);
    }

    #[test]
    fn a_session_in_the_path_is_left_out() {
        for path in [
            "/(S(x))/admin",
            "/(A(x)S(y)F(z))/admin",
            "/(X(1))/(S(x))/admin",
            "/%28S(x)%29/admin",
            "/admin/(S(x))",
        ] {
            assert!(
                read(path).iter().any(|read| read.trim_end_matches('/') == "/admin"),
                "{path}: {:?}",
                read(path)
            );
        }
        for path in [
            "/(x)/admin",
            "/()/admin",
            "/(S(x)/admin",
            "/(SS(x))/admin",
            "/(S(x))a/admin",
            "/a(S(x))/admin",
            "/(S(x)y)/admin",
        ] {
            assert_eq!(read(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_script_before_more_segments_is_left_out() {
        for path in [
            "/index.php/admin",
            "/INDEX.PHP/admin",
            "/index%2Ephp/admin",
            "/app_dev.php/admin",
            "/index.cfm/admin",
            "/x.fcgi/admin",
        ] {
            assert_eq!(read(path), ["/admin"], "{path}");
        }
        assert_eq!(read("/shop/index.php/admin/x"), ["/shop/admin/x"]);
        assert_eq!(read("/index.php/"), ["/"]);
        for path in ["/index.php", "/a.php.b/admin", "/php/admin", "/index.html/admin", "/v1.0/admin"] {
            assert_eq!(read(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn the_data_of_a_page_is_the_page() {
        for path in [
            "/_next/data/b/admin/x.json",
            "/_next/data/b/admin/x.json/",
            "/admin/x.rsc",
            "/admin/x.data/",
            "/admin/x/__data.json",
            "/admin/x/_payload-json",
            "/page-data/admin/x/page-data.json",
        ] {
            assert_eq!(read(path), ["/admin/x"], "{path}");
        }
        // In every form in which an app may see it.
        for path in [
            "/admin/x%2Fq-data.json",
            "/admin/x/_%2570ayload.json",
            "/(S(x))/admin/x/__data.json",
            "/index.php/admin/x.rsc",
            "/admin/x.data.",
            // The end of the page is not the end of the path.
            "/_next/data/b/admin/x;.json",
            "/_next/data/b/admin/x%3B1.json",
            "/_next/data/b/admin/x%253F.json",
            "/_next/data/b/admin/x%20.json",
            "/page-data/admin/x;1/page-data.json",
        ] {
            assert!(read(path).contains(&"/admin/x".to_owned()), "{path}: {:?}", read(path));
        }
        for path in [
            "/page-data/app-data.json",
            "/_next/static/b/admin.js",
            "/admin.json",
            "/a/data.json",
            "/x_payload.json",
        ] {
            assert_eq!(read(path), [""; 0], "{path}");
        }
        // `/admin/..` parsed as a URL is `/`.
        for path in ["/admin/...data", "/admin/x/...rsc/", "/a/%252E..data"] {
            assert!(
                matches!(told(path, MAX_OCTETS), Err(Refused::Climbs)),
                "{path}: {:?}",
                told(path, MAX_OCTETS)
            );
        }
    }

    #[test]
    fn what_windows_does_not_see_is_left_out() {
        for path in [
            "/admin./x",
            "/admin%20/x",
            "/%20admin/x.",
            "/admin.../x%20.",
            "/admin::$DATA/x",
            "/admin:$i30:$INDEX_ALLOCATION/x",
        ] {
            assert!(read(path).contains(&"/admin/x".to_owned()), "{path}: {:?}", read(path));
        }
        for path in ["/.well-known/x", "/a.b/x.y", "/items:batch", "/a%20b", "/a:b:c", "/..a"] {
            assert_eq!(read(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn what_stands_before_a_question_mark_or_hash_is_read_alone() {
        assert_eq!(read("/admin%3Fx"), ["/admin"]);
        assert_eq!(read("/admin%23x/y%3fz"), ["/admin"]);
        assert_eq!(read("/admin%253Fx"), ["/admin", "/admin?x"]);
        assert_eq!(read("/admin%2Fx%3Fy"), ["/admin%2Fx", "/admin/x", "/admin/x?y"]);
    }

    #[test]
    fn full_width_characters_are_read_as_those_they_stand_for() {
        assert_eq!(read("/%EF%BD%81dmin"), ["/admin"]);
        assert_eq!(read("/a%EF%BC%8Fb%E2%81%84c"), ["/a/b/c"]);
        assert_eq!(read("/%E3%81%82"), [""; 0], "hiragana");
        // A full-width slash behind a `;` begins a segment, so the parameters no longer belong to the last
        // segment.
        assert_eq!(read("/i;%EF%BC%8F"), ["/i/", "/i;/"]);
        assert!(read("/i;x%EF%BC%8Fa").contains(&"/i;x/a".to_owned()), "{:?}", read("/i;x%EF%BC%8Fa"));
    }

    #[test]
    fn what_is_decoded_twice_is_read_twice() {
        assert_eq!(read("/%2561dmin"), ["/admin"]);
        assert_eq!(read("/ops%252Fusers"), ["/ops/users"]);
        assert_eq!(read("/a%252Fb%2Fc"), ["/a%2Fb/c", "/a/b/c"]);
        assert_eq!(read("/a%253Bx%252Fb"), ["/a", "/a/b", "/a;x%2Fb", "/a;x/b"]);
    }

    #[test]
    fn a_full_width_percent_sign_makes_escapes_too() {
        assert_eq!(read("/%EF%BC%8561dmin"), ["/%61dmin", "/admin"]);
        assert_eq!(read("/%25%EF%BC%96%EF%BC%91dmin"), ["/%61dmin", "/admin"]);
        assert!(read("/%25EF%25BD%2581dmin").contains(&"/admin".to_owned()));
        assert!(read("/;xx%EF%BC%8Fadmin").contains(&"/admin".to_owned()), "parameters come of it, too");
        assert!(read("/admin%EF%BC%9Fx").contains(&"/admin".to_owned()), "and queries");
        assert_eq!(read("/100%EF%BC%85.pdf"), ["/100%.pdf"], "a name");
        // Still encoded after two decodings, or climbing after them.
        assert_eq!(told("/%25EF%25BC%258561dmin", MAX_OCTETS), Err(Refused::Hides));
        assert_eq!(told("/%EF%BC%855Cx", MAX_OCTETS), Err(Refused::Hides));
        assert_eq!(told("/a/%EF%BC%852e%EF%BC%852e/b", MAX_OCTETS), Err(Refused::Climbs));
    }

    #[test]
    fn what_it_takes_to_read_a_path_is_bounded() {
        let busy = "/a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f";
        let path =
            |times| format!("{0}%EF%BC%9B/a%EF%BC%8F;x%2F{0}%3F%253F/;y%2F%3B%252F", busy.repeat(times));
        // What image proxies get: a URL within a URL.
        let image =
            "https%3A%2F%2Fa.test%2Fimage%3Fu%3Dhttps%253A%252F%252Fb.test%252Fc%253Fd%253De%2526f%2523";

        for (times, is_read) in [(1, true), (20, false), (60, false)] {
            let read = told(&path(times), MAX_OCTETS);
            assert_eq!(read.is_ok(), is_read, "{times}");
            assert!(is_read || read == Err(Refused::TooMany), "{times}");
        }
        for times in [1, 20, 88] {
            assert!(told(&format!("/unsafe/{}", image.repeat(times)), MAX_OCTETS).is_ok(), "{times}");
        }
        assert!(
            told(&format!("/{}", "%EF%BC%91".repeat(880)), MAX_OCTETS).is_ok(),
            "a long name in full-width digits"
        );
        assert!(told(&path(1), usize::MAX).unwrap().iter().all(|read| read.len() <= 3 * path(1).len()));
    }
}
