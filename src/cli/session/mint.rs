//! `octroi session mint`: makes a session without a sign-in, for machines and for finding faults.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::{
    admin::wire::{TenantBody, write_time},
    cli::{
        control::{Client, ControlArgs},
        output::{Exit, Form, Output},
    },
    model::{ClientIp, SessionId, TenantName, UnixTime, UserId},
    policy::{Binding, Policy, Sessions, Tenant},
    session::{Bound, Claims, Purpose, binding},
};

/// Make a session without a sign-in. Who can run this can be anybody: it needs the session keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct MintArgs {
    /// The user's tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// The user
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// A role; may stand several times
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// The tenant that owns the host the token is for; the user's own tenant if it is left out
    #[arg(long, value_name = "TENANT")]
    pub(crate) realm: Option<String>,
    /// For `Authorization: Bearer` instead of the cookie. Such a token is not renewed, so it does not end by resting
    #[arg(long)]
    pub(crate) bearer: bool,
    /// How long it lives, such as 90s, 15m, 8h or 7d; at most, and by default, the tenant's `absolute`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) absolute: Option<Duration>,
    /// The client's address, where the tenant's sessions are bound to it
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<std::net::IpAddr>,
    /// The User-Agent, where the tenant's sessions are bound to it
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,
    /// The tenant's epoch; asked of the running octroi if it is left out
    #[arg(long, value_name = "NUMBER")]
    pub(crate) epoch: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// A session, made.
#[derive(Debug, Serialize)]
struct Minted {
    token: String,
    session: String,
    /// The name of the cookie that carries it; absent: `Authorization: Bearer`.
    cookie: Option<String>,
    realm: String,
    idle_end: String,
    absolute_end: String,
}

/// Runs the command: prints the token, and nothing else but with `--json`.
pub(super) fn run(args: &MintArgs, state_dir: &Path, policy: &Policy, now: UnixTime, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let sessions = policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no keys")?;
    let tenant = named(policy, &args.tenant)?;
    let realm = named(policy, args.realm.as_deref().unwrap_or(&args.tenant))?;
    judge(args, sessions, tenant, realm)?;
    let epoch = match args.epoch {
        Some(epoch) => epoch,
        None => ask_epoch(args, state_dir, &tenant.name)?,
    };
    let claims = claims(args, tenant, epoch, now)?;
    let purpose = if args.bearer { Purpose::Bearer } else { Purpose::Cookie };
    let token = sessions.ring.seal(&claims, purpose, &realm.name, random()?)?;
    let minted = Minted {
        token,
        session: claims.id.to_hex(),
        cookie: (!args.bearer).then(|| sessions.cookie.to_string()),
        realm: realm.name.to_string(),
        idle_end: write_time(claims.idle_end),
        absolute_end: write_time(claims.absolute_end),
    };
    output.data(Form::from_flag(args.json), &minted, || minted.token.clone())?;
    Ok(Exit::Fine)
}

fn named<'a>(policy: &'a Policy, name: &str) -> anyhow::Result<&'a Tenant> {
    Ok(policy.tenants.named(name).with_context(|| format!("the configuration has no tenant `{name}`"))?)
}

/// Refuses what no grant would get either.
fn judge(args: &MintArgs, sessions: &Sessions, tenant: &Tenant, realm: &Tenant) -> anyhow::Result<()> {
    if realm.hosts.is_empty() {
        bail!("tenant `{}` has no host; name the one where its users sign in with --realm", realm.name);
    }
    if !realm.admits(&tenant.name) {
        bail!("tenant `{}` is no member of `{}`", tenant.name, realm.name);
    }
    if tenant.suspended || realm.suspended {
        bail!("the tenant is suspended");
    }
    if !sessions.allow_email_user && args.user.parse::<UserId>().is_ok_and(|user| user.looks_like_email()) {
        bail!("the user looks like an e-mail address, which `sessions` does not allow");
    }
    Ok(())
}

fn ask_epoch(args: &MintArgs, state_dir: &Path, tenant: &TenantName) -> anyhow::Result<u32> {
    let reply = Client::new(args.control.socket(state_dir)).get(&format!("/v1/tenants/{tenant}"));
    let reply = reply.context("asking for the tenant's epoch; without a running octroi name it with --epoch")?;
    match reply.read::<TenantBody>()? {
        Ok(told) => Ok(told.epoch),
        Err(refused) => bail!("asking for the tenant's epoch: {}", refused.body.error.message),
    }
}

fn claims(args: &MintArgs, tenant: &Tenant, epoch: u32, now: UnixTime) -> anyhow::Result<Claims> {
    let rules = &tenant.sessions;
    let absolute = args.absolute.unwrap_or(rules.absolute);
    if absolute > rules.absolute {
        bail!("--absolute may only shorten: sessions of `{}` live {} s at most", tenant.name, rules.absolute.as_secs());
    }
    let absolute_end = now.plus(absolute);
    let idle_end = if args.bearer { absolute_end } else { now.plus(rules.idle).min(absolute_end) };
    Ok(Claims {
        id: SessionId::new(random()?),
        tenant: tenant.name.clone(),
        user: args.user.parse().context("--user")?,
        roles: args.roles.iter().map(|role| role.as_str().into()).collect(),
        issued: now,
        auth_time: now,
        not_before: now,
        idle_end,
        absolute_end,
        generation: 0,
        epoch,
        binding: bind(args, &rules.bind)?,
    })
}

fn bind(args: &MintArgs, rules: &[Binding]) -> anyhow::Result<Option<[u8; 16]>> {
    let mut bound = Bound::default();
    for rule in rules {
        match rule {
            Binding::ClientPrefix => {
                let client = args.client.context("the tenant's sessions are bound to the client's address; name it with --client")?;
                bound.client = Some(ClientIp::from(client));
            }
            Binding::UserAgent => {
                let agent =
                    args.user_agent.as_deref().context("the tenant's sessions are bound to the User-Agent; name it with --user-agent")?;
                bound.user_agent = Some(agent.as_bytes());
            }
        }
    }
    Ok(binding(bound))
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes)
}

/// Reads a whole number and its unit.
fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "a time is a whole number with s, m, h or d, such as 15m";
    let unit = text.char_indices().last().map(|(place, _)| text.split_at(place)).ok_or(WRONG)?;
    let (digits, seconds) = match unit {
        (digits, "s") => (digits, 1),
        (digits, "m") => (digits, 60),
        (digits, "h") => (digits, 3600),
        (digits, "d") => (digits, 86_400),
        _ => return Err(WRONG),
    };
    let number = digits.parse::<u64>().ok().filter(|&number| number > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or(WRONG)
}
