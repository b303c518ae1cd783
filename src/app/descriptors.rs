//! Open files: how many the process may have, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{edge::Budget, policy::Policy};

/// Raises the soft limit of open files to the hard one: the soft one is low for the sake of programs that use `select(2)`.
///
/// Returns the limit in force; `None` is no limit. A refusal of the system leaves it as it was, and is no reason not to serve.
pub(super) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            current
        }
    }
}

/// Returns how many connections all listeners together may hold: four fifths of the open files. The rest is for upstreams, logs,
/// state, and for those who come to look after it: metrics, admin API, control socket.
pub(super) fn budget(limit: Option<u64>) -> Budget {
    Budget::new(limit.map_or(usize::MAX, |files| usize::try_from(files / 5 * 4).unwrap_or(usize::MAX)))
}

/// Warns where the listeners' own caps come to more than that.
pub(super) fn warn(budget: &Budget, policy: &Policy) {
    let wanted = policy.listeners.iter().map(|listener| listener.max_connections).fold(0, usize::saturating_add);
    if wanted > budget.most() {
        tracing::warn!(
            max_connections = wanted,
            taken = budget.most(),
            "the listeners may hold more connections than the limit of open files allows; those beyond four fifths of it are refused \
             (cap_process). Raise LimitNOFILE, or lower max_connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_four_fifths_of_the_files() {
        assert_eq!(budget(Some(1024)).most(), 816);
        assert_eq!(budget(None).most(), usize::MAX);
        assert!(raise().is_none_or(|files| files >= 256));
    }
}
