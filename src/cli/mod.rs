//! The command line. Floor 7: one thin file per command.

#![expect(dead_code, reason = "the root of the command line mounts them")]

mod control;
mod output;
mod reload;
mod session;
mod status;

#[cfg(test)]
mod fixture;
