//! `octroi version`.

use clap::Args;

use super::output::{Exit, Output, OutputFormat};

/// The version line.
pub(super) const LINE: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VersionArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let version = serde_json::json!({ "name": "octroi", "version": LINE });
    output.data(OutputFormat::from_flag(args.json), &version, || format!("octroi {LINE}"))?;
    Ok(Exit::Fine)
}
