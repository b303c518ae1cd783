//! `--json` of every command: its exit code, and what it prints.

use std::{fmt::Write, fs};

use crate::{admin::of_answer, json::Json, world::World};

/// Where an operator may look for the octroi that is meant; the harness adds the configuration itself.
fn run(world: &World, out: &mut String, words: &[&str]) -> Json {
    run_as(world, out, words, words)
}

/// Runs a command that is told of with other words.
fn run_as(world: &World, out: &mut String, words: &[&str], told: &[&str]) -> Json {
    let output = world.octroi.command(words);
    let text = String::from_utf8(output.stdout).unwrap();
    let whole = Json::read(&text);
    let mut json = whole.clone();
    json.mask(&of_command);
    writeln!(out, "\n## octroi {}\nexit {}", told.join(" "), output.status.code().unwrap()).unwrap();
    out.push_str(&json.pretty());
    whole
}

fn of_command(name: &str, value: &Json) -> Option<&'static str> {
    match (name, value) {
        ("file", Json::Text(_)) => Some("file"),
        ("session_hash", _) => Some("hash"),
        _ => of_answer(name, value),
    }
}

/// All but the hand-over, after which another process serves.
pub fn table(world: &World) -> String {
    let mut out = "# Commands with `--json`: the exit code, and what they print.\n".to_owned();
    let out = &mut out;
    run(world, out, &["version", "--json"]);

    run(world, out, &["check", "--json"]);
    let bad = world.octroi.path().join("bad.yaml");
    fs::write(&bad, "version: 1\nlistener: []\nserver: {threads: none, state_dir: \"${NOWHERE}\"}\n")
        .unwrap();
    run_as(world, out, &["check", "--json", bad.to_str().unwrap()], &["check --json (a bad file)"]);

    let cookie = world.sign_in("globex.test", "u_asked");
    let token = cookie.split_once('=').unwrap().1;
    let explain = ["explain", "--json"];
    run(world, out, &[&explain[..], &["https://acme.test/public/x"]].concat());
    run(world, out, &[&explain[..], &["https://acme.test/in/x"]].concat());
    run(world, out, &[&explain[..], &["https://watched.test/public/x"]].concat());
    run(world, out, &[&explain[..], &["http://acme.test/a", "--listener", "http"]].concat());
    let words = [&explain[..], &["https://globex.test/staff/x", "--cookie", token]].concat();
    run_as(world, out, &words, &["explain --json https://globex.test/staff/x --cookie TOKEN"]);

    run(world, out, &["status", "--json"]);
    run(world, out, &["reload", "--json"]);
    run(world, out, &["reload", "--json", "--dry-run"]);
    let config = fs::read_to_string(world.octroi.config()).unwrap();
    fs::write(world.octroi.config(), config.replace("version: 1", "version: 1\nunknown: 1")).unwrap();
    run_as(world, out, &["reload", "--json"], &["reload --json (a bad file)"]);
    fs::write(world.octroi.config(), config).unwrap();
    run(world, out, &["status", "--json"]);
    run(world, out, &["reload", "--json"]);

    run(world, out, &["ban", "list", "--json"]);
    run(world, out, &["ban", "add", "192.0.2.9", "--for", "5m", "--note", "because", "--json"]);
    run(world, out, &["ban", "list", "--json"]);
    run(world, out, &["ban", "remove", "192.0.2.9", "--json"]);
    run(world, out, &["ban", "remove", "192.0.2.9", "--json"]);

    let listed = run(world, out, &["session", "list", "--tenant", "globex", "--user", "u_asked", "--json"]);
    run_as(world, out, &["session", "inspect", token, "--json"], &["session inspect TOKEN --json"]);
    let foreign = world.foreign();
    run_as(world, out, &["session", "inspect", &foreign, "--json"], &["session inspect FOREIGN --json"]);
    run(
        world,
        out,
        &[
            "session", "mint", "--tenant", "globex", "--user", "u_made", "--role", "a", "--role", "b",
            "--json",
        ],
    );
    let minted =
        run(world, out, &["session", "mint", "--tenant", "globex", "--user", "u_made", "--bearer", "--json"]);
    let minted = minted.get("token").unwrap().text();
    run_as(world, out, &["session", "inspect", &minted, "--json"], &["session inspect BEARER --json"]);
    let Some(Json::List(sessions)) = listed.get("sessions") else { panic!("{listed:?}") };
    let id = sessions[0].get("session").unwrap().text();
    run_as(
        world,
        out,
        &["session", "revoke", "--session", &id, "--json"],
        &["session revoke --session ID --json"],
    );
    run(
        world,
        out,
        &["session", "revoke", "--tenant", "globex", "--user", "u_asked", "--note", "left", "--json"],
    );
    run(world, out, &["session", "revoke", "--tenant", "nobody", "--json"]);

    run(world, out, &["keys", "list", "--json"]);
    std::mem::take(out)
}

/// A hand-over. The world is that of the successor from then on.
pub fn upgrade(world: &mut World) -> String {
    let mut out = "# A hand-over with `--json`, and the status of the successor.\n".to_owned();
    run(world, &mut out, &["upgrade", "--json"]);
    world.octroi.succeed();
    crate::harness::eventually("the predecessor is gone", || {
        let status = world.octroi.command(&["status", "--json"]);
        let status = Json::read(&String::from_utf8(status.stdout).unwrap());
        status
            .get("predecessor")
            .is_none_or(|predecessor| *predecessor == Json::Plain("null".to_owned()))
            .then_some(())
    });
    run(world, &mut out, &["status", "--json"]);
    out
}
