//! `octroi ban …`: clients that are refused before the TLS handshake for a while.

use std::{fmt::Write, path::Path};

use super::{
    control::{Client, ControlArgs, Refused},
    instance::Effect,
    output::{Exit, Output, OutputFormat},
};
use crate::{
    admin::wire::{BansBody, ClientBody, LiftBanBody, MakeBanBody},
    config,
    model::{ClientPrefix, Range},
};

/// List, add and remove bans in the running octroi.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BanArgs {
    #[command(subcommand)]
    pub(crate) command: BanCommand,
}

/// What can be done with bans.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum BanCommand {
    /// List the bans in force, the last to end first
    List(ListArgs),
    /// Ban a client for a while: close its connections, and refuse new ones before the TLS handshake
    Add(AddArgs),
    /// Lift the ban of a client
    Remove(RemoveArgs),
}

/// List the bans in force.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Ban a client.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// An IPv4 address, an IPv6 /64, or an IPv6 address, which bans its /64
    #[arg(value_name = "CLIENT", value_parser = client)]
    pub(crate) client: String,
    /// How long the ban lasts, up to 30d
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) lasts: String,
    /// The reason, shown in the list and in the log
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Lift a ban.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The client, as `octroi ban list` prints it
    #[arg(value_name = "CLIENT", value_parser = client)]
    pub(crate) client: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

impl BanArgs {
    /// Returns the socket that the command asks, and whether it changes something there.
    pub(super) fn asks(&self) -> (&ControlArgs, Effect) {
        match &self.command {
            BanCommand::List(args) => (&args.control, Effect::ReadOnly),
            BanCommand::Add(args) => (&args.control, Effect::Change),
            BanCommand::Remove(args) => (&args.control, Effect::Change),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &BanArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    match &args.command {
        BanCommand::List(args) => {
            let form = OutputFormat::from_flag(args.json);
            match Client::new(args.control.socket(state_dir)).get("/v1/bans")?.read::<BansBody>()? {
                Ok(bans) => {
                    output.data(form, &bans, || describe(&bans))?;
                    Ok(Exit::Fine)
                }
                Err(refused) => tell(&refused, form, output),
            }
        }
        BanCommand::Add(args) => {
            let form = OutputFormat::from_flag(args.json);
            let wish = MakeBanBody {
                client: args.client.clone(),
                r#for: args.lasts.clone(),
                note: args.note.clone(),
            };
            match Client::new(args.control.socket(state_dir)).post("/v1/bans", &wish)?.read::<ClientBody>()? {
                Ok(banned) => {
                    output.data(form, &banned, || format!("banned {} for {}", banned.client, args.lasts))?;
                    Ok(Exit::Fine)
                }
                Err(refused) => tell(&refused, form, output),
            }
        }
        BanCommand::Remove(args) => {
            let form = OutputFormat::from_flag(args.json);
            let wish = LiftBanBody { client: args.client.clone() };
            match Client::new(args.control.socket(state_dir))
                .post("/v1/bans/remove", &wish)?
                .read::<ClientBody>()?
            {
                Ok(lifted) => {
                    output.data(form, &lifted, || format!("{} is no longer banned", lifted.client))?;
                    Ok(Exit::Fine)
                }
                Err(refused) => tell(&refused, form, output),
            }
        }
    }
}

fn tell(refused: &Refused, form: OutputFormat, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    if form == OutputFormat::Json {
        output.json(&refused.body)?;
    } else {
        output.say(&format!("error: {}", refused.body.error.message));
    }
    Ok(if refused.status == 400 { Exit::Usage } else { Exit::Problem })
}

fn describe(bans: &BansBody) -> String {
    let mut text = String::new();
    for ban in &bans.bans {
        let why = match (&ban.reason, &ban.note) {
            (Some(reason), _) => format!("protocol: {reason}"),
            (None, Some(note)) => format!("operator: {note}"),
            (None, None) => "operator".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<26} until {}  {why}", ban.client, ban.until);
    }
    if bans.more > 0 {
        let _ = writeln!(text, "and {} more", bans.more);
    }
    if text.is_empty() { "nobody is banned".to_owned() } else { text }
}

fn client(text: &str) -> Result<String, String> {
    let range: Range = text.parse().map_err(|error: crate::model::RangeError| error.to_string())?;
    ClientPrefix::try_from(range)
        // Sent as it was typed: the running octroi folds the address to its /64.
        .map(|_| text.to_owned())
        .map_err(|_| {
            "a ban is of one client: an IPv4 address or an IPv6 /64; ranges stand in a listener's `deny`"
                .to_owned()
        })
}

fn duration(text: &str) -> Result<String, &'static str> {
    config::duration(text)
        .map(|_| text.to_owned())
        .ok_or("a duration has a number and a unit: `30s`, `10m`, `2h` or `1d`")
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::*;
    use crate::{
        cli::fixture::{run_captured, running},
        model::{BanRequest, ControlError},
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BanArgs,
    }

    fn parse(words: &[&str]) -> Result<BanArgs, ErrorKind> {
        Line::try_parse_from(std::iter::once(&"ban").chain(words))
            .map(|line| line.args)
            .map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn bans_are_made_listed_and_lifted() {
        let running = running();
        let run_line = async |words: &[&str]| {
            let args = parse(words).unwrap();
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await
        };

        let (exit, out, _) = run_line(&["add", "192.0.2.7", "--for", "2h", "--note", "noise"]).await;
        assert_eq!((exit, out.as_str()), (Exit::Fine, "banned 192.0.2.7 for 2h\n"));
        let wish = BanRequest {
            client: ClientPrefix::try_from("192.0.2.7".parse::<Range>().unwrap()).unwrap(),
            named: "192.0.2.7".parse().unwrap(),
            lasts: std::time::Duration::from_secs(7200),
            note: Some("noise".to_owned()),
        };
        assert_eq!(*running.bench.control.banned.lock().unwrap(), [wish]);

        let (_, out, _) = run_line(&["list"]).await;
        assert_eq!(
            out,
            "192.0.2.7                  until 2026-11-24T00:00:00Z  operator: noise\n\
             2001:db8::/64              until 2026-11-23T22:01:30Z  protocol: framing_te\n"
        );
        let (_, json, _) = run_line(&["list", "--json"]).await;
        assert_eq!(serde_json::from_str::<BansBody>(&json).unwrap().bans.len(), 2);

        let (exit, out, _) = run_line(&["remove", "192.0.2.7"]).await;
        assert_eq!((exit, out.as_str()), (Exit::Fine, "192.0.2.7 is no longer banned\n"));
        let (exit, _, talk) = run_line(&["remove", "192.0.2.7"]).await;
        assert_eq!((exit, talk.as_str()), (Exit::Problem, "error: 192.0.2.7 is not banned\n"));
        let details: Vec<_> =
            running.bench.calls.lock().unwrap().iter().filter_map(|seen| seen.4.clone()).collect();
        assert_eq!(
            details,
            ["banned client=192.0.2.7 for=2h note=noise", "lifted the ban of client=192.0.2.7"]
        );
    }

    #[tokio::test]
    async fn a_ban_without_effect_is_a_problem() {
        let running = running();
        *running.bench.control.fails.lock().unwrap() =
            Some(ControlError::Useless("a trusted proxy".to_owned()));
        let args = parse(&["add", "192.0.2.7"]).unwrap();

        let (exit, out, talk) =
            run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!((exit, out.as_str(), talk.as_str()), (Exit::Problem, "", "error: a trusted proxy\n"));
    }

    #[test]
    fn a_client_is_an_address_or_a_64() {
        for client in ["192.0.2.7", "192.0.2.7/32", "2001:db8::1", "2001:db8::/64"] {
            assert!(parse(&["add", client]).is_ok(), "{client}");
        }
        for client in ["192.0.2.0/24", "2001:db8::/48", "nobody", ""] {
            assert_eq!(parse(&["add", client]).unwrap_err(), ErrorKind::ValueValidation, "{client}");
        }
        assert_eq!(parse(&["add", "192.0.2.7", "--for", "soon"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["add"]).unwrap_err(), ErrorKind::MissingRequiredArgument);
    }
}
