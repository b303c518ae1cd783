//! Pairs that are renewed on disk.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use crate::harness::wait;
use crate::{
    harness::{
        client::{ask, raw, tls_over},
        eventually,
    },
    test_server::{GET, Pair, TestServer, replace},
};

/// The goal: new connections see a new pair so soon.
const SOON: Duration = Duration::from_secs(1);

/// Renews until the goal is met: a machine that is busy otherwise may miss it, but not three times. Returns how often it renewed.
fn soon(mut renew: impl FnMut() -> Duration) -> u32 {
    let mut missed = Vec::new();
    for count in 1..=3 {
        let took = renew();
        if took < SOON {
            return count;
        }
        missed.push(took);
    }
    panic!("{missed:?}");
}

#[test]
fn a_renewed_pair_is_shown_within_a_second_and_no_connection_drops() {
    let server = TestServer::open("");
    let before = server.file("a.pem");
    let mut kept =
        tls_over(raw(server.octroi.addr("public")), "a.test", &server.pairs().join("a.pem"), &[b"http/1.1"]);
    assert_eq!(ask(&mut kept, GET).status, 200);
    assert_eq!(server.shown("a.test").unwrap(), before);

    let renewals = soon(|| {
        let after = Pair::new(&["a.test"]);
        after.put(&server.pairs(), "a");
        server.until_shown("a.test", &after.leaf())
    });

    assert_eq!(ask(&mut kept, GET).status, 200, "a connection from before goes on");
    assert_eq!(server.shown("b.test").unwrap(), server.file("b.pem"), "the other pair stays");
    server.until_renewed(renewals);
    assert_eq!(server.octroi.metric("octroi_tls_certificates_refused"), 0.0);
    assert_eq!(server.printed("refused"), 0, "{:#?}", server.octroi.printed());
}

#[test]
fn a_pair_that_is_written_in_place_and_bit_by_bit_is_taken_without_noise() {
    let server = TestServer::open("");
    let after = Pair::new(&["a.test"]);
    let (cert, key) = (server.pairs().join("a.pem"), server.pairs().join("a.key"));

    // Half of the certificate, then all of it, and the key a second later: a slow renewer.
    fs::write(&cert, &after.cert[..after.cert.len() / 2]).unwrap();
    wait::slow_peer(Duration::from_millis(500));
    fs::write(&cert, &after.cert).unwrap();
    wait::slow_peer(Duration::from_secs(1));
    assert_ne!(server.shown("a.test").unwrap(), after.leaf(), "the key is another one still");
    fs::write(&key, &after.key).unwrap();

    server.until_shown("a.test", &after.leaf());
    assert_eq!(server.printed("refused"), 0, "{:#?}", server.octroi.printed());
    assert_eq!(server.octroi.metric("octroi_tls_certificate_reloads_total{result=\"failure\"}"), 0.0);
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
    let server = TestServer::prepared("", "", |root| {
        let folder = root.join("pairs");
        day(&folder, "..2026_01");
        symlink("..2026_01", folder.join("..data")).unwrap();
        for (name, target) in [("a.pem", "..data/tls.pem"), ("a.key", "..data/tls.key")] {
            fs::remove_file(folder.join(name)).unwrap();
            symlink(target, folder.join(name)).unwrap();
        }
    });

    for name in ["..2026_02", "..2026_03"] {
        let pair = day(&server.pairs(), name);
        symlink(name, server.pairs().join("..data_tmp")).unwrap();
        fs::rename(server.pairs().join("..data_tmp"), server.pairs().join("..data")).unwrap();

        server.until_shown("a.test", &pair.leaf());
    }
    server.until_renewed(2);
}

#[test]
fn a_bad_pair_is_refused_and_the_old_one_stays_while_others_are_renewed() {
    let server = TestServer::open("");
    let before = server.file("a.pem");
    let good = Pair::new(&["b.test", "www.b.test"]);

    // The key of another certificate.
    let other = Pair::new(&["a.test"]);
    replace(&server.pairs().join("a.pem"), &other.cert, 0o644);
    good.put(&server.pairs(), "b");

    server.until_shown("b.test", &good.leaf());
    assert_eq!(server.shown("a.test").unwrap(), before);
    server.until_printed("do not belong together");
    eventually("it is counted", || {
        (server.octroi.metric("octroi_tls_certificates_refused") == 1.0).then_some(())
    });
    eventually("the try is counted", || {
        (server.octroi.metric("octroi_tls_certificate_reloads_total{result=\"failure\"}") == 1.0)
            .then_some(())
    });
    let status = server.octroi.command(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("do not belong together"), "{status:?}");

    // A reload is all or nothing.
    assert_eq!(server.octroi.code(&["reload"]), 1);
    assert_eq!(server.shown("a.test").unwrap(), before);

    // The right key heals it.
    other.put(&server.pairs(), "a");
    server.until_shown("a.test", &other.leaf());
    eventually("nothing is refused any more", || {
        (server.octroi.metric("octroi_tls_certificates_refused") == 0.0).then_some(())
    });
    assert_eq!(server.octroi.code(&["reload"]), 0);
    assert_eq!(server.octroi.code(&["status"]), 0);
}

#[test]
fn nobody_fails_while_pairs_are_swapped() {
    let server = TestServer::open("");
    let (stop, counts) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let ask_until_stopped = |kept: bool, count: &AtomicUsize| {
        let mut stream = server.connect("a.test").unwrap();
        while !stop.load(Ordering::Relaxed) {
            if !kept {
                stream = server.connect("a.test").unwrap();
            }
            assert_eq!(ask(&mut stream, GET).status, 200);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };

    std::thread::scope(|scope| {
        for (kept, count) in [(true, &counts[0]), (false, &counts[1]), (false, &counts[1])] {
            scope.spawn(move || ask_until_stopped(kept, count));
        }
        for _ in 0..4 {
            let pair = Pair::new(&["a.test"]);
            pair.put(&server.pairs(), "a");
            server.until_shown("a.test", &pair.leaf());
        }
        stop.store(true, Ordering::Relaxed);
    });

    let [kept, new] = counts.map(AtomicUsize::into_inner);
    assert!(kept > 20 && new > 20, "{kept} requests on a kept connection, {new} on new ones");
    server.until_renewed(4);
}

/// Where the kernel lends no ear, files are looked at every two seconds. A user namespace of its own has no inotify to give.
#[test]
#[ignore = "make full: needs user namespaces"]
fn without_inotify_files_are_looked_at() {
    let mut server = TestServer::open("");
    server.octroi.signal("TERM");
    server.octroi.wait();
    server.octroi.run_under(&[
        "unshare",
        "-Ur",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"",
    ]);

    let pair = Pair::new(&["a.test"]);
    pair.put(&server.pairs(), "a");

    let took = server.until_shown("a.test", &pair.leaf());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(server.printed("the kernel does not tell of changed files"), 1);
}
