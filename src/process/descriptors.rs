//! Open files: how many the process may have, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{policy::Policy, store::Descriptors};

/// Raises the soft limit of open files to the hard one: the soft one is low for the sake of programs that use
/// `select(2)`.
///
/// Returns the limit in force; `None` is no limit. A refusal of the system leaves it as it was, and is no
/// reason not to serve.
pub(crate) fn raise() -> Option<u64> {
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

/// Warns where the listeners' own caps come to more than that.
pub(crate) fn warn(budget: &Descriptors, policy: &Policy) {
    let wanted =
        policy.listeners.iter().map(|listener| listener.max_connections).fold(0, usize::saturating_add);
    if wanted > budget.most_clients() {
        tracing::warn!(
            max_connections = wanted,
            taken = budget.most_clients(),
            "the listeners may hold more connections than the limit of open files leaves to clients; those beyond `taken` are refused \
             (cap_process). Raise LimitNOFILE, or lower max_connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_hard_one() {
        assert!(raise().is_none_or(|files| files >= 256));
    }
}
