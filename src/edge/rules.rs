//! The rules of one listener, which a reload swaps as a whole.

use std::{path::Path, sync::Arc, time::Duration};

use super::handshake_limiter::{HandshakeLimiter, TooMany};
use crate::model::{ClientIp, ClientPrefix, HeadDeadlines, Tick};
use crate::policy::{DenyFile, DenyList, IpSet, Limits, Listener, Policy};

/// The rules of one listener.
#[derive(Debug)]
pub struct Rules {
    /// The listener, as the current policy defines it.
    pub listener: Arc<Listener>,
    limits: Limits,
    trusted_proxies: IpSet,
    deny: DenyList,
    handshakes: Option<Arc<HandshakeLimiter>>,
}

impl Rules {
    /// Takes a listener's rules from a policy. The handshake limiter starts afresh.
    pub fn new(listener: &Arc<Listener>, policy: &Policy) -> Self {
        let trusted = listener.trusted_proxies.as_ref().unwrap_or(&policy.trusted_proxies);
        Self::from_parts(listener, policy.limits, trusted.clone())
    }

    /// Builds the rules from their parts.
    pub fn from_parts(listener: &Arc<Listener>, limits: Limits, trusted_proxies: IpSet) -> Self {
        let handshakes = listener.max_handshakes_per_second.map(|rate| Arc::new(HandshakeLimiter::new(rate)));
        let deny = listener.deny.clone();
        Self { listener: Arc::clone(listener), limits, trusted_proxies, deny, handshakes }
    }

    /// Returns the same rules with the current contents of the deny files. A file that `read` does not return
    /// stays as it was.
    pub fn with_deny_files(&self, read: &dyn Fn(&Path) -> Option<Arc<IpSet>>) -> Self {
        let again = |file: &DenyFile| DenyFile {
            ranges: read(&file.path).unwrap_or_else(|| Arc::clone(&file.ranges)),
            ..file.clone()
        };
        Self {
            listener: Arc::clone(&self.listener),
            limits: self.limits,
            trusted_proxies: self.trusted_proxies.clone(),
            deny: DenyList {
                ranges: self.deny.ranges.clone(),
                files: self.deny.files.iter().map(again).collect(),
            },
            handshakes: self.handshakes.clone(),
        }
    }

    /// Returns how many ranges are denied.
    pub fn denied_ranges(&self) -> usize {
        self.deny.len()
    }

    /// Says which range denies the address, if any.
    pub(super) fn denies(&self, client: ClientIp) -> Option<String> {
        self.deny.find(client).map(|(range, file)| match file {
            None => format!("in {range} of `deny`"),
            Some(file) => format!("in {range} of {}", file.display()),
        })
    }

    /// Says whether the address is one of our own proxies. Many clients share it, so no cap per client
    /// applies, and it is never banned. `is_peer` says that no PROXY header names the address.
    pub(super) fn is_own_proxy(&self, client: ClientIp, is_peer: bool) -> bool {
        self.listener.is_own_proxy(&self.trusted_proxies, client, is_peer)
    }

    /// Counts one more handshake of a client, if it may begin.
    pub(super) fn take_handshake(&self, client: Option<ClientPrefix>, now: Tick) -> Result<(), TooMany> {
        self.handshakes.as_ref().map_or(Ok(()), |handshakes| handshakes.take(client, now))
    }

    pub(super) fn header_timeout(&self) -> Duration {
        self.limits.header_timeout
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.limits.handshake_timeout
    }

    /// Returns the bounds of a connection from this address. A trusted proxy carries the requests of many
    /// clients over one HTTP/2 connection, and passes on whatever each of them cancels or breaks: one of them
    /// must not end the responses of the others.
    pub(super) fn head_deadlines(&self, client: ClientIp) -> HeadDeadlines {
        let many = self.listener.is_trusted_proxy(&self.trusted_proxies, client);
        HeadDeadlines {
            header_timeout: self.limits.header_timeout,
            idle_timeout: self.limits.idle_timeout,
            header_bytes: self.limits.header_bytes,
            header_count: self.limits.header_count,
            write_stall: self.limits.write_stall,
            write_min_rate: self.limits.write_min_rate,
            many_clients: many,
            http2: if many { self.limits.http2.of_many_clients() } else { self.limits.http2 },
        }
    }
}
