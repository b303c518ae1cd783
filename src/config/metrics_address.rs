//! Where a running octroi tells how it is, whatever else is wrong with its configuration.

use std::{net::SocketAddr, path::Path};

use super::{finding::Findings, input::Inputs, read::read};

/// Returns the address of the metrics listener that a configuration names, for a command that only asks
/// there.
///
/// The rest of the file need not hold: a mistake in it says nothing about the process that still serves the
/// revision before.
pub fn metrics_address(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<SocketAddr> {
    let contents = read(path, &Inputs::new(env), &mut Findings::default());
    contents.root?.metrics.map(|metrics| metrics.address.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_mistakes_still_names_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("octroi.yaml");
        std::fs::write(&path, "version: 1\nmetrics: {address: \"127.0.0.1:9902\"}\nlistenrs: []\n").unwrap();

        assert_eq!(metrics_address(&path, &|_| None), Some("127.0.0.1:9902".parse().unwrap()));
    }

    #[test]
    fn a_file_without_metrics_names_none() {
        assert_eq!(metrics_address(Path::new("/nowhere/octroi.yaml"), &|_| None), None);
    }
}
