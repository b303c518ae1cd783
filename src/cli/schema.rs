//! `octroi schema`.

use super::output::{Exit, Output};
use crate::config;

pub(crate) fn run(output: &mut Output<'_>) -> anyhow::Result<Exit> {
    output.json(&config::schema())?;
    Ok(Exit::Fine)
}
