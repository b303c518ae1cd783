//! How an app may read a path that is spelled so that readers differ.
//!
//! A rule that allows `%2F` in a segment compares it as the three characters it is; an app behind it may decode it, and then sees another
//! path, for which another rule was written. So such a path is judged in each form that an app may read (`design.md` 5).

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    mem,
};

/// How often an app may decode. What is an escape after that is refused (CWE-174).
const DECODINGS: u8 = 2;

/// How many octets are read and written to find the forms of one path: as many as twelve paths of the usual bound have, so that none costs
/// more than a few plain ones of its length.
///
/// A path of 8 KiB that is a URL in a URL, encoded twice with all its slashes and queries, as proxies of images are asked for, needs less. What
/// needs more mixes parameters, slashes, queries and full-width letters, each in several encodings.
pub(super) const MAX_OCTETS: usize = 96 << 10;

/// What a form costs beside its octets, in octets: it is made, compared with the others and looked up.
const FORM_OCTETS: usize = 256;

/// Why a path is read so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is spelled so that some decode it, or cut it off, otherwise.
    Spelled,
    /// Some servers leave parts of it out: `/(S(…))/`, a script before more segments, blanks and dots. What it is the shorter form of, if not
    /// the path as asked, is told just before.
    Shortened,
    /// It asks for the data of this page, whose path takes the place of its own.
    Page,
}

/// What no form of a path may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has a segment that is `.` or `..`.
    Climbs,
    /// It is still encoded, or has a backslash or a NUL.
    Hides,
    /// They need more than the bound.
    TooMany,
}

/// Tells of every form of a path, beside the one it is `asked` as, in which an app may read it; of some more than once.
///
/// They are what comes of these steps, in every order: decode, at most twice, and keep `%2F` or decode it too; take the parameters off each
/// segment; take what stands before a `?` or `#` alone, since who forwards a path that it decoded makes a query of the rest; read
/// full-width characters as those that they stand for, once. Each is told with empty segments merged, and without what some servers leave out
/// ([`is_odd`]). What stands before the first `;` is read alone, too: for Fastify before version 5 and restify a query begins there.
///
/// Parameters of the last segment as they are written (`/login;jsessionid=1`) are always taken off: whoever keeps them has no such page,
/// or one for every name. `%3B` is data (RFC 3986, section 2.2), so it is kept there too.
///
/// At most `octets` are read for it. No form is longer than three times the path.
pub(super) fn all(raw: &str, asked: &str, octets: usize, tell: &mut dyn FnMut(Reading, &str)) -> Result<(), Refused> {
    let mut walk = Walk { asked, tell, left: octets, key: RandomState::new().hash_one(0_u8), hashes: Vec::new(), forms: Vec::new() };
    if is_odd(asked) {
        let each: [&[Odd]; 4] = [&[Odd::Session], &[Odd::Script], &[Odd::End], &Odd::ALL];
        for parts in each {
            walk.spend(asked)?;
            let read = without(asked, parts);
            if read != asked {
                (walk.tell)(Reading::Shortened, &read);
            }
        }
        if let Some(page) = page_of_data(asked) {
            (walk.tell)(Reading::Page, &merged(&page));
        }
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

/// A text that some reader has before it.
#[derive(Debug, Default)]
struct Form {
    text: String,
    /// How often it was decoded.
    decoded: u8,
    /// Whether full-width characters were read as others.
    narrowed: bool,
    /// Whether parameters that the last segment was written with are still there.
    written: bool,
}

impl Form {
    /// Says whether whatever comes of another form comes of this one, of the same text, too.
    fn leads_wherever(&self, other: &Self) -> bool {
        self.decoded <= other.decoded && self.narrowed <= other.narrowed && self.written == other.written && self.text == other.text
    }
}

struct Walk<'a> {
    asked: &'a str,
    tell: &'a mut dyn FnMut(Reading, &str),
    /// How many octets may still be read.
    left: usize,
    /// So that nobody writes many texts of one hash. Two of one are compared, so it need not be a strong one.
    key: u64,
    /// Those of the forms.
    hashes: Vec<u64>,
    forms: Vec<Form>,
}

impl Walk<'_> {
    /// Takes every step from every form, those that come of it too.
    fn steps(&mut self) -> Result<(), Refused> {
        let mut at = 0;
        while let Some(form) = self.forms.get_mut(at) {
            // None of its steps leads to the same text, so that it is not missed here.
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
            // A slash that stays encoded is one before, too.
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

    /// Notes a form that adds something, and tells of it.
    fn add(&mut self, form: Form) -> Result<(), Refused> {
        self.left = self.left.checked_sub(form.text.len().saturating_add(FORM_OCTETS)).ok_or(Refused::TooMany)?;
        let hash = hash(self.key, form.text.as_bytes());
        // Nobody compares a path with rules before it was decoded once.
        let is_read = |form: &Form| form.decoded > 0 || !has_escape(&form.text);
        let mut same = self.hashes.iter().zip(&self.forms).filter(|(known, _)| **known == hash).map(|(_, known)| known);
        let known = same.find(|known| known.leads_wherever(&form));
        let (is_known, is_told) = (known.is_some(), known.is_some_and(is_read));
        if is_climbing(&form.text) {
            return Err(Refused::Climbs);
        }
        if !is_told && is_read(&form) {
            self.note(if form.written { last_stripped(&form.text) } else { &form.text })?;
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
                (self.tell)(Reading::Shortened, &without(&read, &Odd::ALL));
                if let Some(page) = page_of_data(&read) {
                    (self.tell)(Reading::Page, &merged(&page));
                }
            }
        }
        Ok(())
    }
}

/// Hashes a text by eight octets at a time, with half of what a product has above and below.
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

/// Returns how long a path is without all that some servers leave out, and without a slash at its end.
pub(super) fn shortened_length(path: &str) -> usize {
    without(path, &Odd::ALL).trim_end_matches('/').len()
}

/// A part of a path that some servers leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// `(S(…))`, a segment in which ASP.NET keeps a session without cookies, and takes it off wherever it stands (CVE-2023-36899).
    Session,
    /// `index.php` and the like before more segments: frameworks route by what follows (`PATH_INFO`).
    Script,
    /// Blanks around a segment (Spring before 4.3), and at its end dots and the name of a stream (`::$DATA`), which Windows does not see.
    End,
}

impl Odd {
    const ALL: [Self; 3] = [Self::Session, Self::Script, Self::End];
}

/// Says whether a path has a part that some servers leave out.
///
/// It is asked of many a plain path, so each segment is looked at by its ends.
pub(super) fn is_odd(text: &str) -> bool {
    let bytes = text.as_bytes();
    if memchr::memchr_iter(b':', bytes).any(|at| matches!(bytes.get(at.saturating_add(1)), Some(b':' | b'$'))) {
        return true;
    }
    if memchr::memchr3(b' ', b'.', b'(', bytes).is_none() {
        return false;
    }
    let begins = |at: usize| match text.get(at.saturating_add(1)..) {
        Some(segment) if segment.starts_with(' ') => true,
        Some(segment) if segment.starts_with('(') => is_session(segment.split('/').next().unwrap_or_default()),
        Some(_) | None => false,
    };
    let ends = |before: Option<&[u8]>| match before {
        Some([.., b' ' | b'.']) => true,
        Some(before) => is_script(before),
        None => false,
    };
    matches!(bytes, [.., b' ' | b'.'])
        || memchr::memchr_iter(b'/', bytes).any(|at| begins(at) || ends(bytes.get(..at)))
        || page_of_data(text).is_some()
}

/// Returns the page of which this is the data, as frameworks name it: who may read the one may read the other. `/_next/data/BUILD/a.json`
/// and `/a.rsc` are Next.js's, `/a/__data.json` SvelteKit's, `/a/_payload.json` Nuxt's, `/a.data`, `/a/_.data` and `/_root.data` React Router's.
///
/// Next.js before 13.4 takes `index/` off whatever follows it, since a page that is named so is `index/index` there.
fn page_of_data(text: &str) -> Option<String> {
    // Before the first is looked for everywhere.
    let is_named = [".json", ".data", ".rsc"].iter().any(|end| text.ends_with(end));
    if !is_named {
        return None;
    }
    if let Some((base, page)) = text.split_once("/_next/data/").and_then(|(base, rest)| Some((base, rest.split_once('/')?.1))) {
        let page = page.strip_suffix(".json")?;
        return Some(format!("{base}/{}", if page == "index" { "" } else { page.strip_prefix("index/").unwrap_or(page) }));
    }
    let folder = || text.strip_suffix("/__data.json").or_else(|| text.strip_suffix("/_payload.json"));
    // `/a.prefetch.rsc`, `/a.segments/_tree.segment.rsc`: parts of a page in Next.js.
    let part = |page| match str::split_once(page, ".segments/") {
        Some((page, _)) => page,
        None => page.strip_suffix(".prefetch").unwrap_or(page),
    };
    let file = || text.strip_suffix(".data").or_else(|| text.strip_suffix(".rsc").map(part));
    let start = |page: &str| ["/_root", "/index", "/_"].iter().find_map(|end| page.strip_suffix(end)).map(|base| format!("{base}/"));
    match folder() {
        Some(page) => Some(if page.is_empty() { "/".to_owned() } else { page.to_owned() }),
        None => file().filter(|page| !page.ends_with('/')).map(|page| start(page).unwrap_or_else(|| page.to_owned())),
    }
}

fn without(text: &str, parts: &[Odd]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let ends = segments.peek().is_none();
        let is_out = |part: &Odd| match part {
            Odd::Session => is_session(segment),
            Odd::Script => !ends && is_script(segment.as_bytes()),
            Odd::End => false,
        };
        if !parts.iter().any(is_out) {
            out.push('/');
            out.push_str(if parts.contains(&Odd::End) { trimmed(segment) } else { segment });
        } else if ends {
            out.push('/');
        }
    }
    merged(&out).into_owned()
}

fn is_session(segment: &str) -> bool {
    let Some(mut rest) = segment.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).filter(|rest| !rest.is_empty()) else {
        return false;
    };
    // `A(…)S(…)`: a letter each.
    while let [letter, b'(', ..] = rest.as_bytes() {
        let after = rest.split_once(')').filter(|_| letter.is_ascii_alphabetic());
        let Some((_, after)) = after else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// Says whether a text ends as the name of a script.
fn is_script(text: &[u8]) -> bool {
    const ENDS: [&str; 8] = ["php", "cfm", "cgi", "fcgi", "pl", "py", "rb", "lua"];
    let tail = text.last_chunk::<5>().map_or(text, |tail| tail);
    let end = tail.iter().rposition(|&byte| byte == b'.').and_then(|at| tail.get(at.saturating_add(1)..));
    end.is_some_and(|end| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known.as_bytes())))
}

fn trimmed(segment: &str) -> &str {
    let bytes = segment.as_bytes();
    let mut colons = memchr::memchr_iter(b':', bytes);
    let stream = colons.find(|at| matches!(bytes.get(at.saturating_add(1)), Some(b':' | b'$')));
    let named = stream.and_then(|at| segment.get(..at)).unwrap_or(segment);
    match named.as_bytes() {
        [b' ', ..] | [.., b' ' | b'.'] => named.trim_start_matches(' ').trim_end_matches([' ', '.']),
        _ => named,
    }
}

/// Returns what stands before a `?` or `#`: who forwards a path that it decoded makes a query of the rest (`proxy_pass http://app$uri`).
pub(super) fn before_query(text: &str) -> &str {
    memchr::memchr2(b'?', b'#', text.as_bytes()).and_then(|at| text.get(..at)).unwrap_or(text)
}

/// Says whether a text has a character that Windows makes an ASCII one of on the way to a code page.
pub(super) fn is_wide(text: &str) -> bool {
    let mut characters = memchr::memchr2_iter(WIDE[0], WIDE[1], text.as_bytes()).filter_map(|at| text.get(at..)?.chars().next());
    characters.any(|character| narrow(character) != character)
}

/// Reads full-width characters as Windows does on the way to a code page of its own ("best fit"), and NFKC: a backslash as the slash that
/// it is there.
pub(super) fn narrowed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, wide)) = memchr::memchr2(WIDE[0], WIDE[1], rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let mut characters = wide.chars();
        out.extend(characters.next().map(narrow));
        rest = characters.as_str();
    }
    out.push_str(rest);
    out
}

/// The octets with which the characters begin that [`narrow`] knows, in UTF-8; no other octet of a character is one of them.
const WIDE: [u8; 2] = [0xe2, 0xef];

fn narrow(character: char) -> char {
    match character {
        '\u{ff3c}' | '\u{2216}' | '\u{fe68}' | '\u{2044}' | '\u{2215}' => '/',
        '\u{2024}' | '\u{fe52}' => '.',
        '\u{fe54}' => ';',
        '\u{ff01}'..='\u{ff5e}' => u32::from(character).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(character),
        _ => character,
    }
}

/// What becomes of `%2F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    /// It stays an escape, as [`super::Path::matching`] writes it.
    Kept,
    /// It is a slash like any other.
    Decoded,
}

/// Decodes every escape once. What is no escape, or no UTF-8, no rule can name.
pub(super) fn decoded(text: &str, slash: Slash) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((plain, escape)) = next_escape(rest) {
        bytes.extend_from_slice(plain);
        let octet = match escape {
            [_, high, low, ..] => octet(*high, *low),
            _ => None,
        };
        match octet {
            Some(b'/') if slash == Slash::Kept => bytes.extend_from_slice(b"%2F"),
            Some(octet) => bytes.push(octet),
            None => bytes.push(b'%'),
        }
        rest = escape.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest);
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Says whether a text has an escape.
pub(super) fn has_escape(text: &str) -> bool {
    escapes(text.as_bytes()).next().is_some()
}

/// Says whether a text has what no path may: a backslash, or the end of a text of C.
pub(super) fn hides(text: &str) -> bool {
    memchr::memchr2(b'\\', 0, text.as_bytes()).is_some()
}

fn has_encoded_slash(text: &str) -> bool {
    escapes(text.as_bytes()).any(|octet| octet == b'/')
}

/// Returns what each escape stands for.
fn escapes(text: &[u8]) -> impl Iterator<Item = u8> {
    memchr::memchr_iter(b'%', text).filter_map(|at| match text.get(at..) {
        Some([_, high, low, ..]) => octet(*high, *low),
        _ => None,
    })
}

/// Splits before the first `%`. Where there are many, each is near: looking for it far ahead would cost more.
pub(super) fn next_escape(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.iter().position(|&byte| byte == b'%').and_then(|at| text.split_at_checked(at))
}

/// The octet of two hexadecimal digits.
pub(super) fn octet(high: u8, low: u8) -> Option<u8> {
    digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low)
}

/// The value of a hexadecimal digit.
pub(super) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a' - 10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A' - 10)),
        _ => None,
    }
}

/// Says whether a path has a segment that a file system or router would walk. Windows does not see blanks behind it, and old Spring none
/// at all.
pub(super) fn is_climbing(text: &str) -> bool {
    // Most texts have none that begins so.
    let begins = |at: usize| text.get(at.saturating_add(1)..).filter(|segment| segment.starts_with(['.', ' ']));
    memchr::memchr(b'.', text.as_bytes()).is_some()
        && memchr::memchr_iter(b'/', text.as_bytes())
            .filter_map(begins)
            .any(|segment| is_dots(segment.split('/').next().unwrap_or_default()))
}

/// Says whether a segment is `.` or `..`, with blanks around it or not.
pub(super) fn is_dots(segment: &str) -> bool {
    matches!(segment.trim_matches(' '), "." | "..")
}

/// Takes the parameters off each segment.
fn stripped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((kept, after)) = rest.split_once(';') {
        out.push_str(kept);
        rest = after.find('/').and_then(|at| after.get(at..)).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Takes the parameters off the last segment.
fn last_stripped(text: &str) -> &str {
    let last = text.rfind('/').unwrap_or(0);
    let end = text.get(last..).and_then(|segment| segment.find(';')).map_or(text.len(), |at| last.saturating_add(at));
    text.get(..end).unwrap_or(text)
}

/// Reads `//` as `/`.
pub(super) fn merged(text: &str) -> Cow<'_, str> {
    if !text.contains("//") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive('/') {
        if piece != "/" || !out.ends_with('/') {
            out.push_str(piece);
        }
    }
    Cow::Owned(out)
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
        for path in ["/(S(x))/admin", "/(A(x)S(y)F(z))/admin", "/(X(1))/(S(x))/admin", "/%28S(x)%29/admin", "/admin/(S(x))"] {
            assert!(read(path).iter().any(|read| read.trim_end_matches('/') == "/admin"), "{path}: {:?}", read(path));
        }
        for path in ["/(x)/admin", "/()/admin", "/(S(x)/admin", "/(SS(x))/admin", "/(S(x))a/admin", "/a(S(x))/admin", "/(S(x)y)/admin"] {
            assert_eq!(read(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_script_before_more_segments_is_left_out() {
        for path in
            ["/index.php/admin", "/INDEX.PHP/admin", "/index%2Ephp/admin", "/app_dev.php/admin", "/index.cfm/admin", "/x.fcgi/admin"]
        {
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
        for path in ["/_next/data/b/admin/x.json", "/admin/x.rsc", "/admin/x/__data.json", "/admin/x/_payload.json", "/admin/x.data"] {
            assert_eq!(read(path), ["/admin/x"], "{path}");
        }
        for path in ["/admin/x.prefetch.rsc", "/admin/x.segments/a/b.segment.rsc", "/_next/data/b/index/admin/x.json"] {
            assert_eq!(read(path), ["/admin/x"], "{path}");
        }
        assert_eq!(read("/admin/_.data"), ["/admin/"]);
        for path in ["/_next/data/b/index.json", "/index.rsc", "/__data.json", "/_root.data"] {
            assert_eq!(read(path), ["/"], "{path}");
        }
        assert_eq!(read("/app/_next/data/b/admin.json"), ["/app/admin"]);
        for path in ["/_next/data/b", "/_next/static/b/admin.js", "/admin.json", "/a/data.json", "/.data", "/a.database", "/x_payload.json"]
        {
            assert_eq!(read(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn what_windows_does_not_see_is_left_out() {
        for path in ["/admin./x", "/admin%20/x", "/%20admin/x.", "/admin.../x%20.", "/admin::$DATA/x", "/admin:$i30:$INDEX_ALLOCATION/x"] {
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
        // A slash of another width behind a `;` begins a segment of its own, and the parameters are not the last one's any more.
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
        // What none of two decodings reads, or what climbs then.
        assert_eq!(told("/%25EF%25BC%258561dmin", MAX_OCTETS), Err(Refused::Hides));
        assert_eq!(told("/%EF%BC%855Cx", MAX_OCTETS), Err(Refused::Hides));
        assert_eq!(told("/a/%EF%BC%852e%EF%BC%852e/b", MAX_OCTETS), Err(Refused::Climbs));
    }

    #[test]
    fn what_it_takes_to_read_a_path_is_bounded() {
        let busy = "/a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f";
        let path = |times| format!("{0}%EF%BC%9B/a%EF%BC%8F;x%2F{0}%3F%253F/;y%2F%3B%252F", busy.repeat(times));
        // What proxies of images are asked for: a URL in a URL.
        let image = "https%3A%2F%2Fa.test%2Fimage%3Fu%3Dhttps%253A%252F%252Fb.test%252Fc%253Fd%253De%2526f%2523";

        for (times, is_read) in [(1, true), (20, false), (60, false)] {
            let read = told(&path(times), MAX_OCTETS);
            assert_eq!(read.is_ok(), is_read, "{times}");
            assert!(is_read || read == Err(Refused::TooMany), "{times}");
        }
        for times in [1, 20, 88] {
            assert!(told(&format!("/unsafe/{}", image.repeat(times)), MAX_OCTETS).is_ok(), "{times}");
        }
        assert!(told(&format!("/{}", "%EF%BC%91".repeat(880)), MAX_OCTETS).is_ok(), "a long name in full-width digits");
        assert!(told(&path(1), usize::MAX).unwrap().iter().all(|read| read.len() <= 3 * path(1).len()));
    }
}
