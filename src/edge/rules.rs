//! What a door goes by, swapped as a whole when the policy is loaded again.

use std::{path::Path, sync::Arc, time::Duration};

use super::handshakes::{Handshakes, TooMany};
use crate::model::{ClientIp, ClientPrefix, HeadDeadlines, Tick};
use crate::policy::{DenyFile, DenyList, IpSet, Limits, Listener, Policy};

/// The rules of one listener.
#[derive(Debug)]
pub struct Rules {
    /// The listener as the policy has it now.
    pub listener: Arc<Listener>,
    limits: Limits,
    trusted_proxies: IpSet,
    deny: DenyList,
    handshakes: Option<Arc<Handshakes>>,
}

impl Rules {
    /// Takes a listener's rules out of a policy. The count of handshakes begins anew.
    pub fn new(listener: &Arc<Listener>, policy: &Policy) -> Self {
        let trusted = listener.trusted_proxies.as_ref().unwrap_or(&policy.trusted_proxies);
        Self::from_parts(listener, policy.limits, trusted.clone())
    }

    /// Puts rules together from their parts.
    pub fn from_parts(listener: &Arc<Listener>, limits: Limits, trusted_proxies: IpSet) -> Self {
        let handshakes = listener.max_handshakes_per_second.map(|rate| Arc::new(Handshakes::new(rate)));
        let deny = listener.deny.clone();
        Self { listener: Arc::clone(listener), limits, trusted_proxies, deny, handshakes }
    }

    /// Returns the same rules with what the files of denied ranges hold now. A file that `read` does not know stays as it was.
    pub fn with_deny_files(&self, read: &dyn Fn(&Path) -> Option<Arc<IpSet>>) -> Self {
        let again = |file: &DenyFile| DenyFile { ranges: read(&file.path).unwrap_or_else(|| Arc::clone(&file.ranges)), ..file.clone() };
        Self {
            listener: Arc::clone(&self.listener),
            limits: self.limits,
            trusted_proxies: self.trusted_proxies.clone(),
            deny: DenyList { ranges: self.deny.ranges.clone(), files: self.deny.files.iter().map(again).collect() },
            handshakes: self.handshakes.clone(),
        }
    }

    /// Returns how many ranges are denied.
    pub fn denied_ranges(&self) -> usize {
        self.deny.len()
    }

    /// Says where the address is denied, if it is.
    pub(super) fn denies(&self, client: ClientIp) -> Option<String> {
        self.deny.find(client).map(|(range, file)| match file {
            None => format!("in {range} of `deny`"),
            Some(file) => format!("in {range} of {}", file.display()),
        })
    }

    /// Says whether the address is a proxy of ours: many clients stand behind it, so it is in no cap per client, and never banned.
    pub(super) fn is_own_proxy(&self, client: ClientIp) -> bool {
        self.listener.is_own_proxy(&self.trusted_proxies, client)
    }

    /// Takes one more handshake of a client, if it may begin.
    pub(super) fn take_handshake(&self, client: Option<ClientPrefix>, now: Tick) -> Result<(), TooMany> {
        self.handshakes.as_ref().map_or(Ok(()), |handshakes| handshakes.take(client, now))
    }

    pub(super) fn header_timeout(&self) -> Duration {
        self.limits.header_timeout
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.limits.handshake_timeout
    }

    /// Returns the bounds of a connection from this address. A trusted proxy carries the requests of many clients over one HTTP/2
    /// connection, and passes on what each of them cancels or breaks: one of them must not end the answers of the others.
    pub(super) fn head_deadlines(&self, client: ClientIp) -> HeadDeadlines {
        let many = self.is_own_proxy(client);
        HeadDeadlines {
            header_timeout: self.limits.header_timeout,
            idle_timeout: self.limits.idle_timeout,
            header_bytes: self.limits.header_bytes,
            header_count: self.limits.header_count,
            write_stall: self.limits.write_stall,
            write_min_rate: self.limits.write_min_rate,
            http2: if many { self.limits.http2.of_many_clients() } else { self.limits.http2 },
        }
    }
}
