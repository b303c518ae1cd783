//! A certificate that was lost from the disk while octroi serves it, and one that ends soon.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::{
    harness::eventually,
    test_server::{Pair, TestServer},
};

fn said(server: &TestServer, args: &[&str]) -> (i32, String) {
    let output = server.octroi.command(args);
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// A pair that ends in so many hours.
fn ending(host: &str, hours: u64) -> Pair {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now + hours * 3600);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

#[test]
fn a_lost_certificate_comes_from_the_backup_and_one_of_octroi_s_own_ca_takes_nobody_s_place() {
    let mut server = TestServer::open("");
    let (file, shown) = (server.pairs().join("a.pem"), server.shown("a.test").unwrap());
    let backup = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();

    // The hint keeps whoever follows it from harm, and so does the command.
    let hint = "put the file back from the backup, and do not restart before: octroi has served here";
    for args in [&["reload"][..], &["status"], &["check"]] {
        let (code, text) = said(&server, args);
        assert!(code == 1 && text.contains(hint) && !text.contains("keys init"), "{args:?}: {text}");
    }
    let (code, text) = said(&server, &["keys", "init"]);
    assert!(
        code == 1
            && text.contains("nothing was made: octroi runs with this state directory")
            && text.contains("backup"),
        "{text}"
    );
    assert!(!file.exists());

    // Whoever makes one all the same puts nothing in the place of the good one: not by the watcher, nor by a reload.
    let (code, text) = said(&server, &["keys", "init", "--force"]);
    assert!(code == 0 && text.contains("made ") && text.contains("which no client knows"), "{text}");
    let refused = "octroi's own development CA made it";
    server.until_printed(refused);
    let (code, text) = said(&server, &["reload"]);
    assert!(code == 0 && text.contains(refused) && text.contains("what is in force stays"), "{text}");
    let (code, text) = said(&server, &["status"]);
    assert!(
        code == 1
            && text.contains(refused)
            && text.contains("a restart would show this one, and clients refuse it"),
        "{text}"
    );
    let (code, text) = said(&server, &["upgrade"]);
    assert!(code == 1 && text.contains(refused) && text.contains("clients would refuse: a.test"), "{text}");
    assert_eq!(server.shown("a.test").unwrap(), shown);

    fs::remove_file(&file).unwrap();
    assert_eq!(said(&server, &["reload"]).0, 1);
    let without = "\na restart would leave out what cannot be used\n";
    let (_, text) = said(&server, &["status"]);
    assert!(text.contains(without), "{text}");
    // Back: what was said of a restart is not said any more, and the next reload is well.
    fs::write(&file, &backup).unwrap();
    let text = eventually("a restart is judged anew", || {
        let (_, text) = said(&server, &["status"]);
        (!text.contains(without)).then_some(text)
    });
    assert!(
        text.contains("\na restart would leave nothing out any more: the files have been mended since"),
        "{text}"
    );
    server.octroi.ok(&["reload"]);
    eventually("all is well", || (said(&server, &["status"]).0 == 0).then_some(()));
    server.octroi.refresh();
    assert_eq!(server.shown("a.test").unwrap(), shown);

    // Behind its end nobody runs, and the place still knows that somebody did.
    server.octroi.signal("TERM");
    assert_eq!(server.octroi.wait(), 0);
    fs::remove_file(&file).unwrap();
    let (code, text) = said(&server, &["keys", "init"]);
    assert!(code == 1 && text.contains("octroi has served with this state directory"), "{text}");
    assert!(!file.exists());
}

#[test]
fn a_certificate_that_octroi_s_own_ca_made_is_renewed_by_another_one_of_its() {
    let mut server = TestServer::open("");
    server.octroi.signal("TERM");
    assert_eq!(server.octroi.wait(), 0);
    for name in ["a.pem", "a.key"] {
        fs::remove_file(server.pairs().join(name)).unwrap();
    }
    server.octroi.ok(&["keys", "init", "--force"]);
    server.octroi.run();
    let first = server.shown("a.test").unwrap();

    fs::remove_file(server.pairs().join("a.pem")).unwrap();
    server.octroi.ok(&["keys", "init", "--force"]);
    let second = server.file("a.pem");
    assert_ne!(first, second);
    server.until_shown("a.test", &second);
    // A real one takes its place, and keeps it.
    let real = Pair::new(&["a.test"]);
    real.put(&server.pairs(), "a");
    server.until_shown("a.test", &real.leaf());
}

#[test]
fn a_certificate_in_force_that_ends_soon_is_told_of() {
    let server = TestServer::open("");
    let told = |server: &TestServer| {
        let (code, text) = said(server, &["status"]);
        let json: serde_json::Value = serde_json::from_str(&said(server, &["status", "--json"]).1).unwrap();
        let lines: Vec<String> =
            text.lines().filter(|line| line.starts_with("ends        ")).map(str::to_owned).collect();
        assert_eq!(json["tls_ending"].as_array().map_or(0, Vec::len), lines.len(), "{json}");
        assert_eq!(code, 0, "{text}");
        lines
    };
    assert!(told(&server).is_empty());

    for (hours, is_told) in [(15 * 24, false), (13 * 24, true), (30, true)] {
        let pair = ending("a.test", hours);
        pair.put(&server.pairs(), "a");
        server.until_shown("a.test", &pair.leaf());
        let lines = told(&server);
        assert_eq!(lines.len(), usize::from(is_told), "{hours}: {lines:?}");
        assert!(
            lines
                .iter()
                .all(|line| line.contains("a.test: the certificate in ") && line.contains(" expires on 20")),
            "{lines:?}"
        );
        let (code, text) = said(&server, &["check"]);
        assert_eq!(
            (code, text.contains("expires on "), text.contains(" UTC")),
            (0, is_told, hours == 30),
            "{text}"
        );
    }
}
