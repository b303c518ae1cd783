//! Session keys end to end: a folder that is managed by command, watched, and shared by nodes at different stages of a rotation.

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

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use harness::{Octroi, Upstream, client::Answer, eventually};

fn config(upstream: &Upstream, sessions: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{{sessions}}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules: [{{path: /login, access: public, grant: true}}]
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn started(sessions: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, sessions));
    (octroi, upstream)
}

fn sign_in(octroi: &Octroi) -> String {
    octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22").get().session()
}

fn with(octroi: &Octroi, cookie: &str) -> Answer {
    octroi.curl("acme.test", "/x").cookie(cookie).get()
}

/// The number of the key that sealed a token.
fn key_of(octroi: &Octroi, cookie: &str) -> u64 {
    let told = octroi.ok(&["session", "inspect", cookie.split_once('=').unwrap().1, "--json"]);
    serde_json::from_str::<serde_json::Value>(&told).unwrap()["key"].as_u64().unwrap()
}

/// Number and state of each key, and when it may be retired.
fn keys(octroi: &Octroi) -> Vec<(u64, String, Option<String>)> {
    let told: serde_json::Value = serde_json::from_str(&octroi.ok(&["keys", "list", "--json"])).unwrap();
    let key = |key: &serde_json::Value| {
        (
            key["id"].as_u64().unwrap(),
            key["state"].as_str().unwrap().to_owned(),
            key["retire_from"].as_str().map(str::to_owned),
        )
    };
    told["keys"].as_array().unwrap().iter().map(key).collect()
}

fn states(octroi: &Octroi) -> Vec<(u64, String)> {
    keys(octroi).into_iter().map(|(id, state, _)| (id, state)).collect()
}

fn are(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(id, state)| (*id, (*state).to_owned())).collect()
}

fn names(octroi: &Octroi) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(octroi.path().join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// What a command that fails says, and its exit code.
fn refused(octroi: &Octroi, args: &[&str]) -> (i32, String) {
    let output = octroi.command(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_rotation_signs_nobody_out_and_ends_with_the_old_key() {
    let (octroi, _upstream) = started("key_dir: keys");
    let old = sign_in(&octroi);
    assert_eq!((names(&octroi), states(&octroi)), (vec!["1.key".to_owned()], are(&[(1, "mints")])));

    // 1. The new key opens everywhere.
    octroi.ok(&["keys", "rotate"]);
    assert_eq!(names(&octroi), ["1.key", "2.open.key"]);
    assert_eq!(
        fs::metadata(octroi.path().join("keys/2.open.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(states(&octroi), are(&[(2, "waits"), (1, "mints")]));
    assert_eq!(key_of(&octroi, &sign_in(&octroi)), 1);
    let (code, why) = refused(&octroi, &["keys", "retire", "1", "--force"]);
    assert_eq!(
        (code, why.as_str()),
        (1, "error: key 1 mints; `octroi keys rotate` puts a new one in its place first\n")
    );

    // 2. It mints. A request that is under way meanwhile is answered.
    let slow = {
        let curl = octroi.curl("acme.test", "/x?sleep=600").cookie(&old);
        std::thread::spawn(move || curl.get())
    };
    octroi.ok(&["keys", "rotate"]);
    assert_eq!(
        (names(&octroi), states(&octroi)),
        (vec!["1.key".to_owned(), "2.key".to_owned()], are(&[(2, "mints"), (1, "opens")]))
    );
    assert_eq!(slow.join().unwrap().status, 200);
    let new = sign_in(&octroi);
    assert_eq!((key_of(&octroi, &old), key_of(&octroi, &new)), (1, 2));
    assert_eq!([&old, &new, &old].map(|cookie| with(&octroi, cookie).status), [200; 3]);
    assert_eq!(octroi.metric(r#"octroi_session_key_uses_total{key="1"}"#), 3.0);
    assert_eq!(octroi.metric(r#"octroi_session_key_uses_total{key="2"}"#), 1.0);

    // 3. Twelve hours from its last use on it may go; or by force.
    let (code, why) = refused(&octroi, &["keys", "retire", "1"]);
    assert_eq!(code, 1, "{why}");
    assert!(
        why.starts_with("error: sessions that key 1 sealed may live until 20")
            && why.contains("last opened one at"),
        "{why}"
    );
    assert_eq!(with(&octroi, &old).status, 200);
    octroi.ok(&["keys", "retire", "1", "--force"]);

    assert_eq!((names(&octroi), states(&octroi)), (vec!["2.key".to_owned()], are(&[(2, "mints")])));
    assert_eq!((with(&octroi, &old).status, with(&octroi, &new).status), (401, 200));
    assert!(!octroi.metrics().contains(r#"octroi_session_key_uses_total{key="1"}"#));
    let line = octroi.access_line(|line| line["reason"] == "session_invalid");
    assert_eq!(line["detail"], "the token names session key 1, which the ring does not have");
    assert_eq!(
        refused(&octroi, &["keys", "retire", "1"]),
        (1, "error: there is no session key 1\n".to_owned())
    );
}

#[test]
fn a_key_may_be_retired_once_no_session_of_it_can_be_alive() {
    let (mut octroi, _upstream) = started("key_dir: keys, idle: 2s, absolute: 2s");
    let old = sign_in(&octroi);
    octroi.ok(&["keys", "rotate", "--mint-after", "0s"]);
    assert_eq!(names(&octroi), ["1.key", "2.key"]);
    assert_eq!(with(&octroi, &old).status, 200);
    let from = keys(&octroi)[1].2.clone().unwrap();
    assert_eq!(octroi.code(&["keys", "retire", "1"]), 1);

    // What a restart would forget is written down.
    octroi.signal("TERM");
    octroi.wait();
    assert_eq!(octroi.code(&["keys", "retire", "1"]), 69, "nobody runs who knows");
    octroi.run();
    assert_eq!(keys(&octroi)[1].2.as_ref(), Some(&from), "the same as before the restart");

    eventually("the key may go", || (octroi.code(&["keys", "retire", "1"]) == 0).then_some(()));
    assert_eq!(names(&octroi), ["2.key"]);
    assert_eq!(with(&octroi, &old).status, 401);
    let now = jiff::Timestamp::now();
    assert!(from.parse::<jiff::Timestamp>().unwrap() <= now, "{from} {now}");
}

#[test]
fn two_nodes_at_different_stages_accept_each_other_s_sessions() {
    let upstream = Upstream::start();
    let text = config(&upstream, "key_dir: keys");
    let one = Octroi::start(&text);
    let other = Octroi::prepared(&text);
    fs::copy(one.path().join("keys/1.key"), other.path().join("keys/1.key")).unwrap();
    let mut other = other;
    other.run();
    let good = |octroi: &Octroi, cookie: &str| with(octroi, cookie).status == 200;
    let copy = |name: &str| {
        fs::copy(one.path().join("keys").join(name), other.path().join("keys").join(name)).unwrap();
    };

    let first = sign_in(&other);
    assert!(good(&one, &first) && good(&other, &first));

    // One knows the new key; the other is given it. Nobody tells it: the folder is watched.
    one.ok(&["keys", "rotate"]);
    assert!(good(&other, &sign_in(&one)));
    copy("2.open.key");
    eventually("the other node knows it", || {
        (states(&other) == are(&[(2, "waits"), (1, "mints")])).then_some(())
    });
    let checks = |octroi: &Octroi| {
        let told: serde_json::Value = serde_json::from_str(&octroi.ok(&["keys", "list", "--json"])).unwrap();
        told["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["check"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(checks(&one), checks(&other));

    // One mints with it already.
    one.ok(&["keys", "rotate"]);
    let (new, old) = (sign_in(&one), sign_in(&other));
    assert_eq!((key_of(&one, &new), key_of(&one, &old)), (2, 1));
    assert!(good(&other, &new) && good(&one, &old) && good(&one, &first) && good(&other, &first));

    // Now the other too.
    other.ok(&["keys", "rotate"]);
    let newer = sign_in(&other);
    assert_eq!(key_of(&one, &newer), 2);
    assert!(good(&one, &newer) && good(&one, &old) && good(&other, &old));

    // One has destroyed the old key, the other has not yet.
    one.ok(&["keys", "retire", "1", "--force"]);
    assert!(!good(&one, &old) && good(&other, &old) && good(&one, &newer) && good(&other, &new));
}

#[test]
fn a_key_with_a_date_mints_from_then_on() {
    let (octroi, _upstream) = started("key_dir: keys");

    octroi.ok(&["keys", "rotate", "--mint-after", "2s"]);
    let [first, _] = names(&octroi).try_into().unwrap();
    assert_eq!(first, "1.key");
    assert_eq!(states(&octroi), are(&[(2, "waits"), (1, "mints")]));
    let before = sign_in(&octroi);

    eventually("the new key mints", || (states(&octroi) == are(&[(2, "mints"), (1, "opens")])).then_some(()));
    let after = sign_in(&octroi);
    assert_eq!((key_of(&octroi, &before), key_of(&octroi, &after)), (1, 2));
    assert_eq!((with(&octroi, &before).status, with(&octroi, &after).status), (200, 200));
}

#[test]
fn a_folder_that_cannot_be_used_changes_nothing() {
    let (octroi, _upstream) = started("key_dir: keys");
    let cookie = sign_in(&octroi);
    let put = |name: &str, text: &str, mode: u32| {
        let path = octroi.path().join("keys").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    // Its exit code is 1 while the last reload was refused.
    let reload_error = || {
        serde_json::from_slice::<serde_json::Value>(&octroi.command(&["status", "--json"]).stdout).unwrap()["reload_error"].take()
    };
    let told = |part: &str| {
        eventually("the refusal is told", || {
            reload_error().as_str().is_some_and(|error| error.contains(part)).then_some(())
        });
        assert_eq!(with(&octroi, &cookie).status, 200);
    };

    // 00 01 … 1f: the key of this program's own test vectors.
    let counted = put("2.open.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", 0o600);
    told("2.open.key: the key is not random");
    // SHA-256 of `secret`.
    put("2.open.key", "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\n", 0o600);
    told("2.open.key: the key is known to everybody");
    put("2.open.key", &fs::read_to_string(octroi.path().join("keys/1.key")).unwrap(), 0o600);
    told("the keys 2 and 1 of the folder have the same secret");
    fs::remove_file(counted).unwrap();
    let stray = put("2.key.bak", "", 0o600);
    told("2.key.bak: a key's file is called");
    fs::remove_file(stray).unwrap();
    eventually("all is well again", || reload_error().is_null().then_some(()));
    fs::set_permissions(octroi.path().join("keys/1.key"), fs::Permissions::from_mode(0o644)).unwrap();
    told("1.key is open to every account of this machine (mode 0644)");
    assert_eq!(octroi.code(&["check"]), 1);
    assert_eq!(octroi.code(&["keys", "rotate"]), 1, "a broken configuration is mended first");
}

#[test]
fn listed_keys_and_a_folder_go_together_and_the_folder_comes_first() {
    let upstream = Upstream::start();
    let listed = r#"keys: [{id: 4, secret: "${file:session-4.key}"}]"#;
    let mut octroi = Octroi::start(&config(&upstream, listed));
    let old = sign_in(&octroi);
    let (code, why) = refused(&octroi, &["keys", "rotate"]);
    assert_eq!(code, 1);
    for line in [
        "{id: 5, secret: \"${file:session-5.key}\", open_only: true}",
        "{id: 4, secret: …, open_only: true}",
        "key_dir: keys",
    ] {
        assert!(why.contains(line), "{why}");
    }

    octroi.configure(&config(&upstream, &format!("{listed}, key_dir: keys")));
    octroi.ok(&["keys", "init"]);
    assert_eq!(names(&octroi), ["5.open.key"]);
    octroi.ok(&["reload"]);
    assert_eq!(states(&octroi), are(&[(5, "waits"), (4, "mints")]));
    octroi.ok(&["keys", "rotate"]);

    assert_eq!(states(&octroi), are(&[(5, "mints"), (4, "opens")]));
    let new = sign_in(&octroi);
    assert_eq!((key_of(&octroi, &old), key_of(&octroi, &new)), (4, 5));
    assert_eq!((with(&octroi, &old).status, with(&octroi, &new).status), (200, 200));
    assert_eq!(octroi.code(&["keys", "retire", "4"]), 1);
    let (code, why) = refused(&octroi, &["keys", "retire", "4", "--force"]);
    assert!(code == 1 && why.contains("listed in sessions.keys: remove it there"), "{why}");
    octroi.reload(&config(&upstream, "key_dir: keys"));
    assert_eq!((with(&octroi, &old).status, with(&octroi, &new).status), (401, 200));
}

/// systemd puts credentials into a folder of their own, 0400 and owned by the service's user (systemd.exec(5)).
#[test]
fn keys_come_as_credentials_of_systemd() {
    let upstream = Upstream::start();
    let text = config(
        &upstream,
        r#"keys: [{id: 2, secret: "${file:${CREDENTIALS_DIRECTORY:-keys}/session-2.key}"}, {id: 1, secret: "${file:${CREDENTIALS_DIRECTORY:-keys}/session-1.key}", open_only: true}]"#,
    );
    let mut octroi = Octroi::prepared(&config(
        &upstream,
        r#"keys: [{id: 1, secret: "${file:session-1.key}"}, {id: 2, secret: "${file:session-2.key}"}]"#,
    ));
    let place = octroi.path().join("credentials");
    fs::create_dir(&place).unwrap();
    let handed = |name: &str, mode: u32| -> PathBuf {
        let path = place.join(name);
        fs::rename(octroi.path().join(name), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    handed("session-1.key", 0o400);
    let new = handed("session-2.key", 0o444);
    octroi.configure(&text);
    octroi.env.push(("CREDENTIALS_DIRECTORY", place.to_str().unwrap().to_owned()));

    // One that every account can read is refused here too.
    let output = std::process::Command::new(harness::program::BINARY)
        .args(["check", "--config"])
        .arg(octroi.config())
        .env("CREDENTIALS_DIRECTORY", &place)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("is open to every account of this machine (mode 0444)")
    );

    fs::set_permissions(&new, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o500)).unwrap();
    octroi.run();
    let cookie = sign_in(&octroi);
    assert_eq!(with(&octroi, &cookie).status, 200);
    assert_eq!(states(&octroi), are(&[(2, "mints"), (1, "opens")]));
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
}
