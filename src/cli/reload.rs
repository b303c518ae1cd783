//! `octroi reload`: has the running octroi load its configuration again, and waits for the verdict.

use std::path::Path;

use super::{
    control::{Client, ControlArgs},
    output::{Exit, Form, Output},
};
use crate::admin::wire::ReloadedBody;

/// Load the configuration again: all of it or nothing, as SIGHUP does; waits and tells the verdict.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ReloadArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command. A bad configuration is exit 1, with its errors.
pub(crate) fn run(args: &ReloadArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let form = Form::from_flag(args.json);
    let reply = Client::new(args.control.socket(state_dir)).post("/v1/reload", &serde_json::json!({}))?;
    match reply.read::<ReloadedBody>()? {
        Ok(reloaded) => {
            output.data(form, &reloaded, || format!("reloaded: revision {} is in force", reloaded.revision))?;
            Ok(Exit::Fine)
        }
        Err(refused) => {
            if form == Form::Json {
                output.json(&refused.body)?;
            } else {
                output.say(&refused.body.error.message);
                output.say("not reloaded: the policy in force is the same as before");
            }
            Ok(Exit::Problem)
        }
    }
}
