//! `octroi keys list`: the session keys, what each does, and how it is used.

use std::{fmt::Write, path::Path};

use super::running::{ask, path, sessions};
use crate::{
    admin::wire::{KeyBody, KeysBody},
    cli::{
        control::ControlArgs,
        output::{Exit, Output, OutputFormat},
    },
    policy::{Policy, Sessions},
};

/// List the session keys in force: which one mints, how each is used, when it may be retired.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) control: ControlArgs,
}

/// Runs the command. Where no octroi is running, it shows what the files say.
pub(super) fn run(
    args: &ListArgs,
    state_dir: &Path,
    policy: impl FnOnce() -> anyhow::Result<Policy>,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    // The running octroi knows its keys even where a shell cannot read them, as with systemd credentials.
    let keys = match ask(&args.control, state_dir)? {
        Some(keys) => keys,
        None => {
            output.say("octroi is not running here; this is what the configuration says");
            from_files(sessions(&policy()?)?)
        }
    };
    let body = KeysBody { keys };
    output.data(OutputFormat::from_flag(args.json), &body, || describe(&body.keys))?;
    Ok(Exit::Fine)
}

fn from_files(sessions: &Sessions) -> Vec<KeyBody> {
    let minting = sessions.ring.minting().map(|key| key.id);
    let keys = sessions.ring.keys().iter().map(|key| {
        let dir = sessions.key_dir.as_ref();
        let file =
            dir.and_then(|dir| dir.files.iter().find(|file| file.id == key.id).map(|file| path(dir, *file)));
        KeyBody {
            id: key.id,
            state: if minting == Some(key.id) { "mints" } else { "opens" }.to_owned(),
            mints_from: None,
            file: file.map(|path| path.display().to_string()),
            check: key.check(),
            since: None,
            minted: None,
            opened: None,
            uses: None,
            retire_from: None,
        }
    });
    keys.collect()
}

fn describe(keys: &[KeyBody]) -> String {
    let mut text = format!(
        "{:<6}{:<7}{:<10}{:>10}  {:<22}{:<22}FILE\n",
        "KEY", "STATE", "CHECK", "USES", "LAST USED", "RETIRE FROM"
    );
    for key in keys {
        let uses = key.uses.map_or_else(|| "-".to_owned(), |uses| uses.to_string());
        let used = key.opened.as_deref().map_or(if key.uses.is_some() { "never" } else { "-" }, seconds);
        let retire = key.retire_from.as_deref().map_or("-", seconds);
        let file = key.file.as_deref().unwrap_or("listed in sessions.keys");
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{:<6}{:<7}{:<10}{uses:>10}  {:<22}{:<22}{file}",
            key.id,
            key.state,
            key.check,
            utc(used),
            utc(retire)
        );
        if let Some(from) = &key.mints_from {
            let _ = write!(text, " (mints from {from})");
        }
        text.push('\n');
    }
    text
}

/// Cuts the fraction off a time.
fn seconds(time: &str) -> &str {
    time.trim_end_matches('Z').split('.').next().unwrap_or(time)
}

/// Says that a time is UTC.
fn utc(text: &str) -> String {
    if text.contains('T') { format!("{text}Z") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{run_captured, running, with_sessions};

    #[tokio::test]
    async fn keys_are_told_with_their_use() {
        let running = running();
        let command = |json| {
            move |dir: &Path, output: &mut Output<'_>| {
                run(&ListArgs { json, ..ListArgs::default() }, dir, || panic!("who runs knows"), output)
            }
        };

        let (exit, out, talk) = run_captured(running.dir.path(), command(false)).await;
        let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();

        assert_eq!((exit, talk.as_str()), (Exit::Fine, ""));
        assert_eq!(lines[1], ["3", "waits", "0a1b2c3d", "0", "never", "2026-11-23T22:00:00Z", "3.open.key"]);
        assert_eq!(lines[2], ["2", "mints", "0a1b2c3d", "0", "never", "-", "2.key"]);
        assert_eq!(
            lines[3][..6],
            ["1", "opens", "0a1b2c3d", "7", "2026-11-23T22:00:00Z", "2026-11-23T22:00:00Z"]
        );
        let (_, json, _) = run_captured(running.dir.path(), command(true)).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["keys"][0]["state"], &json["keys"][1]["retire_from"]),
            (&"waits".into(), &serde_json::Value::Null)
        );
    }

    #[tokio::test]
    async fn without_octroi_the_files_tell() {
        let dir = tempfile::tempdir().unwrap();
        let command = |dir: &Path, output: &mut Output<'_>| {
            run(&ListArgs::default(), dir, || Ok(with_sessions()), output)
        };

        let (exit, out, talk) = run_captured(dir.path(), command).await;

        assert_eq!(
            (exit, talk.as_str()),
            (Exit::Fine, "octroi is not running here; this is what the configuration says\n")
        );
        assert_eq!(
            out.lines().nth(1).unwrap().split_whitespace().take(2).collect::<Vec<_>>(),
            ["7", "mints"]
        );
    }
}
