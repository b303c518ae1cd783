//! Sessions that go on: on TLS 1.2 and 1.3, at another node, and not where they must not. Measured with openssl.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::test_server::{Pair, TestServer, replace};

const TICKET_KEYS: &str = "  ticket_keys: pairs/tickets.key";

/// A client that keeps its session in a file.
struct Client {
    _dir: tempfile::TempDir,
    session: PathBuf,
    version: &'static str,
}

impl Client {
    fn new(version: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { session: dir.path().join("session.pem"), _dir: dir, version }
    }

    fn begin(&self, server: &TestServer, host: &str) -> String {
        let said = server.s_client(host, &[self.version, "-sess_out", self.session.to_str().unwrap()]);
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains("New, TLSv"), "{said}");
        said
    }

    /// Says whether a server goes on with the session.
    fn resumes(&self, server: &TestServer, host: &str) -> bool {
        let said = server.s_client(host, &[self.version, "-sess_in", self.session.to_str().unwrap()]);
        assert!(said.contains("HTTP/1.1 "), "{said}");
        said.contains("Reused, TLSv")
    }
}

fn secret(seed: usize) -> String {
    STANDARD.encode(std::array::from_fn::<u8, 32, _>(|index| {
        u8::try_from((index * index * 7 + index * 31 + seed) % 256).unwrap()
    }))
}

fn put_secrets(folder: &Path, seeds: &[usize]) {
    let text: String = seeds.iter().map(|seed| secret(*seed) + "\n").collect();
    replace(&folder.join("tickets.key"), &text, 0o600);
}

#[test]
fn a_session_is_resumed_on_both_versions_for_the_same_name_and_never_early() {
    let server = TestServer::open("");
    for version in ["-tls1_2", "-tls1_3"] {
        let client = Client::new(version);
        let said = client.begin(&server, "a.test");

        assert!(client.resumes(&server, "a.test"), "{version}");
        assert!(!client.resumes(&server, "b.test"), "{version}: another name");
        if version == "-tls1_3" {
            assert!(said.contains("Max Early Data: 0"), "{said}");
            let early = server.pairs().join("early.txt");
            fs::write(&early, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
            let said = server.s_client(
                "a.test",
                &[
                    version,
                    "-sess_in",
                    client.session.to_str().unwrap(),
                    "-early_data",
                    early.to_str().unwrap(),
                ],
            );
            assert!(said.contains("Early data was not sent") && said.contains("Reused, TLSv1.3"), "{said}");
        } else {
            // Without tickets the session is found in the cache; openssl connects five times more with it.
            let said = server.s_client("a.test", &[version, "-no_ticket", "-reconnect"]);
            assert_eq!(said.matches("Reused, TLSv1.2").count(), 5, "{said}");
        }
    }
    let metrics = server.octroi.metrics();
    let resumed = |version: &str| -> f64 {
        let of = |line: &&str| {
            line.starts_with("octroi_tls_handshakes_total{")
                && line.contains("result=\"resumed\"")
                && line.contains(&format!("\"{version}\""))
        };
        metrics.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!((resumed("TLSv1.2"), resumed("TLSv1.3")), (6.0, 2.0));
}

#[test]
fn nodes_that_share_a_file_resume_each_other_s_sessions_and_others_do_not() {
    let server = TestServer::prepared(TICKET_KEYS, "", |root| put_secrets(&root.join("pairs"), &[1]));
    let node = server.beside(TICKET_KEYS);
    let stranger = server.beside("");
    for version in ["-tls1_2", "-tls1_3"] {
        let client = Client::new(version);
        client.begin(&server, "a.test");

        assert!(client.resumes(&node, "a.test"), "{version}");
        assert!(!client.resumes(&stranger, "a.test"), "{version}: keys of its own");
    }
}

#[test]
fn a_session_ends_with_its_certificate_and_with_its_secret() {
    let server = TestServer::prepared(TICKET_KEYS, "", |root| put_secrets(&root.join("pairs"), &[1]));
    let client = Client::new("-tls1_3");
    client.begin(&server, "a.test");
    let turned = || server.octroi.metric("octroi_tls_certificate_reloads_total{result=\"success\"}");
    let until_turned =
        |count: f64| crate::harness::eventually("the files are read", || (turned() >= count).then_some(()));

    // A new secret in front: the older one still opens.
    put_secrets(&server.pairs(), &[2, 1]);
    until_turned(1.0);
    assert!(client.resumes(&server, "a.test"));

    // A reload without a change changes no key.
    server.octroi.ok(&["reload"]);
    assert!(client.resumes(&server, "a.test"));

    let renewed = Pair::new(&["a.test"]);
    renewed.put(&server.pairs(), "a");
    server.until_shown("a.test", &renewed.leaf());
    assert!(!client.resumes(&server, "a.test"), "the certificate is another one");

    client.begin(&server, "a.test");
    assert!(client.resumes(&server, "a.test"));
    let before = turned();
    put_secrets(&server.pairs(), &[3]);
    until_turned(before + 1.0);
    assert!(!client.resumes(&server, "a.test"), "the secret is gone");
}

#[test]
fn a_bad_file_of_secrets_is_refused_and_the_old_ones_stay() {
    let server = TestServer::prepared(TICKET_KEYS, "", |root| put_secrets(&root.join("pairs"), &[1]));
    let client = Client::new("-tls1_3");
    client.begin(&server, "a.test");

    replace(
        &server.pairs().join("tickets.key"),
        &format!("{}\n{}\n", secret(1), STANDARD.encode([7; 31])),
        0o600,
    );

    server.until_printed("tickets.key: line 2: the key has 31 bytes; it needs exactly 32");
    assert!(client.resumes(&server, "a.test"));
    replace(&server.pairs().join("tickets.key"), &secret(2), 0o644);
    server.until_printed("tickets.key: everybody can read this key");
    assert_eq!(server.octroi.metric("octroi_tls_certificates_refused"), 1.0);
    assert_eq!(server.octroi.code(&["check"]), 1);
}
