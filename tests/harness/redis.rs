//! A Redis of the test's own: a free port or a socket of its folder, nothing on disk unless asked for, stopped by its process.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use super::{eventually, pebble::free_port, program::signal};

/// A Redis that can be stopped and started again in the same place.
pub struct Redis {
    child: Option<Child>,
    dir: tempfile::TempDir,
    pub port: u16,
    settings: Vec<String>,
}

impl Redis {
    /// Starts one that keeps nothing.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more settings, as on its command line. `DIR` in them is its folder.
    pub fn with(settings: &[&str]) -> Self {
        let mut redis = Self::prepared(settings);
        redis.run();
        redis
    }

    /// Finds a place. Nothing runs yet.
    pub fn prepared(settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            settings.iter().map(|word| word.replace("DIR", dir.path().to_str().unwrap())).collect();
        Self { child: None, dir, port: free_port(), settings }
    }

    pub fn run(&mut self) {
        let socket = self.socket();
        let log = fs::File::create(self.dir.path().join("redis.log")).unwrap();
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--unixsocket",
                socket.to_str().unwrap(),
            ])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--dir",
                self.dir.path().to_str().unwrap(),
            ])
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed by `make test`");
        self.child = Some(child);
        eventually("Redis answers", || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
            // Where it wants TLS or a password first, that it listens must do.
            stream.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 5];
            stream
                .read(&mut answer)
                .ok()
                .filter(|length| *length == 0 || answer.starts_with(b"+PONG") || answer.starts_with(b"-"))
        });
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it at once: what it had in memory is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it where it stands: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        assert!(signal(self.pid(), "STOP"));
    }

    pub fn thaw(&self) {
        assert!(signal(self.pid(), "CONT"));
    }

    /// Asks it with its own client.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = self.try_cli(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub fn try_cli(&self, words: &[&str]) -> Output {
        Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            signal(child.id(), "CONT");
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- what Redis printed:\n{}",
                fs::read_to_string(self.dir.path().join("redis.log")).unwrap_or_default()
            );
        }
    }
}
