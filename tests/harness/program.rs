//! The real program: its own folder, free ports, stopped by pid.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use super::{Curl, eventually};

pub const BINARY: &str = env!("CARGO_BIN_EXE_octroi");

/// A running octroi.
pub struct Octroi {
    child: Option<Child>,
    pub dir: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
    status: serde_json::Value,
    /// Variables of its environment.
    pub env: Vec<(&'static str, String)>,
    /// Successors that it started: not our children, and ended with us.
    successors: Vec<u32>,
}

impl Octroi {
    /// Writes a configuration into a folder of its own, makes its keys, and starts. `STATE` in the text is the state folder.
    pub fn start(config: &str) -> Self {
        let mut octroi = Self::prepared(config);
        octroi.run();
        octroi
    }

    /// Does all that but the start.
    pub fn prepared(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let octroi = Self {
            child: None,
            dir,
            log: Arc::default(),
            status: serde_json::Value::Null,
            env: Vec::new(),
            successors: Vec::new(),
        };
        octroi.configure(config);
        let made = octroi.command(&["keys", "init"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        octroi
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("octroi.yaml")
    }

    /// Writes another configuration.
    pub fn configure(&self, config: &str) {
        let state = self.path().join("state");
        fs::write(self.config(), config.replace("STATE", state.to_str().unwrap())).unwrap();
    }

    /// Starts it and waits until it serves.
    pub fn run(&mut self) {
        self.run_under(&[]);
    }

    /// Starts it as the last argument of another command, and waits until it serves.
    pub fn run_under(&mut self, command: &[&str]) {
        let mut words = command.iter().copied().chain([BINARY]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["run", "--config"]).arg(self.config()).stdin(Stdio::null());
        self.child = Some(self.spawn(command));
        self.serving();
    }

    /// Starts a command of the program, and keeps what it prints.
    pub fn spawn(&self, mut command: Command) -> Child {
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let streams: [(&str, Box<dyn std::io::Read + Send>); 2] =
            [("out", Box::new(stdout)), ("err", Box::new(stderr))];
        for (name, stream) in streams {
            let log = Arc::clone(&self.log);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(format!("{name}: {line}"));
                }
            });
        }
        child
    }

    /// Takes a process that was started otherwise for the program.
    pub fn adopt(&mut self, child: Child) {
        self.child = Some(child);
        self.serving();
    }

    /// Waits until it serves.
    fn serving(&mut self) {
        self.status = eventually("the program serves", || {
            let child = self.child.as_mut().unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {:#?}", self.log.lock().unwrap());
            // Exit code 1 says that something is wrong, beside the status.
            let output = self.command(&["status", "--json"]);
            output
                .status
                .code()
                .filter(|code| *code <= 1)
                .map(|_| serde_json::from_slice(&output.stdout).unwrap())
        });
    }

    /// Asks again where the listeners are, after a reload.
    pub fn refresh(&mut self) {
        self.status = serde_json::from_slice(&self.command(&["status", "--json"]).stdout).unwrap();
    }

    /// Notes the process that serves now. Returns its number.
    pub fn succeed(&mut self) -> u32 {
        self.refresh();
        let pid = u32::try_from(self.status["pid"].as_u64().unwrap()).unwrap();
        self.successors.push(pid);
        pid
    }

    /// Returns what status last said.
    pub fn status(&self) -> &serde_json::Value {
        &self.status
    }

    /// Takes another configuration into force.
    pub fn reload(&mut self, config: &str) {
        self.configure(config);
        self.ok(&["reload"]);
        self.refresh();
    }

    /// Returns the exit code of a command.
    pub fn code(&self, args: &[&str]) -> i32 {
        self.command(args).status.code().unwrap()
    }

    /// Returns the memory in use, in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Returns the value of a series, by its name and labels as written in the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series).and_then(|rest| rest.strip_prefix(' ')));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Runs a command of the program with this configuration.
    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(args)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(
            output.status.success(),
            "{args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks a plain listener with curl.
    pub fn plain(&self, listener: &str, host: &str, path: &str) -> Curl {
        Curl::plain(self.addr(listener), host, path)
    }

    /// Returns the reason in the access line of an answer.
    pub fn reason(&self, answer: &super::client::Answer) -> String {
        let id = answer.field("octroi-request-id").unwrap_or_else(|| panic!("no request id: {answer:?}"));
        self.access_line(|line| line["request.id"] == id)["reason"].as_str().unwrap_or("-").to_owned()
    }

    /// Returns where a listener is bound.
    pub fn addr(&self, listener: &str) -> SocketAddr {
        let listeners = self.status["listeners"].as_array().unwrap();
        let found = listeners.iter().find(|door| door["name"] == listener);
        found.unwrap_or_else(|| panic!("no listener {listener}: {}", self.status))["address"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .arg(format!("-{name}"))
                .arg(self.pid().to_string())
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended; returns its exit code (or minus the signal).
    pub fn wait(&mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        eventually("the program ends", || child.try_wait().unwrap()).code().unwrap_or(-1)
    }

    /// Returns every line printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Returns the access lines so far.
    pub fn access_lines(&self) -> Vec<serde_json::Value> {
        self.printed()
            .iter()
            .filter_map(|line| line.strip_prefix("out: "))
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Waits for an access line that fits.
    pub fn access_line(&self, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually("an access line", || self.access_lines().into_iter().rev().find(&fits))
    }

    /// Asks with curl: the path of a host behind the TLS listener `public`.
    pub fn curl(&self, host: &str, path: &str) -> Curl {
        Curl::new(self.addr("public"), host, path).cacert(&self.path().join("certs/ca.pem"))
    }

    /// Scrapes the metrics.
    pub fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.addr("metrics"));
        String::from_utf8(Command::new("curl").args(["-sS", &url]).output().unwrap().stdout).unwrap()
    }
}

/// Sends a signal to a process; says whether it was there.
pub fn signal(pid: u32, name: &str) -> bool {
    Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Says whether a process lives. One that nobody has waited for does not.
pub fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

impl Drop for Octroi {
    fn drop(&mut self) {
        for pid in &self.successors {
            signal(*pid, "KILL");
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- what octroi printed:\n{}",
                self.log.lock().map(|log| log.join("\n")).unwrap_or_default()
            );
        }
    }
}
