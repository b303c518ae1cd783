//! How an app may read a path that is spelled so that readers differ.
//!
//! A rule that allows `%2F` in a segment compares it as the three characters it is; an app behind it may decode it, and then sees another
//! path, for which another rule was written. So such a path is judged in each form that an app may read (`design.md` 5).

/// How often an app may decode. What is an escape after that is refused before (CWE-174).
const DECODINGS: usize = 2;

/// Returns every form of a path, beside the one it is `asked` as: decoded once or twice, with encoded slashes decoded or kept, with
/// parameters kept or taken off before or after each decoding, with what stands before a decoded `?` or `#` alone, with full-width
/// characters as those that they stand for, and with empty segments merged.
///
/// What stands before the first `;` is read alone, too: for Fastify before version 5 and restify a query begins there.
///
/// Parameters of the last segment as they are written (`/login;jsessionid=1`) are always taken off: whoever keeps them has no such page,
/// or one for every name. `%3B` is data (RFC 3986, section 2.2), so it is kept there too.
///
/// Two ways to decode, parameters taken off or not, before and after two decodings: at most 215 forms of what has all of that, each no
/// longer than the path.
pub(super) fn all(raw: &str, asked: &str) -> Vec<String> {
    let mut found = Vec::new();
    let last = last_stripped(raw);
    if last != raw {
        forms(vec![raw.to_owned()], |text| {
            read(&mut found, asked, &stripped(text));
            read(&mut found, asked, &last_stripped(text));
            // A slash of another width behind a `;` begins a segment of its own, and the parameters are not the last one's any more.
            if is_wide(text) {
                read(&mut found, asked, &last_stripped(&narrowed(text)));
            }
        });
    }
    let mut begun = vec![last];
    add(&mut begun, stripped(raw));
    forms(begun, |text| read(&mut found, asked, text));
    if let Some((before, _)) = raw.split_once(';') {
        for slash in [Slash::Kept, Slash::Decoded] {
            read(&mut found, asked, &decoded(before, slash));
        }
    }
    found
}

/// Returns each form without what some servers leave out, beside those that were `found`: twice as many again at most, and five.
pub(super) fn shortened(asked: &str, found: &[String]) -> Vec<String> {
    let mut more = Vec::new();
    let mut note = |text: String| {
        if text != asked && !found.contains(&text) {
            add(&mut more, text);
        }
    };
    if is_odd(asked) {
        for part in [Odd::Session, Odd::Script, Odd::End] {
            note(without(asked, &[part]));
        }
    }
    for text in std::iter::once(asked).chain(found.iter().map(String::as_str)).filter(|text| is_odd(text)) {
        note(without(text, &[Odd::Session, Odd::Script, Odd::End]));
        if let Some(page) = page_of_data(text) {
            note(merged(&page));
        }
    }
    more
}

/// Returns how long a path is without all that, and without a slash at its end.
pub(super) fn shortened_length(path: &str) -> usize {
    without(path, &[Odd::Session, Odd::Script, Odd::End]).trim_end_matches('/').len()
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

/// Says whether a path has a part that some servers leave out.
pub(super) fn is_odd(text: &str) -> bool {
    let mut segments = text.split('/').peekable();
    while let Some(segment) = segments.next() {
        if trimmed(segment) != segment || is_session(segment) || (segments.peek().is_some() && is_script(segment)) {
            return true;
        }
    }
    page_of_data(text).is_some()
}

/// Returns the page of which this is the data, as frameworks name it: who may read the one may read the other. `/_next/data/BUILD/a.json`
/// and `/a.rsc` are Next.js's, `/a/__data.json` SvelteKit's, `/a/_payload.json` Nuxt's, `/a.data` and `/_root.data` React Router's.
fn page_of_data(text: &str) -> Option<String> {
    if let Some((base, page)) = text.split_once("/_next/data/").and_then(|(base, rest)| Some((base, rest.split_once('/')?.1))) {
        let page = page.strip_suffix(".json")?;
        return Some(format!("{base}/{}", if page == "index" { "" } else { page }));
    }
    let folder = || text.strip_suffix("/__data.json").or_else(|| text.strip_suffix("/_payload.json"));
    let file = || text.strip_suffix(".data").or_else(|| text.strip_suffix(".rsc"));
    let start = |page: &str| page.strip_suffix("/_root").or_else(|| page.strip_suffix("/index")).map(|base| format!("{base}/"));
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
            Odd::Script => !ends && is_script(segment),
            Odd::End => false,
        };
        if !parts.iter().any(is_out) {
            out.push('/');
            out.push_str(if parts.contains(&Odd::End) { trimmed(segment) } else { segment });
        } else if ends {
            out.push('/');
        }
    }
    merged(&out)
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

fn is_script(segment: &str) -> bool {
    const ENDS: [&str; 8] = ["php", "cfm", "cgi", "fcgi", "pl", "py", "rb", "lua"];
    segment.rsplit_once('.').is_some_and(|(_, end)| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

fn trimmed(segment: &str) -> &str {
    let end = segment.find("::").into_iter().chain(segment.find(":$")).min().unwrap_or(segment.len());
    segment.get(..end).unwrap_or(segment).trim_start_matches(' ').trim_end_matches([' ', '.'])
}

/// Tells of every text that comes of decoding.
fn forms(mut layer: Vec<String>, mut tell: impl FnMut(&str)) {
    for _ in 0..DECODINGS {
        let mut next = Vec::new();
        for text in &layer {
            for slash in [Slash::Kept, Slash::Decoded] {
                let decoded = decoded(text, slash);
                add(&mut next, stripped(&decoded));
                add(&mut next, decoded);
            }
        }
        for text in &next {
            tell(text);
        }
        layer = next;
    }
}

/// Notes what becomes of a decoded text.
fn read(found: &mut Vec<String>, asked: &str, text: &str) {
    let mut note = |text: &str| {
        for text in [text, before_query(text)] {
            let read = merged(text);
            if read != asked {
                add(found, read);
            }
        }
    };
    note(text);
    if is_wide(text) {
        let narrow = narrowed(text);
        note(&stripped(&narrow));
        note(&narrow);
    }
}

/// Returns what stands before a `?` or `#`: who forwards a path that it decoded makes a query of the rest (`proxy_pass http://app$uri`).
pub(super) fn before_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// Says whether a text has a character that Windows makes an ASCII one of on the way to a code page.
pub(super) fn is_wide(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(|character| narrow(character) != character)
}

/// Reads full-width characters as Windows does on the way to a code page of its own ("best fit"), and NFKC: a backslash as the slash that
/// it is there.
pub(super) fn narrowed(text: &str) -> String {
    text.chars().map(narrow).collect()
}

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
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, after @ ..] if byte == b'%' => digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        rest = escaped.map_or(after, |(_, after)| after);
        match escaped {
            Some((b'/', _)) if slash == Slash::Kept => bytes.extend_from_slice(b"%2F"),
            Some((octet, _)) => bytes.push(octet),
            None => bytes.push(byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Says whether a text has an escape.
pub(super) fn has_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| matches!(three, [b'%', high, low] if digit(*high).is_some() && digit(*low).is_some()))
}

/// The value of a hexadecimal digit.
pub(super) fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Takes the parameters off each segment.
fn stripped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, segment) in text.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        out.push_str(segment.split(';').next().unwrap_or_default());
    }
    out
}

/// Takes the parameters off the last segment.
fn last_stripped(text: &str) -> String {
    let last = text.rfind('/').unwrap_or(0);
    let end = text.get(last..).and_then(|segment| segment.find(';')).map_or(text.len(), |at| last.saturating_add(at));
    text.get(..end).unwrap_or(text).to_owned()
}

/// Reads `//` as `/`.
pub(super) fn merged(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if !(character == '/' && out.ends_with('/')) {
            out.push(character);
        }
    }
    out
}

fn add(all: &mut Vec<String>, text: String) {
    if !all.contains(&text) {
        all.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Vec<String> {
        let asked = merged(&stripped(&decoded(raw, Slash::Kept)));
        let mut found = all(raw, &asked);
        let more = shortened(&asked, &found);
        found.extend(more);
        found
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
        assert_eq!(read("/a;x/b"), ["/a;x/b", "/a"]);
        assert_eq!(read("/a;x/b;y"), ["/a;x/b", "/a"]);
        assert_eq!(read("/a%3Bx/b"), ["/a;x/b"]);
        assert_eq!(read("/a%3Bx"), ["/a;x"]);
        assert_eq!(read("/a%3Bx;y"), ["/a;x"]);
        assert_eq!(read("/a;/"), ["/a;/", "/a"]);
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
        assert_eq!(read("/admin%253Fx"), ["/admin?x", "/admin"]);
        assert_eq!(read("/admin%2Fx%3Fy"), ["/admin%2Fx", "/admin/x?y", "/admin/x"]);
    }

    #[test]
    fn full_width_characters_are_read_as_those_they_stand_for() {
        assert_eq!(read("/%EF%BD%81dmin"), ["/admin"]);
        assert_eq!(read("/a%EF%BC%8Fb%E2%81%84c"), ["/a/b/c"]);
        assert_eq!(read("/%E3%81%82"), [""; 0], "hiragana");
        assert_eq!(read("/i;%EF%BC%8F"), ["/i;/"]);
        assert!(read("/i;x%EF%BC%8Fa").contains(&"/i;x/a".to_owned()), "{:?}", read("/i;x%EF%BC%8Fa"));
    }

    #[test]
    fn what_is_decoded_twice_is_read_twice() {
        assert_eq!(read("/%2561dmin"), ["/admin"]);
        assert_eq!(read("/ops%252Fusers"), ["/ops/users"]);
        assert_eq!(read("/a%252Fb%2Fc"), ["/a%2Fb/c", "/a/b/c"]);
        assert_eq!(read("/a%253Bx%252Fb"), ["/a", "/a;x%2Fb", "/a/b", "/a;x/b"]);
    }

    #[test]
    fn there_are_never_many() {
        let busy = "/a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f".repeat(20);
        let all = format!("{busy}%EF%BC%9B/a%EF%BC%8F;x%2F{busy}%3F%253F/;y%2F%3B%252F");

        for path in [&busy, &all] {
            let odd = format!("/(S(x))/index.php{path}./%20x");
            for path in [path, &odd] {
                assert!(read(path).len() <= 650, "{}", read(path).len());
            }
        }
    }
}
