//! `octroi upgrade`: has the running octroi hand over to a successor, and waits until that one serves.

use std::path::Path;

use super::{
    admin_request::AdminRequest,
    control::ControlArgs,
    output::{Exit, Output, OutputFormat},
};
use crate::admin::wire::{UpgradeBody, UpgradedBody};

/// Hand over to a new process, with a new program or configuration, without dropping a connection.
///
/// The running octroi hands its sockets and its revocation journal to the process that waits (`octroi run
/// --upgrade`), or starts one itself, from the program file and with the arguments that it was started with.
/// It answers once the new process serves. If anything fails on the way, the running octroi goes on as if
/// nothing had been tried.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct UpgradeArgs {
    /// Start no process: hand over to the one that is waiting, as SIGQUIT does
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command. Exit 0: the new process serves. Exit 1: nothing was handed over; the message says why.
pub(crate) fn run(args: &UpgradeArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let wish = UpgradeBody { start: !args.no_start };
    let request = AdminRequest {
        path: "/v1/upgrade",
        wish,
        unchanged: "not upgraded: the same process serves as before",
    };
    request.send(
        &args.control.socket(state_dir),
        OutputFormat::from_flag(args.json),
        output,
        |upgraded: &UpgradedBody| {
            let UpgradedBody { predecessor, successor, took_ms } = upgraded;
            format!(
                "process {successor} serves; process {predecessor} handed over in {took_ms:.0} ms and drains"
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::fixture::{run_captured, running},
        model::ControlError,
    };

    #[tokio::test]
    async fn an_upgrade_tells_who_serves() {
        let running = running();

        let (exit, out, talk) =
            run_captured(running.dir.path(), |dir, output| run(&UpgradeArgs::default(), dir, output)).await;
        let no_start = UpgradeArgs { no_start: true, ..UpgradeArgs::default() };
        let (_, waiting, _) =
            run_captured(running.dir.path(), move |dir, output| run(&no_start, dir, output)).await;

        assert_eq!(
            (exit, out.as_str(), talk.as_str()),
            (Exit::Fine, "process 8 serves; process 7 handed over in 41 ms and drains\n", "")
        );
        assert!(waiting.starts_with("process 9 serves"), "{waiting}");
    }

    #[tokio::test]
    async fn what_failed_is_told_and_is_exit_1() {
        let running = running();
        *running.bench.control.fails.lock().unwrap() =
            Some(ControlError::Upgrade("no successor waits".to_owned()));

        let (exit, out, talk) =
            run_captured(running.dir.path(), |dir, output| run(&UpgradeArgs::default(), dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Problem, ""));
        assert_eq!(talk, "no successor waits\nnot upgraded: the same process serves as before\n");
    }
}
