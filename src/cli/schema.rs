//! `octroi schema`.

use super::output::{self, Exit};
use crate::config;

pub(crate) fn run() -> anyhow::Result<Exit> {
    output::json(&config::schema())?;
    Ok(Exit::Fine)
}
