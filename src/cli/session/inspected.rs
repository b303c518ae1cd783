//! What both session readers share: their arguments, and how they read clocks.

use std::{path::PathBuf, time::Duration};

/// Print what a token says: whose session it is, and until when. It reads tokens of octroi, and of apps
/// whose format is configured.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct InspectArgs {
    /// The token; `-` reads it from standard input, which keeps it out of the shell's history
    #[arg(value_name = "TOKEN", default_value = "-")]
    pub(crate) token: String,
    /// The tenant that owns the host the token is for. Default: all are tried
    #[arg(long, value_name = "TENANT")]
    pub(crate) realm: Option<String>,
    /// For a session of Express (cookie-session): the value of its signature cookie
    #[arg(long, value_name = "SIGNATURE")]
    pub(crate) signature: Option<String>,
    /// For a JSON Web Token whose keys the running octroi fetches: a file that holds the key set
    #[arg(long, value_name = "FILE")]
    pub(crate) jwks: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The verdict of the clocks on a valid session.
pub(super) const VALID: &str = "valid";
/// How far this clock may be behind the minting one; the same as for traffic.
pub(super) const SKEW: Duration = Duration::from_secs(60);
