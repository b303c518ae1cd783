//! A configuration: read or refused, the same both times, and every problem points into the text.

use std::path::{Path, PathBuf};

use octroi::config::fuzz::load_text;

use super::input::NOW;

/// Judges one input: the text of a configuration file. Files it names are looked for in the current folder, and are mostly not there.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What a path out of nowhere names may be anything: a device, a pipe that blocks.
    if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
        return;
    }
    let env = |name: &str| (name == "KEY").then(|| "LHYOi0FbJcbFlGOd3RhctJaYs2YYpGa1BOmR49IeOwE=".to_owned());
    let load = || load_text(PathBuf::from("fuzz.yaml"), text.to_owned(), NOW, &env);
    let problems = match load() {
        Ok(loaded) => {
            assert_eq!(load().expect("it was taken once").policy.revision, loaded.policy.revision);
            loaded.warnings
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty());
            assert_eq!(load().expect_err("it was refused once").to_string(), errors.to_string());
            errors.problems
        }
    };
    let lines = text.split('\n').count();
    for problem in problems {
        assert!(!problem.message.is_empty());
        assert!(usize::try_from(problem.line).is_ok_and(|line| line <= lines), "{problem}");
        assert_eq!(problem.line == 0, problem.column == 0);
        assert!(!problem.to_string().contains("LHYOi0FbJcbFlGOd"), "a secret is told");
    }
}

/// Makes the seeds: every example, and every file that the tests accept or reject.
pub fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for folder in ["conf", "tests/config/accept", "tests/config/reject"] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the tests").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "yaml") {
                    seeds.extend(std::fs::read(&path).ok().filter(|bytes| bytes.len() < 64 * 1024));
                }
            }
        }
    }
    assert!(seeds.len() > 50, "the tests hold configurations");
    seeds.sort();
    seeds
}
