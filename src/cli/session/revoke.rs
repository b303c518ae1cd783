//! `octroi session revoke`: revokes sessions on every node, at once or at a set time.

use std::path::Path;

use crate::{
    admin::wire::{self, RevokeBody, RevokedBody},
    cli::{
        control::{Client, ControlArgs},
        output::{Exit, Output, OutputFormat},
    },
    model::{SessionId, TenantName, UserId},
};

/// Revoke a session, all sessions of a user, or all sessions of a tenant.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["session", "tenant"])))]
pub(crate) struct RevokeArgs {
    /// One session: the 32 hexadecimal digits that `octroi session inspect` prints
    #[arg(long, value_name = "HEX", value_parser = session)]
    pub(crate) session: Option<String>,
    /// All sessions of a tenant, or of one of its users
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    pub(crate) tenant: Option<String>,
    /// The user of the tenant
    #[arg(long, value_name = "USER", requires = "tenant", conflicts_with = "session", value_parser = user)]
    pub(crate) user: Option<String>,
    /// When it takes effect: an RFC 3339 time in the future. Default: now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<String>,
    /// The reason, written to the log
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command: returns once the revocation is in force and on the disk.
pub(super) fn run(args: &RevokeArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let wish = RevokeBody {
        session: args.session.clone(),
        tenant: args.tenant.clone(),
        user: args.user.clone(),
        at: args.at.clone(),
        note: args.note.clone(),
    };
    let form = OutputFormat::from_flag(args.json);
    match Client::durable(args.control.socket(state_dir))
        .post("/v1/sessions/revoke", &wish)?
        .read::<RevokedBody>()?
    {
        Ok(revoked) => {
            output.data(form, &revoked, || describe(&revoked, args.at.is_some()))?;
            Ok(if is_everywhere(&revoked) { Exit::Fine } else { Exit::Problem })
        }
        Err(refused) => {
            if form == OutputFormat::Json {
                output.json(&refused.body)?;
            } else {
                output.say(&format!(
                    "error: {}; {}",
                    refused.body.error.message,
                    came_of_it(refused.status, &refused.body.error.code)
                ));
            }
            Ok(if refused.status == 400 { Exit::Usage } else { Exit::Problem })
        }
    }
}

fn describe(revoked: &RevokedBody, later: bool) -> String {
    let count = |nodes: u32| if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    let nodes = match revoked.replicas {
        Some(replicas) if replicas > revoked.nodes => format!("{} of {}", revoked.nodes, count(replicas)),
        Some(_) | None => count(revoked.nodes),
    };
    let when = if later { format!(", in force from {}", revoked.at) } else { String::new() };
    let silent = match revoked.silent.as_slice() {
        [] => String::new(),
        silent => format!("; no answer in time from {}", silent.join(", ")),
    };
    let known = match revoked.known {
        None => String::new(),
        Some(0) => "; no session of this user is known: is the name right?".to_owned(),
        Some(1) => "; it ends 1 known session".to_owned(),
        Some(known) => format!("; it ends {known} known sessions"),
    };
    format!("revoked on {nodes} in {:.1} ms{when}{silent}{known}", revoked.took_ms)
}

/// Says whether the revocation is in force on every expected node.
fn is_everywhere(revoked: &RevokedBody) -> bool {
    revoked.silent.is_empty() && revoked.replicas.is_none_or(|replicas| replicas <= revoked.nodes)
}

/// Says what a refused revocation left behind. Where Redis or the journal cannot be written, the sessions
/// have ended; where the journal is full, they have not.
fn came_of_it(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (503, "revocation_unavailable") => "the sessions have ended on this node for good",
        (503, _) => {
            "unless no more fit, the sessions have ended and are not on the disk yet: do not restart; mend the disk, and octroi writes them within \
             half a minute (`octroi status`: `unkept` until then)"
        }
        _ => "nothing was revoked",
    }
}

fn session(text: &str) -> Result<String, &'static str> {
    SessionId::from_hex(text).map(|_| text.to_owned()).ok_or("a session is 32 hexadecimal digits")
}

pub(super) fn tenant(text: &str) -> Result<String, crate::model::NameError> {
    text.parse::<TenantName>().map(|name| name.to_string())
}

pub(super) fn user(text: &str) -> Result<String, crate::model::NameError> {
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
        cli::fixture::{run_captured, running},
        model::{Revocation, RevocationTarget, UnixTime},
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
        let args =
            parse(&["--tenant", "acme", "--user", "u_812", "--at", "2027-01-01T00:00:00Z", "--note", "left"])
                .unwrap();

        let (exit, out, _) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!(
            (exit, out.as_str()),
            (Exit::Fine, "revoked on 1 node in 0.4 ms, in force from 2027-01-01T00:00:00Z\n")
        );
        let whose = RevocationTarget::User("acme".parse().unwrap(), "u_812".parse().unwrap());
        let expected =
            Revocation { whose, at: Some(UnixTime::from_secs(1_798_761_600)), note: Some("left".to_owned()) };
        assert_eq!(*running.bench.control.revoked.lock().unwrap(), [expected]);
    }

    #[tokio::test]
    async fn a_date_in_the_past_is_wrong_usage() {
        let running = running();
        let args = parse(&["--tenant", "acme", "--at", "2020-01-01T00:00:00Z"]).unwrap();

        let (exit, out, talk) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert_eq!(talk, "error: `at` lies in the past; leave it out for now; nothing was revoked\n");
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_not_told_as_nothing() {
        assert!(came_of_it(503, "unavailable").contains("do not restart"));
        assert!(came_of_it(503, "revocation_unavailable").contains("for good"));
        assert_eq!(came_of_it(404, "unknown"), "nothing was revoked");
    }

    #[test]
    fn nodes_that_are_missing_or_silent_are_told() {
        let revoked = |nodes, replicas, silent: &[&str]| RevokedBody {
            nodes,
            took_ms: 3.07,
            at: "2027-01-01T00:00:00Z".to_owned(),
            silent: silent.iter().map(ToString::to_string).collect(),
            replicas,
            known: None,
        };
        let says = |body: RevokedBody| (describe(&body, false), is_everywhere(&body));

        assert_eq!(says(revoked(2, Some(2), &[])), ("revoked on 2 nodes in 3.1 ms".to_owned(), true));
        assert_eq!(says(revoked(1, Some(2), &[])), ("revoked on 1 of 2 nodes in 3.1 ms".to_owned(), false));
        let silent = says(revoked(1, None, &["edge-2", "edge-3"]));
        assert_eq!(
            silent,
            ("revoked on 1 node in 3.1 ms; no answer in time from edge-2, edge-3".to_owned(), false)
        );
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
