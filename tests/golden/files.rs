//! What lies in the folders of an octroi that has ended: names, modes, and what is in the files.

use std::{fmt::Write, fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{client::Ask, json::Json, world::World};

/// Makes keys, sessions and revocations, stops the program, and tells of every file.
pub fn table(mut world: World) -> String {
    let cookie = world.sign_in("acme.test", "u_1");
    world.fine(&Ask::get("acme.test", "/in/x").cookie(&cookie));
    world.sign_in("strict.test", "u_1");
    world.revoke("acme", "u_1");
    world.octroi.ok(&["session", "revoke", "--tenant", "globex"]);
    world.octroi.signal("TERM");
    assert_eq!(world.octroi.wait(), 0);
    let mut out = "# Files of an octroi that has ended.\n".to_owned();
    walk(world.octroi.path(), world.octroi.path(), &mut out);
    out
}

fn walk(root: &Path, folder: &Path, out: &mut String) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        // One certificate of `dev` is like the others.
        let is_another = name.starts_with("certs/dev-") && !name.starts_with("certs/dev-acme.");
        // What the test has put there.
        if is_another
            || ["pki", "pairs", "clients.pem", "clients.crl", "jwt.key", "octroi.yaml"]
                .contains(&name.as_str())
        {
            continue;
        }
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            // The folders of the test have the mode of whoever runs it.
            writeln!(out, "\n{name}/{}", if name == "state" { String::new() } else { format!(" {mode:o}") })
                .unwrap();
            walk(root, &path, out);
        } else {
            writeln!(out, "\n{name} {mode:o}\n{}", content(&path)).unwrap();
        }
    }
}

/// Tells what a file holds, without what differs from run to run.
pub fn content(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let Ok(text) = std::str::from_utf8(&bytes) else { return layout(&bytes) };
    if text.starts_with('{') {
        let mut json = Json::read(text);
        json.mask(&|name, value| {
            Some(match name {
                "check" | "sha256" => "digest",
                "began" | "seen" | "lost" | "accepted" => "time",
                // 0 is never.
                "since_ms" | "minted_ms" | "opened_ms" if *value != Json::Plain("0".to_owned()) => "time",
                "length" => "length",
                "id" => "url",
                "key_pkcs8" => "key",
                "directory" => "url",
                _ => return None,
            })
        });
        let end = if text.ends_with('\n') { "" } else { " (no line feed)" };
        return format!("{}{end}", json.pretty().trim_end());
    }
    let line = text.strip_suffix('\n');
    if let Some(secret) = line.and_then(|line| STANDARD.decode(line).ok()).filter(|secret| !secret.is_empty())
    {
        return format!("base64 of {} octets, a line feed", secret.len());
    }
    if text.contains("-----BEGIN ") {
        // Boundaries, and what stands before the first.
        let lines = text.lines().scan(false, |is_inside, line| {
            let was_inside = std::mem::replace(
                is_inside,
                line.starts_with("-----BEGIN ") || *is_inside && !line.starts_with("-----END "),
            );
            Some((was_inside && *is_inside, line))
        });
        let shown =
            lines.filter(|(is_inside, _)| !is_inside).map(|(_, line)| match line.split_once("https://") {
                Some((before, _)) => format!("{before}<url>"),
                None => line.to_owned(),
            });
        return shown.collect::<Vec<_>>().join("\n");
    }
    match line {
        _ if text.is_empty() => "(empty)".to_owned(),
        Some(line) if !line.contains('\n') => format!("one line of {} octets", line.len()),
        _ => layout(&bytes),
    }
}

/// The head of a journal; unit tests of `state/log.rs` and `state/record.rs` hold all of its bytes.
fn layout(bytes: &[u8]) -> String {
    let Some(rest) = bytes.strip_prefix(b"octroi-ended") else { return "(octets)".to_owned() };
    let version = u32::from_be_bytes(rest[..4].try_into().unwrap());
    let settled = u64::from_be_bytes(rest[4..12].try_into().unwrap());
    assert_eq!(!settled, u64::from_be_bytes(rest[12..20].try_into().unwrap()));
    let (mut at, mut kinds) = (32, std::collections::BTreeSet::new());
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(!length, u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap()));
        kinds.insert(bytes[at + 16]);
        at += 16 + usize::try_from(length).unwrap();
    }
    assert_eq!(at, bytes.len());
    format!("a journal of version {version}, whose frames begin with records of the kinds {kinds:?}")
}
