//! `octroi keys init`: makes the keys and certificates that a configuration names and the disk lacks.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::Engine;
use clap::{Args, Subcommand};

use super::{
    assertion_key,
    output::{Exit, Output},
};
use crate::{
    app,
    config::{self, ReferencedKind},
    edge::dev,
    model::{Clock, HostPattern, Secret, SystemClock},
};

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make the keys and certificates that the configuration names and the disk lacks. Nothing that exists is changed.
    Init {
        /// The configuration files; none: the one of --config.
        files: Vec<PathBuf>,
    },
}

pub(crate) fn run(config: &Path, args: KeysArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let KeysCommand::Init { files } = args.command;
    let files = if files.is_empty() { vec![config.to_owned()] } else { files };
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
                secret(&file.path)?;
                output.text(&format!("made {}", file.path.display()))?;
            }
            ReferencedKind::AssertionKey if missing => {
                assertion_key::make(&file.path)?;
                output.text(&format!("made {}", file.path.display()))?;
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

/// Writes base64 of 32 random bytes into a new file that no stranger reads.
fn secret(path: &Path) -> anyhow::Result<()> {
    let mut random = Secret::new([0_u8; 32]);
    random.fill(aws_lc_rs::rand::fill).map_err(|_| anyhow::anyhow!("the system's random generator does not work"))?;
    let text = Secret::new(base64::engine::general_purpose::STANDARD.encode(random.expose()) + "\n");
    dev::write_secret(path, text.expose().as_bytes()).with_context(|| format!("making {}", path.display()))
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
