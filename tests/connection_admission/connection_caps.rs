//! Many connections at once: what is counted, what is refused, and what is left when they have gone.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::wait;
use crate::{
    config, get,
    harness::{Octroi, Upstream, client, eventually},
    refusals,
};

/// How many open files a process has.
fn open_files(octroi: &Octroi) -> usize {
    fs::read_dir(format!("/proc/{}/fd", octroi.pid())).unwrap().count()
}

/// What it has in memory now, in KiB.
fn resident(octroi: &Octroi) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", octroi.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sets the soft limit of the open files of a running process.
fn limit_files(octroi: &Octroi, files: u32) {
    let limited = Command::new("prlimit")
        .args(["--pid", &octroi.pid().to_string(), &format!("--nofile={files}:")])
        .status();
    assert!(limited.unwrap().success());
}

#[test]
fn connections_stop_before_the_open_files_do() {
    let upstream = Upstream::start();
    let listeners = r#"
  - {name: one, address: "127.0.0.1:0", plaintext: true, max_connections_per_client: 10000}
  - {name: two, address: "127.0.0.1:0", plaintext: true, max_connections_per_client: 10000}"#;
    let mut octroi = Octroi::prepared(&config(&upstream, listeners, ""));
    // A process of its own, whose limit is known before it starts.
    octroi.run_under(&["prlimit", "--nofile=100:200"]);

    assert!(
        octroi
            .printed()
            .iter()
            .any(|line| line.contains("WARN") && line.contains("LimitNOFILE") && line.contains("taken=123"))
    );
    let open = |listener: &str, count: usize| -> Vec<TcpStream> {
        let addr = octroi.addr(listener);
        (0..count).map(|_| client::raw(addr)).collect()
    };
    // 64 of 200 are kept for others than connections, and a tenth of the rest for those to servers.
    let held = [open("one", 80), open("two", 43)];
    eventually("all are taken", || {
        let both =
            ["one", "two"].map(|name| octroi.metric(&format!(r#"octroi_connections{{listener="{name}"}}"#)));
        (both == [80.0, 43.0]).then_some(())
    });
    for listener in ["one", "two"] {
        assert_eq!(
            client::exchange(&mut client::raw(octroi.addr(listener)), get("acme.test").as_bytes()),
            ""
        );
        eventually("a line", || (refusals(&octroi, listener, "cap_process").len() == 1).then_some(()));
    }
    // Those who look after it still come in.
    assert!(octroi.command(&["status"]).status.success());
    assert!(open_files(&octroi) < 200);
    drop(held);
    eventually("room again", || {
        let answer = client::exchange(&mut client::raw(octroi.addr("one")), get("acme.test").as_bytes());
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
}

#[test]
fn no_file_left_at_all_is_waited_out() {
    let upstream = Upstream::start();
    let octroi =
        Octroi::start(&config(&upstream, r#"[{name: one, address: "127.0.0.1:0", plaintext: true}]"#, ""));
    let files = u32::try_from(open_files(&octroi)).unwrap();

    // Fewer than it has: none can be opened.
    limit_files(&octroi, 3);
    let mut waiting = client::raw(octroi.addr("one"));
    waiting.write_all(get("acme.test").as_bytes()).unwrap();
    eventually("it says so", || {
        octroi.printed().iter().any(|line| line.contains("no connection can be accepted")).then_some(())
    });
    limit_files(&octroi, files + 50);

    assert!(client::exchange(&mut waiting, b"").starts_with("HTTP/1.1 200"));
    assert!(octroi.command(&["status"]).status.success());
}

#[test]
#[ignore = "make full: ten thousand connections, five times"]
fn ten_thousand_idle_connections_are_counted_bounded_and_leave_nothing_behind() {
    const CROWD: usize = 10_000;
    // Our own ends.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(
        maximum.is_none_or(|files| files > 12_600),
        "the hard limit of open files is {maximum:?}; this test needs 12,600"
    );
    let upstream = Upstream::start();
    let listeners = r#"
  - {name: crowd, address: "127.0.0.1:0", plaintext: true, max_connections: 5000, max_connections_per_client: 20000}
  - {name: silent, address: "127.0.0.1:0", tls: {}, max_connections: 5000, max_connections_per_client: 20000}"#;
    // All connect before the first of them asks.
    let limits = "limits: {handshake_timeout: 30s, header_timeout: 30s, idle_timeout: 30s}";
    let octroi = Octroi::start(&config(&upstream, listeners, limits));
    let gauge = |name: &str| octroi.metric(&format!(r#"octroi_connections{{listener="{name}"}}"#));
    let refused = |name: &str| {
        octroi.metric(&format!(
            r#"octroi_connections_refused_total{{listener="{name}",reason="cap_listener"}}"#
        ))
    };
    let half = |addr: SocketAddr| -> Vec<TcpStream> { (0..CROWD / 2).map(|_| client::raw(addr)).collect() };
    let files = open_files(&octroi);
    let mut full = Vec::new();

    for round in 1..=5_u32 {
        let start = Instant::now();
        let silent = half(octroi.addr("silent"));
        let mut crowd = half(octroi.addr("crowd"));
        for stream in &mut crowd {
            assert_eq!(client::ask(stream, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
        }
        eventually("all are counted", || (gauge("crowd") + gauge("silent") == 10_000.0).then_some(()));
        full.push(resident(&octroi));
        eprintln!(
            "round {round}: {:?} to open, {} KiB in memory, {} files",
            start.elapsed(),
            resident(&octroi),
            open_files(&octroi)
        );
        for name in ["crowd", "silent"] {
            assert_eq!(
                client::exchange(&mut client::raw(octroi.addr(name)), b"GET / HTTP/1.1\r\n\r\n"),
                "",
                "{name}"
            );
            assert_eq!(refused(name), f64::from(round), "{name}");
        }
        assert!(octroi.command(&["status"]).status.success());
        upstream.take();
        // Half of them goes away, half waits for its deadline.
        if round == 1 {
            wait::eventually_within(Duration::from_secs(60), "all connections are closed", || {
                (gauge("crowd") + gauge("silent") == 0.0).then_some(())
            });
            assert_eq!(
                octroi.metric(r#"octroi_connections_cut_total{listener="crowd",reason="timeout_idle"}"#),
                5000.0
            );
            let late = octroi
                .metrics()
                .lines()
                .filter(|line| line.contains("tls_timeout"))
                .map(str::to_owned)
                .collect::<Vec<_>>();
            assert!(late.iter().any(|line| line.ends_with(" 5000")), "{late:?}");
        }
        drop((silent, crowd));
        eventually("all have gone", || (gauge("crowd") + gauge("silent") == 0.0).then_some(()));
        // The pool towards the upstream keeps some of its own.
        eventually("the files are given back", || (open_files(&octroi) <= files + 64).then_some(()));
        eprintln!(
            "round {round}: {} KiB in memory afterwards, {} files",
            resident(&octroi),
            open_files(&octroi)
        );
    }

    // What is left of a crowd is the allocator's, and the next crowd gets it: late ones take no more than the first. One of them may: when the
    // allocator gives pages back is its own affair (up to 13 % were seen, in any round).
    assert!(full[3].min(full[4]) < full[0] * 11 / 10, "memory grows: {full:?}");
    // One line at once and one sum for each kind, not thousands.
    assert!(octroi.access_lines().iter().filter(|line| line["event"] == "connection").count() < 30);
}
