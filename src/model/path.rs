//! The path of a request: refused or accepted, never repaired.
//!
//! The exception is a segment that is a bare `.`, which means nothing and is removed first (RFC 3986, section
//! 6.2.2.3).

use std::{borrow::Cow, collections::BTreeSet};

use super::{
    odd_path,
    path_text::{self, Slash, digit},
    reading::{self, Reading, Refused},
};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NoSlash,
    /// A byte that RFC 3986 does not allow in a path, or a control character.
    #[error("a character that a path does not have")]
    Octet,
    /// Text that is not UTF-8 after decoding.
    #[error("escapes that are no UTF-8, as in links of Latin-1 sites")]
    Utf8,
    /// `%` without two hexadecimal digits.
    #[error("`%` without two hexadecimal digits")]
    Escape,
    /// An escape that decodes to another dangerous escape.
    #[error("an escape inside an escape")]
    DoubleEncoding,
    /// A segment that is `..`, plain, encoded or before a `;`, or an encoded `.`.
    #[error("a dot segment")]
    DotSegment,
    /// `\`, plain or encoded.
    #[error("a backslash")]
    Backslash,
    /// `%2F` on a route without `allow_encoded_slash`.
    #[error("an encoded slash")]
    EncodedSlash,
    /// `;` on a route without `allow_path_parameters`.
    #[error("a path parameter (`;`)")]
    Parameter,
    /// `//` on a route without `merge_slashes`.
    #[error("an empty segment (`//`)")]
    EmptySegment,
    /// Apps may interpret it in more ways than are checked.
    #[error("a path that apps may read in too many ways")]
    Ambiguous,
}

/// What a route allows in a path beyond the strict form. All off unless the operator says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `%2F` may occur in a segment and is matched as these three characters.
    pub allow_encoded_slash: bool,
    /// `;name=value` may follow a segment and is ignored when the segment is compared.
    pub allow_path_parameters: bool,
    /// `//` is interpreted, matched and forwarded as `/`.
    pub merge_slashes: bool,
    /// An escape inside an escape (`%252F`) may stand for a slash, `;`, `.` or `%`.
    pub allow_double_encoding: bool,
}

/// An accepted path: the bytes as received, without segments that are a bare `.`, and the decoded form that
/// routes are matched with.
///
/// What only some routes allow (an encoded slash, parameters, empty segments) is noted, left out of the
/// matching form where the option would leave it out, and checked by [`Path::permit`] once the route is
/// known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    raw: Cow<'a, str>,
    /// `None` where it equals `raw`.
    matching: Option<String>,
    encoded_slash: bool,
    parameters: bool,
    empty_segments: bool,
    /// An escape inside an escape, of any character.
    twice: bool,
    /// The same of a character that changes the structure of a path.
    double_encoding: bool,
    /// A decoded `?` or `#`, a full-width character, or a part that some servers leave out: an app may
    /// interpret it as another path.
    ambiguous: bool,
}

impl<'a> Path<'a> {
    /// Reads the path of a request target: the part before the first `?`.
    pub fn parse(raw: &'a [u8]) -> Result<Self, PathError> {
        if raw.first() != Some(&b'/') {
            return Err(PathError::NoSlash);
        }
        let (mut plain, mut maybe_odd) = (true, false);
        for &byte in raw {
            match byte {
                b'\\' => return Err(PathError::Backslash),
                b'%' | b';' => plain = false,
                b'.' | b'(' | b':' | b'_' => maybe_odd = true,
                _ if is_path_octet(byte) => {}
                _ => return Err(PathError::Octet),
            }
        }
        // First of all, so that what is checked in every interpretation is what is forwarded. From here on
        // `/.//x` is `//x`.
        let raw = without_dots(std::str::from_utf8(raw).map_err(|_| PathError::Octet)?);
        let empty_segments = raw.contains("//");
        let mut path = Self {
            raw: Cow::Borrowed(""),
            matching: None,
            encoded_slash: false,
            parameters: false,
            empty_segments,
            twice: false,
            double_encoding: false,
            ambiguous: false,
        };
        // Most paths have nothing to decode: they are compared in place.
        if plain && !empty_segments {
            if path_text::is_climbing(&raw) {
                return Err(PathError::DotSegment);
            }
            path.ambiguous = maybe_odd && odd_path::is_odd(&raw);
            path.raw = raw;
            return Ok(path);
        }
        let decoded = path.decode(&raw)?;
        path.judge(&decoded)?;
        let matching = path.compared(decoded);
        path.ambiguous |= odd_path::is_odd(&matching);
        path.matching = Some(matching);
        path.raw = raw;
        Ok(path)
    }

    /// Reads a path from the configuration. What would be changed in a request, or looks like a pattern, is a
    /// mistake there.
    pub fn parse_written(written: &'a str) -> Result<Self, PathError> {
        if written.contains(['{', '}']) {
            return Err(PathError::Octet);
        }
        let path = Self::parse(written.as_bytes())?;
        if path.raw == written { Ok(path) } else { Err(PathError::DotSegment) }
    }

    /// Returns the path as received, without segments that are a bare `.`.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Returns the decoded form that routes are matched with.
    pub fn matching(&self) -> &str {
        self.matching.as_deref().unwrap_or(&self.raw)
    }

    /// Checks what only some routes allow.
    pub fn permit(&self, rules: PathRules) -> Result<(), PathError> {
        if self.encoded_slash && !rules.allow_encoded_slash {
            return Err(PathError::EncodedSlash);
        }
        if self.parameters && !rules.allow_path_parameters {
            return Err(PathError::Parameter);
        }
        if self.empty_segments && !rules.merge_slashes {
            return Err(PathError::EmptySegment);
        }
        if self.double_encoding && !rules.allow_double_encoding {
            return Err(PathError::DoubleEncoding);
        }
        Ok(())
    }

    /// Reports the other paths that an app may understand, some more than once; none where all parsers agree
    /// on the spelling.
    ///
    /// A path that climbs in one interpretation, or is still encoded, is refused, and so is one that would
    /// take more than a bounded amount of work. The interpretations assume everything that a rule may allow,
    /// so this is worth calling only for a path that its rule permits.
    pub fn read(&self, mut tell: impl FnMut(Reading, &str)) -> Result<(), PathError> {
        if !(self.encoded_slash || self.parameters || self.twice || self.ambiguous) {
            return Ok(());
        }
        reading::all(&self.raw, self.matching(), reading::MAX_OCTETS, &mut tell).map_err(|refused| {
            match refused {
                Refused::Climbs => PathError::DotSegment,
                Refused::Hides => PathError::DoubleEncoding,
                Refused::TooMany => PathError::Ambiguous,
            }
        })
    }

    /// Returns the paths that [`Path::read`] reports, each once.
    pub fn readings(&self) -> Result<Vec<String>, PathError> {
        let mut found = BTreeSet::new();
        self.read(|_, text| {
            found.insert(text.to_owned());
        })?;
        Ok(found.into_iter().collect())
    }

    /// Returns the path to forward: [`Path::raw`], with empty segments merged where the route says so.
    pub fn forwarded(&self) -> Cow<'_, str> {
        if self.empty_segments { path_text::merged(&self.raw) } else { Cow::Borrowed(&self.raw) }
    }

    /// Decodes every escape once, except `%2F`.
    fn decode(&mut self, raw: &str) -> Result<String, PathError> {
        let mut bytes = Vec::with_capacity(raw.len());
        let mut rest = raw.as_bytes();
        while let Some((plain, escape)) = path_text::next_escape(rest) {
            bytes.extend_from_slice(plain);
            let [_, high, low, after @ ..] = escape else { return Err(PathError::Escape) };
            rest = after;
            match path_text::octet(*high, *low).ok_or(PathError::Escape)? {
                b'/' => {
                    self.encoded_slash = true;
                    bytes.extend_from_slice(b"%2F");
                }
                b'\\' => return Err(PathError::Backslash),
                byte if byte < 0x20 || byte == 0x7f => return Err(PathError::Octet),
                byte => {
                    self.ambiguous |= matches!(byte, b'?' | b'#');
                    if byte == b'%'
                        && let Some(hidden) = hidden(rest)
                    {
                        self.twice = true;
                        self.double_encoding |= matches!(hidden, b'.' | b'/' | b';' | b'%');
                    }
                    bytes.push(byte);
                }
            }
        }
        bytes.extend_from_slice(rest);
        String::from_utf8(bytes).map_err(|_| PathError::Utf8)
    }

    /// Checks a decoded path for software that decodes `%2F`, or removes parameters or a query, later than we
    /// do, and so sees more segments: none of them may be a dot segment.
    fn judge(&mut self, decoded: &str) -> Result<(), PathError> {
        let pieces = |text: &str| text.split(['/', ';']).map(path_text::before_query).try_for_each(dots);
        if decoded.contains('.') {
            pieces(decoded)?;
            if decoded.contains('%') {
                pieces(&decoded.replace("%2F", "/"))?;
            }
        }
        if path_text::is_wide(decoded) {
            self.ambiguous = true;
            pieces(&path_text::narrowed(&decoded.replace("%2F", "/")))?;
        }
        if self.twice { twice(decoded) } else { Ok(()) }
    }

    /// Returns the form of a decoded path that is compared: without parameters and empty segments.
    fn compared(&mut self, decoded: String) -> String {
        self.parameters = decoded.contains(';');
        if !self.parameters && !self.empty_segments {
            return decoded;
        }
        let mut out = String::with_capacity(decoded.len());
        let mut segments = decoded.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let name = segment.split(';').next().unwrap_or_default();
            // `/;x/admin` is `//admin` where parameters are removed, and `/admin` where slashes are merged.
            if name.is_empty() && segments.peek().is_some() {
                self.empty_segments = true;
            } else {
                out.push('/');
                out.push_str(name);
            }
        }
        out
    }
}

/// Returns the other paths that an app may understand for the decoded path of a rule.
///
/// What the path hides is refused in requests, so a rule needs no such form.
pub fn readings_of(path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _refused = reading::all(path, path, usize::MAX, &mut |reading, text| {
        if reading == Reading::Spelled {
            found.insert(text.to_owned());
        }
    });
    found
}

/// Returns the length of the decoded path of a rule, without what [`Reading::Shortened`] leaves out and
/// without a slash at its end.
pub fn shortened_length(path: &str) -> usize {
    odd_path::shortened_length(path)
}

/// Removes every segment that is a bare `.` (RFC 3986, section 5.2.4): apt requests `/repo/./Packages`;
/// clients that resolve references first send none. The last one leaves the slash before it.
///
/// `%2E` stays, and is refused: only some software reads it as `.`, and no honest client writes it. So does
/// `..`, which leads elsewhere.
fn without_dots(raw: &str) -> Cow<'_, str> {
    if !raw.contains("/./") && !raw.ends_with("/.") {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut segments = raw.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match (segment, segments.peek()) {
            (".", Some(_)) => {}
            (".", None) => out.push('/'),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    Cow::Owned(out)
}

/// Refuses a segment that a file system or router would resolve.
fn dots(segment: &str) -> Result<(), PathError> {
    if path_text::is_dots(segment) { Err(PathError::DotSegment) } else { Ok(()) }
}

/// Checks a path as software that decodes it twice sees it: no rule can allow that it climbs, or is still
/// encoded.
fn twice(decoded: &str) -> Result<(), PathError> {
    let text = path_text::decoded(decoded, Slash::Decoded);
    let climbs = |text: &str| text.split([';', '/']).map(path_text::before_query).any(path_text::is_dots);
    let is_bad = path_text::hides(&text)
        || path_text::has_escape(&text)
        || (text.contains('.') && climbs(&text))
        || (path_text::is_wide(&text) && climbs(&path_text::narrowed(&text)));
    if is_bad { Err(PathError::DoubleEncoding) } else { Ok(()) }
}

/// Returns the octet that the text behind a decoded `%` yields in the next decoder, where it makes an escape.
///
/// The digits may themselves be escaped, so they are decoded too.
fn hidden(rest: &[u8]) -> Option<u8> {
    let (high, rest) = decoded_octet(rest);
    let (low, _) = decoded_octet(rest);
    high.and_then(digit).zip(low.and_then(digit)).map(|(high, low)| high << 4 | low)
}

/// Reads one byte, plain or escaped.
fn decoded_octet(bytes: &[u8]) -> (Option<u8>, &[u8]) {
    match bytes {
        [b'%', high, low, rest @ ..] => match digit(*high).zip(digit(*low)) {
            Some((high, low)) => (Some(high << 4 | low), rest),
            None => (None, rest),
        },
        [byte, rest @ ..] => (Some(*byte), rest),
        [] => (None, bytes),
    }
}

/// `pchar` of RFC 3986, section 3.3, the slash, and characters that clients send although RFC 3986 does not
/// allow them: browsers send `[`, `]` and `|` (not in the path percent-encode set of the URL standard) and
/// `^` (in it since 2023); curl, Node's `http` and Java's `HttpURLConnection` send `{` and `}`. No parser
/// reads any of them as a separator or an escape. `%` and `\` are handled before.
fn is_path_octet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'['
                | b']'
                | b'|'
                | b'^'
                | b'{'
                | b'}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(raw: &str) -> Result<String, PathError> {
        Path::parse(raw.as_bytes()).map(|path| path.matching().to_owned())
    }

    #[test]
    fn an_encoded_slash_hides_no_dot_segment() {
        for raw in
            ["/a/..%2fb", "/a/b%2F..", "/a/b%2f.%2fc", "/a/%2e%2e%2Fb", "/a;x%2f..", "/a;..", "/a/..;x%2fb"]
        {
            assert_eq!(matching(raw), Err(PathError::DotSegment), "{raw}");
        }
        assert_eq!(matching("/a/..b%2Fc.."), Ok("/a/..b%2Fc..".into()));
    }

    #[test]
    fn a_query_or_full_width_characters_hide_no_dot_segment() {
        for raw in [
            "/a/..%3fb",
            "/a/.%23",
            "/a/..%3F/b",
            "/a/%EF%BC%8E%EF%BC%8E/b",
            "/a%EF%BC%8F..%E2%88%95b",
            "/%E2%80%A4.",
        ] {
            assert_eq!(matching(raw), Err(PathError::DotSegment), "{raw}");
        }
        assert_eq!(matching("/a/%252e%EF%BC%8E"), Err(PathError::DoubleEncoding));
        assert_eq!(matching("/a/..b%3f../c%23.."), Ok("/a/..b?../c#..".into()));
        assert_eq!(matching("/a%EF%BC%8E%EF%BC%8E"), Ok("/a\u{ff0e}\u{ff0e}".into()));
    }

    #[test]
    fn plain_paths_are_matched_as_they_are() {
        assert_eq!(matching("/"), Ok("/".into()));
        assert_eq!(matching("/public/app.js"), Ok("/public/app.js".into()));
        assert_eq!(matching("/public/"), Ok("/public/".into()));
        assert_eq!(matching("/a...b/.well-known/x"), Ok("/a...b/.well-known/x".into()));
    }

    #[test]
    fn escapes_are_decoded_once_before_matching() {
        assert_eq!(matching("/%61dmin"), Ok("/admin".into()));
        assert_eq!(matching("/a%20b/c"), Ok("/a b/c".into()));
        assert_eq!(matching("/%C3%A9t%C3%A9"), Ok("/été".into()));
        assert_eq!(matching("/100%25"), Ok("/100%".into()));
        assert_eq!(matching("/100%2541"), Ok("/100%41".into()));
    }

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        for raw in [
            "/..",
            "/a/../b",
            "/./..",
            "/.././a",
            "/a/./..",
            "/%2e%2e/x",
            "/.%2E",
            "/a/..;/b",
            "/a/.;x/b",
            "/%2e;a",
            "/..%3bx",
        ] {
            assert_eq!(matching(raw), Err(PathError::DotSegment), "{raw}");
        }
        for raw in [
            "/%2e",
            "/%2E/",
            "/a/%2e/b",
            "/./%2e",
            "/.;",
            "/.;/a",
            "/a/.;x",
            "/a/.%3Bx",
            "/a/.%2fb",
            "/.%3Fx",
            "/a/.%23",
            "/a;x/.;y/b",
            "/..%20/a",
            "/.%20",
            "/a/%20..%20/b",
        ] {
            assert_eq!(matching(raw), Err(PathError::DotSegment), "{raw}");
        }
    }

    #[test]
    fn a_bare_dot_says_nothing() {
        for (raw, read) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/./.", "/"),
            ("/./a", "/a"),
            ("/a/.", "/a/"),
            ("/a/./", "/a/"),
            ("/repo/./Packages.gz", "/repo/Packages.gz"),
            ("/a/././b/./c", "/a/b/c"),
            ("/./a%20b", "/a%20b"),
            ("/a;x/./b;y", "/a;x/b;y"),
            ("/./a%2Fb", "/a%2Fb"),
            ("/.a/b./..c/d../...", "/.a/b./..c/d../..."),
        ] {
            let path = Path::parse(raw.as_bytes()).unwrap();
            assert_eq!((path.raw(), &*path.forwarded()), (read, read), "{raw}");
            assert_eq!(path, Path::parse(read.as_bytes()).unwrap(), "{raw} is judged as {read} is");
        }
        // Removal may leave an empty segment, which only some routes allow.
        for (raw, left, merged) in [
            ("//./", "//", "/"),
            ("/.//", "//", "/"),
            ("/.//a.test", "//a.test", "/a.test"),
            ("/a/.//./b", "/a//b", "/a/b"),
        ] {
            let path = Path::parse(raw.as_bytes()).unwrap();
            assert_eq!((path.raw(), &*path.forwarded(), path.matching()), (left, merged, merged), "{raw}");
            assert_eq!(path.permit(PathRules::default()), Err(PathError::EmptySegment), "{raw}");
        }
    }

    #[test]
    fn an_operator_writes_no_path_that_would_be_changed_or_reads_like_a_pattern() {
        assert_eq!(Path::parse_written("/a/./b"), Err(PathError::DotSegment));
        assert_eq!(Path::parse_written("/."), Err(PathError::DotSegment));
        assert_eq!(Path::parse_written("/api/{id}/"), Err(PathError::Octet));
        assert_eq!(
            Path::parse_written("/a/%7Bid%7D").map(|path| path.matching().to_owned()),
            Ok("/a/{id}".into())
        );
    }

    #[test]
    fn double_encoding_is_refused() {
        for raw in [
            "/%252e%252e/",
            "/%252e%252E",
            "/a/%252e%252e%252fb",
            "/a%2F%252e/b",
            "/%255c",
            "/%2500",
            "/%252541",
            "/%252f%25252f",
        ] {
            assert_eq!(matching(raw), Err(PathError::DoubleEncoding), "{raw}");
        }
        for raw in ["/%252f", "/%253b", "/%2525", "/%25%32%66", "/%25%32f", "/a%252eb"] {
            let path = Path::parse(raw.as_bytes()).unwrap();
            assert_eq!(path.permit(PathRules::default()), Err(PathError::DoubleEncoding), "{raw}");
            assert_eq!(
                path.permit(PathRules { allow_double_encoding: true, ..PathRules::default() }),
                Ok(()),
                "{raw}"
            );
        }
    }

    #[test]
    fn what_browsers_and_libraries_send_is_a_path() {
        assert_eq!(matching("/a[0]|b^c"), Ok("/a[0]|b^c".into()));
        assert_eq!(
            (matching("/api/{id}"), matching("/api/%7Bid%7D")),
            (Ok("/api/{id}".into()), Ok("/api/{id}".into()))
        );
        for raw in ["/a`b", "/a\"b", "/a<b>"] {
            assert_eq!(matching(raw), Err(PathError::Octet), "{raw}");
        }
    }

    #[test]
    fn only_a_path_that_readers_read_differently_has_readings() {
        let readings = |raw: &str| Path::parse(raw.as_bytes()).unwrap().readings().unwrap();

        for raw in ["/a/b", "/A/", "/%61/%C3%A9", "/100%25", "/a//b"] {
            assert_eq!(readings(raw), [""; 0], "{raw}");
        }
        assert_eq!(readings("/ops%2Fusers"), ["/ops/users"]);
        assert_eq!(readings("/%2561dmin"), ["/admin"]);
        assert_eq!(readings("/a;x%2Fb"), ["/a/b", "/a;x/b"]);
        assert_eq!(readings("/a;x"), [""; 0]);
        assert_eq!(readings("/a;x/b"), ["/a", "/a;x/b"]);
        assert_eq!(readings("/index.php/admin"), ["/admin"]);
        assert_eq!(readings("/(S(x))/admin"), ["/admin"]);
        for raw in [
            "/index.php%2Fadmin",
            "/index%252Ephp/admin",
            "/%2528S(x))/admin",
            "/index.php;x/admin",
            "/admin%2520",
        ] {
            assert!(readings(raw).contains(&"/admin".to_owned()), "{raw}: {:?}", readings(raw));
        }
        assert_eq!(readings("/admin./x"), ["/admin/x"]);
        assert_eq!(readings("/a%3Fx"), ["/a"]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        assert_eq!(matching("a"), Err(PathError::NoSlash));
        assert_eq!(matching(""), Err(PathError::NoSlash));
        assert_eq!(matching("*"), Err(PathError::NoSlash));
        assert_eq!(matching("/a\\b"), Err(PathError::Backslash));
        assert_eq!(matching("/a%5Cb"), Err(PathError::Backslash));
        assert_eq!(matching("/%zz"), Err(PathError::Escape));
        assert_eq!(matching("/%4"), Err(PathError::Escape));
        assert_eq!(matching("/%u0041"), Err(PathError::Escape));
        assert_eq!(matching("/%00"), Err(PathError::Octet));
        assert_eq!(matching("/%0d%0a"), Err(PathError::Octet));
        for raw in ["/%c0%ae", "/caf%E9.html", "/%C3", "/%ED%A0%80"] {
            assert_eq!(matching(raw), Err(PathError::Utf8), "{raw}");
        }
        assert_eq!(matching("/a b"), Err(PathError::Octet));
        assert_eq!(matching("/a#b"), Err(PathError::Octet));
        assert_eq!(matching("/é"), Err(PathError::Octet));
    }

    #[test]
    fn what_a_route_must_allow_is_judged_by_the_route() {
        let strict = PathRules::default();
        let permit = |raw: &'static str, rules| Path::parse(raw.as_bytes()).unwrap().permit(rules);

        assert_eq!(permit("/a%2fb", strict), Err(PathError::EncodedSlash));
        assert_eq!(permit("/a%2fb", PathRules { allow_encoded_slash: true, ..strict }), Ok(()));
        assert_eq!(permit("/a;v=1", strict), Err(PathError::Parameter));
        assert_eq!(permit("/a%3bv", strict), Err(PathError::Parameter));
        assert_eq!(permit("/a;v=1", PathRules { allow_path_parameters: true, ..strict }), Ok(()));
        assert_eq!(permit("/a//b", strict), Err(PathError::EmptySegment));
        assert_eq!(permit("//a", strict), Err(PathError::EmptySegment));
        assert_eq!(permit("/a//b", PathRules { merge_slashes: true, ..strict }), Ok(()));
    }

    #[test]
    fn the_matching_form_leaves_out_what_the_option_leaves_out() {
        assert_eq!(matching("/a%2Fb"), Ok("/a%2Fb".into()));
        assert_eq!(matching("/admin;x=1/b"), Ok("/admin/b".into()));
        assert_eq!(matching("/a//b"), Ok("/a/b".into()));
        assert_eq!(matching("//a//"), Ok("/a/".into()));
        assert_eq!(matching("/;x/admin"), Ok("/admin".into()));
        assert_eq!(matching("/a/;x"), Ok("/a/".into()));
    }

    #[test]
    fn a_segment_of_parameters_alone_is_an_empty_one() {
        let parameters = PathRules { allow_path_parameters: true, ..PathRules::default() };

        assert_eq!(Path::parse(b"/;x/admin").unwrap().permit(parameters), Err(PathError::EmptySegment));
        assert_eq!(Path::parse(b"/a/%3Bx/b").unwrap().permit(parameters), Err(PathError::EmptySegment));
        assert_eq!(Path::parse(b"/a/;x").unwrap().permit(parameters), Ok(()));
        assert_eq!(Path::parse(b"/a;x/b").unwrap().permit(parameters), Ok(()));
    }

    #[test]
    fn the_received_bytes_are_forwarded_unless_slashes_are_merged() {
        assert_eq!(Path::parse(b"/a%20b;x").unwrap().forwarded(), "/a%20b;x");
        assert_eq!(Path::parse(b"/a//b///").unwrap().forwarded(), "/a/b/");
    }
}
