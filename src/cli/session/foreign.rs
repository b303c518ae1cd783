//! What an app's session says, as far as the configured keys prove it.

use std::{fmt::Write, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use serde::Serialize;

use super::inspected::{InspectArgs, SKEW, VALID};
use crate::{
    admin::wire::write_time,
    cli::output::{Exit, Output, OutputFormat},
    files,
    model::{Tick, UnixTime},
    policy::{Foreign, Policy, Sessions, Tenant},
    session::{
        Claims,
        foreign::{Authentic, Codec, FetchedKeys, ForeignError, KeySet, Presented, is_compact},
    },
};

/// What was proven. Nothing else of the session is printed, because it may hold secrets that do not belong
/// in a terminal.
#[derive(Debug, Serialize)]
struct Inspected {
    session: String,
    session_hash: String,
    tenant: String,
    user: String,
    roles: Vec<String>,
    format: &'static str,
    key: String,
    issued: String,
    auth_time: String,
    not_before: String,
    absolute_end: String,
    /// What the clocks say, or the rule that no session of this kind keeps. Revocations are known to the
    /// running octroi only.
    clocks: &'static str,
}

/// Prints what a token that is not octroi's says. One that does not open, or is not valid, is exit 1.
pub(super) fn inspect(
    args: &InspectArgs,
    policy: &Policy,
    text: &str,
    now: UnixTime,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let sessions =
        policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no keys")?;
    let fetched = match &args.jwks {
        Some(path) => read(path, sessions)?,
        None => FetchedKeys::default(),
    };
    let presented = Presented { text, signature: args.signature.as_deref() };
    let mut why = String::new();
    for foreign in sessions.foreign.formats() {
        let is_jwt = matches!(foreign.codec, Codec::Jwt(_));
        if is_jwt && !is_compact(text) {
            continue;
        }
        match foreign.codec.open_with(presented, &fetched, Tick::default()) {
            Ok(authentic) => {
                let opened = Opened { policy, sessions, foreign, authentic: &authentic };
                return tell(args, &opened, now, output);
            }
            Err(error) => {
                // Writing to a string cannot fail.
                let _ = write!(why, "\nas `{}`: {}", foreign.codec.format().as_str(), error.detail());
                if matches!(error, ForeignError::UnknownKey { .. }) && args.jwks.is_none() {
                    why.push_str(
                        "; this command fetches nothing: name a file that holds the set with --jwks",
                    );
                }
            }
        }
    }
    if why.is_empty() {
        why.push_str(" it is no token of octroi, and of no format that the configuration reads");
    }
    output.say(&format!("the session does not open:{why}"));
    Ok(Exit::Problem)
}

/// The largest key set that is read from a file.
const SET_BYTES: u64 = 4 << 20;

/// Reads a key set, for every configured source.
fn read(path: &Path, sessions: &Sessions) -> anyhow::Result<FetchedKeys> {
    let text =
        files::read_named(path, SET_BYTES).with_context(|| format!("reading {}", path.display()))?.bytes;
    let mut fetched = FetchedKeys::default();
    for source in sessions.foreign.key_sources() {
        let set = KeySet::parse(&text, &source.algorithms)
            .with_context(|| format!("reading {}", path.display()))?;
        fetched.insert(source.id.clone(), Arc::new(set), Tick::default().plus(Duration::from_secs(1)));
    }
    Ok(fetched)
}

/// An authentic session, and what it is checked against.
struct Opened<'a> {
    policy: &'a Policy,
    sessions: &'a Sessions,
    foreign: &'a Foreign,
    authentic: &'a Authentic<'a>,
}

/// Prints what an authentic session says to the first realm that accepts it.
fn tell(
    args: &InspectArgs,
    opened: &Opened<'_>,
    now: UnixTime,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let &Opened { policy, foreign, authentic, .. } = opened;
    let format = foreign.codec.format();
    let realms: Vec<&Arc<Tenant>> = match &args.realm {
        Some(name) => vec![
            policy
                .tenants
                .named(name)
                .with_context(|| format!("the configuration has no tenant `{name}`"))?,
        ],
        None => policy.tenants.iter().filter(|tenant| !tenant.hosts.is_empty()).collect(),
    };
    let mut why = "no tenant has a host, so there is no realm".to_owned();
    for realm in realms {
        match foreign.claims.claims(format, authentic, &realm.name) {
            Ok(Some(claims)) => {
                let inspected = opened.describe(&claims, now);
                output.data(OutputFormat::from_flag(args.json), &inspected, || inspected.text())?;
                return Ok(if inspected.clocks == VALID { Exit::Fine } else { Exit::Problem });
            }
            Ok(None) => {
                output.say(&format!(
                    "it is authentic, of format `{}`, and nobody has signed in: the session of a visitor",
                    format.as_str()
                ));
                return Ok(Exit::Problem);
            }
            Err(error) => why = error.detail(),
        }
    }
    output.say(&format!("the session of format `{}` is no session here: {why}", format.as_str()));
    Ok(Exit::Problem)
}

impl Opened<'_> {
    fn describe(&self, claims: &Claims, now: UnixTime) -> Inspected {
        let &Self { policy, sessions, foreign, authentic } = self;
        let tenant = policy.tenants.named(claims.tenant.as_str());
        let absolute_end = tenant.map_or(claims.absolute_end, |tenant| {
            claims.absolute_end.min(claims.auth_time.plus(tenant.sessions.absolute))
        });
        let clocks = match tenant {
            None => "no tenant of this name",
            Some(tenant) if !tenant.sessions.bind.is_empty() => {
                "not bound, and the tenant binds its sessions"
            }
            Some(_) if claims.user.looks_like_email() && !sessions.allow_email_user => {
                "its user looks like an e-mail address"
            }
            Some(_) if now >= absolute_end => "expired",
            Some(_) if now.plus(SKEW) < claims.not_before.max(claims.issued) => "not yet",
            Some(_) => VALID,
        };
        Inspected {
            session: claims.id.to_hex(),
            session_hash: sessions.ring.session_hash(&claims.id),
            tenant: claims.tenant.to_string(),
            user: claims.user.to_string(),
            roles: claims.roles.iter().map(ToString::to_string).collect(),
            format: foreign.codec.format().as_str(),
            key: authentic.key.to_owned(),
            issued: write_time(claims.issued),
            auth_time: write_time(claims.auth_time),
            not_before: write_time(claims.not_before),
            absolute_end: write_time(absolute_end),
            clocks,
        }
    }
}

impl Inspected {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in [
            ("session", self.session.as_str()),
            ("hash in logs", &self.session_hash),
            ("tenant", &self.tenant),
            ("user", &self.user),
            ("roles", &self.roles.join(" ")),
            ("format", self.format),
            ("key", &self.key),
            ("signed in", &self.auth_time),
            ("issued", &self.issued),
            ("not before", &self.not_before),
            ("absolute end", &self.absolute_end),
            ("clocks", self.clocks),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<14}{value}");
        }
        text
    }
}
