//! `octroi session list`: the sessions of a user.

use std::{fmt::Write, path::Path};

use super::revoke::{tenant, user};
use crate::{
    admin::wire::{ListSessionsBody, SessionsBody},
    cli::{
        control::{Client, ControlArgs},
        output::{Exit, Output, OutputFormat},
    },
};

/// List the sessions of a user that the session store knows.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// The tenant
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    pub(crate) tenant: String,
    /// The user
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(crate) user: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command.
pub(super) fn run(args: &ListArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let form = OutputFormat::from_flag(args.json);
    let whose = ListSessionsBody { tenant: args.tenant.clone(), user: args.user.clone() };
    match Client::new(args.control.socket(state_dir))
        .post("/v1/sessions/list", &whose)?
        .read::<SessionsBody>()?
    {
        Ok(known) => {
            output.data(form, &known, || describe(&known))?;
            if form == OutputFormat::Text {
                output.say(&note(&known));
            }
            Ok(Exit::Fine)
        }
        Err(refused) => {
            if form == OutputFormat::Json {
                output.json(&refused.body)?;
            } else {
                output.say(&format!("error: {}", refused.body.error.message));
            }
            Ok(if refused.status == 400 { Exit::Usage } else { Exit::Problem })
        }
    }
}

fn describe(known: &SessionsBody) -> String {
    let mut text = String::new();
    for session in &known.sessions {
        let client = session.client.as_deref().unwrap_or("-");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}  granted {}  seen {}  ends {}  from {client}  on {}",
            session.session, session.granted, session.seen, session.ends, session.node
        );
    }
    if text.is_empty() { "no session is known".to_owned() } else { text }
}

/// Says what the list cannot contain.
fn note(known: &SessionsBody) -> String {
    let unknown = format!("note: not known to any store: {}", known.unknown.join(", "));
    match &known.silence {
        None => unknown,
        Some(why) => {
            format!("note: this list is of this node only ({why}); other nodes may know more\n{unknown}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{run_captured, running};

    #[tokio::test]
    async fn sessions_are_listed_with_what_is_not_known() {
        let running = running();
        let args = ListArgs { tenant: "acme".to_owned(), user: "u_1".to_owned(), ..ListArgs::default() };

        let (exit, out, talk) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        let times = "granted 2026-11-23T21:40:00Z  seen 2026-11-23T21:56:40Z  ends 2026-11-24T09:40:00Z";
        let expected = format!(
            "{}  {times}  from 192.0.2.7  on edge-1\n{}  {times}  from -  on edge-1\n",
            "ab".repeat(16),
            "cd".repeat(16)
        );
        assert_eq!((exit, out), (Exit::Fine, expected));
        assert_eq!(
            talk,
            "note: not known to any store: Bearer tokens, sessions of apps with a login of their own\n"
        );
        let details: Vec<_> =
            running.bench.calls.lock().unwrap().iter().filter_map(|seen| seen.4.clone()).collect();
        assert_eq!(details, ["listed sessions tenant=acme user=u_1 count=2"]);
    }

    #[tokio::test]
    async fn an_unknown_tenant_is_a_problem() {
        let running = running();
        let args = ListArgs { tenant: "nobody".to_owned(), user: "u_1".to_owned(), ..ListArgs::default() };

        let (exit, out, talk) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!(
            (exit, out.as_str(), talk.as_str()),
            (Exit::Problem, "", "error: the policy has no such tenant\n")
        );
    }
}
