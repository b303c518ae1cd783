//! A path that leads nowhere, and what lies beside it under nearly the same name: most such paths are
//! misspelt.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// How many names of a folder are compared. More lie only in folders that nobody keeps keys in.
const NAMES: usize = 4096;

/// Returns the path that was probably meant, where one of its names is missing and one nearly the same is
/// there. Blocks.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    if fs::symlink_metadata(path).is_ok() {
        return None;
    }
    let (missing, folder) = path.ancestors().find_map(|missing| {
        let folder = missing.parent()?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.is_dir().then_some((missing, folder))
    })?;
    let rest = path.strip_prefix(missing).ok()?;
    let wanted = missing.file_name()?.to_str()?;
    let names =
        fs::read_dir(folder).ok()?.take(NAMES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let resolved = |name: &str| {
        let found = missing.with_file_name(name);
        if rest.as_os_str().is_empty() { found } else { found.join(rest) }
    };
    let candidates = names
        .filter_map(|name| Some((distance(wanted, &name)?, name)))
        .filter(|(_, name)| resolved(name).exists());
    candidates.min().map(|(_, name)| resolved(&name))
}

/// Says so: "did you mean `certs/acme.pem`?".
pub(super) fn hint(path: &Path) -> Option<String> {
    find(path).map(|near| format!("did you mean `{}`?", near.display()))
}

/// What helps where a file lies nowhere that octroi could make.
pub(super) const MISSING: &str = "nothing lies there: put it there, or name another; paths start from the folder of the file that names them";

/// Says what helps where a file cannot be read: one of nearly the same name, and where nothing lies there,
/// who makes it. What lies there already nobody makes: it is something else than a file, or closed to this
/// account.
pub(super) fn hint_or(path: &Path, missing: &str) -> String {
    let is_missing =
        || fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    hint(path).unwrap_or_else(|| {
        if is_missing() {
            missing.to_owned()
        } else {
            "it has to be a regular file that octroi may read".to_owned()
        }
    })
}

/// Does the same where what is missing was lost more likely than misspelt: what helps comes first, and the
/// other name behind it.
pub(super) fn hint_lost(path: &Path, lost: &str) -> String {
    match hint(path) {
        Some(near) => format!("{lost}. Or is its name new, and misspelt? {near}"),
        None => hint_or(path, lost),
    }
}

/// How far two names are from each other; nothing where that is too far, or where they are the names of
/// different things: `session-2.key` stands beside `session-1.key`, and `acme.key` beside `acme.pem`.
fn distance(wanted: &str, there: &str) -> Option<usize> {
    let (wanted, there) = (wanted.to_lowercase(), there.to_lowercase());
    let letters =
        |name: &str| name.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    if wanted != there && letters(&wanted) == letters(&there) {
        return None;
    }
    let extension =
        |name: &str| Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    if strsim::damerau_levenshtein(&extension(&wanted), &extension(&there)) > 1 {
        return None;
    }
    let bound = (wanted.chars().count() / 3).clamp(1, 3);
    Some(strsim::damerau_levenshtein(&wanted, &there)).filter(|distance| *distance <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_a_file_is_said_where_nothing_lies_there() {
        const MAKE: &str = "somebody makes it";
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("acme.key"), "x").unwrap();
        crate::files::make_named_pipe(&at("pipe"));
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();

        assert_eq!(
            (hint_or(&at("none.pem"), MAKE).as_str(), hint_or(&at("deep/none.pem"), MAKE).as_str()),
            (MAKE, MAKE)
        );
        assert!(hint_or(&at("acmee.key"), MAKE).starts_with("did you mean"));
        assert_eq!(hint_lost(&at("none.pem"), MAKE), MAKE);
        let both = hint_lost(&at("acmee.key"), MAKE);
        assert!(
            both.starts_with("somebody makes it. Or is its name new, and misspelt? did you mean "),
            "{both}"
        );
        assert_eq!(hint_lost(&at("pipe"), MAKE), "it has to be a regular file that octroi may read");
        for there in ["acme.key", "pipe", "link", "acme.key/below"] {
            assert_eq!(
                hint_or(&at(there), MAKE),
                "it has to be a regular file that octroi may read",
                "{there}"
            );
        }
    }

    #[test]
    fn the_nearest_name_of_the_same_kind_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("certs")).unwrap();
        for name in ["session-1.key", "certs/acme.pem", "certs/acme.key", "certs/globex.pem"] {
            fs::write(at(name), "x").unwrap();
        }

        for (wanted, there) in [
            ("sesion-1.key", "session-1.key"),
            ("Session-1.key", "session-1.key"),
            ("session-1.kye", "session-1.key"),
            ("certs/amce.pem", "certs/acme.pem"),
            ("cert/acme.pem", "certs/acme.pem"),
            ("certs/globx.pem", "certs/globex.pem"),
        ] {
            assert_eq!(find(&at(wanted)), Some(at(there)), "{wanted}");
        }
        // The next key, the other file of the pair, what is there, what is far away, what lacks in a folder
        // that is near.
        for wanted in [
            "session-2.key",
            "certs/acme2.pem",
            "certs/globex.key",
            "certs/acme.pem",
            "certs/initech.pem",
            "cert/initech.pem",
            "x",
        ] {
            assert_eq!(find(&at(wanted)), None, "{wanted}");
        }
    }
}
