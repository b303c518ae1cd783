//! Where a running octroi is to be found, whatever else is wrong with its configuration.

use std::path::{Path, PathBuf};

use super::{
    default,
    error::{Problem, Severity},
    finding::Findings,
    input::Inputs,
    load::render,
    read::read,
    source::Source,
};

/// Where a running octroi is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirLookup {
    /// The state directory: the one that the configuration names, else `$STATE_DIRECTORY` or the default.
    pub dir: PathBuf,
    /// Why it is not known whether the configuration names another one.
    pub unknown: Option<Problem>,
}

/// Returns the state directory that a configuration names, for commands that only look for the control socket
/// there.
///
/// The rest of the file need not hold: `octroi reload` is how an operator learns what is wrong with it.
pub fn state_dir(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    look_up_state_dir(path, env).dir
}

/// Does the same, and says where it is only a guess: a file that cannot be read at all, or whose
/// `server.state_dir` cannot, may well name another one, and the octroi at the default place is another
/// node's then.
pub fn look_up_state_dir(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> StateDirLookup {
    let inputs = Inputs::new(env);
    let mut findings = Findings::redacting(inputs.redactor());
    let contents = read(path, &inputs, &mut findings);
    let named = contents.root.as_ref().and_then(|root| root.server.as_ref()?.state_dir.as_ref());
    if let Some(dir) = named {
        let dir =
            contents.sources.file(dir.span.file).map(Source::folder).unwrap_or_default().join(&dir.value.0);
        return StateDirLookup { dir, unknown: None };
    }
    let (problems, _) = render(findings, &contents.sources);
    let mut errors = problems.into_iter().filter(|problem| problem.severity == Severity::Error);
    let unknown = if contents.root.is_none() { errors.next() } else { errors.find(is_about_it) };
    StateDirLookup { dir: default::state_dir(env), unknown }
}

fn is_about_it(problem: &Problem) -> bool {
    let is_meant = || problem.hint.as_ref().is_some_and(|hint| hint.contains("`state_dir`"));
    matches!(problem.path.as_str(), "server" | "server.state_dir")
        || (problem.path.starts_with("server.") && is_meant())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_that_cannot_be_read_is_a_guess_and_other_mistakes_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("octroi.yaml");
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            look_up_state_dir(&path, &|_| None)
        };
        let default = PathBuf::from(default::STATE_DIR);

        for certain in [
            "version: 1\n",
            "version: 1\nserver: {drain: 5x}\n",
            "version: 1\nnonsense: 1\nserver: {nonsense: 1}\n",
        ] {
            assert_eq!(found(certain), StateDirLookup { dir: default.clone(), unknown: None }, "{certain}");
        }
        let named = found("version: 1\nnonsense: 1\nserver: {state_dir: here, drain: 5x}\n");
        assert_eq!(named, StateDirLookup { dir: dir.path().join("here"), unknown: None });
        let guesses = [
            "a: [",
            "",
            "version: 1\nserver: {state_dir: [x]}\n",
            "version: 1\nserver: x\n",
            "version: 1\nserver: {state_dri: x}\n",
        ];
        for guess in guesses {
            let found = found(guess);
            assert!(found.dir == default && found.unknown.is_some(), "{guess}: {found:?}");
        }
        let nothing = look_up_state_dir(&dir.path().join("nowhere.yaml"), &|_| None);
        assert!(nothing.unknown.is_some_and(|problem| problem.message.contains("cannot read this file")));
    }
}
