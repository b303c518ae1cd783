//! OCSP answers that are stapled, made and read by openssl.

use std::fs;

use crate::harness::wait;
use crate::{
    harness::eventually,
    ocsp::{Responder, Word},
    test_server::{Pair, TestServer},
};

fn stapled(server: &TestServer) -> Option<String> {
    let said = server.s_client("a.test", &["-status"]);
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    if said.contains("OCSP response: no response sent") {
        return None;
    }
    assert!(
        said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"),
        "{said}"
    );
    let serial = said.lines().find_map(|line| line.trim().strip_prefix("Serial Number: ")).unwrap();
    Some(serial.to_owned())
}

#[test]
fn an_answer_is_stapled_watched_and_judged() {
    let ca = Responder::new();
    let put = |folder: &std::path::Path, serial: u8| {
        let (cert, key) = ca.issue(serial, &["a.test"]);
        Pair { cert, key }.put(folder, "a");
    };
    let server = TestServer::prepared("", ", ocsp: pairs/a.der", |root| {
        put(&root.join("pairs"), 0x11);
        fs::write(root.join("pairs/a.der"), ca.answer(0x11, Word::Good, true)).unwrap();
    });
    let answer = server.pairs().join("a.der");
    let until = || server.octroi.metric("octroi_tls_ocsp_not_after_timestamp_seconds{name=\"a.test\"}");

    assert_eq!(stapled(&server).as_deref(), Some("11"));
    let first = until();
    assert!(first > 1_700_000_000.0, "{first}");

    // A fresher one is taken; sessions go on, since they stand for the certificate.
    wait::elapse(std::time::Duration::from_millis(1100));
    fs::write(&answer, ca.answer(0x11, Word::Good, true)).unwrap();
    eventually("the answer is taken", || (until() > first).then_some(()));

    // One that takes the certificate back is refused, and the one before it stays.
    fs::write(&answer, ca.answer(0x11, Word::Revoked, true)).unwrap();
    server.until_printed("a.der: the OCSP answer says that the certificate is revoked");
    assert_eq!(stapled(&server).as_deref(), Some("11"));
    assert_eq!(server.octroi.code(&["check"]), 1);

    // Another certificate is taken although the answer is not for it; nothing is stapled then.
    put(&server.pairs(), 0x12);
    server.until_shown("a.test", &server.file("a.pem"));
    assert_eq!((stapled(&server), until()), (None, 0.0));
    fs::write(&answer, ca.answer(0x12, Word::Good, true)).unwrap();
    eventually("the answer is taken", || (until() > 0.0).then_some(()));
    assert_eq!(stapled(&server).as_deref(), Some("12"));
    eventually("nothing is refused", || {
        (server.octroi.metric("octroi_tls_certificates_refused") == 0.0).then_some(())
    });
}
