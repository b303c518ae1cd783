//! What both readers of sessions share: what is asked, and how clocks are read.

use std::{path::PathBuf, time::Duration};

/// Tell what a token says: whose session it is, and until when. It may be one of octroi or of an app whose
/// format is configured.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct InspectArgs {
    /// The token; `-` reads it from standard input, so that no shell keeps it
    #[arg(value_name = "TOKEN", default_value = "-")]
    pub(crate) token: String,
    /// The tenant that owns the host the token is for; all are tried if it is left out
    #[arg(long, value_name = "TENANT")]
    pub(crate) realm: Option<String>,
    /// Of a session of Express (cookie-session): what stands in the cookie of its signature
    #[arg(long, value_name = "SIGNATURE")]
    pub(crate) signature: Option<String>,
    /// Of a JSON Web Token whose keys the running octroi fetches: a file that holds the set
    #[arg(long, value_name = "FILE")]
    pub(crate) jwks: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the clocks say of a session that holds now.
pub(super) const VALID: &str = "valid";
/// How far a clock may be behind the one that minted, as for traffic.
pub(super) const SKEW: Duration = Duration::from_secs(60);
