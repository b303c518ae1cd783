//! Apps of others: what they are written with is installed into a folder of the build's own, `target/tmp/foreign-apps`, and nowhere else.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running app; it ends with the test.
pub struct App {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl App {
    /// Starts an app, which prints its port first. The folder lives as long as the app.
    pub fn start(command: &mut Command, dir: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the app prints its port");
        Self { child, port, _dir: dir }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs libraries for Python; returns what `PYTHONPATH` must say.
pub fn python(kind: &str, pinned: &[&str]) -> PathBuf {
    installed(kind, |to| {
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(to)
            .args(pinned))
    })
}

/// Installs libraries for Node; returns their folder, which holds `node_modules`.
pub fn node(kind: &str, pinned: &[&str]) -> PathBuf {
    installed(kind, |to| {
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(to)
            .args(pinned))
    })
}

/// Installs libraries once; a file beside them says that it was done to the end. Tests of other processes wait meanwhile.
fn installed(kind: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-apps");
    fs::create_dir_all(&root).unwrap();
    let lock = fs::File::create(root.join(format!("{kind}.lock"))).unwrap();
    lock.lock().unwrap();
    let (folder, done) = (root.join(kind), root.join(format!("{kind}.done")));
    if !done.exists() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        install(&folder);
        fs::write(done, "").unwrap();
    }
    folder
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}");
}
