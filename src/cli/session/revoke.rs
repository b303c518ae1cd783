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
                output.say(&format!("error: {}; {}", refused.body.error.message, came_of_it(refused.status)));
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

/// Says what a refusal left behind. Where the journal cannot be written, the sessions have ended in memory; where it is full, not.
const fn came_of_it(status: u16) -> &'static str {
    if status == 503 {
        "the sessions may have ended, but only until a restart: revoke again once the journal can be written"
    } else {
        "nothing was revoked"
    }
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

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::*;
    use crate::{
        cli::fixture::{running, told},
        model::{Revocation, Revoked, UnixTime},
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RevokeArgs,
    }

    fn parse(words: &[&str]) -> Result<RevokeArgs, ErrorKind> {
        let line = Line::try_parse_from(std::iter::once(&"revoke").chain(words));
        line.map(|line| line.args).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn a_user_of_a_tenant_is_revoked_at_a_date() {
        let running = running();
        let args = parse(&["--tenant", "acme", "--user", "u_812", "--at", "2027-01-01T00:00:00Z", "--note", "left"]).unwrap();

        let (exit, out, _) = told(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Fine, "revoked on 1 node in 0.4 ms, in force from 2027-01-01T00:00:00Z\n"));
        let whose = Revoked::User("acme".parse().unwrap(), "u_812".parse().unwrap());
        let expected = Revocation { whose, at: Some(UnixTime::from_secs(1_798_761_600)), note: Some("left".to_owned()) };
        assert_eq!(*running.bench.control.revoked.lock().unwrap(), [expected]);
    }

    #[tokio::test]
    async fn a_date_in_the_past_is_wrong_usage() {
        let running = running();
        let args = parse(&["--tenant", "acme", "--at", "2020-01-01T00:00:00Z"]).unwrap();

        let (exit, out, talk) = told(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert_eq!(talk, "error: `at` lies in the past; leave it out for now; nothing was revoked\n");
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_not_told_as_nothing() {
        assert!(came_of_it(503).contains("until a restart"));
        assert_eq!(came_of_it(404), "nothing was revoked");
    }

    #[test]
    fn it_says_whose_and_only_one_way() {
        let hex = "ab".repeat(16);

        assert!(parse(&["--session", &hex]).is_ok());
        assert!(parse(&["--tenant", "acme"]).is_ok());
        assert_eq!(parse(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["--user", "u_812"]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["--session", &hex, "--tenant", "acme"]).unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse(&["--session", "abc"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["--tenant", "acme", "--at", "tomorrow"]).unwrap_err(), ErrorKind::ValueValidation);
    }
}
