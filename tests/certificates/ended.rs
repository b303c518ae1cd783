//! Pairs that have ended, or cannot be used: whom they concern is on his own.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{
    harness::{client::ask, eventually},
    test_server::{GET, Pair, TestServer},
};

/// A pair with dates.
fn dated(host: &str, from: i32, until: i32) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn status(server: &TestServer) -> (Option<i32>, String) {
    let output = server.octroi.command(&["status"]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn one_that_has_ended_is_served_on_and_stops_neither_a_start_nor_a_reload() {
    let old = dated("a.test", 2020, 2021);
    let leaf = old.leaf();
    let mut server = TestServer::prepared("", "", |root| old.put(&root.join("pairs"), "a"));

    assert_eq!(server.shown("a.test").unwrap(), leaf);
    let mut client = server.connect("b.test").unwrap();
    assert_eq!(ask(&mut client, &GET.replace("a.test", "b.test")).status, 200);
    server.until_printed("certificate_ended");
    eventually("the metric", || (server.octroi.metric("octroi_tls_certificates_ended") == 1.0).then_some(()));
    let (code, text) = status(&server);
    assert!(
        code == Some(1)
            && text.contains("lapsed      a.test: the certificate in ")
            && text.contains("expired on 2021-01-01"),
        "{text}"
    );
    assert_eq!(server.octroi.code(&["check"]), 0, "a warning");
    server.octroi.ok(&["reload"]);
    server.octroi.refresh();
    assert_eq!(server.shown("a.test").unwrap(), leaf);
    assert_eq!(server.printed("certificate_ended"), 1, "once a day");

    // One that is in force is not exchanged for one that has ended, by nobody.
    let good = Pair::new(&["a.test"]);
    good.put(&server.pairs(), "a");
    server.until_shown("a.test", &good.leaf());
    assert_eq!(status(&server).0, Some(0));
    dated("a.test", 2020, 2021).put(&server.pairs(), "a");
    server.until_printed("the certificate has expired");
    // One truth: this one is not taken, and a restart, which has no other, would show it.
    let truth = "the certificate has expired; a restart would show this one, and clients refuse it";
    let (code, text) = status(&server);
    assert!(code == Some(1) && text.contains(truth), "{text}");
    for args in [&["reload", "--dry-run"][..], &["reload"]] {
        let output = server.octroi.command(args);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let stays = "the certificate has expired: what is in force stays; a restart would show this one, and clients refuse it";
        assert!(output.status.success() && text.contains(stays) && !text.contains("it is served"), "{text}");
    }
    assert_eq!(server.shown("a.test").unwrap(), good.leaf());
    let (code, text) = status(&server);
    assert!(code == Some(1) && text.contains(truth), "{text}");

    // A restart would do without what cannot be used, and not start with rules that do not hold.
    good.put(&server.pairs(), "a");
    eventually("all is well", || (status(&server).0 == Some(0)).then_some(()));
    fs::write(server.pairs().join("a.key"), Pair::new(&["x.test"]).key).unwrap();
    server.until_printed("do not belong together");
    let (_, text) = status(&server);
    assert!(
        text.contains("; a restart would not serve its hosts, nor start where it is the only certificate"),
        "{text}"
    );
    assert_eq!(server.octroi.code(&["reload"]), 1);
    let (_, text) = status(&server);
    assert!(text.contains("\na restart would leave out what cannot be used\n"), "{text}");
    let rules = fs::read_to_string(server.octroi.config()).unwrap();
    fs::write(server.octroi.config(), format!("{rules}\nnonsense: 1\n")).unwrap();
    assert_eq!(server.octroi.code(&["reload"]), 1);
    let (_, text) = status(&server);
    assert!(text.contains("\na restart would end with exit 78\n"), "{text}");
    fs::write(server.octroi.config(), rules.replace("version: 1", "version: 1\nnode: another")).unwrap();
    good.put(&server.pairs(), "a");
    assert_eq!(server.octroi.code(&["reload"]), 1);
    let (_, text) = status(&server);
    assert!(text.contains("only a restart can change it\na restart would take it into force\n"), "{text}");
}

#[test]
fn one_that_cannot_be_used_at_a_start_leaves_its_hosts_out_alone_until_it_is_mended() {
    let other = Pair::new(&["a.test"]);
    let server = TestServer::prepared("", "", |root| {
        fs::write(root.join("pairs/a.key"), &other.key).unwrap();
        fs::write(root.join("pairs/b.pem"), fs::read_to_string(root.join("pairs/b.pem")).unwrap()).unwrap();
    });

    assert!(server.connect("a.test").is_err());
    let mut client = server.connect("b.test").unwrap();
    assert_eq!(ask(&mut client, &GET.replace("a.test", "b.test")).status, 200);
    server.until_printed("its hosts are not served");
    let (code, text) = status(&server);
    let dark = "do not belong together: the key is another one: host a.test is NOT served; a restart would leave it out again";
    let is_dark = |code, text: &str| {
        let row = text.lines().any(|line| line.starts_with("out         ") && line.contains(dark));
        code == Some(1) && row && !text.contains("\nrefused ") && !text.contains("in force stays")
    };
    assert!(is_dark(code, &text), "{text}");
    let counts = || {
        ["octroi_tls_certificates_out", "octroi_tls_certificates_refused"]
            .map(|name| server.octroi.metric(name))
    };
    assert_eq!(counts(), [1.0, 0.0], "nothing is in force in its place");
    assert_eq!(server.octroi.code(&["check"]), 1, "it is a mistake all the same");
    for args in [&["reload", "--dry-run"][..], &["reload"]] {
        let output = server.octroi.command(args);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success() && text.contains(dark) && !text.contains("stays"), "{text}");
    }
    server.until_printed("a certificate cannot be used, and none is in force in its place");
    assert_eq!(server.printed("stays"), 0);
    assert!(server.connect("b.test").is_ok(), "whoever changes something else is not kept from it");
    let (code, text) = status(&server);
    assert!(is_dark(code, &text), "{text}");

    // Another fault of the same pair: it is out all the same, and the one that is in force and was renewed badly is not.
    Pair::new(&["x.test"]).put(&server.pairs(), "elsewhere");
    fs::copy(server.pairs().join("elsewhere.key"), server.pairs().join("b.key")).unwrap();
    eventually("one is out and one is refused", || (counts() == [1.0, 1.0]).then_some(()));
    assert!(server.connect("b.test").is_ok() && server.connect("a.test").is_err());
    fs::write(server.pairs().join("a.pem"), "nothing\n").unwrap();
    eventually("it says so", || status(&server).1.contains(": host a.test is NOT served").then_some(()));
    Pair::new(&["b.test", "www.b.test"]).put(&server.pairs(), "b");
    eventually("that one is well", || (counts() == [1.0, 0.0]).then_some(()));

    other.put(&server.pairs(), "a");
    server.until_shown("a.test", &other.leaf());
    eventually("all is well", || (status(&server).0 == Some(0)).then_some(()));
    assert_eq!(counts(), [0.0, 0.0]);
}

#[test]
fn one_that_is_out_beside_another_for_the_same_hosts_keeps_nobody_from_being_served() {
    let server =
        TestServer::prepared("", "}\n    - {cert: pairs/second.pem, key: pairs/second.key", |root| {
            Pair::new(&["a.test"]).put(&root.join("pairs"), "second");
            fs::write(root.join("pairs/second.key"), Pair::new(&["x.test"]).key).unwrap();
        });

    assert!(server.connect("a.test").is_ok());
    let (code, text) = status(&server);
    assert!(
        code == Some(1) && text.contains("its hosts have other certificates") && !text.contains("NOT served"),
        "{text}"
    );
}

#[test]
fn an_upgrade_puts_no_certificate_that_has_ended_in_the_place_of_a_good_one() {
    let mut server = TestServer::open("");
    let good = Pair::new(&["a.test"]);
    good.put(&server.pairs(), "a");
    server.until_shown("a.test", &good.leaf());
    let refused = |server: &TestServer, what: &str| {
        let output = server.octroi.command(&["upgrade"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in [
            "nothing is handed over: ",
            what,
            "clients would refuse: a.test; ",
            "or restart octroi",
            "not upgraded: ",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(server.shown("a.test").unwrap(), good.leaf());
    };

    dated("a.test", 2020, 2021).put(&server.pairs(), "a");
    server.until_printed("the certificate has expired");
    refused(&server, "/a.pem: the certificate has expired");
    dated("a.test", 2090, 2091).put(&server.pairs(), "a");
    refused(&server, "/a.pem: the certificate is not valid yet");
    // Nor by another file, of which no reload has spoken.
    good.put(&server.pairs(), "a");
    dated("a.test", 2020, 2021).put(&server.pairs(), "other");
    let rules = fs::read_to_string(server.octroi.config()).unwrap();
    fs::write(server.octroi.config(), rules.replace("pairs/a.", "pairs/other.")).unwrap();
    refused(&server, "/other.pem: the certificate has expired");
    fs::write(server.octroi.config(), &rules).unwrap();

    // Another good one may come, also while that of somebody else has ended already.
    let next = Pair::new(&["a.test"]);
    next.put(&server.pairs(), "a");
    server.octroi.ok(&["upgrade"]);
    server.octroi.succeed();
    assert_eq!(server.shown("a.test").unwrap(), next.leaf());
}

#[test]
fn an_upgrade_hands_over_one_that_has_ended_where_no_other_is_in_force() {
    let old = dated("a.test", 2020, 2021);
    let mut server = TestServer::prepared("", "", |root| old.put(&root.join("pairs"), "a"));

    server.octroi.ok(&["upgrade"]);
    server.octroi.succeed();

    assert_eq!(server.shown("a.test").unwrap(), old.leaf());
}

#[test]
fn a_start_with_no_certificate_that_can_be_used_is_none() {
    let mut server = TestServer::open("");
    server.octroi.signal("TERM");
    server.octroi.wait();
    for name in ["a.key", "b.key"] {
        fs::write(server.pairs().join(name), Pair::new(&["x.test"]).key).unwrap();
    }

    let output = server.octroi.command(&["run"]);

    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("do not belong together"), "{output:?}");
}

#[test]
fn what_is_odd_about_a_chain_is_said_and_served() {
    let ca = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    };
    let ((root, issuer), (foreign, _)) = (ca("our root"), ca("a stranger"));
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["a.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let chained = |certs: &[&str]| Pair { cert: certs.concat(), key: key.serialize_pem() };
    let server = TestServer::prepared("", "", |folder| {
        chained(&[&leaf, &foreign, &root]).put(&folder.join("pairs"), "a");
        // A second certificate for the same name, which ends earlier.
        dated("b.test", 2026, 2030).put(&folder.join("pairs"), "b");
    });

    let (code, text) = status(&server);
    assert_eq!(code, Some(0), "{text}");
    for words in ["our root` does not stand behind", "a stranger` made no certificate of this chain"] {
        assert!(
            text.lines().any(|line| line.starts_with("chain       a.test: ") && line.contains(words)),
            "{words}: {text}"
        );
    }
    let file = server.pairs().join("a.pem");
    let series = |name: &str, file: &std::path::Path| {
        format!("octroi_tls_certificate_chain_faults{{file=\"{}\",name=\"{name}\"}}", file.display())
    };
    assert_eq!(server.octroi.metric(&series("a.test", &file)), 2.0);
    let checked = server.octroi.command(&["check"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(
        String::from_utf8_lossy(&checked.stderr).contains("made no certificate of this chain"),
        "{checked:?}"
    );

    let whole = chained(&[&leaf, &root]);
    whole.put(&server.pairs(), "a");
    eventually("the chain is whole", || (!status(&server).1.contains("\nchain ")).then_some(()));
    assert_eq!(server.octroi.metric(&series("a.test", &file)), 0.0);
}

#[test]
fn two_certificates_of_one_name_are_two_series() {
    let more = "}\n    - {cert: pairs/second.pem, key: pairs/second.key";
    let server = TestServer::prepared("", more, |root| {
        dated("a.test", 2026, 2030).put(&root.join("pairs"), "second");
        dated("a.test", 2026, 2040).put(&root.join("pairs"), "a");
    });

    let metrics = server.octroi.metrics();
    let of_a: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("not_after_timestamp") && line.contains("name=\"a.test\""))
        .collect();
    assert_eq!(of_a.len(), 2, "{of_a:?}");
    assert!(of_a.iter().any(|line| line.contains("second.pem") && line.ends_with(" 1893456000")), "{of_a:?}");
}
