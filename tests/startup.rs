//! What a place lacks, or holds that it should not: keys that were lost, a state directory that others may write to, a process that hangs.
//! Said by name, soon, and before anything is written.

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
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use harness::Octroi;

const CONFIG: &str = r#"
version: 1
server: {state_dir: STATE, drain: 1s, threads: 2}
listeners: [{name: public, address: "127.0.0.1:PORT", plaintext: true}]
metrics: {address: "127.0.0.1:METRICS"}
access_log: [{to: file, path: logs/access.log}]
sessions: {keys: [{id: 1, secret: "${file:session-1.key}"}]}
upstreams: {app: {servers: [{address: "127.0.0.1:9"}]}}
routes: {app: {rules: [{path: /public/, access: public}, {path: /login, access: public, grant: true}]}}
tenants: {acme: {hosts: [acme.test], upstream: app, routes: app}}
"#;

fn config(port: u16, metrics: u16) -> String {
    CONFIG.replace("PORT", &port.to_string()).replace("METRICS", &metrics.to_string())
}

fn prepared() -> Octroi {
    let octroi = Octroi::prepared(&config(0, 0));
    fs::create_dir(octroi.path().join("logs")).unwrap();
    octroi
}

fn said(octroi: &Octroi, args: &[&str]) -> (i32, String) {
    let output = octroi.command(args);
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn stop(octroi: &mut Octroi) {
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
}

fn state(octroi: &Octroi) -> PathBuf {
    octroi.path().join("state")
}

fn held(octroi: &Octroi) -> Vec<String> {
    let entries = fs::read_dir(state(octroi)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_session_key_that_is_in_use_is_not_made_anew_and_one_that_is_new_is() {
    let mut octroi = prepared();
    let key = octroi.path().join("session-1.key");
    let backup = fs::read(&key).unwrap();
    // Where nobody has served, it is made, and said so.
    fs::remove_file(&key).unwrap();
    let (code, text) = said(&octroi, &["check"]);
    assert!(code == 1 && text.contains("`octroi keys init` makes the keys that are missing"), "{text}");
    assert_eq!(octroi.code(&["run"]), 78);
    octroi.ok(&["keys", "init"]);
    fs::write(&key, &backup).unwrap();
    octroi.run();

    fs::remove_file(&key).unwrap();
    for args in [&["reload"][..], &["status"], &["check"]] {
        let (code, text) = said(&octroi, args);
        let hint = "put the file back from the backup, and do not restart before";
        assert!(
            code == 1 && text.contains(hint) && !text.contains("makes the keys that are missing"),
            "{args:?}: {text}"
        );
    }
    let refused = |octroi: &Octroi, why: &str| {
        let (code, text) = said(octroi, &["keys", "init"]);
        assert!(code == 1 && text.contains("the session key 1 is in use") && text.contains(why), "{text}");
        assert!(!key.exists() && !octroi.path().join("session-2.key").exists());
    };
    refused(&octroi, "octroi runs with this state directory");
    // One that is new is made, alone.
    let two = r#"keys: [{id: 2, secret: "${file:session-2.key}", open_only: true}, {id: 1,"#;
    octroi.configure(&config(0, 0).replace("keys: [{id: 1,", two));
    refused(&octroi, "nothing was made");
    fs::write(&key, &backup).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(octroi.ok(&["keys", "init"]).contains("session-2.key"));
    octroi.ok(&["reload"]);
    fs::remove_file(octroi.path().join("session-2.key")).unwrap();
    octroi.configure(&config(0, 0));
    octroi.ok(&["reload"]);

    // Another secret under the same number is taken, and never in silence.
    fs::copy(prepared().path().join("session-1.key"), &key).unwrap();
    let signs_out = "session key 1 holds another secret than the one in force had under this number";
    for args in [&["reload", "--dry-run"][..], &["reload"]] {
        let (code, text) = said(&octroi, args);
        assert!(code == 0 && text.contains(signs_out), "{args:?}: {text}");
    }
    assert!(octroi.printed().iter().any(|line| line.contains("session_key_exchanged")));
    assert!(!said(&octroi, &["reload"]).1.contains(signs_out), "once");
    fs::write(&key, &backup).unwrap();
    octroi.ok(&["reload"]);

    // One that hangs does not say what it has, and nothing is made.
    fs::remove_file(&key).unwrap();
    octroi.signal("STOP");
    let (code, text) = said(&octroi, &["keys", "init"]);
    octroi.signal("CONT");
    assert!(code == 1 && text.contains("cannot be asked (no answer from octroi at "), "{text}");
    // Behind its end, what it wrote down tells.
    stop(&mut octroi);
    refused(&octroi, "octroi has served with this state directory");
    fs::remove_file(state(&octroi).join("session-keys.json")).unwrap();
    let (code, text) = said(&octroi, &["keys", "init"]);
    assert!(
        code == 1 && text.contains("cannot be known") && text.contains("did not write down with which keys"),
        "{text}"
    );
    assert!(!key.exists());
    octroi.ok(&["keys", "init", "--force"]);
    assert!(key.exists());
}

#[test]
fn a_folder_of_session_keys_that_was_emptied_is_not_filled_anew() {
    let mut octroi = prepared();
    let with = |octroi: &Octroi, keys: &str| {
        octroi.configure(&config(0, 0).replace("keys: [{id: 1, secret: \"${file:session-1.key}\"}]", keys))
    };
    with(&octroi, "key_dir: keys");
    octroi.ok(&["keys", "init"]);
    octroi.run();
    fs::rename(octroi.path().join("keys"), octroi.path().join("backup")).unwrap();

    let (code, text) = said(&octroi, &["keys", "init"]);
    assert!(code == 1 && text.contains("the session keys in use were there (1)"), "{text}");
    let (code, text) = said(&octroi, &["reload"]);
    assert!(
        code == 1 && text.contains("back from the backup") && !text.contains("makes the folder"),
        "{text}"
    );
    stop(&mut octroi);
    let (code, text) = said(&octroi, &["keys", "init"]);
    assert!(
        code == 1
            && text.contains("the session keys in use were there (1)")
            && !octroi.path().join("keys").exists(),
        "{text}"
    );
    fs::rename(octroi.path().join("backup"), octroi.path().join("keys")).unwrap();
    assert_eq!(octroi.ok(&["keys", "init"]), "", "nothing lacks");
}

#[test]
fn a_process_that_is_stopped_is_told_within_seconds() {
    let mut octroi = prepared();
    octroi.run();
    octroi.signal("STOP");
    let began = Instant::now();
    let commands: [&[&str]; 4] = [
        &["status"],
        &["ban", "list"],
        &["session", "list", "--tenant", "acme", "--user", "u"],
        &["keys", "list"],
    ];
    std::thread::scope(|scope| {
        for args in commands {
            let octroi = &octroi;
            scope.spawn(move || {
                let (code, text) = said(octroi, args);
                assert!(
                    code == 69 && text.contains("no answer from octroi at ") && text.contains("within 10 s"),
                    "{args:?}: {text}"
                );
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    octroi.signal("CONT");
    assert_eq!(octroi.code(&["status"]), 0);
}

#[test]
fn a_state_directory_that_others_may_write_to_is_refused_before_anything_is_written() {
    let mut octroi = prepared();
    let open =
        |octroi: &Octroi, mode| fs::set_permissions(state(octroi), fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o720] {
        open(&octroi, mode);
        let (code, text) = said(&octroi, &["run"]);
        assert!(
            code == 74
                && text.contains("others may write to the state directory")
                && text.contains("chmod go-w"),
            "{text}"
        );
        assert!(held(&octroi).is_empty(), "{:?}", held(&octroi));
        assert_eq!(octroi.code(&["check"]), 1);
    }
    open(&octroi, 0o755);
    assert_eq!(octroi.code(&["check"]), 0);
    octroi.run();
    stop(&mut octroi);
}

#[test]
fn a_start_that_finds_a_port_taken_or_no_log_leaves_no_journal_in_a_new_place() {
    let mut octroi = prepared();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (public, metrics) in [(port, 0), (0, port)] {
        octroi.configure(&config(public, metrics));
        assert_eq!(octroi.code(&["run"]), 69);
        assert!(held(&octroi).is_empty(), "{:?}", held(&octroi));
    }
    octroi.configure(&config(0, 0).replace("logs/", "nowhere/"));
    assert_eq!(octroi.code(&["run"]), 74);
    assert!(held(&octroi).is_empty(), "{:?}", held(&octroi));
    octroi.configure(&config(0, 0));
    octroi.run();
    assert!(held(&octroi).contains(&"revocations.journal".to_owned()));
    // Where somebody has served, the journal comes first: it says that another one is there.
    octroi.configure(&config(port, 0));
    assert_eq!(octroi.code(&["run"]), 74);
    stop(&mut octroi);
}

#[test]
fn a_check_finds_what_ends_a_start_with_exit_74() {
    let mut octroi = prepared();
    let both = |octroi: &Octroi, what: &str| {
        for (args, code) in [(["check"], 1), (["run"], 74)] {
            let (ended, text) = said(octroi, &args);
            assert!(ended == code && text.contains(what), "{args:?}: {ended}: {text}");
        }
    };
    // On a machine that has never served, a folder of logs may be made before the start.
    fs::remove_dir(octroi.path().join("logs")).unwrap();
    let (code, text) = said(&octroi, &["check"]);
    assert!(code == 0 && text.contains("warning: ") && text.contains("logs on this machine"), "{text}");
    fs::create_dir(octroi.path().join("logs")).unwrap();
    let absent = config(0, 0).replace("STATE", octroi.path().join("absent").to_str().unwrap());
    octroi.configure(&absent);
    assert_eq!(said(&octroi, &["check"]), (0, "ok: 1 tenant, 1 listener\n".to_owned()), "elsewhere: in CI");
    octroi.configure(&config(0, 0));
    octroi.run();
    octroi.ok(&["session", "revoke", "--tenant", "acme"]);
    assert_eq!(octroi.code(&["check"]), 0, "whoever has it knows");
    stop(&mut octroi);
    assert_eq!(said(&octroi, &["check"]), (0, "ok: 1 tenant, 1 listener\n".to_owned()));

    let journal = state(&octroi).join("revocations.journal");
    let whole = fs::read(&journal).unwrap();
    let mut bad = whole.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&journal, &bad).unwrap();
    both(&octroi, "revocations.journal is damaged at byte ");
    assert_eq!(fs::read(&journal).unwrap(), bad, "it is left as it is");
    fs::write(&journal, b"something else altogether, and as long as a head").unwrap();
    both(&octroi, "the file is no revocation journal");
    fs::write(&journal, &whole).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o666)).unwrap();
    both(&octroi, "may be written by others than its owner");
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    both(&octroi, "revocations.journal is a folder");
    fs::remove_dir(&journal).unwrap();
    // A start goes on without it, and refuses sessions from before: a warning.
    let (code, text) = said(&octroi, &["check"]);
    assert!(
        code == 0 && text.contains("the revocation journal is lost: revocations.journal is gone"),
        "{text}"
    );
    fs::write(&journal, &whole).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(said(&octroi, &["check"]), (0, "ok: 1 tenant, 1 listener\n".to_owned()));
    // Cut short by a crash: a start takes the torn end off.
    fs::write(&journal, [&whole[..], &[0, 0, 0, 9]].concat()).unwrap();
    assert_eq!(octroi.code(&["check"]), 0);
    let beside = state(&octroi).join("revocations.journal.new");
    fs::create_dir(&beside).unwrap();
    both(&octroi, "revocations.journal.new");
    fs::remove_dir(&beside).unwrap();
    fs::remove_dir_all(octroi.path().join("logs")).unwrap();
    both(&octroi, "logs");
    fs::create_dir(octroi.path().join("logs")).unwrap();
    octroi.run();
    stop(&mut octroi);
}
