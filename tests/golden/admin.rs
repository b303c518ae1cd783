//! The admin API: what each call is answered, and the access line of it.

use std::{fmt::Write, fs};

use crate::{
    endings::masked,
    harness::{client::Answer, eventually},
    json::Json,
    world::World,
};

/// A call: who, the method and path, and the body.
type Call = (&'static str, &'static str, &'static str, Option<&'static str>);

const CALLS: &[Call] = &[
    ("nobody", "GET", "/v1/status", None),
    ("vera", "GET", "/v1/status", None),
    ("vera", "GET", "/v1/nothing", None),
    ("vera", "POST", "/v1/reload", Some("{}")),
    ("olaf", "GET", "/v1/reload", None),
    ("olaf", "POST", "/v1/reload", Some("no JSON")),
    ("olaf", "POST", "/v1/reload", Some(r#"{"unknown": 1}"#)),
    ("olaf", "POST", "/v1/reload", Some(r#"{"dry_run": true}"#)),
    ("olaf", "POST", "/v1/reload", Some(r#"{"allow_removal": true}"#)),
    ("vera", "GET", "/v1/tenants/acme", None),
    ("vera", "GET", "/v1/tenants/nobody", None),
    ("vera", "GET", "/v1/keys", None),
    ("olaf", "POST", "/v1/bans", Some(r#"{"client": "192.0.2.7", "for": "10m", "note": "because"}"#)),
    ("olaf", "POST", "/v1/bans", Some(r#"{"client": "2001:db8::1", "for": "1h"}"#)),
    ("olaf", "POST", "/v1/bans", Some(r#"{"client": "nobody", "for": "10m"}"#)),
    ("vera", "GET", "/v1/bans", None),
    ("olaf", "POST", "/v1/bans/remove", Some(r#"{"client": "192.0.2.7"}"#)),
    ("olaf", "POST", "/v1/bans/remove", Some(r#"{"client": "192.0.2.7"}"#)),
    ("olaf", "POST", "/v1/sessions/list", Some(r#"{"tenant": "globex", "user": "u_listed"}"#)),
    ("olaf", "POST", "/v1/sessions/list", Some(r#"{"tenant": "globex", "user": "u_unknown"}"#)),
    ("olaf", "POST", "/v1/sessions/list", Some(r#"{"tenant": "nobody", "user": "u_1"}"#)),
    (
        "olaf",
        "POST",
        "/v1/sessions/revoke",
        Some(r#"{"tenant": "globex", "user": "u_listed", "note": "left"}"#),
    ),
    ("olaf", "POST", "/v1/sessions/revoke", Some(r#"{"session": "000102030405060708090a0b0c0d0e0f"}"#)),
    ("olaf", "POST", "/v1/sessions/revoke", Some(r#"{"tenant": "globex", "at": "2099-01-01T00:00:00Z"}"#)),
    ("olaf", "POST", "/v1/sessions/revoke", Some(r#"{}"#)),
];

/// What stands for values of the admin API and of commands.
pub fn of_answer(name: &str, value: &Json) -> Option<&'static str> {
    // What is not there, is not there.
    if *value == Json::Plain("null".to_owned()) {
        return None;
    }
    Some(match name {
        "started" | "loaded" | "at" | "until" | "granted" | "seen" | "ends" | "since" | "last" | "minted"
        | "opened" | "retire_from" | "mints_from" | "next" | "fetched" | "synced" | "idle_end"
        | "absolute_end" | "auth_time" | "issued" | "not_before" | "heard" => "time",
        "message" | "hint" | "detail" | "meaning" | "client_gets" | "error"
            if matches!(value, Json::Text(_)) =>
        {
            "text"
        }
        "text" | "trouble" | "silence" | "reload_error" | "running" if matches!(value, Json::Text(_)) => {
            "text"
        }
        "warnings" | "chains" | "unknown" | "logs_failing" if matches!(value, Json::List(_)) => "texts",
        "pid" | "predecessor" | "successor" if matches!(value, Json::Plain(_)) => "pid",
        "version" => "version",
        "revision" => "revision",
        "took_ms" => "ms",
        "session" => "id",
        "token" => "token",
        "check" => "digest",
        "address" | "server" => "address",
        "uses" | "connections" => "count",
        _ => return None,
    })
}

pub fn table(world: &World) -> String {
    world.sign_in("globex.test", "u_listed");
    let mut out =
        "# Calls of the admin API: status and body of the answer, and the access line.\n".to_owned();
    for (who, method, path, body) in CALLS {
        let before = calls(world).len();
        let answer = call(world, who, method, path, *body);
        let asked = body.map(|body| format!(" {body}")).unwrap_or_default();
        writeln!(out, "\n## {who}: {method} {path}{asked}\n{}", answer.status).unwrap();
        let mut json = Json::read(&answer.body);
        json.mask(&of_answer);
        out.push_str(&json.pretty());
        let line = eventually("its access line", || calls(world).get(before).cloned());
        for (name, value) in masked(line) {
            writeln!(out, "{name}: {value}").unwrap();
        }
    }
    out
}

/// The calls over TCP: other lines are of commands that the tests give.
fn calls(world: &World) -> Vec<Json> {
    let lines = world.lines_of(|event| event == "admin").into_iter();
    lines.filter(|line| line.get("listener").is_some_and(|listener| listener.text() == "admin")).collect()
}

fn call(world: &World, who: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
    let mut curl = world.octroi.plain("admin", "admin.test", path).args(&["-X", method]);
    if let Ok(token) = fs::read_to_string(world.octroi.path().join(format!("{who}.token"))) {
        curl = curl.header(&format!("Authorization: Bearer {}", token.trim()));
    }
    if let Some(body) = body {
        curl = curl.header("Content-Type: application/json").args(&["-d", body]);
    }
    curl.get()
}
