//! Certificates on disk, end to end: renewed while octroi runs, refused where they are bad.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use harness::{
    Octroi, Upstream,
    client::{ask, raw, tls_over},
    eventually,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, pem::PemObject};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// The goal: new connections see a new pair so soon.
const SOON: Duration = Duration::from_secs(1);

fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
metrics: {{address: "127.0.0.1:0"}}
tls:
  certificates:
    - {{cert: pairs/a.pem, key: pairs/a.key}}
    - {{cert: pairs/b.pem, key: pairs/b.key}}
{more}
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
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn new(hosts: &[&str]) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        Self { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// Puts both in place, each renamed over the old one.
    fn put(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.key")), &self.key, 0o600);
        replace(&folder.join(format!("{name}.pem")), &self.cert, 0o644);
    }
}

fn replace(path: &Path, text: &str, mode: u32) {
    let beside = path.with_extension("beside");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// A running octroi with pairs of its own for a.test and b.test.
struct Gate {
    octroi: Octroi,
    upstream: Upstream,
}

impl Gate {
    fn open(more: &str) -> Self {
        Self::prepared(more, |_| {})
    }

    fn prepared(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let upstream = Upstream::start();
        // Its own pairs first, so that none is made by `keys init`.
        let mut octroi = Octroi::prepared(&config(&upstream, "").replace("pairs/", "made/"));
        fs::create_dir(octroi.path().join("pairs")).unwrap();
        Pair::new(&["a.test"]).put(&octroi.path().join("pairs"), "a");
        Pair::new(&["b.test", "www.b.test"]).put(&octroi.path().join("pairs"), "b");
        prepare(octroi.path());
        octroi.configure(&config(&upstream, more));
        octroi.run();
        Self { octroi, upstream }
    }

    fn pairs(&self) -> std::path::PathBuf {
        self.octroi.path().join("pairs")
    }

    fn file(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.pairs().join(name)).unwrap()
    }

    /// Returns the certificate that a new connection is shown.
    fn shown(&self, host: &str) -> Option<CertificateDer<'static>> {
        let mut connection = rustls::ClientConnection::new(trusting(), host.to_owned().try_into().unwrap()).unwrap();
        let mut tcp = raw(self.octroi.addr("public"));
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).ok()?;
        }
        Some(connection.peer_certificates().unwrap()[0].clone())
    }

    /// Waits until a certificate is shown; returns how long that took.
    fn until_shown(&self, host: &str, leaf: &CertificateDer<'static>) -> Duration {
        let start = Instant::now();
        eventually("the certificate is shown", || (self.shown(host).as_ref() == Some(leaf)).then(|| start.elapsed()))
    }

    fn printed(&self, words: &str) -> usize {
        self.octroi.printed().iter().filter(|line| line.contains(words)).count()
    }

    fn until_printed(&self, words: &str) {
        eventually(words, || (self.printed(words) > 0).then_some(()));
    }
}

/// A client that takes any certificate: which one it is shown is what is asked.
fn trusting() -> std::sync::Arc<rustls::ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Any(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    std::sync::Arc::new(config)
}

#[derive(Debug)]
struct Any(std::sync::Arc<rustls::crypto::CryptoProvider>);

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
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_renewed_pair_is_shown_within_a_second_and_no_connection_drops() {
    let gate = Gate::open("");
    let before = gate.file("a.pem");
    let mut kept = tls_over(raw(gate.octroi.addr("public")), "a.test", &gate.pairs().join("a.pem"), &[b"http/1.1"]);
    assert_eq!(ask(&mut kept, GET).status, 200);
    assert_eq!(gate.shown("a.test").unwrap(), before);

    let after = Pair::new(&["a.test"]);
    after.put(&gate.pairs(), "a");

    let took = gate.until_shown("a.test", &after.leaf());
    assert!(took < SOON, "{took:?}");
    assert_eq!(ask(&mut kept, GET).status, 200, "a connection from before goes on");
    assert_eq!(gate.shown("b.test").unwrap(), gate.file("b.pem"), "the other pair stays");
    assert_eq!(gate.octroi.metric("octroi_tls_certificate_reloads_total{result=\"success\"}"), 1.0);
    assert_eq!(gate.octroi.metric("octroi_tls_certificates_refused"), 0.0);
    assert_eq!(gate.printed("refused"), 0, "{:#?}", gate.octroi.printed());
    drop(gate.upstream);
}

#[test]
fn a_pair_that_is_written_in_place_and_bit_by_bit_is_taken_without_noise() {
    let gate = Gate::open("");
    let after = Pair::new(&["a.test"]);
    let (cert, key) = (gate.pairs().join("a.pem"), gate.pairs().join("a.key"));

    // Half of the certificate, then all of it, and the key a second later: a slow renewer.
    fs::write(&cert, &after.cert[..after.cert.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    fs::write(&cert, &after.cert).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_ne!(gate.shown("a.test").unwrap(), after.leaf(), "the key is another one still");
    fs::write(&key, &after.key).unwrap();

    let took = gate.until_shown("a.test", &after.leaf());
    assert!(took < SOON, "{took:?}");
    assert_eq!(gate.printed("refused"), 0, "{:#?}", gate.octroi.printed());
    assert_eq!(gate.octroi.metric("octroi_tls_certificate_reloads_total{result=\"failure\"}"), 0.0);
}

#[test]
fn a_link_that_is_swapped_as_kubernetes_does_is_followed() {
    let day = |folder: &Path, name: &str| {
        let day = folder.join(name);
        fs::create_dir(&day).unwrap();
        let pair = Pair::new(&["a.test"]);
        pair.put(&day, "tls");
        pair
    };
    let gate = Gate::prepared("", |root| {
        let folder = root.join("pairs");
        day(&folder, "..2026_01");
        symlink("..2026_01", folder.join("..data")).unwrap();
        for (name, target) in [("a.pem", "..data/tls.pem"), ("a.key", "..data/tls.key")] {
            fs::remove_file(folder.join(name)).unwrap();
            symlink(target, folder.join(name)).unwrap();
        }
    });

    for name in ["..2026_02", "..2026_03"] {
        let pair = day(&gate.pairs(), name);
        symlink(name, gate.pairs().join("..data_tmp")).unwrap();
        fs::rename(gate.pairs().join("..data_tmp"), gate.pairs().join("..data")).unwrap();

        let took = gate.until_shown("a.test", &pair.leaf());
        assert!(took < SOON, "{name}: {took:?}");
    }
    assert_eq!(gate.octroi.metric("octroi_tls_certificate_reloads_total{result=\"success\"}"), 2.0);
}

#[test]
fn a_bad_pair_is_refused_and_the_old_one_stays_while_others_are_renewed() {
    let gate = Gate::open("");
    let before = gate.file("a.pem");
    let good = Pair::new(&["b.test", "www.b.test"]);

    // The key of another certificate.
    let other = Pair::new(&["a.test"]);
    replace(&gate.pairs().join("a.pem"), &other.cert, 0o644);
    good.put(&gate.pairs(), "b");

    gate.until_shown("b.test", &good.leaf());
    assert_eq!(gate.shown("a.test").unwrap(), before);
    gate.until_printed("do not belong together");
    assert_eq!(gate.octroi.metric("octroi_tls_certificates_refused"), 1.0);
    assert_eq!(gate.octroi.metric("octroi_tls_certificate_reloads_total{result=\"failure\"}"), 1.0);
    let status = gate.octroi.command(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("do not belong together"), "{status:?}");

    // A reload is all or nothing.
    assert_eq!(gate.octroi.code(&["reload"]), 1);
    assert_eq!(gate.shown("a.test").unwrap(), before);

    // The right key heals it.
    other.put(&gate.pairs(), "a");
    gate.until_shown("a.test", &other.leaf());
    eventually("nothing is refused any more", || (gate.octroi.metric("octroi_tls_certificates_refused") == 0.0).then_some(()));
    assert_eq!(gate.octroi.code(&["reload"]), 0);
    assert_eq!(gate.octroi.code(&["status"]), 0);
}
