//! `octroi session mint`: mints a session without a sign-in, for machines and for debugging.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    admin::wire::{TenantBody, write_time},
    cli::{
        control::{Client, ControlArgs},
        input::certificates,
        output::{Exit, Output, OutputFormat},
    },
    model::{ClientIp, SessionId, TenantName, UnixTime, UserId},
    policy::{Binding, Policy, Sessions, Tenant},
    session::{Bound, Claims, Purpose, Roles, binding},
};

/// Mint a session without a sign-in. It needs the session keys: whoever can run it can be any user.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct MintArgs {
    /// The user's tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// The user
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// The tenant that owns the host the token is for. Default: the user's tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) realm: Option<String>,
    /// Mint for `Authorization: Bearer` instead of the cookie. Such a token is never renewed, so no idle
    /// time ends it
    #[arg(long)]
    pub(crate) bearer: bool,
    /// The lifetime, such as 90s, 15m, 8h or 7d. Default and maximum: the tenant's `absolute`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) absolute: Option<Duration>,
    /// The client's address; required where the tenant binds sessions to it
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<std::net::IpAddr>,
    /// The client's User-Agent; required where the tenant binds sessions to it
    #[arg(long, value_name = "TEXT")]
    pub(crate) user_agent: Option<String>,
    /// The client's certificate (PEM); required where the tenant binds sessions to it
    #[arg(long, value_name = "FILE")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The tenant's epoch. Default: asked of the running octroi
    #[arg(long, value_name = "NUMBER")]
    pub(crate) epoch: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// A minted session.
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

/// Runs the command: prints the token alone, or with `--json` what it says as well.
pub(super) fn run(
    args: &MintArgs,
    state_dir: &Path,
    policy: &Policy,
    now: UnixTime,
    output: &mut Output<'_>,
) -> anyhow::Result<Exit> {
    let sessions =
        policy.sessions.as_ref().context("the configuration has no `sessions`, so there are no keys")?;
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
    output.data(OutputFormat::from_flag(args.json), &minted, || minted.token.clone())?;
    Ok(Exit::Fine)
}

fn named<'a>(policy: &'a Policy, name: &str) -> anyhow::Result<&'a Tenant> {
    Ok(policy.tenants.named(name).with_context(|| format!("the configuration has no tenant `{name}`"))?)
}

/// Refuses what a grant of an app would be refused as well.
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
    let reply =
        reply.context("asking for the tenant's epoch; without a running octroi name it with --epoch")?;
    match reply.read::<TenantBody>()? {
        Ok(told) => Ok(told.epoch),
        Err(refused) => bail!("asking for the tenant's epoch: {}", refused.body.error.message),
    }
}

fn claims(args: &MintArgs, tenant: &Tenant, epoch: u32, now: UnixTime) -> anyhow::Result<Claims> {
    let rules = &tenant.sessions;
    let absolute = args.absolute.unwrap_or(rules.absolute);
    if absolute > rules.absolute {
        bail!(
            "--absolute may only shorten: sessions of `{}` live {} s at most",
            tenant.name,
            rules.absolute.as_secs()
        );
    }
    let absolute_end = now.plus(absolute);
    let idle_end = if args.bearer { absolute_end } else { now.plus(rules.idle).min(absolute_end) };
    Ok(Claims {
        id: SessionId::new(random()?),
        tenant: tenant.name.clone(),
        user: args.user.parse().context("--user")?,
        roles: Roles::try_new(args.roles.iter().map(String::as_str)).context("--roles")?,
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
    let mut fingerprint = None;
    for rule in rules {
        match rule {
            Binding::ClientPrefix => {
                let client = args.client.context(
                    "the tenant's sessions are bound to the client's address; name it with --client",
                )?;
                bound.client = Some(ClientIp::from(client));
            }
            Binding::ClientCertificate => {
                let path = args.client_certificate.as_ref();
                let path =
                    path.context("the tenant's sessions are bound to the client's certificate; name it with --client-certificate")?;
                fingerprint = Some(fingerprint_of(path)?);
            }
            Binding::UserAgent => {
                let agent = args.user_agent.as_deref().context(
                    "the tenant's sessions are bound to the User-Agent; name it with --user-agent",
                )?;
                bound.user_agent = Some(agent.as_bytes());
            }
        }
    }
    Ok(binding(Bound { certificate: fingerprint.as_ref().map(|digest| &digest[..]), ..bound }))
}

/// Returns SHA-256 of the first certificate of a PEM file.
fn fingerprint_of(path: &Path) -> anyhow::Result<[u8; 32]> {
    let chain = certificates(path)?;
    let leaf = chain.first().with_context(|| format!("{} holds no certificate", path.display()))?;
    Ok(Sha256::digest(leaf).into())
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
    let number = digits
        .parse::<u64>()
        .ok()
        .filter(|&number| number > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::fixture::NOW,
        cli::{
            fixture::{run_captured, running, with_sessions},
            session::{inspect, inspected::InspectArgs},
        },
    };

    fn args(tenant: &str, realm: Option<&str>) -> MintArgs {
        MintArgs {
            tenant: tenant.to_owned(),
            user: "u_812".to_owned(),
            roles: vec!["admin".to_owned()],
            realm: realm.map(str::to_owned),
            epoch: Some(0),
            ..MintArgs::default()
        }
    }

    /// Mints without a running octroi.
    fn minted(args: &MintArgs, policy: &Policy) -> (Exit, String, String) {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let mut output = Output::to(&mut out, &mut talk);
        let outcome = run(args, Path::new("/nowhere"), policy, NOW, &mut output);
        let exit = output.conclude(outcome);
        drop(output);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    fn inspected(token: &str, policy: &Policy, now: UnixTime) -> (Exit, serde_json::Value) {
        let mut out = Vec::new();
        let args = InspectArgs { token: token.trim().to_owned(), json: true, ..InspectArgs::default() };
        let exit = inspect::run(
            &args,
            policy,
            &crate::model::ManualClock::new(now),
            &mut Output::to(&mut out, std::io::sink()),
        )
        .unwrap();
        (exit, serde_json::from_slice(&out).unwrap_or_default())
    }

    #[test]
    fn a_minted_token_opens_where_it_is_for() {
        let policy = with_sessions();

        let (exit, token, _) = minted(&args("acme", Some("lobby")), &policy);
        let (opened, says) = inspected(&token, &policy, NOW);

        assert_eq!((exit, opened), (Exit::Fine, Exit::Fine));
        assert_eq!(
            (&says["tenant"], &says["realm"], &says["purpose"], &says["user"]),
            (&"acme".into(), &"lobby".into(), &"cookie".into(), &"u_812".into())
        );
        assert_eq!(
            (&says["idle_end"], &says["absolute_end"]),
            (&"2026-11-23T22:30:00Z".into(), &"2026-11-24T10:00:00Z".into())
        );
        assert_eq!(
            (inspected(&token, &policy, NOW.plus(Duration::from_secs(1800))).0, says["clocks"].as_str()),
            (Exit::Problem, Some("valid"))
        );
    }

    #[test]
    fn a_bearer_token_does_not_end_by_resting() {
        let policy = with_sessions();
        let wish =
            MintArgs { bearer: true, absolute: Some(Duration::from_secs(7200)), ..args("globex", None) };

        let (_, says) = inspected(&minted(&wish, &policy).1, &policy, NOW);

        assert_eq!(
            (&says["purpose"], &says["idle_end"], &says["absolute_end"]),
            (&"bearer".into(), &"2026-11-24T00:00:00Z".into(), &"2026-11-24T00:00:00Z".into())
        );
    }

    #[test]
    fn what_no_grant_gets_is_not_minted() {
        let policy = with_sessions();
        let long = MintArgs { absolute: Some(Duration::from_secs(43_201)), ..args("globex", None) };
        let email = MintArgs { user: "jane@example.com".to_owned(), ..args("globex", None) };
        let role = MintArgs { roles: vec!["a b".to_owned()], ..args("globex", None) };

        for (wish, why) in [
            (args("nobody", None), "no tenant `nobody`"),
            (args("acme", None), "has no host"),
            (args("globex", Some("lobby")), "no member"),
            (long, "may only shorten"),
            (email, "e-mail"),
            (role, "roles"),
        ] {
            let (exit, token, talk) = minted(&wish, &policy);

            assert_eq!((exit, token.as_str()), (Exit::Problem, ""));
            assert!(talk.contains(why), "{talk}");
        }
    }

    #[tokio::test]
    async fn the_epoch_is_the_running_octroi_s() {
        let running = running();
        let wish = MintArgs { epoch: None, ..args("acme", Some("lobby")) };
        let command =
            move |dir: &Path, output: &mut Output<'_>| run(&wish, dir, &with_sessions(), NOW, output);

        let (_, token, _) = run_captured(running.dir.path(), command.clone()).await;
        let (alone, _, _) = run_captured(Path::new("/nowhere"), command).await;

        assert_eq!(inspected(&token, &with_sessions(), NOW).1["epoch"], 3);
        assert_eq!(alone, Exit::Unreachable);
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "15", "m", "-1s", "+1s", "0s", "1.5h", "99999999999999999999s", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
