//! The parts of a reload: what each refuses, prepares and adopts.

pub(super) mod admin;
pub(super) mod certificates;
pub(super) mod change;
pub(super) mod key_sets;
pub(super) mod listeners;
pub(super) mod process;
pub(super) mod redis;
pub(super) mod rules;
pub(super) mod session_keys;
pub(super) mod tenants;

#[cfg(test)]
mod all_or_nothing;

pub(super) use change::{Cause, Change, Part, Refused, apply, refuse};
