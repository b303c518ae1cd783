//! Hand-overs that fail: the old process goes on as if nothing had happened.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::wait;
use crate::{
    config,
    failing_successor::{BOUND, FailingSuccessor, GO, JOURNAL, REFUSED, SERVES, SOCKETS, TAKEN, VERSION},
    harness::{
        Octroi, Upstream, eventually,
        program::{BINARY, lives, signal},
    },
    sign_in, started, upgrade,
};

/// Asserts that the process serves as before: all listeners, and a journal that is written at once.
fn goes_on(octroi: &Octroi, pid: u32) {
    let cookie = sign_in(octroi);
    assert_eq!(octroi.curl("acme.test", "/x").cookie(&cookie).status(), 200);
    assert_eq!(octroi.plain("plain", "acme.test", "/public/x").status(), 200);
    assert!(octroi.metrics().contains("octroi_build_info"));
    let start = Instant::now();
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(octroi.curl("acme.test", "/x").cookie(&cookie).status(), 401);
    let status: serde_json::Value = serde_json::from_str(&octroi.ok(&["status", "--json"])).unwrap();
    assert_eq!((&status["pid"], &status["draining"]), (&pid.into(), &false.into()));
}

/// Upgrades in vain; returns what was said.
fn refused(octroi: &Octroi, args: &[&str]) -> String {
    let output = octroi.command(&[&["upgrade"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("not upgraded: the same process serves as before\n"), "{said}");
    said
}

#[test]
fn a_bad_configuration_is_told_and_changes_nothing() {
    let (mut octroi, upstream) = started();
    octroi.configure(&config(&upstream, "  - {name: nonsense}"));

    let said = refused(&octroi, &[]);

    assert!(said.contains("octroi.yaml:7:") && said.contains("address"), "{said}");
    let pid = octroi.pid();
    octroi.configure(&config(&upstream, ""));
    goes_on(&octroi, pid);
    upgrade(&mut octroi);
    assert_eq!(octroi.wait(), 0);
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let (octroi, upstream) = started();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    octroi
        .configure(&config(&upstream, &format!("  - {{name: new, address: \"{taken}\", plaintext: true}}")));

    let said = refused(&octroi, &[]);

    assert!(said.contains(&format!("listener `new`: cannot listen on {taken}")), "{said}");
    goes_on(&octroi, octroi.pid());
}

#[test]
fn there_is_nobody_to_hand_over_to_or_to_take_over_from() {
    let (mut octroi, _upstream) = started();

    assert!(refused(&octroi, &["--no-start"]).contains("no successor waits"));
    goes_on(&octroi, octroi.pid());
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
    let alone = octroi.command(&["run", "--upgrade"]);

    assert_eq!(alone.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("there is nothing to take over"), "{alone:?}");
    assert_eq!(octroi.code(&["upgrade"]), 69);
    // A file that cannot be read names no place: that is what is wrong, and not that nobody is at the default one.
    octroi.configure("version: 1\nserver: {state_dir: STATE\nlisteners: [\n");
    let unread = octroi.command(&["run", "--upgrade"]);
    let said = String::from_utf8_lossy(&unread.stderr).into_owned();
    assert!(
        unread.status.code() == Some(78)
            && said.contains("octroi.yaml:")
            && !said.contains("nothing to take over"),
        "{said}"
    );
}

#[test]
fn a_successor_that_fails_at_any_step_changes_nothing() {
    let (octroi, _upstream) = started();
    let (pid, state) = (octroi.pid(), octroi.path().join("state"));
    // What it hears and what it says to that, up to where it ends.
    let steps: [(u8, &[u8]); 4] = [(SOCKETS, &[BOUND]), (JOURNAL, &[TAKEN]), (GO, &[]), (0, &[])];
    for last in 0..3 {
        let successor = FailingSuccessor::waiting(&state);
        let upgrading = std::thread::spawn(move || {
            for (place, (hears, says)) in steps.into_iter().enumerate() {
                successor.hear_until(hears);
                if place == last {
                    return;
                }
                successor.say(says);
            }
        });

        let said = refused(&octroi, &["--no-start"]);

        upgrading.join().unwrap();
        assert!(said.contains("the successor (process"), "{said}");
        goes_on(&octroi, pid);
    }
}

#[test]
fn a_successor_that_refuses_or_talks_nonsense_changes_nothing() {
    let (octroi, _upstream) = started();
    let (pid, state) = (octroi.pid(), octroi.path().join("state"));
    let refusal = [&[REFUSED][..], "no, thank you".as_bytes()].concat();
    let table: [(u8, &[u8], &str); 5] = [
        (SOCKETS, &refusal, "no, thank you"),
        (SOCKETS, &[SERVES], "said what nobody expected"),
        (JOURNAL, &refusal, "no, thank you"),
        (JOURNAL, &[77, 1, 2], "a packet is malformed"),
        (JOURNAL, &[BOUND], "said what nobody expected"),
    ];
    for (hears, says, expected) in table {
        let successor = FailingSuccessor::waiting(&state);
        let says = says.to_vec();
        let upgrading = std::thread::spawn(move || {
            successor.hear_until(SOCKETS);
            if hears == JOURNAL {
                successor.say(&[BOUND]);
                successor.hear_until(JOURNAL);
            }
            successor.say(&says);
        });

        let said = refused(&octroi, &["--no-start"]);

        upgrading.join().unwrap();
        assert!(said.contains(expected), "{said}");
        goes_on(&octroi, pid);
    }
}

#[test]
fn one_successor_waits_at_a_time_and_its_end_is_noticed() {
    let (mut octroi, _upstream) = started();
    let state = octroi.path().join("state");
    let first = FailingSuccessor::waiting(&state);

    let turned_away = FailingSuccessor::at(&state).hear();
    let another = octroi.command(&["run", "--upgrade"]);

    assert_eq!(turned_away[0], REFUSED);
    assert_eq!(another.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&another.stderr).contains("waits already"), "{another:?}");
    drop(first);
    octroi.refresh();
    assert!(octroi.status()["successor"].is_null());
    octroi.signal("QUIT");
    eventually("it says so", || {
        octroi.printed().iter().any(|line| line.contains("no successor waits")).then_some(())
    });
    goes_on(&octroi, octroi.pid());
}

#[test]
fn a_successor_of_another_version_is_turned_away_and_nothing_is_handed_over() {
    let (octroi, _upstream) = started();
    let state = octroi.path().join("state");
    let journal = || std::fs::read(state.join("revocations.journal")).unwrap();
    let before = journal();

    for version in [1, VERSION + 1] {
        let successor = FailingSuccessor::of_version(&state, version);
        let refusal = successor.hear();

        let why = format!(
            "hand-overs of version {version} are not known here, only {VERSION}; a restart is needed"
        );
        assert_eq!((refusal[0], &refusal[1..]), (REFUSED, why.as_bytes()));
        assert!(successor.hear().is_empty(), "that is all that it hears");
    }

    assert_eq!(journal(), before);
    goes_on(&octroi, octroi.pid());
}

#[test]
fn an_octroi_on_a_later_one_s_journal_does_not_start_and_leaves_it_as_it_is() {
    let (mut octroi, _upstream) = started();
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    octroi.signal("TERM");
    octroi.wait();
    let path = octroi.path().join("state/revocations.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = u64::try_from(bytes.len()).unwrap();
    bytes.extend(frame(place, &[200, 1, 2, 3]));
    std::fs::write(&path, &bytes).unwrap();

    let refused = octroi.command(&["run"]);

    assert_eq!(refused.status.code(), Some(74), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let expected = format!(
        "revocations.journal has a record of kind 200 at byte {place}, which a later octroi wrote; start that one"
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// A frame of the journal, as `append_log` says.
fn frame(place: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let checked = [&place.to_be_bytes()[..], &length.to_be_bytes(), payload].concat();
    let check = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &checked);
    [&length.to_be_bytes()[..], &(!length).to_be_bytes(), &check.as_ref()[..8], payload].concat()
}

#[test]
fn a_waiting_successor_that_is_killed_changes_nothing() {
    let (mut octroi, _upstream) = started();
    let mut command = Command::new(BINARY);
    command.args(["run", "--upgrade", "--config"]).arg(octroi.config()).stdin(Stdio::null());
    let mut successor = octroi.spawn(command);
    eventually("it waits", || {
        octroi.refresh();
        (octroi.status()["successor"] == successor.id()).then_some(())
    });

    successor.kill().unwrap();
    successor.wait().unwrap();
    octroi.signal("QUIT");

    eventually("it says so", || {
        octroi.printed().iter().any(|line| line.contains("no successor waits")).then_some(())
    });
    goes_on(&octroi, octroi.pid());
    let (_, new) = upgrade(&mut octroi);
    assert!(lives(new));
}

#[test]
fn a_waiting_successor_ends_with_its_predecessor() {
    let (mut octroi, _upstream) = started();
    let mut command = Command::new(BINARY);
    command.args(["run", "--upgrade", "--config"]).arg(octroi.config()).stdin(Stdio::null());
    let mut successor = octroi.spawn(command);
    eventually("it waits", || {
        octroi.refresh();
        (octroi.status()["successor"] == successor.id()).then_some(())
    });

    octroi.signal("TERM");

    assert_eq!(octroi.wait(), 0);
    assert_eq!(successor.wait().unwrap().code(), Some(69));
    eventually("it says why", || {
        octroi.printed().iter().any(|line| line.contains("ended the hand-over while it waited")).then_some(())
    });
}

#[test]
fn a_successor_that_is_killed_at_any_moment_leaves_one_that_serves() {
    let (mut octroi, _upstream) = started();
    for round in 0..8 {
        let serving = octroi.succeed();
        let upgrading = {
            let (binary, config) = (BINARY, octroi.config());
            std::thread::spawn(move || {
                Command::new(binary).args(["upgrade", "--config"]).arg(config).output().unwrap()
            })
        };
        // The child may be made by any thread of the process.
        let child = eventually("a successor is started", || {
            let tasks = std::fs::read_dir(format!("/proc/{serving}/task")).ok()?;
            tasks.flatten().find_map(|task| {
                let text = std::fs::read_to_string(task.path().join("children")).ok()?;
                text.split_whitespace().next()?.parse::<u32>().ok()
            })
        });
        wait::elapse(Duration::from_millis(round * 15));
        let was_there = signal(child, "KILL");
        let output = upgrading.join().unwrap();

        if output.status.success() {
            // It had served already: then nobody serves, as after any crash. A new one is started in its place.
            assert!(was_there);
            eventually("the old one ends", || (!lives(serving)).then_some(()));
            octroi.run();
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("successor") || said.contains("ended before it could take over"), "{said}");
            goes_on(&octroi, serving);
        }
    }
}

#[test]
fn a_successor_that_neither_is_ready_nor_ends_holds_nothing_up() {
    let (octroi, _upstream) = started();
    let successor = FailingSuccessor::at(&octroi.path().join("state"));
    assert_eq!(successor.hear()[0], 2);
    let upgrading = {
        let config = octroi.config();
        std::thread::spawn(move || {
            Command::new(BINARY).args(["upgrade", "--no-start", "--config"]).arg(config).output().unwrap()
        })
    };
    wait::elapse(Duration::from_millis(200));

    goes_on(&octroi, octroi.pid());
    drop(successor);

    let output = upgrading.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ended the hand-over while it prepared"),
        "{output:?}"
    );
}

/// The reloads are with the predecessor when the hand-over ends, and wait for it.
#[test]
fn a_reload_that_waited_for_a_hand_over_is_the_successor_s() {
    let (mut octroi, _upstream) = started();
    let mut command = Command::new(BINARY);
    command.args(["run", "--upgrade", "--config"]).arg(octroi.config()).stdin(Stdio::null());
    let mut successor = octroi.spawn(command);
    eventually("the successor waits", || {
        octroi.ok(&["status"]).contains("waiting     successor").then_some(())
    });
    // It holds the hand-over up for as long as it takes.
    assert!(signal(successor.id(), "STOP"));
    let asked = |args: &'static [&'static str]| {
        let config = octroi.config();
        std::thread::spawn(move || {
            Command::new(BINARY).args(args).arg("--config").arg(config).output().unwrap()
        })
    };
    // Those that were accepted: one in the backlog has no inode. The socket was bound under a name of its own, and renamed.
    let path = octroi.path().join("state/control.sock").display().to_string();
    let at_control = || {
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
        let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        fields
            .filter(|fields| {
                fields.get(7).is_some_and(|at| at.starts_with(&path)) && fields[5] == "03" && fields[6] != "0"
            })
            .count()
    };
    let upgrading = asked(&["upgrade", "--no-start"]);
    eventually("the hand-over has begun", || (at_control() == 1).then_some(()));
    let reloading = [asked(&["reload"]), asked(&["reload"]), asked(&["reload", "--dry-run"])];
    eventually("the reloads have come", || (at_control() == 4).then_some(()));

    assert!(signal(successor.id(), "CONT"));

    let upgraded = upgrading.join().unwrap();
    assert_eq!(upgraded.status.code(), Some(0), "{upgraded:?}");
    for reloading in reloading {
        let reloaded = reloading.join().unwrap();
        assert_eq!(
            (reloaded.status.code(), String::from_utf8_lossy(&reloaded.stderr).as_ref()),
            (Some(0), ""),
            "{reloaded:?}"
        );
    }
    assert_eq!(octroi.succeed(), successor.id());
    assert!(signal(successor.id(), "TERM"));
    assert_eq!(successor.wait().unwrap().code(), Some(0));
}

/// Everything that stands in the state directory, by name, where it is no note that is written by the second.
fn sockets(octroi: &Octroi) -> Vec<String> {
    let names = std::fs::read_dir(octroi.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.contains(".sock") || name.contains("lock") || name.contains("missing"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_successor_that_fails_behind_the_sockets_leaves_each_of_them_to_its_predecessor() {
    let upstream = Upstream::start();
    let good =
        config(&upstream, "").replace("tenants:\n", "tenant_files: [\"tenants.d/*.yaml\"]\ntenants:\n");
    let mut octroi = Octroi::prepared(&good);
    let tenants = octroi.path().join("tenants.d");
    std::fs::create_dir(&tenants).unwrap();
    std::fs::write(
        tenants.join("b.yaml"),
        "tenants: {beta: {hosts: [beta.test], upstream: app, routes: app}}\n",
    )
    .unwrap();
    octroi.run();
    let (pid, before) = (octroi.pid(), sockets(&octroi));
    assert!(
        before.contains(&"control.sock".to_owned()) && before.contains(&"upgrade.sock".to_owned()),
        "{before:?}"
    );
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let away = octroi.path().join("tenants.away");
    let metrics =
        good.replace("metrics: {address: \"127.0.0.1:0\"}", &format!("metrics: {{address: \"{taken}\"}}"));
    let log = good.replace("metrics:", "access_log: [{to: file, path: /nowhere/at/all.log}]\nmetrics:");
    assert!(metrics != good && log != good);

    // Each a step later: a listener beside the control socket, the log, and the journal, which is in the successor's hands by then.
    for (wrong, moves, expected) in [
        (&metrics, false, "cannot listen on"),
        (&log, false, "nowhere/at/all.log"),
        (&good, true, "nothing is handed over"),
    ] {
        octroi.configure(wrong);
        if moves {
            std::fs::rename(&tenants, &away).unwrap();
        }

        let said = refused(&octroi, &[]);

        assert!(said.contains(expected), "{said}");
        octroi.configure(&good);
        if moves {
            std::fs::rename(&away, &tenants).unwrap();
        }
        assert_eq!(sockets(&octroi), before, "{expected}");
        goes_on(&octroi, pid);
        octroi.ok(&["reload"]);
    }
    // A second one works, and its own end takes the socket away.
    let (_, new) = upgrade(&mut octroi);
    octroi.refresh();
    goes_on(&octroi, new);
    assert_eq!(octroi.code(&["upgrade", "--no-start"]), 1);
}

#[test]
fn a_control_socket_that_is_gone_is_put_back_and_handed_on() {
    let (mut octroi, _upstream) = started();
    let socket = octroi.path().join("state/control.sock");
    let back = |octroi: &Octroi| {
        eventually("it can be commanded again", || (octroi.code(&["status"]) != 69).then_some(()))
    };

    std::fs::remove_file(&socket).unwrap();
    back(&octroi);
    assert!(octroi.printed().iter().any(|line| line.contains("control_socket_back")));
    goes_on(&octroi, octroi.pid());
    // What is handed on is the one that can be reached, and the successor puts its own back.
    let (_, new) = upgrade(&mut octroi);
    octroi.refresh();
    goes_on(&octroi, new);
    std::fs::remove_file(&socket).unwrap();
    back(&octroi);
    goes_on(&octroi, new);

    // What somebody put there is left alone, and said.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "kept").unwrap();
    eventually("it says so", || {
        octroi.printed().iter().any(|line| line.contains("control_socket_gone")).then_some(())
    });
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "kept");
    std::fs::remove_file(&socket).unwrap();
    back(&octroi);
    goes_on(&octroi, new);
}
