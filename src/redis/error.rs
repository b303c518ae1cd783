//! Why Redis did not do what was asked.

use std::time::Duration;

/// How much is repeated of what Redis said, in characters.
const SAID: usize = 200;

/// Why Redis did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedisFault {
    /// There is no connection. Nothing was sent.
    #[error("Redis is away")]
    Away,
    /// No answer in time. Whether it was done is not known.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection broke. Whether it was done is not known.
    #[error("the connection to Redis broke: {0}")]
    Broken(#[source] redis::RedisError),
    /// It holds more than is read.
    #[error("octroi:ended has more than {0} entries; something else writes there")]
    TooMuch(usize),
    /// It takes nothing of the kind now, whoever asks.
    #[error("{}: {said}", .fault.as_message())]
    Server {
        /// What is wrong with it.
        fault: ServerFault,
        /// What it said.
        said: Box<str>,
    },
    /// It said no to this command.
    #[error("Redis refuses: {0}")]
    Refused(#[source] redis::RedisError),
}

/// What is wrong with a Redis that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// Another one has its place, or will have: it became a replica, it loads, it has lost its replicas or
    /// its master, or wants a login that was not asked for when the connection was made. The name leads to
    /// the right one, now or soon.
    NotServing,
    /// It is a node of a Cluster.
    Cluster,
    /// It has no memory left, or cannot write its files. Another connection would change nothing.
    CannotWrite,
}

impl ServerFault {
    /// Says it in words.
    pub const fn as_message(self) -> &'static str {
        match self {
            Self::NotServing => "this Redis serves nobody now",
            Self::Cluster => "this Redis is a Cluster, which is not supported yet",
            Self::CannotWrite => "this Redis takes nothing in",
        }
    }

    /// Finds it in what Redis said: as the error's code, or in a script's error, which repeats what the
    /// command in it said.
    fn of(code: &str, detail: &str) -> Option<Self> {
        let word = |word: &str| match word {
            "READONLY" | "LOADING" | "MASTERDOWN" | "NOREPLICAS" | "NOAUTH" => Some(Self::NotServing),
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => Some(Self::Cluster),
            "OOM" | "MISCONF" => Some(Self::CannotWrite),
            _ => None,
        };
        // `ERR Error running script (…): @user_script:7: -READONLY You can't write against a read only
        // replica.`
        let inside = || detail.split_whitespace().filter_map(|part| part.strip_prefix('-')).find_map(word);
        word(code).or_else(inside)
    }
}

impl RedisFault {
    /// Tells a broken connection from an answer that says no.
    pub(super) fn of(error: redis::RedisError) -> Self {
        let (code, detail) = (error.code().unwrap_or_default(), error.detail().unwrap_or_default());
        if let Some(fault) = ServerFault::of(code, detail) {
            let said = format!("{code} {detail}");
            return Self::Server {
                fault,
                said: said.chars().filter(|char| !char.is_control()).take(SAID).collect(),
            };
        }
        if error.is_unrecoverable_error() || error.is_io_error() {
            Self::Broken(error)
        } else {
            Self::Refused(error)
        }
    }

    /// Returns the label that metrics use.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Late(_) => "timeout",
            Self::Broken(_) => "broken",
            Self::Refused(_) | Self::TooMuch(_) | Self::Server { .. } => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_it_is_found_in_the_code_and_in_a_script_s_error() {
        let script = "Error running script (call to f_abc): @user_script:7: -READONLY You can't write against a read only replica.";
        for (code, detail, fault) in [
            (
                "READONLY",
                "You can't write against a read only replica. script: abc, on @user_script:5.",
                Some(ServerFault::NotServing),
            ),
            ("ERR", script, Some(ServerFault::NotServing)),
            ("LOADING", "Redis is loading the dataset in memory", Some(ServerFault::NotServing)),
            (
                "MASTERDOWN",
                "Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Some(ServerFault::NotServing),
            ),
            ("NOREPLICAS", "Not enough good replicas to write.", Some(ServerFault::NotServing)),
            ("NOAUTH", "Authentication required.", Some(ServerFault::NotServing)),
            ("MOVED", "3999 127.0.0.1:6381", Some(ServerFault::Cluster)),
            ("ASK", "3999 127.0.0.1:6381", Some(ServerFault::Cluster)),
            ("CLUSTERDOWN", "Hash slot not served", Some(ServerFault::Cluster)),
            ("CROSSSLOT", "Keys in request don't hash to the same slot", Some(ServerFault::Cluster)),
            ("OOM", "command not allowed when used memory > 'maxmemory'.", Some(ServerFault::CannotWrite)),
            (
                "ERR",
                "Error running script: @user_script:3: -MISCONF Redis is configured to save RDB snapshots",
                Some(ServerFault::CannotWrite),
            ),
            ("WRONGTYPE", "Operation against a key holding the wrong kind of value", None),
            ("NOPERM", "this user has no permissions to run the 'eval' command", None),
            ("ERR", "unknown command 'READONLY', with args beginning with: ", None),
            ("NOSCRIPT", "No matching script.", None),
        ] {
            assert_eq!(ServerFault::of(code, detail), fault, "{code} {detail}");
        }
    }
}
