//! What a door goes by, swapped as a whole when the policy is loaded again.

use std::{sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::model::{ClientIp, HeadDeadlines};
use crate::policy::{IpSet, Limits, Listener, Policy};

/// The rules of one listener.
#[derive(Debug)]
pub struct Rules {
    /// The listener as the policy has it now.
    pub listener: Arc<Listener>,
    limits: Limits,
    trusted_proxies: IpSet,
    handshakes: Option<DefaultDirectRateLimiter>,
}

impl Rules {
    /// Takes a listener's rules out of a policy. The count of handshakes begins anew.
    pub fn new(listener: &Arc<Listener>, policy: &Policy) -> Self {
        let trusted = listener.trusted_proxies.as_ref().unwrap_or(&policy.trusted_proxies);
        Self::from_parts(listener, policy.limits, trusted.clone())
    }

    /// Puts rules together from their parts.
    pub fn from_parts(listener: &Arc<Listener>, limits: Limits, trusted_proxies: IpSet) -> Self {
        let handshakes = listener.max_handshakes_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { listener: Arc::clone(listener), limits, trusted_proxies, handshakes }
    }

    /// Says whether the address is a proxy of ours: many clients stand behind it, so it is in no cap per client.
    pub(super) fn is_trusted_proxy(&self, client: ClientIp) -> bool {
        self.trusted_proxies.contains(client)
    }

    /// Says whether one more handshake may begin now.
    pub(super) fn takes_handshake(&self) -> bool {
        self.handshakes.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.limits.handshake_timeout
    }

    pub(super) fn head_deadlines(&self) -> HeadDeadlines {
        HeadDeadlines {
            header_timeout: self.limits.header_timeout,
            idle_timeout: self.limits.idle_timeout,
            header_bytes: self.limits.header_bytes,
            write_stall: self.limits.write_stall,
            write_min_rate: self.limits.write_min_rate,
            http2: self.limits.http2,
        }
    }
}
