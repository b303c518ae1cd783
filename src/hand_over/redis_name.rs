//! The name of a Redis, by which two processes can tell whether they share revocations through the same one.

use crate::policy::{Policy, RedisPlace};

/// Names the Redis of a policy; empty where no revocation is shared.
pub(crate) fn redis_name(policy: &Policy) -> String {
    let is_shared = policy.sessions.as_ref().is_some_and(|sessions| sessions.revocation.is_shared);
    match policy.redis.as_ref().filter(|_| is_shared) {
        None => String::new(),
        Some(redis) => match &redis.place {
            RedisPlace::Tcp { host, port, .. } => format!("{host}:{port}/{}", redis.database),
            RedisPlace::Unix(path) => format!("{}/{}", path.display(), redis.database),
        },
    }
}
