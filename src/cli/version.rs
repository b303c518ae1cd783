//! `octroi version`.

use clap::Args;

use super::output::{self, Exit};

/// The version line.
pub(super) const LINE: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: VersionArgs) -> anyhow::Result<Exit> {
    if args.json {
        output::json(&serde_json::json!({ "name": "octroi", "version": LINE }))?;
    } else {
        output::line(format_args!("octroi {LINE}"))?;
    }
    Ok(Exit::Fine)
}
