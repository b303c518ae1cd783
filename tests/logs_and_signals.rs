//! What an operator relies on: nobody who does not read stops octroi, signals count from the first moment, doors open and close as said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]

mod harness;

use std::{
    fs,
    io::{PipeReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harness::{
    Curl, Octroi, Upstream,
    client::{ask, raw},
    eventually,
    program::{BINARY, lives, signal},
};

fn config(upstream: &Upstream, threads: u32, more: &str) -> String {
    format!(
        r#"
version: 1
node: edge-1
server: {{state_dir: STATE, drain: 2s, threads: {threads}}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
{more}
"#,
        upstream.addr
    )
}

/// A pipe that is full and that nobody reads: whoever writes waits for ever. Linux's pipes hold 64 KiB.
fn stopped_reader() -> (PipeReader, Stdio, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'.'; 65_536]).unwrap();
    let other = writer.try_clone().unwrap();
    (reader, Stdio::from(writer), Stdio::from(other))
}

fn run(octroi: &Octroi) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["run", "--config"]).arg(octroi.config()).stdin(Stdio::null());
    command
}

fn served(octroi: &Octroi) -> u16 {
    octroi.plain("plain", "acme.test", "/x").status()
}

/// Reload, status, metrics and requests work; then TERM ends it, within its drain and what the last lines may take.
fn all_works(octroi: &mut Octroi, config: &str) {
    for round in 0..3 {
        octroi.reload(&config.replace("drain: 2s", &format!("drain: {}s", round + 2)));
        assert_eq!(served(octroi), 200);
        octroi.signal("USR1");
        assert!(octroi.metrics().contains("octroi_config_last_reload_successful 1"));
    }
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
}

#[test]
fn a_reader_of_standard_error_that_stopped_stops_nothing() {
    for threads in [1, 2] {
        let upstream = Upstream::start();
        let text = config(&upstream, threads, "");
        let mut octroi = Octroi::prepared(&text);
        let (_reader, err, _) = stopped_reader();
        let child = run(&octroi).stdout(Stdio::null()).stderr(err).spawn().unwrap();
        octroi.adopt(child);

        all_works(&mut octroi, &text);
    }
}

#[test]
fn a_reader_of_both_streams_that_stopped_stops_nothing() {
    let upstream = Upstream::start();
    let text = config(&upstream, 1, "access_log: [{to: stdout}]");
    let mut octroi = Octroi::prepared(&text);
    let (_reader, out, err) = stopped_reader();
    let child = run(&octroi).stdout(out).stderr(err).spawn().unwrap();
    octroi.adopt(child);

    all_works(&mut octroi, &text);
}

#[test]
fn a_start_that_fails_ends_though_nobody_reads_why() {
    let upstream = Upstream::start();
    let octroi = Octroi::prepared(&config(&upstream, 1, "nonsense: 1"));
    let (_reader, err, _) = stopped_reader();
    let mut child = run(&octroi).stdout(Stdio::null()).stderr(err).spawn().unwrap();

    assert_eq!(eventually("it ends", || child.try_wait().unwrap()).code(), Some(78));
}

#[test]
fn what_was_said_before_the_end_is_there_and_lines_that_were_lost_are_counted() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, 1, ""));
    assert_eq!(octroi.metric("octroi_log_dropped_total"), 0.0);
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);

    eventually("its last words", || {
        octroi.printed().iter().any(|line| line.ends_with("octroi stopped")).then_some(())
    });
}

#[test]
fn access_lines_that_nobody_takes_are_lost_and_stop_nothing() {
    let upstream = Upstream::start();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("access.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let to = |path: &Path| format!("access_log: [{{to: file, path: {}}}]", path.display());
    let mut octroi = Octroi::start(&config(&upstream, 1, "access_log: [{to: stdout}]"));

    // A pipe that nobody reads holds no reload, and neither does a disk that is full.
    octroi.reload(&config(&upstream, 1, &to(&fifo)));
    assert_eq!(served(&octroi), 200);
    // Whoever opens the pipe later finds the line of before.
    let mut pipe = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut bytes = [0; 4096];
    let length = pipe.read(&mut bytes).unwrap();
    let read = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(read.contains(r#""status":200"#), "{read}");

    octroi.signal("USR1");
    octroi.reload(&config(&upstream, 1, &to(Path::new("/dev/full"))));
    assert_eq!(served(&octroi), 200);
    eventually("lines are lost and counted", || {
        (octroi.metric("octroi_access_log_dropped_total") >= 1.0).then_some(())
    });
    all_works(&mut octroi, &config(&upstream, 1, &to(&fifo)));
}

#[test]
fn an_access_log_that_cannot_be_opened_again_is_told_and_tried_until_it_can() {
    let upstream = Upstream::start();
    let octroi =
        Octroi::start(&config(&upstream, 1, "access_log: [{to: file, path: access.log}, {to: stdout}]"));
    let (path, moved) = (octroi.path().join("access.log"), octroi.path().join("access.log.1"));
    let holds = |path: &Path, what: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(what));
    let printed = |what: &str| octroi.printed().into_iter().find(|line| line.contains(what));
    let status = || {
        let output = octroi.command(&["status"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!((status().0, octroi.metric("octroi_logs_failing")), (Some(0), 0.0));

    // Renamed, and something else stands there.
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    octroi.signal("USR1");
    let told = eventually("it says so", || printed("access_log_not_reopened"));
    assert!(
        told.contains("ERROR") && told.contains("Is a directory") && told.contains("access.log"),
        "{told}"
    );
    assert_eq!(printed("are opened again"), None, "and nothing else");
    assert_eq!(octroi.plain("plain", "acme.test", "/meanwhile").status(), 200);
    eventually("lines go on to the file that is open", || holds(&moved, "/meanwhile").then_some(()));
    let (code, text) = status();
    assert_eq!((code, octroi.metric("octroi_logs_failing")), (Some(1), 1.0), "{text}");
    assert!(
        text.contains("log         access log: opening ")
            && text.contains("lines go on to the file that is open"),
        "{text}"
    );

    // Mended: without another signal, and without a line that would have to be written.
    fs::remove_dir(&path).unwrap();
    let back = eventually("it works again", || printed("access_log_back"));
    assert!(back.contains("lost=0"), "{back}");
    assert_eq!((status().0, octroi.metric("octroi_logs_failing")), (Some(0), 0.0));
    assert_eq!(octroi.plain("plain", "acme.test", "/after").status(), 200);
    eventually("lines go to the new file", || holds(&path, "/after").then_some(()));
    assert!(!holds(&moved, "/after"));

    // What can be opened is said with its name.
    fs::rename(&path, octroi.path().join("access.log.2")).unwrap();
    octroi.signal("USR1");
    let told = eventually("it says so", || printed("are opened again"));
    assert!(told.contains("INFO") && told.contains("access.log") && path.exists(), "{told}");
}

#[test]
fn what_a_full_disk_took_of_its_own_log_is_told_once_there_is_room_and_not_with_the_next_line() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, 1, ""));
    let path = octroi.path().join("own.log");
    let mut command = Command::new("env");
    // A write beyond the bound on files is an error then, rather than the end of the process.
    command
        .args(["--ignore-signal=XFSZ", BINARY, "run", "--config"])
        .arg(octroi.config())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = command.stderr(fs::File::create(&path).unwrap()).spawn().unwrap();
    octroi.adopt(child);
    let pid = octroi.pid().to_string();
    let bound = |bytes: &str| {
        assert!(
            Command::new("prlimit")
                .args(["--pid", &pid, &format!("--fsize={bytes}:")])
                .status()
                .unwrap()
                .success()
        );
    };

    // In the middle of a line, and behind the last one of the start.
    eventually("the start is told", || {
        fs::read_to_string(&path).unwrap().contains("octroi serves").then_some(())
    });
    bound(&(fs::metadata(&path).unwrap().len() + 9).to_string());
    octroi.signal("USR1");
    eventually("a line is lost", || (octroi.metric("octroi_log_dropped_total") >= 1.0).then_some(()));
    assert_eq!((octroi.metric("octroi_logs_failing"), octroi.code(&["status"])), (1.0, 1));
    let status = String::from_utf8_lossy(&octroi.command(&["status"]).stdout).into_owned();
    assert!(status.contains("standard error takes nothing: File too large (os error 27); "), "{status}");

    bound("unlimited");
    let told = eventually("it is told", || {
        let text = fs::read_to_string(&path).unwrap();
        text.lines().find(|line| line.contains(" lines of this log were lost")).map(str::to_owned)
    });
    // With the reason, on a line of its own.
    assert!(told.starts_with("octroi: ") && told.ends_with(": File too large (os error 27)"), "{told}");
    eventually("all is well", || (octroi.metric("octroi_logs_failing") == 0.0).then_some(()));
}

#[test]
fn what_a_full_disk_took_of_a_log_of_objects_is_told_as_an_object() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, 1, ""));
    let path = octroi.path().join("own.log");
    let mut command = Command::new("env");
    // A write beyond the bound on files is an error then, rather than the end of the process.
    command
        .args(["--ignore-signal=XFSZ", BINARY, "run", "--log-format", "json", "--config"])
        .arg(octroi.config())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = command.stderr(fs::File::create(&path).unwrap()).spawn().unwrap();
    octroi.adopt(child);
    let pid = octroi.pid().to_string();
    let bound = |bytes: &str| {
        assert!(
            Command::new("prlimit")
                .args(["--pid", &pid, &format!("--fsize={bytes}:")])
                .status()
                .unwrap()
                .success()
        );
    };

    // In the middle of a line, and behind the last one of the start.
    eventually("the start is told", || {
        fs::read_to_string(&path).unwrap().contains("octroi serves").then_some(())
    });
    bound(&(fs::metadata(&path).unwrap().len() + 9).to_string());
    octroi.signal("USR1");
    eventually("a line is lost", || (octroi.metric("octroi_log_dropped_total") >= 1.0).then_some(()));
    assert_eq!((octroi.metric("octroi_logs_failing"), octroi.code(&["status"])), (1.0, 1));
    let status = String::from_utf8_lossy(&octroi.command(&["status"]).stdout).into_owned();
    assert!(status.contains("standard error takes nothing: File too large (os error 27); "), "{status}");

    bound("unlimited");
    let told = eventually("it is told", || {
        let text = fs::read_to_string(&path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["event"] == "log_lines_lost")
    });
    assert!(
        told["lines"].as_u64().unwrap() >= 1 && told["error"] == "File too large (os error 27)",
        "{told}"
    );
    // Only what the disk cut off is no object.
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count(),
        1,
        "{text}"
    );
    eventually("all is well", || (octroi.metric("octroi_logs_failing") == 0.0).then_some(()));
}

/// How many threads of a process have a name.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter(|task| {
            fs::read_to_string(task.as_ref().unwrap().path().join("comm"))
                .is_ok_and(|comm| comm.trim() == name)
        })
        .count()
}

#[test]
fn reloads_away_from_a_standard_output_that_nobody_reads_leave_no_thread_behind() {
    let upstream = Upstream::start();
    let to = |more: &str| config(&upstream, 1, more);
    let (stdout, file) = ("access_log: [{to: stdout}]", "access_log: [{to: file, path: /dev/null}]");
    let mut octroi = Octroi::prepared(&to(stdout));
    let (_reader, writer, _) = stopped_reader();
    let mut command = run(&octroi);
    command.stdout(writer).stderr(Stdio::null());
    octroi.adopt(command.spawn().unwrap());
    let pid = octroi.pid();

    for _ in 0..3 {
        assert_eq!(served(&octroi), 200);
        octroi.reload(&to(file));
        octroi.reload(&to(stdout));
    }

    octroi.reload(&to(file));
    eventually("one writer is left", || (threads(pid, "access-log") == 1).then_some(()));
    eventually("what nobody took is counted", || {
        (octroi.metric("octroi_access_log_dropped_total") >= 3.0).then_some(())
    });
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
}

#[test]
fn every_line_names_the_node() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, 1, "access_log: [{to: stdout}]"));

    assert_eq!(served(&octroi), 200);
    octroi.plain("plain", "nobody.test", "/").get();
    raw(octroi.addr("public")).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    octroi.ok(&["reload"]);
    for event in ["request", "connection", "admin"] {
        octroi.access_line(|line| line["event"] == event);
    }

    assert!(octroi.access_lines().iter().all(|line| line["node"] == "edge-1"), "{:?}", octroi.access_lines());
}

/// Many tenants, so that loading them takes a moment.
fn large(upstream: &Upstream) -> String {
    let text = config(upstream, 1, "");
    let text = text.replace("  - {name: public, address: \"127.0.0.1:0\", tls: {}}\n", "");
    let text = text.replace("tls: {certificates: [{dev: true, dir: certs}]}\n", "");
    (0..8000).fold(text, |text, number| {
        text + &format!("  t{number}: {{hosts: [t{number}.test], upstream: app, routes: app}}\n")
    })
}

/// Starts a program that takes its time, and returns once it handles its signals; it does not serve then.
fn just_started(octroi: &Octroi) -> Child {
    let child = octroi.spawn(run(octroi));
    until_it_hears(octroi, child.id());
    child
}

fn until_it_hears(octroi: &Octroi, pid: u32) {
    eventually("it handles HUP, USR1 and TERM", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        [1, 10, 15].iter().all(|number| caught & (1 << (number - 1)) != 0).then_some(())
    });
    assert!(!octroi.path().join("state/control.sock").exists(), "it serves already");
}

#[test]
fn signals_count_before_the_configuration_is_loaded() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&large(&upstream));
    let child = just_started(&octroi);

    for name in ["HUP", "USR1", "HUP", "QUIT"] {
        assert!(signal(child.id(), name));
    }
    octroi.adopt(child);

    eventually("the reload that was asked for", || {
        octroi.printed().iter().any(|line| line.contains("configuration loaded")).then_some(())
    });
    eventually("its answer to USR1", || {
        octroi.printed().iter().any(|line| line.contains("no access log goes to a file")).then_some(())
    });
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
}

/// Says whether a process handles the signals that octroi obeys.
fn handles_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    [1, 2, 3, 10, 15].iter().all(|number| caught & (1 << (number - 1)) != 0)
}

/// Help is what the command line itself ends in: a pipe that is full holds the program there, before anything else of it is read.
#[test]
fn signals_are_handled_before_the_command_line_is_read() {
    let held = |words: [&str; 2]| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[0; 64 << 10]).unwrap();
        (Command::new(BINARY).args(words).stdout(writer).spawn().unwrap(), reader)
    };

    let (mut run, reader) = held(["run", "--help"]);
    eventually("it handles all of them", || handles_signals(run.id()).then_some(()));
    for name in ["HUP", "USR1", "QUIT"] {
        assert!(signal(run.id(), name));
    }
    drop(reader);
    assert_eq!(eventually("it ends of its own", || run.try_wait().unwrap()).signal(), None);

    let (mut run, _reader) = held(["run", "--help"]);
    eventually("it handles all of them", || handles_signals(run.id()).then_some(()));
    assert!(signal(run.id(), "TERM"));
    assert_eq!(eventually("it ends", || run.try_wait().unwrap()).code(), Some(0));

    // Other commands die of them, as any program does. TERM, because `nohup make test` ignores HUP, and a child inherits that.
    let (mut check, _reader) = held(["check", "--help"]);
    assert!(signal(check.id(), "TERM"));
    assert_eq!(eventually("it ends", || check.try_wait().unwrap()).signal(), Some(15));
}

#[test]
fn term_ends_a_process_that_does_not_serve_yet() {
    for name in ["TERM", "INT"] {
        let upstream = Upstream::start();
        let octroi = Octroi::prepared(&large(&upstream));
        let why = format!("{name} before octroi serves: it ends");
        let says_why = || {
            let child = run(&octroi).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            until_it_hears(&octroi, child.id());
            assert!(signal(child.id(), name));
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0));
            String::from_utf8_lossy(&output.stderr).contains(&why)
        };

        // A signal that comes before there is a log ends it without a word, but not each time.
        assert!((0..5).any(|_| says_why()), "{name}");
    }
}

#[test]
fn connections_are_taken_while_a_balancer_looks_away() {
    let upstream = Upstream::start();
    let mut octroi =
        Octroi::start(&config(&upstream, 1, "").replace("drain: 2s", "drain: 2s, drain_delay: 1h"));
    let ready = |octroi: &Octroi| {
        let probe = Curl::plain(octroi.addr("metrics"), "localhost", "/readyz").get();
        (probe.status, probe.body)
    };
    assert_eq!(ready(&octroi).0, 200);

    octroi.signal("TERM");
    eventually("it says that it ends", || {
        (ready(&octroi) == (503, "not ready: it drains\n".to_owned())).then_some(())
    });
    assert_eq!((served(&octroi), lives(octroi.pid())), (200, true));
    let answer = octroi.curl("acme.test", "/x").get();
    assert_eq!(answer.status, 200, "{answer:?}");

    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0, "whoever asks twice means it");
}

#[test]
fn without_a_delay_nobody_is_taken_any_more() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::start(&config(&upstream, 1, ""));
    let mut open = raw(octroi.addr("plain"));
    assert_eq!(ask(&mut open, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);
    let address = octroi.addr("plain");

    octroi.signal("TERM");

    eventually("the listener is closed", || TcpStream::connect(address).is_err().then_some(()));
    assert_eq!(octroi.wait(), 0);
}

/// A port that is free for IPv4 and IPv6.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn both_families_have_a_port_each_where_both_are_named() {
    let upstream = Upstream::start();
    let port = free_port();
    let v6 = format!(r#"  - {{name: six, address: "[::]:{port}", plaintext: true}}"#);
    let both = format!("{v6}\n  - {{name: four, address: \"0.0.0.0:{port}\", plaintext: true}}");
    let with = |doors: &str| {
        config(&upstream, 1, "access_log: [{to: stdout}]").replace("metrics:", &format!("{doors}\nmetrics:"))
    };
    let status = |address: &str| {
        let mut stream = raw(format!("{address}:{port}").parse::<SocketAddr>().unwrap());
        ask(&mut stream, "GET /x HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n").status
    };

    // Alone, `[::]` takes both.
    let octroi = Octroi::start(&with(&v6));
    assert_eq!([status("127.0.0.1"), status("[::1]")], [200, 200]);
    octroi.configure(&with(&both));
    let refused = octroi.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let why = format!(
        "listener `four`: `six` is open and takes IPv4 clients on port {port} too; only a restart can give them to two listeners"
    );
    assert!(!refused.status.success() && said.contains(&why), "{said}");
    drop(octroi);

    let octroi = Octroi::start(&with(&both));
    for (address, listener) in [("127.0.0.1", "four"), ("[::1]", "six")] {
        assert_eq!(status(address), 200, "{address}");
        octroi.access_line(|line| line["listener"] == listener);
    }
}

#[test]
fn two_nodes_that_start_at_once_share_a_folder_of_dev_certificates() {
    let upstream = Upstream::start();
    let shared = tempfile::tempdir().unwrap();
    let dir = shared.path().join("certs");
    let text = config(&upstream, 1, "").replace("dir: certs", &format!("dir: {}", dir.display()));
    let many = (0..40).fold(text, |text, number| {
        text + &format!("  t{number}: {{hosts: [t{number}.test], upstream: app, routes: app}}\n")
    });
    let mut nodes = [Octroi::prepared(&many), Octroi::prepared(&many)];

    let children: Vec<Child> = nodes.iter().map(|node| node.spawn(run(node))).collect();
    for (node, child) in nodes.iter_mut().zip(children) {
        node.adopt(child);
    }

    for node in &nodes {
        for host in ["acme.test", "t0.test", "t39.test"] {
            assert_eq!(Curl::new(node.addr("public"), host, "/x").cacert(&dir.join("ca.pem")).status(), 200);
        }
    }
}

#[test]
fn a_request_behind_a_listener_that_was_taken_out_is_misdirected() {
    let upstream = Upstream::start();
    let text = config(&upstream, 1, "");
    let mut octroi = Octroi::start(&text);
    let mut open = raw(octroi.addr("plain"));
    assert_eq!(ask(&mut open, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n").status, 200);

    octroi.reload(&text.replace("  - {name: plain, address: \"127.0.0.1:0\", plaintext: true}\n", ""));

    let answer = ask(&mut open, "GET /x HTTP/1.1\r\nHost: acme.test\r\n\r\n");
    assert_eq!((answer.status, answer.field("connection")), (421, Some("close")), "{answer:?}");
    assert_eq!(octroi.curl("acme.test", "/x").status(), 200);
}

#[test]
fn silent_connections_keep_no_probe_out() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, 1, ""));
    let began = Instant::now();

    let silent: Vec<TcpStream> = (0..200).map(|_| raw(octroi.addr("metrics"))).collect();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Curl::plain(octroi.addr("metrics"), "localhost", path).status(), 200);
    }

    assert!(began.elapsed() < Duration::from_secs(9), "nobody waited for the silent ones to be sent away");
    drop(silent);
}

#[test]
fn silent_connections_keep_no_command_out() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, 1, ""));

    let silent: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(octroi.path().join("state/control.sock")).unwrap()).collect();

    octroi.ok(&["status"]);
    octroi.ok(&["reload"]);
    drop(silent);
}

#[test]
fn a_socket_whose_queue_is_full_is_somebody_s_and_keeps_no_start_waiting() {
    let upstream = Upstream::start();
    let octroi = Octroi::prepared(&config(&upstream, 1, ""));
    // It listens and takes nobody: an octroi that hangs.
    let path = octroi.path().join("state/control.sock");
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();

    let mut child = octroi.spawn(run(&octroi));

    let ended = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(69));
    eventually("it says why", || {
        octroi.printed().iter().any(|line| line.contains("another octroi runs")).then_some(())
    });
}
