//! `octroi explain`: the real pipeline over a request that is described, without traffic.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use super::{
    control::{Client, ControlArgs},
    input::{certificates, policy},
    output::{Exit, Output, OutputFormat},
};
use crate::{
    admin::wire::{BanBody, BansBody, StatusBody},
    edge, files,
    model::{
        ClientIp, ClientPrefix, Clock, HttpVersion, Presented, RevocationAnswer, SystemClock, TenantName,
        UnixTime,
    },
    pipeline::Stores,
    policy::Policy,
    replay::{self, Described, Sni},
    session::{Claims, TokenOrder},
    sessions::{JournalSnapshot, RevocationStore, SessionRef},
    store::{Challenges, KeySets, MemoryQuotas},
};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The URL of the request: https://host[:port]/path?query.
    url: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Another header field, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The session token or a whole Cookie field, or @FILE to read it from.
    #[arg(long, value_name = "COOKIE")]
    cookie: Option<String>,
    /// A Bearer token, or @FILE to read it from.
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,
    /// The client's certificate: a PEM file, which may hold its chain as well.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// A file with the head of an HTTP/1 request; it replaces method, path and fields.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The host that the TLS handshake names. Default: the URL's host; empty: no SNI.
    #[arg(long, value_name = "HOST")]
    sni: Option<String>,
    /// The listener's name. Default: the first that fits the URL.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Treat the request as HTTP/2.
    #[arg(long)]
    http2: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// What only the running octroi knows: bans, and how fresh its revocations are.
struct RunningState {
    status: StatusBody,
    bans: BansBody,
}

impl RunningState {
    fn ask(client: &Client) -> anyhow::Result<Self> {
        let refused = |refused: super::control::Refused| anyhow::anyhow!("{}", refused.body.error.message);
        let status = client.get("/v1/status")?.read::<StatusBody>()?.map_err(refused)?;
        let bans = client.get("/v1/bans")?.read::<BansBody>()?.map_err(refused)?;
        Ok(Self { status, bans })
    }

    /// Says whether it knows what other nodes have revoked.
    fn is_fresh(&self) -> bool {
        self.status.redis.as_ref().is_none_or(|redis| !redis.shared || redis.fresh)
    }

    fn ban_of(&self, client: ClientIp) -> Option<&BanBody> {
        let client = client.prefix().to_string();
        self.bans.bans.iter().find(|ban| ban.client == client)
    }

    /// Describes what it was asked, and what it could not answer.
    fn words(&self, revision: &str) -> String {
        let mut text = format!(
            "process {} was asked for bans, and whether it knows what other nodes revoked",
            self.status.pid
        );
        if self.status.revision != revision {
            text.push_str(&format!("; it judges by another revision, {}", self.status.revision));
        }
        if self.bans.more > 0 {
            text.push_str(&format!("; {} of its bans were not looked at", self.bans.more));
        }
        if let Some(unkept) = self.status.revocations_unkept.as_ref().filter(|unkept| unkept.count > 0) {
            text.push_str(&format!(
                "; {} of its revocations are not on the disk, and were not looked at",
                unkept.count
            ));
        }
        text
    }
}

/// Describes a ban in one line.
fn describe_ban(ban: &BanBody) -> String {
    let why = match (&ban.reason, &ban.note) {
        (Some(reason), _) => format!("broke the protocol, last by {reason}"),
        (None, Some(note)) => format!("by an operator: {note}"),
        (None, None) => "by an operator".to_owned(),
    };
    format!("until {}: {why}", ban.until)
}

/// The journal's revocations, and whether the running octroi knows those of other nodes.
struct RevocationView {
    ended: JournalSnapshot,
    is_fresh: bool,
}

impl RevocationStore for RevocationView {
    fn lookup(&self, session: SessionRef<'_>, now: UnixTime) -> RevocationAnswer {
        let answer = self.ended.lookup(session, now);
        if answer == RevocationAnswer::Live && !self.is_fresh { RevocationAnswer::Stale } else { answer }
    }

    fn epoch(&self, tenant: &TenantName, now: UnixTime) -> u32 {
        self.ended.epoch(tenant, now)
    }

    fn epoch_of(&self, tenant: &TenantName, auth_time: UnixTime, now: UnixTime) -> u32 {
        self.ended.epoch_of(tenant, auth_time, now)
    }

    fn remembers(&self, auth_time: UnixTime, is_foreign: bool) -> bool {
        self.ended.remembers(auth_time, is_foreign)
    }

    fn present(&self, claims: &Claims, client: ClientPrefix, now: UnixTime) -> TokenOrder {
        self.ended.present(claims, client, now)
    }
}

pub(crate) fn run(config: &Path, args: ExplainArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let clock = SystemClock::new();
    let policy = policy(config)?;
    let form = OutputFormat::from_flag(args.json);
    let certificate = args.certificate.clone();
    let live = RunningState::ask(&Client::with_short_timeout(args.control.socket(&policy.state_dir)));
    let mut described = describe(args)?;
    if let Some(path) = certificate {
        described.certificate = Some(present(&path, &described, &policy, clock.now())?);
    }
    let ended = JournalSnapshot::read(&policy.state_dir)?;
    let revocations =
        RevocationView { ended, is_fresh: live.as_ref().ok().is_none_or(RunningState::is_fresh) };
    let quotas = MemoryQuotas::new(64);
    let challenges = Challenges::default();
    // This command fetches no key set; a token signed with such a key is reported so.
    let key_sets = KeySets::default();
    let stores =
        Stores { quotas: &quotas, revocations: &revocations, challenges: &challenges, key_sets: &key_sets };
    let mut explained = replay::explain(&described, &policy, stores, clock.now(), clock.tick())?;
    explained.running = match &live {
        Ok(live) => live.words(&policy.revision),
        Err(error) => format!("not asked, so bans and what other nodes revoked are not known here: {error}"),
    };
    if let Some(ban) = live.as_ref().ok().and_then(|live| live.ban_of(explained.bannable?)) {
        explained.refuse_banned(describe_ban(ban));
    }
    output.data(form, &explained, || explained.to_string())?;
    Ok(if explained.decision == "deny" { Exit::Problem } else { Exit::Fine })
}

fn describe(args: ExplainArgs) -> anyhow::Result<Described> {
    let headers = args
        .headers
        .iter()
        .map(|field| {
            let (name, value) =
                field.split_once(':').with_context(|| format!("`{field}` is not `Name: value`"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Described {
        listener: args.listener,
        version: if args.http2 { HttpVersion::Http2 } else { HttpVersion::Http11 },
        method: args.method,
        url: args.url,
        client: args.ip,
        sni: match args.sni.as_deref() {
            None => Sni::Host,
            Some("") => Sni::Absent,
            Some(host) => Sni::Named(host.parse().with_context(|| format!("reading --sni {host}"))?),
        },
        certificate: None,
        cookie: args.cookie.map(from_file).transpose()?,
        bearer: args.bearer.map(from_file).transpose()?,
        headers,
        head: args
            .head
            .map(|path| {
                files::read_named(&path, FILE_BYTES)
                    .map(|held| held.bytes)
                    .with_context(|| format!("reading {}", path.display()))
            })
            .transpose()?,
    })
}

/// The largest head, cookie or token that is read from a file: far more than any request may have.
const FILE_BYTES: u64 = 1 << 20;

/// Checks a certificate as the TLS handshake would.
fn present(path: &Path, described: &Described, policy: &Policy, now: UnixTime) -> anyhow::Result<Presented> {
    let chain = certificates(path)?;
    let judged = edge::judge_certificate(policy, described.server_name().as_ref(), &chain, now);
    let judged = judged.map_err(|errors| {
        anyhow::anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    judged.with_context(|| format!("{} holds no client certificate that can be read", path.display()))
}

/// Reads `@FILE`. It keeps a token off the command line, which every process on the machine can read.
fn from_file(value: String) -> anyhow::Result<String> {
    match value.strip_prefix('@') {
        None => Ok(value),
        Some(path) => {
            let held =
                files::read_named(Path::new(path), FILE_BYTES).with_context(|| format!("reading {path}"))?;
            Ok(String::from_utf8(held.bytes)
                .with_context(|| format!("reading {path}"))?
                .trim_end()
                .to_owned())
        }
    }
}
