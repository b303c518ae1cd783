//! `octroi session inspect`: opens a token with the configured keys and prints what it says.

use std::fmt::Write;

use anyhow::Context;
use serde::Serialize;

use super::{
    foreign,
    inspected::{InspectArgs, SKEW, VALID},
};
use crate::{
    admin::wire::write_time,
    cli::output::{Exit, Output, OutputFormat},
    files,
    model::{Clock, TenantName, UnixTime},
    policy::{Policy, Sessions},
    session::{OpenError, Opened, Purpose, TOKEN_PREFIX},
};

/// What a token says.
#[derive(Debug, Serialize)]
struct Inspected {
    session: String,
    session_hash: String,
    tenant: String,
    user: String,
    roles: Vec<String>,
    realm: String,
    purpose: &'static str,
    key: u16,
    issued: String,
    auth_time: String,
    not_before: String,
    idle_end: String,
    absolute_end: String,
    generation: u32,
    epoch: u32,
    bound: bool,
    /// What the clocks say. Revocations are known to the running octroi only.
    clocks: &'static str,
}

/// Runs the command. A token that does not open, or whose time is over, is exit 1.
pub(super) fn run(
    args: &InspectArgs,
    policy: &Policy,
    clock: &dyn Clock,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let sessions =
        policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no keys")?;
    let token = read(&args.token)?;
    // Read last: a pipe may deliver the token late.
    let now = clock.now();
    if !token.starts_with(TOKEN_PREFIX) && !sessions.foreign.formats().is_empty() {
        return foreign::inspect(args, policy, &token, now, output);
    }
    let realms = match &args.realm {
        Some(name) => vec![
            policy
                .tenants
                .named(name)
                .with_context(|| format!("the configuration has no tenant `{name}`"))?
                .name
                .clone(),
        ],
        None => policy
            .tenants
            .iter()
            .filter(|tenant| !tenant.hosts.is_empty())
            .map(|tenant| tenant.name.clone())
            .collect(),
    };
    match open(sessions, &token, &realms) {
        Ok((opened, purpose, realm)) => {
            let inspected = describe(sessions, &opened, purpose, &realm, now);
            output.data(OutputFormat::from_flag(args.json), &inspected, || inspected.text())?;
            Ok(if inspected.clocks == VALID { Exit::Fine } else { Exit::Problem })
        }
        Err(why) => {
            output.say(&format!("the token does not open: {why}"));
            Ok(Exit::Problem)
        }
    }
}

/// Twice the limit of any format, so that a longer token is reported as such and not cut.
const MOST_BYTES: u64 = 16 << 10;

fn read(token: &str) -> anyhow::Result<String> {
    if token != "-" {
        return Ok(token.trim().to_owned());
    }
    let reading = "reading the token from standard input";
    let text =
        String::from_utf8(files::read_standard_input(MOST_BYTES).context(reading)?).context(reading)?;
    Ok(text.trim().to_owned())
}

fn open(
    sessions: &Sessions,
    token: &str,
    realms: &[TenantName],
) -> Result<(Opened, Purpose, TenantName), String> {
    let mut why: Option<OpenError> = None;
    for realm in realms {
        for purpose in [Purpose::Cookie, Purpose::Bearer] {
            match sessions.ring.open(token, purpose, realm) {
                Ok(opened) => return Ok((opened, purpose, realm.clone())),
                Err(error) => why = Some(error),
            }
        }
    }
    Err(why.map_or_else(|| "no tenant has a host, so there is no realm".to_owned(), OpenError::detail))
}

fn describe(
    sessions: &Sessions,
    opened: &Opened,
    purpose: Purpose,
    realm: &TenantName,
    now: UnixTime,
) -> Inspected {
    let claims = &opened.claims;
    Inspected {
        session: claims.id.to_hex(),
        session_hash: sessions.ring.session_hash(&claims.id),
        tenant: claims.tenant.to_string(),
        user: claims.user.to_string(),
        roles: claims.roles.iter().map(ToString::to_string).collect(),
        realm: realm.to_string(),
        purpose: purpose.as_str(),
        key: opened.key,
        issued: write_time(claims.issued),
        auth_time: write_time(claims.auth_time),
        not_before: write_time(claims.not_before),
        idle_end: write_time(claims.idle_end),
        absolute_end: write_time(claims.absolute_end),
        generation: claims.generation,
        epoch: claims.epoch,
        bound: claims.binding.is_some(),
        clocks: if now >= claims.absolute_end {
            "expired"
        } else if now >= claims.idle_end {
            "idle for too long"
        } else if now.plus(SKEW) < claims.not_before.max(claims.issued) {
            "not yet"
        } else {
            VALID
        },
    }
}

impl Inspected {
    fn text(&self) -> String {
        let mut text = String::new();
        let bound = if self.bound { "yes" } else { "no" };
        for (name, value) in [
            ("session", self.session.as_str()),
            ("hash in logs", &self.session_hash),
            ("tenant", &self.tenant),
            ("user", &self.user),
            ("roles", &self.roles.join(" ")),
            ("realm", &self.realm),
            ("purpose", self.purpose),
            ("key", &self.key.to_string()),
            ("signed in", &self.auth_time),
            ("issued", &self.issued),
            ("not before", &self.not_before),
            ("idle end", &self.idle_end),
            ("absolute end", &self.absolute_end),
            ("generation", &self.generation.to_string()),
            ("epoch", &self.epoch.to_string()),
            ("bound", bound),
            ("clocks", self.clocks),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<14}{value}");
        }
        text
    }
}
