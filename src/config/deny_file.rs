//! A file of address ranges: one a line, `#` begins a comment.

use std::{fmt, io, path::Path, path::PathBuf};

use super::{
    input,
    parse::{Scalar, ScalarError},
    similar_path,
};
use crate::{
    files,
    model::{Range, encoding_fault},
    policy::IpSet,
};

/// How large such a file may be: a million IPv6 ranges with a comment each.
const MAX_BYTES: u64 = 64 << 20;
/// How many ranges it may hold: ten times what the largest public lists have; 40 MiB in memory.
const MAX_RANGES: usize = 1_000_000;
/// What helps where there is no such file.
const MISSING: &str =
    "make it, one range a line, or empty where there is nobody to drop; or take it out of the list";
/// How many lines are complained of. Who has so many mends the first ones and asks again.
const LISTED: usize = 10;

/// Why a file of ranges is refused: all of it, so that a list that was cut short or mistyped opens no door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyFileError {
    path: PathBuf,
    wrong: Vec<WrongLine>,
    more: usize,
}

/// What is wrong with a line; line 0 is the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WrongLine {
    line: usize,
    wrong: ScalarError,
}

impl DenyFileError {
    fn whole(path: &Path, message: String) -> Self {
        Self {
            path: path.to_owned(),
            wrong: vec![WrongLine { line: 0, wrong: ScalarError::new(message) }],
            more: 0,
        }
    }

    /// Returns each message, with file and line, and its hint.
    pub(super) fn messages(&self) -> impl Iterator<Item = (String, Option<&str>)> {
        let shown = self.path.display();
        let each = self.wrong.iter().map(move |WrongLine { line, wrong }| {
            let place = if *line == 0 { String::new() } else { format!(":{line}") };
            (format!("{shown}{place}: {}", wrong.message), wrong.hint.as_deref())
        });
        let more = (self.more > 0)
            .then(|| (format!("{}: {} more lines are wrong", self.path.display(), self.more), None));
        each.chain(more)
    }
}

impl fmt::Display for DenyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (message, hint)) in self.messages().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}{message}")?;
            if let Some(hint) = hint {
                write!(f, " ({hint})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for DenyFileError {}

/// Reads a file of ranges. Blocking. Either every line holds, or nothing of the file does.
///
/// IPv4 addresses in IPv6 clothes are folded; bits behind the prefix and ranges of everybody are errors.
pub fn read_deny_file(path: &Path) -> Result<IpSet, DenyFileError> {
    let file = input::read(path, MAX_BYTES).map_err(|error| {
        let is_there = !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        let hint = if is_there { None } else { Some(similar_path::hint_or(path, MISSING)) };
        let wrong = ScalarError { message: format!("cannot be read: {}", files::reason(&error)), hint };
        DenyFileError { path: path.to_owned(), wrong: vec![WrongLine { line: 0, wrong }], more: 0 }
    })?;
    read_text(path, file.bytes.expose())
}

/// Reads the octets of such a file.
pub(super) fn read_text(path: &Path, bytes: &[u8]) -> Result<IpSet, DenyFileError> {
    let whole = |message: String| DenyFileError::whole(path, message);
    if let Some(fault) = encoding_fault(bytes) {
        let wrong = ScalarError { message: fault.to_string(), hint: fault.hint(&path.display().to_string()) };
        let wrong = vec![WrongLine { line: 1, wrong }];
        return Err(DenyFileError { path: path.to_owned(), wrong, more: 0 });
    }
    let text = std::str::from_utf8(bytes);
    let text =
        text.map_err(|error| whole(format!("is not text: byte {} cannot be read", error.valid_up_to())))?;
    let mut ranges = Vec::with_capacity(text.len() / 16);
    let mut error = DenyFileError { path: path.to_owned(), wrong: Vec::new(), more: 0 };
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match range(text) {
            Ok(range) => ranges.push(range),
            Err(wrong) if error.wrong.len() < LISTED => error.wrong.push(WrongLine { line, wrong }),
            Err(_) => error.more += 1,
        }
    }
    if ranges.len() > MAX_RANGES {
        return Err(whole(format!("has {} ranges; at most {MAX_RANGES} are read", ranges.len())));
    }
    if error.wrong.is_empty() { Ok(IpSet::new(ranges)) } else { Err(error) }
}

/// Reads one range. Everybody is no range to drop: that is a listener to take out.
pub(super) fn range(text: &str) -> Result<Range, ScalarError> {
    if text.len() > RANGE_CHARS {
        // It may be a key: the name of the wrong file was written down.
        return Err(ScalarError::new("not an address range")
            .hint("write one a line: `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`"));
    }
    let range = <Range as Scalar>::parse(text)?;
    validate(range).map(|()| range)
}

/// The longest range as text: an IPv6 address without a `::`, and its prefix.
const RANGE_CHARS: usize = 43;

/// Refuses the range of a whole family.
pub(super) fn validate(range: Range) -> Result<(), ScalarError> {
    if range.is_everything() {
        return Err(ScalarError::new(format!("`{range}` would drop everybody"))
            .hint("to close a listener, take it out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::ClientIp;

    fn read(bytes: &[u8]) -> Result<IpSet, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        std::fs::write(&path, bytes).unwrap();
        read_deny_file(&path)
            .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn lines_hold_one_range_or_a_comment() {
        let set = read(
            b"# bad ones\n\n192.0.2.0/24 # a net\n  198.51.100.7\r\n2001:db8::/32\n::ffff:203.0.113.0/120",
        )
        .unwrap();

        assert_eq!(set.ranges().len(), 4);
        for (text, inside) in [
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8::1", true),
            ("203.0.113.9", true),
            ("::ffff:203.0.113.9", true),
        ] {
            assert_eq!(set.contains(ClientIp::from(text.parse::<IpAddr>().unwrap())), inside, "{text}");
        }
        assert!(read(b"").unwrap().is_empty());
        assert!(read(b"# nobody\n").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_refuses_the_whole_file_and_is_named() {
        let said = |text: &str| read(text.as_bytes()).unwrap_err();

        assert_eq!(
            said("192.0.2.0/24\n192.0.2.7/24\nnobody\n"),
            "list.txt:2: `192.0.2.7/24` has bits set after the prefix (the range is `192.0.2.0/24`; one address is `192.0.2.7`); \
             list.txt:3: not an address range: `nobody` (write an address, `192.0.2.7`, or a range, `192.0.2.0/24` or `2001:db8::/32`)"
        );
        assert_eq!(
            said("0.0.0.0/0"),
            "list.txt:1: `0.0.0.0/0` would drop everybody (to close a listener, take it out)"
        );
        assert_eq!(said("2001:0db8:0000:0000:0000:0000:0000:0001/129").matches("2001").count(), 1);
        let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wE=";
        assert!(
            said(key).starts_with("list.txt:1: not an address range (") && !said(key).contains(key),
            "the file of a key by mistake"
        );
        assert!(said("::ffff:10.0.0.0/8").contains("every IPv4 address"));
        assert!(said(&"x\n".repeat(13)).ends_with("list.txt: 3 more lines are wrong"));
        assert_eq!(
            said("\u{feff}# bad ones\n192.0.2.0/24\n"),
            "list.txt:1: the file begins with a byte order mark; save it as UTF-8 without one (`sed -i 's/\\xEF\\xBB\\xBF//g' list.txt` takes \
             such marks out)"
        );
        assert_eq!(read(b"192.0.2.0/24\n\xff").unwrap_err(), "list.txt: is not text: byte 13 cannot be read");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let none = read_deny_file(&folder.path().join("none.txt")).unwrap_err().to_string();
        assert!(none.contains("none.txt: cannot be read: it does not exist (make it"), "{none}");
        assert!(read_deny_file(folder.path()).unwrap_err().to_string().ends_with("it is not a regular file"));

        // A sparse file takes no room on the disk.
        let large = folder.path().join("large.txt");
        std::fs::File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read_deny_file(&large).unwrap_err().to_string().ends_with("it is larger than 64 MiB"));
    }

    /// Ten times as many take some ten times as long; whoever looked at each for each would take a hundred
    /// times.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a ratio of two times in one run")]
    fn a_hundred_thousand_ranges_load_in_time_by_their_number() {
        use std::fmt::Write;

        let folder = tempfile::tempdir().unwrap();
        let load = |count: u32| {
            let mut text = String::new();
            for number in 0..count {
                let mixed = number.wrapping_mul(2_654_435_761);
                let line = match number % 4 {
                    0 => writeln!(text, "{}/24 # net {number}", std::net::Ipv4Addr::from(mixed & !0xff)),
                    1 => writeln!(text, "2001:db8:{:x}:{:x}::/64", mixed >> 16, mixed & 0xffff),
                    _ => writeln!(text, "{}", std::net::Ipv4Addr::from(mixed)),
                };
                line.unwrap();
            }
            let path = folder.path().join(format!("{count}.txt"));
            std::fs::write(&path, &text).unwrap();
            let start = std::time::Instant::now();
            let set = read_deny_file(&path).unwrap();
            assert_eq!(set.ranges().len(), usize::try_from(count).unwrap());
            start.elapsed()
        };
        // The best of three: others use the machine, too.
        let best = |count| (0..3).map(|_| load(count)).min().unwrap();
        let (few, many) = (best(10_000), best(100_000));

        assert!(many < few * 40, "{few:?} {many:?}");
    }
}
