//! A revocation journal that was lost revives nobody in silence: alone, in a hand-over, and where nodes share one Redis.

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
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use harness::{
    Octroi, Upstream,
    client::Answer,
    eventually,
    program::{BINARY, lives, signal},
    redis::Redis,
};
use jsonwebtoken::{EncodingKey, Header, encode};

fn config(upstream: &Upstream, node: &str, redis: Option<&Redis>) -> String {
    let (store, redis) = match redis {
        Some(redis) => ("redis", format!("redis: {{url: \"{}\"}}", redis.url())),
        None => ("journal", String::new()),
    };
    format!(
        r#"
version: 1
node: {node}
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions:
  keys: [{{id: 1, secret: "${{file:session.key}}"}}]
  revocation: {{store: {store}}}
  formats: [octroi, jwt]
  jwt: {{cookie: app, keys: [{{id: app, algorithm: HS256, secret: "${{file:app.key}}", tenants: [acme]}}]}}
{redis}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

const APP_KEY: &str = "0123456789abcdef0123456789abcdef";

fn prepared(upstream: &Upstream, node: &str, redis: Option<&Redis>) -> Octroi {
    prepared_with(&config(upstream, node, redis))
}

fn prepared_with(config: &str) -> Octroi {
    let octroi = Octroi::prepared(config);
    let key = octroi.path().join("app.key");
    fs::write(&key, APP_KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    octroi
}

/// Starts it; the session of the app in the answer is from before.
fn started(upstream: &Upstream, redis: Option<&Redis>) -> Octroi {
    let mut octroi = prepared(upstream, "edge-1", redis);
    octroi.run();
    octroi
}

fn sign_in(octroi: &Octroi) -> String {
    octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .args(&["-X", "POST"])
        .get()
        .session()
}

/// A session that the app itself made, a minute ago.
fn of_the_app() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 60;
    let claims = serde_json::json!({"sub": "u_2", "iat": now, "exp": now + 3600});
    format!(
        "app={}",
        encode(&Header::default(), &claims, &EncodingKey::from_secret(APP_KEY.as_bytes())).unwrap()
    )
}

fn ask(octroi: &Octroi, session: &str) -> Answer {
    octroi.curl("acme.test", "/x").cookie(session).get()
}

/// The status, and the reason of a refusal.
fn told(octroi: &Octroi, session: &str) -> (u16, String) {
    let answer = ask(octroi, session);
    let reason = if answer.status == 200 { "-".to_owned() } else { octroi.reason(&answer) };
    (answer.status, reason)
}

fn alive() -> (u16, String) {
    (200, "-".to_owned())
}

fn lost() -> (u16, String) {
    (401, "revocation_lost".to_owned())
}

fn stop(octroi: &mut Octroi) {
    octroi.signal("TERM");
    assert_eq!(octroi.wait(), 0);
}

fn file(octroi: &Octroi, name: &str) -> PathBuf {
    octroi.path().join("state").join(format!("revocations.{name}"))
}

/// Starts it with an operator's word that old sessions count.
fn run_accepting(octroi: &mut Octroi) {
    let mut command = Command::new(BINARY);
    command.args(["run", "--accept-old-sessions", "--config"]).arg(octroi.config());
    let child = octroi.spawn(command);
    octroi.adopt(child);
}

fn said(octroi: &Octroi, part: &str) {
    eventually(part, || octroi.printed().iter().any(|line| line.contains(part)).then_some(()));
}

fn lost_since(octroi: &Octroi) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(&octroi.command(&["status", "--json"]).stdout).unwrap()["revocations_lost"].clone()
}

#[test]
fn a_lost_journal_revives_nobody_until_an_operator_says_so() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let (ours, apps) = (sign_in(&octroi), of_the_app());
    assert_eq!(
        [told(&octroi, &ours), told(&octroi, &apps)],
        [alive(), alive()],
        "a first install refuses nobody of the app's"
    );
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert_eq!(told(&octroi, &ours), (401, "session_revoked".to_owned()));
    stop(&mut octroi);

    // As it is, nothing is lost.
    octroi.run();
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [(401, "session_revoked".to_owned()), alive()]);
    assert_eq!((lost_since(&octroi).is_null(), octroi.metric("octroi_revocations_lost")), (true, 0.0));
    stop(&mut octroi);

    fs::remove_file(file(&octroi, "journal")).unwrap();
    octroi.run();
    said(&octroi, r#"event="revocations_lost" why="revocations.journal is gone""#);
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [lost(), lost()]);
    assert_eq!(
        octroi.curl("acme.test", "/public/x").cookie(&ours).get().status,
        200,
        "a public page needs no session"
    );
    assert_eq!(told(&octroi, &sign_in(&octroi)), alive(), "who signs in again is in");
    assert!(lost_since(&octroi).is_string());
    assert_eq!(octroi.metric("octroi_revocations_lost"), 1.0);
    let status = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.code() == Some(1) && text.contains("\nlost        the revocation journal, found at "),
        "{text}"
    );
    stop(&mut octroi);

    // A restart says nothing else.
    octroi.run();
    assert_eq!(told(&octroi, &ours), lost());
    stop(&mut octroi);

    run_accepting(&mut octroi);
    said(&octroi, r#"event="revocations_accepted""#);
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [alive(), alive()]);
    assert_eq!((lost_since(&octroi).is_null(), octroi.metric("octroi_revocations_lost")), (true, 0.0));
    stop(&mut octroi);

    // Written down once; and where nothing is lost it does nothing.
    octroi.run();
    assert_eq!(told(&octroi, &ours), alive());
    stop(&mut octroi);
    run_accepting(&mut octroi);
    said(&octroi, "`--accept-old-sessions` does nothing");
}

/// What `octroi status` says of a loss, and how it ends: the text between the two is the date from which on it is over.
fn loss(octroi: &Octroi) -> (Option<i32>, String, f64) {
    let told = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("lost ")).unwrap_or_default().to_owned();
    (told.status.code(), line, octroi.metric("octroi_revocations_lost"))
}

#[test]
fn a_loss_ends_by_itself_once_no_session_from_before_can_live() {
    let upstream = Upstream::start();
    let long = config(&upstream, "edge-1", None);
    let short = long.replace("  formats:", "  idle: 5s\n  absolute: 8s\n  formats:");
    let mut octroi = prepared_with(&long);
    octroi.run();
    let (ours, apps) = (sign_in(&octroi), of_the_app());
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [alive(), alive()]);
    stop(&mut octroi);
    fs::remove_file(file(&octroi, "journal")).unwrap();
    octroi.configure(&short);
    octroi.run();

    // Told as long as something from before could be presented, with the date.
    let said_until = eventually("it is said", || {
        octroi.printed().iter().find_map(|line| {
            let rest = line.split_once("event=\"revocations_lost\"")?.1;
            Some(rest.split_once("until=")?.1.split_whitespace().next()?.to_owned())
        })
    });
    let (exit, line, gauge) = loss(&octroi);
    assert_eq!((exit, gauge), (Some(1), 1.0));
    let until = line.split_once(": sessions from before are refused until ").unwrap().1;
    // The log says seconds.
    assert_eq!(until.split('.').next(), said_until.strip_suffix('Z'), "{line}");

    // Then no longer: status, gauge and log.
    eventually("nothing from before can live", || lost_since(&octroi).is_null().then_some(()));
    assert_eq!(loss(&octroi), (Some(0), String::new(), 0.0));
    let over = |octroi: &Octroi| {
        octroi.printed().iter().filter(|line| line.contains("event=\"revocations_lost_over\"")).count()
    };
    eventually("its end is said", || (over(&octroi) == 1).then_some(()));
    // The app's session says an hour; here it lives no longer than the tenant's sessions do.
    assert_eq!([told(&octroi, &ours).0, told(&octroi, &apps).0], [401, 401]);

    // A start behind that says no error.
    stop(&mut octroi);
    let before = octroi.printed().len();
    octroi.run();
    assert_eq!(loss(&octroi), (Some(0), String::new(), 0.0));
    assert!(!octroi.printed()[before..].iter().any(|line| line.contains("ERROR")), "{:?}", octroi.printed());

    // Sessions that may live longer from now on: those from before the loss are in doubt again, and nobody is revived.
    octroi.reload(&long);
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [lost(), lost()]);
    let (exit, line, gauge) = loss(&octroi);
    assert!(exit == Some(1) && line.starts_with("lost ") && gauge == 1.0, "{line}");
}

#[test]
fn an_older_journal_is_told_from_the_one_that_was_there() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let ours = sign_in(&octroi);
    stop(&mut octroi);
    let backup = fs::read(file(&octroi, "journal")).unwrap();
    octroi.run();
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    stop(&mut octroi);

    fs::write(file(&octroi, "journal"), backup).unwrap();
    octroi.run();

    assert_eq!(told(&octroi, &ours), lost());
    said(&octroi, "revocations.journal is shorter than it was");
}

#[test]
fn an_end_that_was_cut_off_is_told_from_one_that_a_crash_left_unfinished() {
    const UNFINISHED: &str = "nobody was told to be done";
    const CUT: &str = "the journal had been longer";
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    stop(&mut octroi);
    let whole = fs::read(file(&octroi, "journal")).unwrap();
    let started_on = |octroi: &mut Octroi, journal: &[u8]| {
        fs::write(file(octroi, "journal"), journal).unwrap();
        let before = octroi.printed().len();
        octroi.run();
        let said = octroi.printed()[before..].join("\n");
        stop(octroi);
        (said.contains(UNFINISHED), said.contains(CUT), said.contains("revocations_lost"))
    };

    // The beginning of a record behind the mark, the whole of what was there, and a finished record without its end.
    assert_eq!(started_on(&mut octroi, &[&whole[..], &[0, 0, 0]].concat()), (true, false, false));
    assert_eq!(started_on(&mut octroi, &whole), (false, false, false));
    assert_eq!(started_on(&mut octroi, &whole[..whole.len() - 5]), (false, true, true));
}

/// What was written under a name that is gone, and said to be on the disk, would be forgotten by the next start.
#[test]
fn a_journal_that_is_taken_away_under_octroi_is_written_anew_from_memory_and_keeps_who_is_ended() {
    let upstream = Upstream::start();
    let away = |octroi: &Octroi| fs::remove_file(file(octroi, "journal")).unwrap();
    let renamed =
        |octroi: &Octroi| fs::rename(file(octroi, "journal"), file(octroi, "journal.away")).unwrap();
    let cut = |octroi: &Octroi| fs::write(file(octroi, "journal"), "").unwrap();
    type Take<'a> = &'a dyn Fn(&Octroi);
    let ways: [(_, Take<'_>, _); 3] = [
        ("removed", &away, "is gone"),
        ("renamed", &renamed, "is gone"),
        ("cut", &cut, "was written by somebody else"),
    ];
    for (way, take, why) in ways {
        let mut octroi = started(&upstream, None);
        let before = sign_in(&octroi);
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
        let again = sign_in(&octroi);
        assert_eq!(told(&octroi, &again), alive(), "{way}");
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_7"]);
        take(&octroi);

        // The next revocation finds it, and is on the disk when it says so.
        octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
        assert!(fs::metadata(file(&octroi, "journal")).unwrap().len() > 32, "{way}");
        let gone = eventually("it is said", || {
            octroi.printed().into_iter().find(|line| line.contains("event=\"journal_gone\""))
        });
        assert!(gone.contains("ERROR") && gone.contains(why), "{way}: {gone}");
        said(&octroi, "event=\"journal_back\"");
        assert_eq!(octroi.metric("octroi_revocation_journal_failing"), 0.0, "{way}");
        assert!(octroi.command(&["status"]).status.success(), "{way}");

        assert!(signal(octroi.pid(), "KILL"));
        octroi.wait();
        octroi.run();
        assert_eq!(
            [told(&octroi, &before), told(&octroi, &again)],
            [(401, "session_revoked".to_owned()), (401, "session_revoked".to_owned())],
            "{way}"
        );
        assert!(lost_since(&octroi).is_null(), "{way}");
    }
}

#[test]
fn a_journal_that_is_taken_away_is_missed_though_nobody_revokes_and_while_it_cannot_be_written_that_shows() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let ours = sign_in(&octroi);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    let whole = fs::read(file(&octroi, "journal")).unwrap();
    // A folder under this name is what no new journal can be put on: the stand-in of a disk that takes nothing.
    let new = file(&octroi, "journal.new");
    fs::create_dir(&new).unwrap();
    fs::remove_file(file(&octroi, "journal")).unwrap();

    eventually("it is missed", || (octroi.metric("octroi_revocation_journal_failing") == 1.0).then_some(()));
    assert_eq!(octroi.metric("octroi_revocations_unkept"), 1.0);
    let status = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.code() == Some(1) && text.contains("\nunkept "), "{text}");
    // A successor would find none, and refuse everybody.
    assert_ne!(octroi.code(&["upgrade"]), 0);

    fs::remove_dir(&new).unwrap();
    eventually("it is back", || (octroi.metric("octroi_revocation_journal_failing") == 0.0).then_some(()));
    assert!(fs::read(file(&octroi, "journal")).unwrap().len() >= whole.len() / 2);
    let gone = octroi.printed().iter().filter(|line| line.contains("event=\"journal_gone\"")).count();
    assert_eq!(gone, 1, "said once");

    // Without the journal at the moment of a hand-over the successor knows everybody all the same.
    fs::remove_file(file(&octroi, "journal")).unwrap();
    octroi.ok(&["upgrade"]);
    octroi.succeed();
    assert_eq!(told(&octroi, &ours), (401, "session_revoked".to_owned()));
    assert!(lost_since(&octroi).is_null());
}

#[test]
fn a_file_that_is_put_in_the_place_of_the_journal_is_kept_under_another_name_and_the_lock_is_taken_again() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let ours = sign_in(&octroi);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    let theirs = [fs::read(file(&octroi, "journal")).unwrap(), vec![7; 500]].concat();
    // As `mv` of a backup does it.
    fs::write(file(&octroi, "put"), &theirs).unwrap();
    fs::rename(file(&octroi, "put"), file(&octroi, "journal")).unwrap();
    fs::remove_file(file(&octroi, "lock")).unwrap();

    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_8"]);

    assert_eq!(fs::read(file(&octroi, "journal.aside-1")).unwrap(), theirs);
    for event in ["journal_set_aside", "journal_lock_gone", "journal_back"] {
        said(&octroi, &format!("event=\"{event}\""));
    }
    // Nobody else gets in.
    let other = Command::new(BINARY).args(["run", "--config"]).arg(octroi.config()).output().unwrap();
    assert!(!other.status.success());
    // A compaction and commits that nobody disturbs set nothing aside.
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_9"]);
    assert!(!file(&octroi, "journal.aside-2").exists());
    stop(&mut octroi);
    octroi.run();
    assert_eq!(told(&octroi, &ours), (401, "session_revoked".to_owned()));
    assert!(lost_since(&octroi).is_null());
}

/// The order that the guide gives for a backup: the mark, then the journal.
#[test]
fn a_backup_under_way_is_whole_with_the_mark_before_the_journal_and_a_loss_the_other_way_round() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let ours = sign_in(&octroi);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_9"]);
    stop(&mut octroi);
    octroi.run();
    let copies = |octroi: &Octroi| ["began", "journal"].map(|name| fs::read(file(octroi, name)).unwrap());
    let [mark, journal] = copies(&octroi);
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_8"]);
    stop(&mut octroi);
    let [later_mark, later_journal] = copies(&octroi);
    let mut restored = |mark: &[u8], journal: &[u8]| {
        fs::write(file(&octroi, "began"), mark).unwrap();
        fs::write(file(&octroi, "journal"), journal).unwrap();
        octroi.run();
        let found = told(&octroi, &ours);
        stop(&mut octroi);
        found
    };

    assert_eq!(restored(&mark, &later_journal), alive());
    assert_eq!(restored(&mark, &journal), alive(), "what was ended since cannot be told");
    assert_eq!(restored(&later_mark, &journal), lost());
}

#[test]
fn a_journal_without_its_head_is_lost_and_one_that_never_was_begins() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let (ours, apps) = (sign_in(&octroi), of_the_app());
    stop(&mut octroi);
    let whole = fs::read(file(&octroi, "journal")).unwrap();

    // A full disk, or a restore that stopped: nothing, a part of the head, a part of what follows.
    for length in [0, 7, 31, 32, whole.len() - 1] {
        fs::write(file(&octroi, "journal"), &whole[..length]).unwrap();
        octroi.run();
        said(&octroi, r#"event="revocations_lost" why="revocations.journal is shorter than it was""#);
        assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [lost(), lost()], "{length}");
        assert_eq!(told(&octroi, &sign_in(&octroi)), alive(), "who signs in again is in");
        assert!(lost_since(&octroi).is_string());
        assert_eq!(octroi.metric("octroi_revocations_lost"), 1.0);
        stop(&mut octroi);
        run_accepting(&mut octroi);
        stop(&mut octroi);
    }

    // Without a mark nothing was there yet: a first start that was cut short.
    for length in [0, 31] {
        fs::write(file(&octroi, "journal"), &whole[..length]).unwrap();
        fs::remove_file(file(&octroi, "began")).unwrap();
        octroi.run();
        assert_eq!((told(&octroi, &apps), lost_since(&octroi).is_null()), (alive(), true), "{length}");
        stop(&mut octroi);
    }
}

#[test]
fn what_is_no_file_in_the_place_of_the_journal_is_named_at_once() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    stop(&mut octroi);

    for name in ["journal", "lock"] {
        let path = file(&octroi, name);
        let kept = fs::read(&path).unwrap();
        let refused = |what: &str| {
            let output =
                Command::new(BINARY).args(["run", "--config"]).arg(octroi.config()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(74), "{said}");
            assert!(
                said.contains(&format!("revocations.{name} is {what}, not a file; take it away")),
                "{said}"
            );
        };
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        refused("a named pipe");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a folder");
        fs::remove_dir(&path).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        refused("a socket");
        drop(socket);
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // A mark that is a pipe keeps nobody waiting either: it says nothing, which is a loss, and is replaced.
    fs::remove_file(file(&octroi, "began")).unwrap();
    assert!(Command::new("mkfifo").arg(file(&octroi, "began")).status().unwrap().success());
    octroi.run();
    said(&octroi, r#"event="revocations_lost" why="revocations.began cannot be read""#);
    assert!(file(&octroi, "began").is_file());
}

#[test]
fn a_kill_is_no_loss_and_neither_is_an_empty_folder_of_a_first_start() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let (ours, apps) = (sign_in(&octroi), of_the_app());

    for _ in 0..3 {
        octroi.signal("KILL");
        octroi.wait();
        octroi.run();
        assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [alive(), alive()]);
        assert!(lost_since(&octroi).is_null());
    }
    // All of it gone: nobody can tell that from a first start. Our own sessions are older than it, the app's need not be lost.
    stop(&mut octroi);
    fs::remove_dir_all(octroi.path().join("state")).unwrap();
    octroi.run();
    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [lost(), alive()]);
    assert!(lost_since(&octroi).is_null());
    assert_eq!(told(&octroi, &sign_in(&octroi)), alive());
}

#[test]
fn a_journal_of_an_earlier_version_is_whole() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let (ours, apps) = (sign_in(&octroi), of_the_app());
    stop(&mut octroi);

    // As it was left before there were marks.
    fs::remove_file(file(&octroi, "began")).unwrap();
    octroi.run();

    assert_eq!([told(&octroi, &ours), told(&octroi, &apps)], [alive(), alive()]);
    assert!(file(&octroi, "began").exists());
    said(&octroi, "revocations_unmarked");
}

#[test]
fn a_hand_over_loses_nothing_and_the_successor_keeps_the_mark() {
    let upstream = Upstream::start();
    let mut octroi = started(&upstream, None);
    let ours = sign_in(&octroi);
    let first = octroi.pid();

    octroi.ok(&["upgrade"]);
    let second = octroi.succeed();
    assert_eq!(told(&octroi, &ours), alive());
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    eventually("the predecessor ends", || (!lives(first)).then_some(()));
    assert!(harness::program::signal(second, "TERM"));
    eventually("the successor ends", || (!lives(second)).then_some(()));

    octroi.run();
    assert_eq!(told(&octroi, &ours), (401, "session_revoked".to_owned()));
    assert!(lost_since(&octroi).is_null());
}

#[test]
fn an_empty_node_takes_the_beginning_that_redis_has_and_refuses_nobody() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let first = started(&upstream, Some(&redis));
    let ours = sign_in(&first);

    let mut second = prepared(&upstream, "edge-2", Some(&redis));
    fs::copy(first.path().join("session.key"), second.path().join("session.key")).unwrap();
    second.run();
    assert_eq!(told(&second, &ours), alive());

    // A node that lost its journal has it all from Redis.
    let apps = of_the_app();
    stop(&mut second);
    fs::remove_file(file(&second, "journal")).unwrap();
    second.run();
    eventually("it has read everything", || (told(&second, &ours) == alive()).then_some(()));
    assert_eq!(told(&second, &apps), alive());
    said(&second, r#"event="revocations_found""#);
    assert!(lost_since(&second).is_null());
    first.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert_eq!(told(&second, &ours), (401, "session_revoked".to_owned()));
}

#[test]
fn a_redis_that_was_emptied_is_no_loss_as_long_as_one_folder_is_there() {
    let (redis, upstream) = (Redis::start(), Upstream::start());
    let mut octroi = started(&upstream, Some(&redis));
    let ours = sign_in(&octroi);

    redis.cli(&["FLUSHALL"]);
    eventually("the node puts it back", || {
        (!redis.cli(&["HGET", "octroi:state", "began"]).is_empty()).then_some(())
    });
    assert_eq!(told(&octroi, &ours), alive());
    stop(&mut octroi);

    // Redis and all folders: our own sessions are from before all that is known.
    redis.cli(&["FLUSHALL"]);
    fs::remove_dir_all(octroi.path().join("state")).unwrap();
    octroi.run();
    assert_eq!(told(&octroi, &ours), lost());
    stop(&mut octroi);

    // An operator's word reaches every node through Redis.
    fs::remove_file(file(&octroi, "journal")).unwrap();
    redis.cli(&["FLUSHALL"]);
    run_accepting(&mut octroi);
    eventually("old sessions count", || (told(&octroi, &ours) == alive()).then_some(()));
    assert_eq!(redis.cli(&["HGET", "octroi:state", "began"]), "0");
}
