//! `octroi reload`: has the running octroi load its configuration again, and waits for the verdict.

use std::path::Path;

use super::{
    admin_request::AdminRequest,
    control::ControlArgs,
    output::{Exit, Output, OutputFormat},
};
use crate::admin::wire::ReloadedBody;

/// Load the configuration again, all of it or nothing, as SIGHUP does; wait, and report the outcome.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ReloadArgs {
    /// Accept that a pattern of tenant files no longer matches any file, or that many tenants are removed at
    /// once: their sessions end for good
    #[arg(long)]
    pub(crate) allow_removal: bool,
    /// Only report what a reload would do and whose sessions would end; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command. A bad configuration is exit 1, with its errors; warnings about a good one go to
/// standard error.
pub(crate) fn run(args: &ReloadArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    // An older octroi refuses unknown keys, so a key that is not set is not sent.
    let words = [("allow_removal", args.allow_removal), ("dry_run", args.dry_run)];
    let wish: serde_json::Map<_, _> =
        words.into_iter().filter(|(_, said)| *said).map(|(word, _)| (word.to_owned(), true.into())).collect();
    let request = AdminRequest {
        path: "/v1/reload",
        wish,
        unchanged: "not reloaded: the policy in force is the same as before",
    };
    let mut warnings = Vec::new();
    let exit = request.send(
        &args.control.socket(state_dir),
        OutputFormat::from_flag(args.json),
        output,
        |reloaded: &ReloadedBody| {
            warnings.clone_from(&reloaded.warnings);
            if args.dry_run {
                format!("dry run: revision {} would be in force; nothing is changed", reloaded.revision)
            } else {
                format!("reloaded: revision {} is in force", reloaded.revision)
            }
        },
    )?;
    for warning in &warnings {
        output.say(warning);
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::fixture::{run_captured, running},
        model::{ControlError, ReloadRequest},
    };

    #[tokio::test]
    async fn a_reload_tells_the_revision() {
        let running = running();

        let (exit, out, talk) =
            run_captured(running.dir.path(), |dir, output| run(&ReloadArgs::default(), dir, output)).await;

        assert_eq!(
            (exit, out.as_str(), talk.as_str()),
            (Exit::Fine, "reloaded: revision fedcba9876543210 is in force\n", "")
        );
    }

    #[tokio::test]
    async fn warnings_are_told_and_leave_the_data_alone() {
        let running = running();
        let args = ReloadArgs { allow_removal: true, ..ReloadArgs::default() };

        let (exit, out, talk) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Fine, "reloaded: revision fedcba9876543210 is in force\n"));
        assert_eq!(talk, "warning: tenants are gone\n");
    }

    #[tokio::test]
    async fn a_dry_run_asks_for_one_and_says_so() {
        for (allow_removal, dry_run) in [(false, false), (false, true), (true, true)] {
            let running = running();
            let args = ReloadArgs { allow_removal, dry_run, ..ReloadArgs::default() };

            let (exit, out, _) =
                run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

            assert_eq!(
                *running.bench.control.wished.lock().unwrap(),
                Some(ReloadRequest { allow_removal, dry_run })
            );
            let said = "dry run: revision fedcba9876543210 would be in force; nothing is changed\n";
            assert_eq!((exit, out == said), (Exit::Fine, dry_run), "{out}");
        }
    }

    #[tokio::test]
    async fn a_bad_configuration_is_told_and_is_exit_1() {
        let running = running();
        *running.bench.control.fails.lock().unwrap() =
            Some(ControlError::Config("octroi.yaml:3:1: unknown key".to_owned()));

        let (exit, out, talk) =
            run_captured(running.dir.path(), |dir, output| run(&ReloadArgs::default(), dir, output)).await;
        let json = ReloadArgs { json: true, ..ReloadArgs::default() };
        let (_, json, _) = run_captured(running.dir.path(), move |dir, output| run(&json, dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Problem, ""));
        assert_eq!(
            talk,
            "octroi.yaml:3:1: unknown key\nnot reloaded: the policy in force is the same as before\n"
        );
        assert!(json.contains(r#""code": "config_invalid""#));
    }

    #[tokio::test]
    async fn who_has_handed_over_is_asked_again_and_its_words_do_not_say_that_nothing_changed() {
        let running = running();
        *running.bench.control.fails.lock().unwrap() = Some(ControlError::HandedOver);

        let (exit, out, talk) =
            run_captured(running.dir.path(), |dir, output| run(&ReloadArgs::default(), dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Problem, ""));
        let said = format!("{}\n`octroi status` says what is in force\n", ControlError::HandedOver);
        assert_eq!((talk, running.bench.calls.lock().unwrap().len()), (said, 3));
    }

    #[tokio::test]
    async fn nobody_there_is_69_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();

        let (exit, _, talk) =
            run_captured(dir.path(), |dir, output| run(&ReloadArgs::default(), dir, output)).await;

        assert_eq!(exit.number(), 69);
        let path = dir.path().join("control.sock");
        let expected = format!(
            "error: cannot reach octroi at {}: octroi may not be running, or has another state_dir: ",
            path.display()
        );
        assert!(talk.starts_with(&expected), "{talk}");
    }
}
