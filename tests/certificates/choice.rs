//! Which certificate and which ciphers openssl gets.

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::test_server::{Pair, TestServer};

/// A server with an RSA pair beside the ECDSA one of a.test, and one for a wildcard.
fn server() -> TestServer {
    let more = "}\n    - {cert: pairs/rsa.pem, key: pairs/rsa.key}\n    - {cert: pairs/wild.pem, key: pairs/wild.key";
    TestServer::prepared("", more, |root| {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let rsa = Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
        rsa.put(&root.join("pairs"), "rsa");
        Pair::new(&["*.wild.test", "x.exact.test"]).put(&root.join("pairs"), "wild");
    })
}

fn shown(said: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(said.as_bytes()).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn openssl_is_shown_the_certificate_for_its_name_and_abilities() {
    let server = server();
    let cases: &[(&str, &[&str], &str)] = &[
        ("a.test", &[], "a.pem"),
        ("A.Test", &[], "a.pem"),
        ("a.test", &["-tls1_2"], "a.pem"),
        ("a.test", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "rsa.pem"),
        (
            "a.test",
            &["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"],
            "a.pem",
        ),
        ("a.test", &["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "rsa.pem"),
        ("www.b.test", &[], "b.pem"),
        ("x.wild.test", &[], "wild.pem"),
        ("x.exact.test", &[], "wild.pem"),
    ];
    for (host, args, file) in cases {
        assert_eq!(shown(&server.s_client(host, args)), server.file(file), "{host} {args:?}");
    }
    for host in ["wild.test", "y.x.wild.test", "y.exact.test", "c.test"] {
        let said = server.s_client(host, &[]);
        assert!(
            said.contains("unrecognized name") && said.contains("no peer certificate available"),
            "{host}: {said}"
        );
    }
}

#[test]
fn openssl_gets_forward_secrecy_and_authenticated_ciphers_or_nothing() {
    let server = server();
    for (args, words) in [
        (vec!["-tls1_2"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (vec!["-tls1_3"], "TLS_AES_256_GCM_SHA384"),
        (vec!["-groups", "X25519"], "Server Temp Key: X25519"),
        (vec!["-groups", "P-256"], "Server Temp Key: ECDH, prime256v1"),
        (vec!["-groups", "P-384"], "Server Temp Key: ECDH, secp384r1"),
    ] {
        let said = server.s_client("a.test", &args);
        assert!(said.contains(words) && said.contains("HTTP/1.1 200 OK"), "{args:?}: {said}");
    }
    for args in [
        vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"],
        vec!["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"],
        vec!["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"],
        vec!["-groups", "P-521"],
        vec!["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    ] {
        let said = server.s_client("a.test", &args);
        assert!(said.contains("alert") && !said.contains("HTTP/1.1"), "{args:?}: {said}");
    }
}
