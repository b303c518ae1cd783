//! `octroi keys init`: creates the keys and certificates that a configuration names and the disk lacks.
//!
//! It is for a first start, and for keys that are new. Once octroi has served, a missing file was most
//! likely lost, and a new one in its place does harm: sessions of the old key end, and clients refuse a
//! certificate whose CA they do not know. So nothing that may be in use is created without `--force`.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{assertion_key, folder, running};
use crate::{
    app,
    cli::{
        control::{Client, ControlArgs},
        output::{Exit, Output},
    },
    config::{self, History, Referenced, ReferencedKind},
    edge::dev,
    model::{Clock, HostPattern, SystemClock},
    store::KeyUses,
};

/// Create the keys and certificates that the configuration names and the disk lacks, for a first start. It
/// changes no file that exists and, once octroi has served, creates nothing that may be in use.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The configuration files. Default: the one that --config names.
    files: Vec<PathBuf>,
    /// Create them even where octroi has served and they may be in use: sessions end, and clients refuse the
    /// certificates
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(super) fn run(config: &Path, args: InitArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let files = if args.files.is_empty() { vec![config.to_owned()] } else { args.files };
    for file in &files {
        if init(file, args.force, output)? == Exit::Problem {
            return Ok(Exit::Problem);
        }
    }
    Ok(Exit::Fine)
}

fn init(config: &Path, force: bool, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let named = match config::referenced_files(config, &app::variable) {
        Ok(named) => named,
        Err(errors) => {
            output.say(&errors.to_string());
            return Ok(Exit::Problem);
        }
    };
    let mut missing = Vec::new();
    for file in named {
        if is_missing(&file)? {
            missing.push(file);
        }
    }
    if missing.is_empty() {
        return Ok(Exit::Fine);
    }
    // Everything is checked before anything is created.
    let past = Past::of(&config::state_dir(config, &app::variable));
    let refused: Vec<String> =
        if force { Vec::new() } else { missing.iter().filter_map(|file| past.objection(file)).collect() };
    if !refused.is_empty() {
        for why in &refused {
            output.say(&format!("error: {why}"));
        }
        output.say(&format!("nothing was made: {}. {HELP}", past.words()));
        return Ok(Exit::Problem);
    }
    for file in missing {
        let doubt = past.doubt(&file);
        make(file, output)?;
        if let Some(doubt) = doubt {
            output.say(&doubt);
        }
    }
    Ok(Exit::Fine)
}

/// What to do instead.
const HELP: &str = "Put back from the backup what was in use, and do not restart before: an octroi that runs serves on with what it has \
                    in memory. What is new, and was never in use, `--force` makes; a certificate for others than yourself comes from your CA";

/// Says whether a file, or one file of a pair, is missing. A pair that lacks only its key cannot be
/// completed.
fn is_missing(file: &Referenced) -> anyhow::Result<bool> {
    let Referenced { path, kind } = file;
    let lacks = |path: &Path| {
        path.try_exists().map(|there| !there).with_context(|| format!("looking for {}", path.display()))
    };
    let missing = lacks(path)?;
    match kind {
        ReferencedKind::KeyDir { .. } => Ok(missing || config::read_key_folder(path)?.is_empty()),
        ReferencedKind::Certificate { key, .. } => {
            anyhow::ensure!(
                missing || !lacks(key)?,
                "{} is there and its key {} is not; a certificate without its key cannot be used",
                path.display(),
                key.display()
            );
            Ok(missing)
        }
        ReferencedKind::SessionKey { .. }
        | ReferencedKind::TicketKeys
        | ReferencedKind::AdminToken { .. }
        | ReferencedKind::AssertionKey => Ok(missing),
    }
}

fn make(file: Referenced, output: &mut Output<'_>) -> anyhow::Result<()> {
    let Referenced { path, kind } = file;
    let made = match kind {
        ReferencedKind::SessionKey { .. }
        | ReferencedKind::TicketKeys
        | ReferencedKind::AdminToken { .. } => {
            folder::write_random(&path)?;
            Some(path)
        }
        ReferencedKind::AssertionKey => {
            assertion_key::make(&path)?;
            Some(path)
        }
        ReferencedKind::KeyDir { listed } => folder::first_key(&path, listed.into_iter().max())?,
        ReferencedKind::Certificate { key, hosts } => {
            certificate(&path, &key, &hosts)?;
            output.text(&format!(
                "made {} (for trying octroi out: signed by ca.pem beside it, which no client knows)",
                path.display()
            ))?;
            None
        }
    };
    if let Some(made) = made {
        output.text(&format!("made {}", made.display()))?;
    }
    Ok(())
}

/// What is known of the keys in use here.
#[derive(Debug)]
enum Past {
    /// octroi has not served here.
    Fresh,
    /// An octroi is running, with the session keys of these numbers.
    Runs(BTreeSet<u16>),
    /// An octroi has served, with these keys when it last recorded them; `None` where it recorded none.
    Served(Option<BTreeSet<u16>>),
    /// An octroi seems to be running, and does not say which keys it has.
    Silent(String),
    /// This account may not read the state directory.
    Unknown,
}

impl Past {
    fn of(state_dir: &Path) -> Self {
        let (history, socket) = (History::of(state_dir), ControlArgs::default().socket(state_dir));
        if history == History::Fresh && socket.symlink_metadata().is_err() {
            return Self::Fresh;
        }
        match running::ask_by(&Client::with_short_timeout(socket)) {
            Ok(Some(keys)) => Self::Runs(keys.iter().map(|key| key.id).collect()),
            Ok(None) => match history {
                History::Fresh => Self::Fresh,
                History::Served => Self::Served(KeyUses::known(state_dir)),
                History::Unknown => Self::Unknown,
            },
            Err(error) => Self::Silent(format!("{error:#}")),
        }
    }

    /// Returns the numbers of the known session keys, where they are known.
    const fn keys(&self) -> Option<&BTreeSet<u16>> {
        match self {
            Self::Runs(keys) | Self::Served(Some(keys)) => Some(keys),
            Self::Fresh | Self::Served(None) | Self::Silent(_) | Self::Unknown => None,
        }
    }

    /// Says why a file is not created; `None` where it may be.
    fn objection(&self, file: &Referenced) -> Option<String> {
        let Referenced { path, kind } = file;
        if matches!(self, Self::Fresh) {
            return None;
        }
        let shown = path.display();
        let unknown = |what: &str| {
            format!("{shown} is missing, and whether {what} that is in use was lost there cannot be known")
        };
        match (kind, self.keys()) {
            (ReferencedKind::SessionKey { id }, Some(known)) => known
                .contains(id)
                .then(|| format!("{shown} is missing, and the session key {id} is in use: with another one, its sessions end")),
            (ReferencedKind::KeyDir { listed }, Some(known)) => {
                let lost: Vec<String> = known.iter().filter(|id| !listed.contains(id)).map(ToString::to_string).collect();
                let lost = lost.join(", ");
                (!lost.is_empty())
                    .then(|| format!("{shown} holds no key, and the session keys in use were there ({lost}): their sessions end"))
            }
            (ReferencedKind::SessionKey { .. } | ReferencedKind::KeyDir { .. }, None) => Some(unknown("a session key")),
            (ReferencedKind::Certificate { .. }, _) => Some(unknown("a certificate")),
            // They are replaced one by one while octroi runs, and no session depends on them.
            (ReferencedKind::TicketKeys | ReferencedKind::AssertionKey | ReferencedKind::AdminToken { .. }, _) => None,
        }
    }

    /// Says what follows if a file that was created had existed before, which cannot be known.
    fn doubt(&self, file: &Referenced) -> Option<String> {
        let Referenced { path, kind } = file;
        let harm = match kind {
            _ if matches!(self, Self::Fresh) => return None,
            ReferencedKind::TicketKeys => "nodes with the old one resume none of each other's TLS sessions",
            ReferencedKind::AssertionKey => "apps that do not fetch the new public key refuse what it signs",
            ReferencedKind::AdminToken { .. } => "whoever has the old token is refused",
            ReferencedKind::SessionKey { .. }
            | ReferencedKind::KeyDir { .. }
            | ReferencedKind::Certificate { .. } => return None,
        };
        let shown = path.display();
        Some(format!(
            "warning: whether {shown} is new, or was in use and is lost, cannot be known; in use, it comes from the backup, before `octroi reload` and any \
             restart: otherwise {harm}"
        ))
    }

    /// Says how this is known.
    fn words(&self) -> String {
        match self {
            Self::Fresh => "nobody has served here".to_owned(),
            Self::Runs(_) => "octroi runs with this state directory".to_owned(),
            Self::Served(Some(_)) => "octroi has served with this state directory".to_owned(),
            Self::Served(None) => {
                "octroi has served with this state directory, and did not write down with which keys"
                    .to_owned()
            }
            Self::Silent(why) => {
                format!("what the octroi of this state directory uses cannot be asked ({why})")
            }
            Self::Unknown => {
                "this account cannot see whether octroi has served with this state directory".to_owned()
            }
        }
    }
}

/// Creates a certificate signed by a local CA in the same folder: for trying octroi out, until real ones are
/// there.
fn certificate(cert: &Path, key: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let dir = cert.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("making the folder {}", dir.display()))?;
    }
    let names: Vec<HostPattern> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
    let now = SystemClock::new().now();
    let files = dev::PairFiles { cert: cert.to_owned(), key: key.to_owned() };
    dev::Authority::open_or_make(dir, now)?.make_pair(&files, &names, now)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_in_use_is_not_made_and_what_is_new_is() {
        let of = |kind| Referenced { path: "x".into(), kind };
        let key = |id| of(ReferencedKind::SessionKey { id });
        let folder = |listed: &[u16]| of(ReferencedKind::KeyDir { listed: listed.to_vec() });
        let pair = || of(ReferencedKind::Certificate { key: "y".into(), hosts: Vec::new() });
        let others = || {
            [
                of(ReferencedKind::TicketKeys),
                of(ReferencedKind::AssertionKey),
                of(ReferencedKind::AdminToken { principal: "o".into() }),
            ]
        };
        let knows = || BTreeSet::from([1, 2]);

        for past in [Past::Runs(knows()), Past::Served(Some(knows()))] {
            assert!(
                past.objection(&key(1)).is_some()
                    && past.objection(&key(2)).is_some()
                    && past.objection(&key(3)).is_none()
            );
            assert!(past.objection(&folder(&[1])).is_some() && past.objection(&folder(&[1, 2])).is_none());
            assert!(past.objection(&pair()).is_some());
            assert!(others().iter().all(|file| past.objection(file).is_none() && past.doubt(file).is_some()));
        }
        for past in [Past::Served(None), Past::Silent(String::new()), Past::Unknown] {
            assert!(
                [key(3), folder(&[1, 2]), pair()].iter().all(|file| past.objection(file).is_some()),
                "{past:?}"
            );
            assert!(others().iter().all(|file| past.objection(file).is_none() && past.doubt(file).is_some()));
        }
        let all = others().into_iter().chain([key(1), folder(&[]), pair()]);
        assert!(
            all.into_iter()
                .all(|file| Past::Fresh.objection(&file).is_none() && Past::Fresh.doubt(&file).is_none())
        );
    }
}
