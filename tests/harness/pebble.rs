//! Pebble, the CA that ACME clients are tested with, on loopback: its own ports, its own CA for HTTPS, and a DNS that knows one
//! address for every name.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::eventually;

/// Returns a port that nobody listens on. Taken from below the range that the system gives out, so that no client's socket gets it
/// before the program that it is for.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Neighbours in the list of processes, tests of the same run, are far apart.
    let first = u16::try_from(std::process::id() % 400 * 50).unwrap();
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A place for Pebble, whether it runs or not.
pub struct Pebble {
    child: Option<Child>,
    dir: tempfile::TempDir,
    port: u16,
    management: u16,
    /// Where it looks for proofs.
    pub http: u16,
    pub tls: u16,
    /// More keys of its configuration, as JSON: `"externalAccountBindingRequired": true`.
    pub more: String,
    /// A tenth of good nonces is refused; nobody sleeps.
    pub environment: Vec<(&'static str, &'static str)>,
}

impl Pebble {
    /// Finds ports and makes the CA of its HTTPS. Nothing runs yet.
    pub fn prepared() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "the CA of Pebble's HTTPS");
        fs::write(dir.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        fs::write(dir.path().join("cert.pem"), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self {
            child: None,
            dir,
            port: free_port(),
            management: free_port(),
            http: free_port(),
            tls: free_port(),
            more: r#""ocspResponderURL": """#.to_owned(),
            environment: vec![
                ("PEBBLE_VA_NOSLEEP", "1"),
                ("PEBBLE_WFE_NONCEREJECT", "10"),
                ("PEBBLE_AUTHZREUSE", "0"),
            ],
        }
    }

    /// Starts it, and waits until it answers. Started again it knows nothing of before, its accounts included.
    pub fn start(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{}", "certificate": "{}",
                "privateKey": "{}", "httpPort": {}, "tlsPort": {}, {}}}}}"#,
            self.port,
            self.management,
            path("cert.pem"),
            path("key.pem"),
            self.http,
            self.tls,
            self.more
        );
        fs::write(self.dir.path().join("pebble.json"), config).unwrap();
        let log = fs::File::create(self.dir.path().join("pebble.log")).unwrap();
        let child = Command::new("pebble")
            .args(["-strict", "-config", &path("pebble.json"), "-dnsserver", &one_address_dns().to_string()])
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("pebble is installed: make setup");
        self.child = Some(child);
        let ask = || {
            Command::new("curl")
                .args(["-sS", "--cacert", &path("ca.pem"), &self.directory()])
                .output()
                .unwrap()
        };
        eventually("pebble answers", || ask().status.success().then_some(()));
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The CA of its own HTTPS.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The root of what it signs, since it was started.
    pub fn root(&self) -> PathBuf {
        let path = self.dir.path().join("root.pem");
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let got = Command::new("curl")
            .args(["-sS", "--fail", "--cacert"])
            .arg(self.ca())
            .arg("-o")
            .arg(&path)
            .arg(url)
            .status()
            .unwrap();
        assert!(got.success());
        path
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("pebble.log")).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            eprintln!("pebble: {}", self.log());
        }
        self.stop();
    }
}

/// A DNS server that says 127.0.0.1 to whoever asks for an IPv4 address, and nothing to everybody else.
fn one_address_dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    // It ends with the test.
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            if let Some(answer) = dns_answer(&packet[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    addr
}

/// RFC 1035, section 4: the question again, and one A record of an hour where one was asked for.
fn dns_answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let wants_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0];
    answer.extend_from_slice(question);
    if wants_address {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

/// Says whether a path is for its owner only.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

/// How long a first order may take on a machine that does something else, too.
pub const PATIENCE: Duration = Duration::from_secs(30);
