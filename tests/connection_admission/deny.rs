//! Ranges that are dropped before the handshake, and files of them.

use std::{fs, time::Duration};

use crate::harness::wait;
use crate::{
    config, get,
    harness::{Octroi, Upstream, client, eventually, raw_tls},
    refusals,
};

const LISTENERS: &str = r#"
  - {name: public, address: "127.0.0.1:0", tls: {}, deny_files: [list.txt]}
  - {name: behind, address: "127.0.0.1:0", plaintext: true, proxy_protocol: {trusted: [127.0.0.0/8]}, deny: [192.0.2.0/25], deny_files: [list.txt, more.txt]}
  - {name: open, address: "127.0.0.1:0", plaintext: true}
"#;

fn started(list: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, LISTENERS, ""));
    write(&octroi, "list.txt", list);
    write(&octroi, "more.txt", "2001:db8:bad::/48\n");
    octroi.run();
    (octroi, upstream)
}

fn write(octroi: &Octroi, name: &str, text: &str) {
    // As editors and renewers do: beside it, then over it.
    let fresh = octroi.path().join(format!("{name}.new"));
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, octroi.path().join(name)).unwrap();
}

/// Asks over the listener behind a balancer as this client; 0 is no answer.
fn behind(octroi: &Octroi, header: &str) -> u16 {
    let text = format!("PROXY {header} 1 443\r\n{}", get("acme.test"));
    client::parse(&client::exchange(&mut client::raw(octroi.addr("behind")), text.as_bytes()), 0).status
}

#[test]
fn who_is_denied_gets_no_handshake_and_the_log_says_by_which_range() {
    let (octroi, upstream) = started("# this machine\n127.0.0.0/8\n");

    assert_ne!(octroi.curl("acme.test", "/x").get().exit, 0);
    assert_eq!(octroi.plain("open", "acme.test", "/x").status(), 200);
    let line = octroi.access_line(|line| line["listener"] == "public");
    assert_eq!(
        (&line["event"], &line["reason"], &line["peer.ip"]),
        (&"connection".into(), &"denied".into(), &"127.0.0.1".into())
    );
    assert!(
        line["detail"].as_str().unwrap().starts_with("in 127.0.0.0/8 of ")
            && line["detail"].as_str().unwrap().ends_with("list.txt")
    );

    // The address that the header names counts; files, ranges and the balancer's own address alike.
    for (header, status) in [
        ("TCP4 192.0.2.127 192.0.2.1", 0),
        ("TCP4 192.0.2.128 192.0.2.1", 200),
        ("TCP6 2001:db8:bad:1::7 ::1", 0),
        ("TCP6 2001:db8:bae:1::7 ::1", 200),
        ("TCP6 ::ffff:192.0.2.5 ::1", 0),
        ("UNKNOWN", 0),
    ] {
        assert_eq!(behind(&octroi, header), status, "{header}");
    }
    assert_eq!(octroi.metric(r#"octroi_connections_refused_total{listener="public",reason="denied"}"#), 1.0);
    assert_eq!(octroi.metric(r#"octroi_connections_refused_total{listener="behind",reason="denied"}"#), 4.0);
    assert_eq!(octroi.metric(r#"octroi_denied_ranges{listener="behind"}"#), 3.0);
    upstream.take();
}

#[test]
fn a_file_that_changes_is_in_force_by_itself_and_a_bad_one_changes_nothing() {
    let (octroi, _upstream) = started("192.0.2.200\n");
    let mut held =
        raw_tls(octroi.addr("public"), "acme.test", &octroi.path().join("certs/ca.pem"), &[b"http/1.1"]);
    let kept_alive = "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n";
    assert_eq!(client::ask(&mut held, kept_alive).status, 200);
    assert_eq!(behind(&octroi, "TCP4 192.0.2.200 192.0.2.1"), 0);
    assert_eq!(behind(&octroi, "TCP4 192.0.2.201 192.0.2.1"), 200);

    write(&octroi, "list.txt", "192.0.2.201\n127.0.0.0/8\n");
    eventually("the new list is in force", || {
        (behind(&octroi, "TCP4 192.0.2.201 192.0.2.1") == 0).then_some(())
    });
    assert_eq!(behind(&octroi, "TCP4 192.0.2.200 192.0.2.1"), 200);
    assert_ne!(octroi.curl("acme.test", "/x").get().exit, 0);
    // What is open goes on.
    assert_eq!(client::ask(&mut held, kept_alive).status, 200);

    write(&octroi, "list.txt", "192.0.2.202\n192.0.2.999\n");
    eventually("the bad file is refused", || {
        (octroi.metric("octroi_deny_files_refused") == 1.0).then_some(())
    });
    let said = octroi.printed();
    assert!(
        said.iter()
            .any(|line| line.contains("ERROR")
                && line.contains("list.txt:2: not an address range: `192.0.2.999`")),
        "{said:#?}"
    );
    let status = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.code() == Some(1) && text.contains("\ndeny        "), "{text}");
    assert!(text.contains("list.txt:2: not an address range: `192.0.2.999`"), "{text}");
    assert_eq!(behind(&octroi, "TCP4 192.0.2.201 192.0.2.1"), 0);
    assert_eq!(behind(&octroi, "TCP4 192.0.2.202 192.0.2.1"), 200);
    // The other file of the same listener still follows.
    write(&octroi, "more.txt", "192.0.2.203\n");
    eventually("the other file is in force", || {
        (behind(&octroi, "TCP4 192.0.2.203 192.0.2.1") == 0).then_some(())
    });

    // A file that is gone is no empty list.
    fs::remove_file(octroi.path().join("list.txt")).unwrap();
    wait::elapse(Duration::from_millis(500));
    assert_eq!(behind(&octroi, "TCP4 192.0.2.201 192.0.2.1"), 0);
    let refused = octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("list.txt: cannot be read: it does not exist"),
        "{refused:?}"
    );

    // Mended, it is in force again; an empty one drops nobody, with a warning.
    write(&octroi, "list.txt", "");
    eventually("the empty list is in force", || {
        (behind(&octroi, "TCP4 192.0.2.201 192.0.2.1") == 200).then_some(())
    });
    assert_eq!(octroi.metric("octroi_deny_files_refused"), 0.0);
    let told = octroi.command(&["status"]);
    assert!(!String::from_utf8_lossy(&told.stdout).contains("\ndeny  "), "{told:?}");
    assert!(octroi.printed().iter().any(|line| line.contains("WARN") && line.contains("drops nobody")));
}

#[test]
fn a_bad_file_is_an_error_of_the_configuration() {
    let upstream = Upstream::start();
    let octroi = Octroi::prepared(&config(&upstream, LISTENERS, ""));
    write(&octroi, "list.txt", "192.0.2.0/24\n192.0.2.7/24 # no\n");
    write(&octroi, "more.txt", "");

    for command in ["check", "run"] {
        let said = octroi.command(&[command]);

        assert_eq!(said.status.code(), Some(if command == "check" { 1 } else { 78 }));
        let said =
            format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.contains("list.txt:2: `192.0.2.7/24` has bits set after the prefix"), "{said}");
        assert!(said.contains("octroi.yaml:5:"), "{said}");
    }
}

#[test]
fn a_stranger_on_the_list_cannot_fill_the_log() {
    let (octroi, _upstream) = started("192.0.2.0/24\n");

    for _ in 0..200 {
        assert_eq!(behind(&octroi, "TCP4 192.0.2.7 192.0.2.1"), 0);
    }
    assert_eq!(behind(&octroi, "TCP4 192.0.2.8 192.0.2.1"), 0);

    assert_eq!(
        octroi.metric(r#"octroi_connections_refused_total{listener="behind",reason="denied"}"#),
        201.0
    );
    // One line each at once; the rest stands in a sum when the minute or the process ends.
    eventually("two lines", || (refusals(&octroi, "behind", "denied").len() == 2).then_some(()));
    let mut octroi = octroi;
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
    let lines = eventually("the sum", || {
        Some(refusals(&octroi, "behind", "denied")).filter(|lines| lines.len() == 3)
    });
    assert_eq!((&lines[2]["count"], &lines[2]["peer.ip"]), (&199.into(), &"192.0.2.7".into()), "{lines:?}");
}
