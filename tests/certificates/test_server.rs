//! A running octroi with pairs of its own on disk, and clients that see which certificate they are shown.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::harness::{Octroi, Upstream, client::raw, eventually};

pub const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
fn config(upstream: &Upstream, more: &str, of_a: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls:
{more}
  certificates:
    - {{cert: pairs/a.pem, key: pairs/a.key{of_a}}}
    - {{cert: pairs/b.pem, key: pairs/b.key}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  a: {{hosts: [a.test], upstream: app, routes: app}}
  b: {{hosts: [b.test, www.b.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

/// A pair as text.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pair {
    pub fn new(hosts: &[&str]) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        Self { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// Puts both in place, each renamed over the old one.
    pub fn put(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.key")), &self.key, 0o600);
        replace(&folder.join(format!("{name}.pem")), &self.cert, 0o644);
    }
}

pub fn replace(path: &Path, text: &str, mode: u32) {
    let beside = path.with_extension("beside");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// A running octroi with pairs of its own for a.test and b.test.
pub struct TestServer {
    pub octroi: Octroi,
    _upstream: Upstream,
}

impl TestServer {
    pub fn open(more: &str) -> Self {
        Self::prepared(more, "", |_| {})
    }

    /// Opens with more settings of `tls`, more of the first certificate, and whatever a function puts into its folder.
    pub fn prepared(more: &str, of_a: &str, prepare: impl FnOnce(&Path)) -> Self {
        let upstream = Upstream::start();
        // Its own pairs lie elsewhere, so that `keys init` makes none of them.
        let mut octroi = Octroi::prepared(&config(&upstream, "", "").replace("pairs/", "made/"));
        fs::create_dir(octroi.path().join("pairs")).unwrap();
        Pair::new(&["a.test"]).put(&octroi.path().join("pairs"), "a");
        Pair::new(&["b.test", "www.b.test"]).put(&octroi.path().join("pairs"), "b");
        prepare(octroi.path());
        octroi.configure(&config(&upstream, more, of_a));
        octroi.run();
        Self { octroi, _upstream: upstream }
    }

    /// Opens another node with the same pairs, and the file of ticket secrets if there is one.
    pub fn beside(&self, more: &str) -> Self {
        Self::prepared(more, "", |root| {
            for name in ["a.pem", "a.key", "b.pem", "b.key", "tickets.key"] {
                // Not every server has ticket secrets.
                let _ = fs::copy(self.pairs().join(name), root.join("pairs").join(name));
            }
        })
    }

    /// Asks once with openssl, over a connection that the other side closes; returns all that it says.
    pub fn s_client(&self, host: &str, args: &[&str]) -> String {
        let target = self.octroi.addr("public").to_string();
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &target, "-servername", host, "-ign_eof"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        // A handshake that failed takes no request.
        let _ = client.stdin.take().unwrap().write_all(request.as_bytes());
        let output = client.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    pub fn pairs(&self) -> PathBuf {
        self.octroi.path().join("pairs")
    }

    pub fn file(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.pairs().join(name)).unwrap()
    }

    /// Opens a connection, whatever certificate it is shown.
    pub fn connect(
        &self,
        host: &str,
    ) -> std::io::Result<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>> {
        let mut connection =
            rustls::ClientConnection::new(trusting(), host.to_owned().try_into().unwrap()).unwrap();
        let mut tcp = raw(self.octroi.addr("public"));
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(rustls::StreamOwned::new(connection, tcp))
    }

    /// Returns the certificate that a new connection is shown.
    pub fn shown(&self, host: &str) -> Option<CertificateDer<'static>> {
        Some(self.connect(host).ok()?.conn.peer_certificates().unwrap()[0].clone())
    }

    /// Waits until a certificate is shown; returns how long that took.
    pub fn until_shown(&self, host: &str, leaf: &CertificateDer<'static>) -> Duration {
        let start = Instant::now();
        eventually("the certificate is shown", || {
            (self.shown(host).as_ref() == Some(leaf)).then(|| start.elapsed())
        })
    }

    /// Waits until so many certificates that changed on disk are counted as taken: that comes behind the swap.
    pub fn until_renewed(&self, count: u32) {
        let renewed = || self.octroi.metric("octroi_tls_certificate_reloads_total{result=\"success\"}");
        eventually("they are counted", || (renewed() >= f64::from(count)).then_some(()));
        assert_eq!(renewed(), f64::from(count));
    }

    pub fn printed(&self, words: &str) -> usize {
        self.octroi.printed().iter().filter(|line| line.contains(words)).count()
    }

    pub fn until_printed(&self, words: &str) {
        eventually(words, || (self.printed(words) > 0).then_some(()));
    }
}

/// A client that takes any certificate: which one it is shown is what is asked.
pub fn trusting() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[derive(Debug)]
pub struct Any(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
