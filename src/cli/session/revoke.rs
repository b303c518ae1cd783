//! `octroi session revoke`: ends sessions, on every node, at once or at a date.

use std::path::Path;

use crate::{
    admin::wire::{self, RevokeBody, RevokedBody},
    cli::{
        control::{Client, ControlArgs},
        output::{Exit, Form, Output},
    },
    model::{SessionId, TenantName, UserId},
};

/// End a session, the sessions of a user, or all sessions of a tenant.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["session", "tenant"])))]
pub(crate) struct RevokeArgs {
    /// One session, by the 32 hexadecimal digits that `octroi session inspect` prints
    #[arg(long, value_name = "HEX", value_parser = session)]
    pub(crate) session: Option<String>,
    /// All sessions of a tenant, or of one of its users
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    pub(crate) tenant: Option<String>,
    /// The user of the tenant
    #[arg(long, value_name = "USER", requires = "tenant", conflicts_with = "session", value_parser = user)]
    pub(crate) user: Option<String>,
    /// When: an RFC 3339 time to come; now if it is left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<String>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command: returns once it is in force and durable.
pub(super) fn run(args: &RevokeArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let wish = RevokeBody {
        session: args.session.clone(),
        tenant: args.tenant.clone(),
        user: args.user.clone(),
        at: args.at.clone(),
        note: args.note.clone(),
    };
    let form = Form::from_flag(args.json);
    match Client::new(args.control.socket(state_dir)).post("/v1/sessions/revoke", &wish)?.read::<RevokedBody>()? {
        Ok(revoked) => {
            output.data(form, &revoked, || describe(&revoked, args.at.is_some()))?;
            Ok(Exit::Fine)
        }
        Err(refused) => {
            if form == Form::Json {
                output.json(&refused.body)?;
            } else {
                output.say(&format!("error: {}; nothing was revoked", refused.body.error.message));
            }
            Ok(if refused.status == 400 { Exit::Usage } else { Exit::Problem })
        }
    }
}

fn describe(revoked: &RevokedBody, later: bool) -> String {
    let nodes = if revoked.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", revoked.nodes) };
    let when = if later { format!(", in force from {}", revoked.at) } else { String::new() };
    format!("revoked on {nodes} in {:.1} ms{when}", revoked.took_ms)
}

fn session(text: &str) -> Result<String, &'static str> {
    SessionId::from_hex(text).map(|_| text.to_owned()).ok_or("a session is 32 hexadecimal digits")
}

fn tenant(text: &str) -> Result<String, crate::model::NameError> {
    text.parse::<TenantName>().map(|name| name.to_string())
}

fn user(text: &str) -> Result<String, crate::model::NameError> {
    text.parse::<UserId>().map(|user| user.to_string())
}

fn time(text: &str) -> Result<String, &'static str> {
    wire::read_time(text).map(|_| text.to_owned()).ok_or("a time is written as 2027-01-31T18:00:00-05:00")
}
