//! When clients that break the protocol are banned.

use std::{num::NonZeroU16, time::Duration};

use super::Context;
use crate::{
    config::{default, reader::Spanned, unit::Wait, wire::BansWire},
    policy::BanRules,
};

/// An offence is not held against anybody for longer; the table would fill with what is long past.
const LONGEST_WITHIN: Duration = Duration::from_secs(86_400);
/// Bans live in memory and end with the process; what is meant for ever stands in `deny`.
const LONGEST_BAN: Duration = Duration::from_secs(30 * 86_400);
/// Clocks of bans count in seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Compiles the rules; what is not written has its default.
pub(super) fn bans(cx: &mut Context<'_>, wire: &BansWire) -> BanRules {
    let defaults = default::BANS;
    BanRules {
        after: wire.after.as_ref().and_then(|at| NonZeroU16::new(at.value)).unwrap_or(defaults.after),
        within: span(cx, wire.within.as_ref(), defaults.within, LONGEST_WITHIN, "1s to 1d"),
        lasts: span(
            cx,
            wire.r#for.as_ref(),
            defaults.lasts,
            LONGEST_BAN,
            "1s to 30d; a listener's `deny` drops for ever",
        ),
    }
}

fn span(
    cx: &mut Context<'_>,
    at: Option<&Spanned<Wait>>,
    default: Duration,
    longest: Duration,
    right: &str,
) -> Duration {
    let Some(Spanned { value: Wait(value), span }) = at else { return default };
    if *value < SHORTEST || *value > longest {
        cx.error(*span, "this is too short or too long").hint(format!("write {right}"));
    }
    *value
}
