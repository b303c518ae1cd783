//! A file of ranges to drop: every line holds or nothing does, and what is dropped is what stands there.

use std::path::Path;

use octroi::{
    config::fuzz::deny_text,
    model::{ClientIp, Range},
};

/// Judges one input: the text of a file.
pub fn run(data: &[u8]) {
    let read = deny_text(Path::new("deny.txt"), data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(read.is_err(), "what is no text is read");
        return;
    };
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty());
    let wanted: Result<Vec<Range>, _> = lines.map(str::parse).collect();
    match read {
        Ok(set) => {
            let wanted = wanted.expect("a line that is no range is read");
            assert_eq!(set.ranges(), wanted);
            for range in set.ranges() {
                assert!(!range.is_everything());
                assert!(set.contains(range.first().into()));
                // The last address of `::/80` is one of IPv4 in IPv6 clothes, and no client of that range.
                let last = ClientIp::from(range.last());
                assert!(last.addr() != range.last() || set.contains(last));
            }
        }
        Err(error) => {
            assert!(
                wanted.is_err()
                    || wanted.is_ok_and(|ranges| ranges.iter().any(|range| range.is_everything())),
                "{error}"
            );
            assert!(error.to_string().starts_with("deny.txt"));
        }
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    [
        "192.0.2.0/24\n198.51.100.7 # one\n\n# none\n2001:db8::/32\n",
        "::ffff:192.0.2.0/120\r\n203.0.113.0/28\r\n",
        "0.0.0.0/0\n",
        "::/0",
        "::/80\n::ffff:10.0.0.0/104",
        "192.0.2.1/24\n300.0.0.1\n",
        "10.0.0.0/8\n10.1.0.0/16\n10.1.2.3\n",
        "\u{feff}192.0.2.1\n",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
