//! `octroi keys init`: makes the keys and certificates that a configuration names and the disk lacks.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{assertion_key, folder};
use crate::{
    app,
    cli::output::{Exit, Output},
    config::{self, ReferencedKind},
    edge::dev,
    model::{Clock, HostPattern, SystemClock},
};

/// Make the keys and certificates that the configuration names and the disk lacks. Nothing that exists is changed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The configuration files; none: the one of --config.
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(super) fn run(config: &Path, args: InitArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let files = if args.files.is_empty() { vec![config.to_owned()] } else { args.files };
    for file in &files {
        if init(file, output)? == Exit::Problem {
            return Ok(Exit::Problem);
        }
    }
    Ok(Exit::Fine)
}

fn init(config: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let named = match config::referenced_files(config, &app::variable) {
        Ok(named) => named,
        Err(errors) => {
            output.say(&errors.to_string());
            return Ok(Exit::Problem);
        }
    };
    for file in named {
        let missing = !file.path.try_exists().with_context(|| format!("looking for {}", file.path.display()))?;
        match file.kind {
            ReferencedKind::SessionKey | ReferencedKind::TicketKeys | ReferencedKind::AdminToken { .. } if missing => {
                folder::write_random(&file.path)?;
                output.text(&format!("made {}", file.path.display()))?;
            }
            ReferencedKind::AssertionKey if missing => {
                assertion_key::make(&file.path)?;
                output.text(&format!("made {}", file.path.display()))?;
            }
            ReferencedKind::KeyDir { listed } => {
                if let Some(made) = folder::first_key(&file.path, listed)? {
                    output.text(&format!("made {}", made.display()))?;
                }
            }
            ReferencedKind::SessionKey | ReferencedKind::TicketKeys | ReferencedKind::AdminToken { .. } | ReferencedKind::AssertionKey => {}
            ReferencedKind::Certificate { key, hosts } => {
                let key_missing = !key.try_exists().with_context(|| format!("looking for {}", key.display()))?;
                anyhow::ensure!(
                    missing || !key_missing,
                    "{} is there and its key {} is not; a certificate without its key cannot be used",
                    file.path.display(),
                    key.display()
                );
                if missing {
                    certificate(&file.path, &key, &hosts)?;
                    output.text(&format!("made {} (signed by ca.pem beside it)", file.path.display()))?;
                }
            }
        }
    }
    Ok(Exit::Fine)
}

/// Makes a certificate that a local CA in the same folder signs: for trying octroi out, until real ones are there.
fn certificate(cert: &Path, key: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let dir = cert.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("making the folder {}", dir.display()))?;
    }
    let names: Vec<HostPattern> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
    let now = SystemClock::new().now();
    let files = dev::PairFiles { cert: cert.to_owned(), key: key.to_owned() };
    dev::Authority::open_or_make(dir, now)?.make_pair(&files, &names, now)?;
    Ok(())
}
