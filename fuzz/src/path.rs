//! Paths: an accepted one has no second reading that climbs.

use std::path::Path as FilePath;

use octroi::model::{Path, PathRules};

/// Judges one input: a path, without its query.
pub fn run(data: &[u8]) {
    let Ok(path) = Path::parse(data) else { return };
    // Segments that are a bare dot are off before anything is judged, and nothing else is.
    let bare = |segment: &[u8]| segment == b".";
    assert!(!path.raw().split('/').any(|segment| segment == "."));
    assert!(path.raw().as_bytes() == data || data.split(|byte| *byte == b'/').any(bare));
    let data = path.raw().as_bytes();
    assert!(path.matching().starts_with('/'));
    assert!(!path.matching().bytes().any(|byte| byte.is_ascii_control()));
    // Back ends decode once, twice, take `\` for `/`, cut parameters off, ignore case: none of them may see a dot segment.
    let once = decoded(data);
    let twice = decoded(&once);
    for read in [data, &once, &twice, path.matching().as_bytes()] {
        for segment in read.split(|byte| matches!(byte, b'/' | b'\\')) {
            let segment = segment.trim_ascii();
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(
                !matches!(segment, b"." | b"..") && !matches!(name, b"." | b".."),
                "{:?}",
                String::from_utf8_lossy(read)
            );
        }
        assert!(!read.contains(&0));
    }

    // Nor does any form that we judge climb, and there are never many.
    let Ok(readings) = path.readings() else { return };
    assert!(readings.len() <= 2 << 10);
    for reading in &readings {
        assert!(reading.starts_with('/') && reading.len() <= data.len() * 3, "{reading}");
        assert!(!reading.split('/').any(|segment| matches!(segment, "." | "..")), "{reading}");
    }

    let forwarded = path.forwarded().into_owned();
    let again = Path::parse(forwarded.as_bytes()).expect("what is forwarded is a path");
    assert_eq!(again.matching(), path.matching());
    let loose = PathRules {
        allow_encoded_slash: true,
        allow_path_parameters: true,
        merge_slashes: true,
        allow_double_encoding: true,
    };
    if path.permit(PathRules::default()).is_ok() {
        assert!(path.permit(loose).is_ok());
        // Strictly read, the decoded path is the matching form, and no decoder finds more segments than we did.
        assert_eq!(once, path.matching().as_bytes());
        assert_eq!(
            once.iter().filter(|byte| **byte == b'/').count(),
            data.iter().filter(|byte| **byte == b'/').count()
        );
        assert!(!data.contains(&b';') && !once.contains(&b';') && !data.windows(2).any(|pair| pair == b"//"));
    }
}

/// Decodes every escape, wherever it stands.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

/// Makes the seeds.
pub fn seeds(_root: &FilePath) -> Vec<Vec<u8>> {
    [
        "/",
        "/public/app.js",
        "/a/../b",
        "/a/./b/.",
        "/_next/data/b/a%2Fc.json",
        "/(S(x))/index.php/a%20/b./c::$DATA",
        "/.//b",
        "/%2e%2e/x",
        "/%252e%252e/",
        "/a/..;/b",
        "/a/..%2fb",
        "/;x/admin",
        "/a//b///",
        "/a%2fb;v=1",
        "/%25%32%66",
        "/%C3%A9t%C3%A9",
        "/100%25",
        "/a\\b",
        "/%c0%ae",
        "/admin;x=1/b",
        "/a%20b/c%3Bd",
        "/a[0]|b^c{d}",
        "/a%252Fb%3By%252Fc",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
