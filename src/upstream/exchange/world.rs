//! What an exchange needs beside its two sides: rules, a permit, a clock.

use std::{io::Write as _, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::{
    config,
    model::{
        Clock, Facts, HeadDeadlines, Http2Limits, HttpVersion, RequestView, Tick, Trail, Transport, UnixTime,
    },
    pipeline::{Disposition, Permit, RequestFacts, Stores, judge},
    policy::Policy,
    sessions::JournalSnapshot,
    store::{Challenges, KeySets, MemoryQuotas},
};

pub(super) const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

/// The time that the runtime has paused.
pub(super) struct PausedClock(pub(super) Instant);

impl Clock for PausedClock {
    fn now(&self) -> UnixTime {
        NOW.plus(self.0.elapsed())
    }

    fn tick(&self) -> Tick {
        Tick::from_nanos(1_000_000_000).plus(self.0.elapsed())
    }
}

pub(super) fn policy() -> Policy {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(CONFIG).unwrap();
    config::load(file.path(), NOW, &|_| None).map_err(|errors| errors.to_string()).unwrap().policy
}

const CONFIG: &[u8] = br#"
version: 1
node: edge-1
server: {state_dir: /nowhere}
listeners:
  - {name: public, address: "127.0.0.1:1", plaintext: true}
upstreams:
  app: {servers: [{address: "127.0.0.1:2"}]}
routes:
  app: {unmatched: public}
tenants:
  acme: {hosts: [acme.test], upstream: app, routes: app}
"#;

pub(super) const DEADLINES: HeadDeadlines = HeadDeadlines {
    header_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(30),
    header_bytes: 8192,
    header_count: 100,
    write_stall: Duration::from_secs(30),
    write_min_rate: 0,
    many_clients: false,
    http2: Http2Limits::SMALL,
};

pub(super) fn facts() -> Facts {
    let peer = "192.0.2.1:4000".parse().unwrap();
    Facts {
        id: 1,
        listener: "public".parse().unwrap(),
        local: "127.0.0.1:1".parse().unwrap(),
        peer,
        source: peer,
        transport: Transport::Plain,
        accepted: NOW,
    }
}

/// The permit of a request that the pipeline lets through: there is no other way to one.
pub(super) async fn permit(policy: &Policy) -> Permit {
    let head = b"GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n";
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("acme.test"));
    let facts = facts();
    let view = RequestView {
        connection: &facts,
        certificate: None,
        version: HttpVersion::Http11,
        method: "GET",
        target: b"/",
        authority: None,
        headers: &headers,
        head: Some(head),
        now: NOW,
        tick: Tick::from_nanos(1),
    };
    // A directory without a journal has ended no session.
    let directory = tempfile::TempDir::new().unwrap();
    let revocations = JournalSnapshot::read(directory.path()).unwrap();
    let stores = Stores {
        quotas: &MemoryQuotas::new(1),
        revocations: &revocations,
        challenges: &Challenges::default(),
        key_sets: &KeySets::default(),
    };
    let (mut known, mut trail) = (RequestFacts::default(), Trail::brief());
    match judge(&view, policy, stores, &mut known, &mut trail).await {
        Ok(Disposition::Permit(permit)) => permit,
        other => panic!("no permit: {other:?}"),
    }
}
