//! Pairs that have ended, or cannot be used: whom they concern is on his own.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{
    gate::{GET, Gate, Pair},
    harness::{client::ask, eventually},
};

/// A pair with dates.
fn dated(host: &str, from: i32, until: i32) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn status(gate: &Gate) -> (Option<i32>, String) {
    let output = gate.octroi.command(&["status"]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn one_that_has_ended_is_served_on_and_stops_neither_a_start_nor_a_reload() {
    let old = dated("a.test", 2020, 2021);
    let leaf = old.leaf();
    let mut gate = Gate::prepared("", "", |root| old.put(&root.join("pairs"), "a"));

    assert_eq!(gate.shown("a.test").unwrap(), leaf);
    let mut client = gate.connect("b.test").unwrap();
    assert_eq!(ask(&mut client, &GET.replace("a.test", "b.test")).status, 200);
    gate.until_printed("certificate_ended");
    eventually("the metric", || (gate.octroi.metric("octroi_tls_certificates_ended") == 1.0).then_some(()));
    let (code, text) = status(&gate);
    assert!(
        code == Some(1) && text.contains("lapsed      a.test: the certificate in ") && text.contains("expired on 2021-01-01"),
        "{text}"
    );
    assert_eq!(gate.octroi.code(&["check"]), 0, "a warning");
    gate.octroi.ok(&["reload"]);
    gate.octroi.refresh();
    assert_eq!(gate.shown("a.test").unwrap(), leaf);
    assert_eq!(gate.printed("certificate_ended"), 1, "once a day");

    // One that is in force is not exchanged for one that has ended, by nobody.
    let good = Pair::new(&["a.test"]);
    good.put(&gate.pairs(), "a");
    gate.until_shown("a.test", &good.leaf());
    assert_eq!(status(&gate).0, Some(0));
    dated("a.test", 2020, 2021).put(&gate.pairs(), "a");
    gate.until_printed("the certificate has expired");
    gate.octroi.ok(&["reload"]);
    assert_eq!(gate.shown("a.test").unwrap(), good.leaf());
    assert_eq!(status(&gate).0, Some(1));
}

#[test]
fn one_that_cannot_be_used_at_a_start_leaves_its_hosts_out_alone_until_it_is_mended() {
    let other = Pair::new(&["a.test"]);
    let gate = Gate::prepared("", "", |root| {
        fs::write(root.join("pairs/a.key"), &other.key).unwrap();
        fs::write(root.join("pairs/b.pem"), fs::read_to_string(root.join("pairs/b.pem")).unwrap()).unwrap();
    });

    assert!(gate.connect("a.test").is_err());
    let mut client = gate.connect("b.test").unwrap();
    assert_eq!(ask(&mut client, &GET.replace("a.test", "b.test")).status, 200);
    gate.until_printed("its hosts are not served");
    let (code, text) = status(&gate);
    assert!(code == Some(1) && text.contains("do not belong together"), "{text}");
    assert_eq!(gate.octroi.metric("octroi_tls_certificates_refused"), 1.0);
    assert_eq!(gate.octroi.code(&["check"]), 1, "it is a mistake all the same");
    gate.octroi.ok(&["reload"]);
    assert!(gate.connect("b.test").is_ok(), "whoever changes something else is not kept from it");
    assert_eq!(status(&gate).0, Some(1));

    other.put(&gate.pairs(), "a");
    gate.until_shown("a.test", &other.leaf());
    eventually("all is well", || (status(&gate).0 == Some(0)).then_some(()));
}

#[test]
fn a_start_with_no_certificate_that_can_be_used_is_none() {
    let mut gate = Gate::open("");
    gate.octroi.signal("TERM");
    gate.octroi.wait();
    for name in ["a.key", "b.key"] {
        fs::write(gate.pairs().join(name), Pair::new(&["x.test"]).key).unwrap();
    }

    let output = gate.octroi.command(&["run"]);

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
    let leaf = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let chained = |certs: &[&str]| Pair { cert: certs.concat(), key: key.serialize_pem() };
    let gate = Gate::prepared("", "", |folder| {
        chained(&[&leaf, &foreign, &root]).put(&folder.join("pairs"), "a");
        // A second certificate for the same name, which ends earlier.
        dated("b.test", 2026, 2030).put(&folder.join("pairs"), "b");
    });

    let (code, text) = status(&gate);
    assert_eq!(code, Some(0), "{text}");
    for words in ["our root` does not stand behind", "a stranger` made no certificate of this chain"] {
        assert!(text.lines().any(|line| line.starts_with("chain       a.test: ") && line.contains(words)), "{words}: {text}");
    }
    let file = gate.pairs().join("a.pem");
    let series =
        |name: &str, file: &std::path::Path| format!("octroi_tls_certificate_chain_faults{{file=\"{}\",name=\"{name}\"}}", file.display());
    assert_eq!(gate.octroi.metric(&series("a.test", &file)), 2.0);
    let checked = gate.octroi.command(&["check"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("made no certificate of this chain"), "{checked:?}");

    let whole = chained(&[&leaf, &root]);
    whole.put(&gate.pairs(), "a");
    eventually("the chain is whole", || (!status(&gate).1.contains("\nchain ")).then_some(()));
    assert_eq!(gate.octroi.metric(&series("a.test", &file)), 0.0);
}

#[test]
fn two_certificates_of_one_name_are_two_series() {
    let more = "}\n    - {cert: pairs/second.pem, key: pairs/second.key";
    let gate = Gate::prepared("", more, |root| {
        dated("a.test", 2026, 2030).put(&root.join("pairs"), "second");
        dated("a.test", 2026, 2040).put(&root.join("pairs"), "a");
    });

    let metrics = gate.octroi.metrics();
    let of_a: Vec<&str> = metrics.lines().filter(|line| line.contains("not_after_timestamp") && line.contains("name=\"a.test\"")).collect();
    assert_eq!(of_a.len(), 2, "{of_a:?}");
    assert!(of_a.iter().any(|line| line.contains("second.pem") && line.ends_with(" 1893456000")), "{of_a:?}");
}
