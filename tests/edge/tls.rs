//! TLS listeners.

use std::{sync::Arc, time::Duration};

use octroi::{
    edge::{TlsError, TlsState, dev},
    model::{Clock, ManualClock, SystemClock},
    policy::{CertificateSource, ListenerKind, MinVersion, UnknownSni},
};
use rustls::{AlertDescription, NamedGroup, ProtocolVersion};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::test_listener::{
    GET, TestListener, ask, certificate, clock, patterns, plan, policy, proxied, rest, shake,
};

fn alert_of(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let leaf = |name: &str| CertificateDer::from_pem_file(test_listener.dir.path().join(name)).unwrap();

    for (host, file) in
        [("a.test", "a.pem"), ("x.wild.test", "a.pem"), ("b.test", "b.pem"), ("B.TEST", "b.pem")]
    {
        let stream = test_listener.handshake(host).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], leaf(file), "{host}");
    }
}

#[tokio::test]
async fn the_facts_say_what_was_agreed_on() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let mut config = test_listener.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = shake(test_listener.connect().await, config, "A.test").await.unwrap();

    let answer = ask(&mut stream, GET).await;

    for fact in [
        "sni: Some(\"a.test\")",
        "TLSv1.3",
        "TLS_AES_256_GCM_SHA384",
        "X25519MLKEM768",
        "Http1",
        "resumed: false",
    ] {
        assert!(answer.contains(fact), "{fact}: {answer}");
    }
    assert_eq!(
        stream.get_ref().1.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );
}

#[tokio::test]
async fn the_hybrid_group_comes_first_where_a_client_has_a_share_of_it_and_classic_ones_serve_the_others() {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let agreed = async |groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(test_listener.dir.path().join("ca.pem")).unwrap()).unwrap();
        let provider = rustls::crypto::CryptoProvider { kx_groups: groups, ..default_provider() };
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = shake(test_listener.connect().await, config, "a.test").await?;
        std::io::Result::Ok(stream.get_ref().1.negotiated_key_exchange_group().unwrap().name())
    };

    assert_eq!(
        agreed(vec![kx_group::X25519MLKEM768, kx_group::X25519]).await.unwrap(),
        NamedGroup::X25519MLKEM768
    );
    // A client that sent no share of it would have to be asked for one, at the price of a round trip.
    assert_eq!(agreed(vec![kx_group::X25519, kx_group::X25519MLKEM768]).await.unwrap(), NamedGroup::X25519);
    assert_eq!(agreed(vec![kx_group::SECP256R1]).await.unwrap(), NamedGroup::secp256r1);
    assert_eq!(agreed(vec![kx_group::SECP384R1]).await.unwrap(), NamedGroup::secp384r1);
}

#[tokio::test]
async fn an_unknown_name_gets_unrecognized_name() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;

    for host in ["c.test", "wild.test", "x.y.wild.test"] {
        let error = test_listener.handshake(host).await.unwrap_err();
        assert_eq!(alert_of(&error), Some(AlertDescription::UnrecognisedName), "{host}");
        test_listener.seen.line(&format!("refused unknown_sni 127.0.0.1 {host}")).await;
    }
    // The syntax of a host, whatever TLS thinks of it.
    let error = test_listener.handshake("under_score.test").await.unwrap_err();
    assert_eq!(alert_of(&error), Some(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn an_unknown_name_may_be_shown_the_default() {
    let mut plan = plan(ListenerKind::Tls);
    plan.unknown_sni = UnknownSni::Default;
    let test_listener = TestListener::open(plan).await;

    let error = test_listener.handshake("c.test").await.unwrap_err();

    // Our certificate is not for it, says the client: it was shown one.
    assert!(error.to_string().contains("not valid for name"), "{error}");
    test_listener.seen.line("refused tls_aborted").await;
}

#[tokio::test]
async fn no_name_gets_no_certificate_or_the_default_and_the_request_decides() {
    for unknown_sni in [UnknownSni::Refuse, UnknownSni::Default] {
        let mut plan = plan(ListenerKind::Tls);
        plan.unknown_sni = unknown_sni;
        let test_listener = TestListener::open(plan).await;
        let mut config = test_listener.client();
        config.enable_sni = false;

        let shaken = shake(test_listener.connect().await, config, "a.test").await;

        match unknown_sni {
            UnknownSni::Refuse => {
                // No tenant takes it, so nobody learns whose host this is.
                assert_eq!(alert_of(&shaken.unwrap_err()), Some(AlertDescription::MissingExtension));
                test_listener.seen.line("refused no_sni").await;
            }
            UnknownSni::Default => assert!(ask(&mut shaken.unwrap(), GET).await.contains("sni: None")),
        }
    }
}

#[tokio::test]
async fn the_fingerprint_is_that_of_the_library_and_only_where_it_is_asked_for() {
    for ja4 in [false, true] {
        let mut plan = plan(ListenerKind::Tls);
        plan.ja4 = ja4;
        let test_listener = TestListener::open(plan).await;
        let fingerprint = async || {
            let mut stream = test_listener.handshake("a.test").await.unwrap();
            let answer = ask(&mut stream, GET).await;
            answer.split_once("ja4: ").unwrap().1.split(')').next().unwrap().to_owned()
        };

        let (first, second) = (fingerprint().await, fingerprint().await);

        assert_eq!(first, second);
        // TLS 1.3, a name, ten suites with the one that only signals, no ALPN; rustls shuffles its extensions.
        let expected = if ja4 { "Some(\"t13d10" } else { "None" };
        assert!(first.starts_with(expected), "{first}");
    }
}

#[tokio::test]
async fn protocols_are_agreed_on_or_refused() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let with = |protocols: &[&str]| {
        let mut config = test_listener.client();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };

    let both = shake(test_listener.connect().await, with(&["http/1.1", "h2"]), "a.test").await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let none = shake(test_listener.connect().await, with(&[]), "a.test").await.unwrap();
    assert_eq!(none.get_ref().1.alpn_protocol(), None);
    let odd = shake(test_listener.connect().await, with(&["spdy/3"]), "a.test").await.unwrap_err();
    assert_eq!(alert_of(&odd), Some(AlertDescription::NoApplicationProtocol));
    test_listener.seen.line("refused tls_alpn").await;
}

#[tokio::test]
async fn a_session_is_resumed_and_early_data_is_not_offered() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12][..]] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(test_listener.dir.path().join("ca.pem")).unwrap()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        config.enable_early_data = true;

        let mut first = shake(test_listener.connect().await, config.clone(), "a.test").await.unwrap();
        assert!(ask(&mut first, GET).await.contains("resumed: false"));
        let mut second = shake(test_listener.connect().await, config, "a.test").await.unwrap();

        assert!(ask(&mut second, GET).await.contains("resumed: true"));
        assert!(!second.get_ref().1.is_early_data_accepted());
    }
}

#[tokio::test]
async fn old_versions_are_refused() {
    let mut plan = plan(ListenerKind::Tls);
    plan.min_version = MinVersion::Tls13;
    let test_listener = TestListener::open(plan).await;
    for version in ["-tls1_1", "-tls1_2"] {
        let target = test_listener.addr.to_string();
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &target,
                "-servername",
                "a.test",
                version,
                "-cipher",
                "ALL:@SECLEVEL=0",
            ])
            .stdin(std::process::Stdio::null())
            .output()
            .await;
        let Ok(output) = output else { return };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // A client of TLS 1.1 does not even name signature algorithms, which is the first thing that is missed.
        let refused = ["alert protocol version", "alert handshake failure", "no protocols available"];
        assert!(refused.iter().any(|words| said.contains(words)), "{version}: {said}");
    }
    test_listener.seen.line("refused tls_incompatible").await;

    let stream = test_listener.handshake("a.test").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.handshake_timeout = Duration::from_millis(100);
    let test_listener = TestListener::open(plan).await;

    let mut silent = test_listener.connect().await;
    let mut half = test_listener.connect().await;
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();

    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut half).await, "");
    test_listener.seen.line("refused tls_timeout").await;
    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
    assert_eq!(test_listener.seen.count("refused tls_timeout"), 2);
}

#[tokio::test]
async fn handshakes_are_limited_by_rate() {
    let mut plan = plan(ListenerKind::Tls);
    plan.listener.max_handshakes_per_second = std::num::NonZeroU32::new(1);
    let test_listener = TestListener::open(plan).await;

    test_listener.handshake("a.test").await.unwrap();

    assert_eq!(rest(&mut test_listener.connect().await).await, "");
    test_listener.seen.line("refused handshake_rate").await;
}

#[tokio::test]
async fn plain_http_is_told_so() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let mut client = test_listener.connect().await;

    client.write_all(GET.as_bytes()).await.unwrap();

    assert!(rest(&mut client).await.ends_with("This port speaks HTTPS. Use https://\r\n"));
    test_listener.seen.line("refused plain_http").await;
}

#[tokio::test]
async fn what_is_no_tls_is_counted_as_what_it_is() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;

    let mut proxy = test_listener.connect().await;
    proxy.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\n").await.unwrap();
    assert_eq!(rest(&mut proxy).await, "");
    test_listener.seen.line("refused proxy_protocol").await;

    let mut noise = test_listener.connect().await;
    noise.write_all(&[0x80, 0x2e, 1, 0, 2]).await.unwrap();
    assert_eq!(rest(&mut noise).await, "");
    test_listener.seen.line("refused tls_protocol").await;
}

#[tokio::test]
async fn a_proxy_header_stands_before_the_handshake() {
    let test_listener = TestListener::open(proxied(plan(ListenerKind::Tls), &["127.0.0.0/8"])).await;
    let mut tcp = test_listener.connect().await;
    tcp.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\n").await.unwrap();

    let mut stream = shake(tcp, test_listener.client(), "a.test").await.unwrap();

    assert!(ask(&mut stream, GET).await.contains("source=192.0.2.1:1234 peer=127.0.0.1"));
}

#[tokio::test]
async fn header_and_body_are_one_packet_under_tls_too() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    let mut config = test_listener.client();
    config.resumption = rustls::client::Resumption::disabled();
    let mut stream = shake(test_listener.connect().await, config, "a.test").await.unwrap();
    ask(&mut stream, GET).await;

    for _ in 0..20 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let (tcp, _) = stream.get_ref();
        tcp.readable().await.unwrap();
        let mut raw = [0; 4096];
        let arrived = tcp.peek(&mut raw).await.unwrap();
        // Two records, header and body, in what has arrived at once.
        let first = 5 + usize::from(u16::from_be_bytes([raw[3], raw[4]]));
        assert!(arrived > first + 5, "{arrived} bytes, the first record has {first}");
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("resumed") {
            stream.read_buf(&mut answer).await.unwrap();
        }
    }
}

#[tokio::test]
async fn dev_certificates_are_made_once_and_again_when_the_hosts_change() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("certs");
    let now = SystemClock::new().now();
    let provide = |hosts: &[&str]| {
        let hosts = patterns(hosts);
        dev::provide(&folder, [("acme", &*hosts), ("member", &[])].into_iter(), now).unwrap()
    };
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();

    let pairs = provide(&["acme.localhost", "*.acme.localhost"]);
    assert_eq!(pairs.len(), 1);
    let (ca, cert, key) = (read("ca.pem"), read("dev-acme.pem"), read("dev-acme.key"));
    provide(&["*.acme.localhost", "acme.localhost"]);
    assert_eq!((read("ca.pem"), read("dev-acme.pem")), (ca.clone(), cert.clone()));
    provide(&["acme.localhost"]);
    assert_ne!(read("dev-acme.pem"), cert);
    assert_eq!((read("ca.pem"), read("dev-acme.key")), (ca, key));

    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("ca.key")), 0o600);
    assert_eq!(mode(&folder.join("dev-acme.key")), 0o600);
}

#[tokio::test]
async fn the_files_of_an_operator_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let now = SystemClock::new().now();
    let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let files = dev::PairFiles { cert: dir.path().join("own.pem"), key: dir.path().join("own.key") };
    std::fs::write(&files.cert, pair.cert.pem()).unwrap();
    let authority = dev::Authority::open_or_make(&dir.path().join("ca"), now).unwrap();

    authority.make_pair(&files, &patterns(&["b.test"]), now).unwrap();

    assert_eq!(std::fs::read_to_string(&files.cert).unwrap(), pair.cert.pem());
    assert!(!files.key.exists());

    // A key alone is used, not replaced.
    std::fs::remove_file(&files.cert).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    authority.make_pair(&files, &patterns(&["b.test"]), now).unwrap();
    assert_eq!(std::fs::read_to_string(&files.key).unwrap(), pair.signing_key.serialize_pem());
    assert!(files.cert.exists());
}

#[tokio::test]
async fn a_client_gets_ecdsa_if_it_can_and_rsa_otherwise() {
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let test_listener = TestListener::open_prepared(plan(ListenerKind::Tls), |dir| {
        let key = dir.join("rsa.key");
        std::fs::write(&key, rsa.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        vec![certificate(dir, "rsa", &["a.test"]), certificate(dir, "ecdsa", &["a.test"])]
    })
    .await;
    let leaf = |name: &str| CertificateDer::from_pem_file(test_listener.dir.path().join(name)).unwrap();
    let shown = async |suites: Option<&[rustls::SupportedCipherSuite]>| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(suites) = suites {
            provider.cipher_suites = suites.to_vec();
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaf("ca.pem")).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = shake(test_listener.connect().await, config, "a.test").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };

    assert_eq!(shown(None).await, leaf("ecdsa.pem"));
    let only_rsa = [rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    assert_eq!(shown(Some(&only_rsa)).await, leaf("rsa.pem"));
}

#[tokio::test]
async fn a_state_that_changes_nothing_is_not_taken() {
    let dir = TempDir::new().unwrap();
    let plan = plan(ListenerKind::Tls);
    let build = |certificates| TlsState::build(&policy(&plan, certificates), &clock()).unwrap();
    let (a, b) = (certificate(dir.path(), "a", &["a.test"]), certificate(dir.path(), "b", &["b.test"]));
    let in_force = Arc::new(build(vec![a.clone()]));

    assert!(Arc::ptr_eq(&build(vec![a.clone()]).or_keep(&in_force), &in_force));
    assert!(!Arc::ptr_eq(&build(vec![a, b]).or_keep(&in_force), &in_force));
}

#[tokio::test]
async fn a_foreign_ca_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let now = SystemClock::new().now();
    certificate(dir.path(), "leaf", &["a.test"]);
    std::fs::copy(dir.path().join("leaf.pem"), dir.path().join("ca.pem")).unwrap();

    let made = dev::provide(dir.path(), std::iter::empty(), now);

    assert!(matches!(made, Err(TlsError::ForeignCa { .. })));
}

#[tokio::test]
async fn bad_pairs_are_named_all_at_once() {
    let dir = TempDir::new().unwrap();
    let good = certificate(dir.path(), "good", &["a.test"]);
    let mut mixed = certificate(dir.path(), "mixed", &["b.test"]);
    let CertificateSource::Files { key, .. } = &mut mixed.source else { unreachable!() };
    *key = dir.path().join("good.key");
    let mut absent = good.clone();
    let CertificateSource::Files { cert, .. } = &mut absent.source else { unreachable!() };
    *cert = dir.path().join("absent.pem");
    let policy = policy(&plan(ListenerKind::Tls), vec![good.clone(), mixed, absent]);
    let now = SystemClock::new().now();

    let errors = TlsState::build(&policy, &clock()).unwrap_err();

    assert!(matches!(&errors[..], [TlsError::Mismatch { .. }, TlsError::File { .. }]), "{errors:?}");
    let policy = crate::test_listener::policy(&plan(ListenerKind::Tls), vec![good]);
    let state = TlsState::build(&policy, &clock()).unwrap();
    assert!(state.covers(&"a.test".parse().unwrap()) && !state.covers(&"b.test".parse().unwrap()));
    assert_eq!(state.certificate_expiries()[0].name, "a.test");
    let later: Arc<dyn Clock> = Arc::new(ManualClock::new(now.plus(Duration::from_secs(398 * 86_400))));
    let ended = TlsState::build(&policy, &later).unwrap();
    assert!(ended.covers(&"a.test".parse().unwrap()), "one that has ended is served on");
    assert!(
        ended.certificate_expiries()[0].has_ended(later.now())
            && !ended.certificate_expiries()[0].has_ended(now)
    );
}

/// A client that speaks a CA's protocol, and believes any certificate: it looks at what it is shown.
fn ca_client(test_listener: &TestListener, protocols: &[&[u8]]) -> rustls::ClientConfig {
    #[derive(Debug)]
    struct Believing(rustls::crypto::CryptoProvider);
    impl rustls::client::danger::ServerCertVerifier for Believing {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        // Nor the signatures: the library reads the certificate for that, and it does not know the critical extension.
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let mut config = test_listener.client();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Believing(rustls::crypto::aws_lc_rs::default_provider())));
    config
}

#[tokio::test]
async fn a_ca_is_shown_the_proof_while_it_runs_and_the_connection_ends() {
    use sha2::Digest;
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    // Of neither is there a certificate that clients would be shown.
    let (host, other) = ("new.test".parse().unwrap(), "other.test");
    let running = test_listener
        .challenges
        .begin(&host, octroi::policy::AcmeChallenge::TlsAlpn01, "token", "token.print")
        .unwrap();
    let shake_as = async |protocols: &[&[u8]], name: &str| {
        shake(test_listener.connect().await, ca_client(&test_listener, protocols), name).await
    };

    let mut stream = shake_as(&[b"acme-tls/1"], "NEW.test").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(format!("{:?}", names.value.general_names), r#"[DNSName("new.test")]"#);
    let proof =
        parsed.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
    assert!(proof.critical);
    assert_eq!(proof.value, [&[4, 32][..], &sha2::Sha256::digest("token.print")].concat());
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    test_listener.seen.line("proven new.test 127.0.0.1").await;
    test_listener.seen.line("closed").await;
    assert_eq!(test_listener.seen.count("refused"), 0);

    // Another name, another protocol beside it, or none: no proof.
    let alert = |result: std::io::Result<_>| {
        result.map(|_: tokio_rustls::client::TlsStream<_>| ()).map_err(|error| alert_of(&error))
    };
    assert_eq!(alert(shake_as(&[b"acme-tls/1"], other).await), Err(Some(AlertDescription::UnrecognisedName)));
    assert_eq!(
        alert(shake_as(&[b"acme-tls/1", b"h2"], "new.test").await),
        Err(Some(AlertDescription::UnrecognisedName))
    );
    assert_eq!(alert(shake_as(&[b"h2"], "new.test").await), Err(Some(AlertDescription::UnrecognisedName)));
    assert_eq!(
        alert(shake_as(&[b"acme-tls/1"], "a.test").await),
        Err(Some(AlertDescription::NoApplicationProtocol))
    );
    test_listener.seen.line("refused tls_alpn").await;
    drop(running);
    assert_eq!(
        alert(shake_as(&[b"acme-tls/1"], "new.test").await),
        Err(Some(AlertDescription::UnrecognisedName))
    );
    assert_eq!(test_listener.seen.count("proven"), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_opened_is_answered_with_an_alert() {
    let test_listener = TestListener::open(plan(ListenerKind::Tls)).await;
    for requests in 0..2 {
        let mut stream = test_listener.handshake("a.test").await.unwrap();
        for _ in 0..requests {
            assert!(ask(&mut stream, GET).await.starts_with("HTTP/1.1 200"));
        }

        // Whoever changes an octet on the way; and more that nobody reads.
        let garbage = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat().repeat(20);
        stream.get_mut().0.write_all(&garbage).await.unwrap();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();

        assert_eq!(alert_of(&error), Some(AlertDescription::BadRecordMac), "{error}");
    }
}
