//! What the tests of this room share.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{AdminDeps, Api, Caller, phase::Phase};
use crate::{
    model::{
        AcmeStatus, Ban, BanCause, BanRequest, BoxFuture, ClientPrefix, ClockStatus, Control, ControlError,
        EventKind, EventSink, Http2Limits, KeyRole, KeySetStatus, KeyStatus, LostRevocations, ManualClock,
        MissingTenants, Range, RedisStatus, ReloadReport, ReloadRequest, Revocation, RevocationReport, Role,
        Secret, SessionId, SessionStatus, SessionsOfUser, Status, TenantName, UnixTime, UnkeptRevocations,
        UpgradeReport, UpstreamStatus, UserId,
    },
    policy::{
        Admin, AdminPrincipal, ClientIpHeader, IpSet, Limits, MinVersion, Policy, RequestLimits, Tenants,
        Tls, UnknownSni,
    },
};

/// An answer, taken apart.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code of an error object.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Sends a request through a pipe and reads the answer to its end.
pub(crate) async fn ask<F: Future<Output = ()>>(
    serve: impl FnOnce(DuplexStream) -> F,
    request: &str,
) -> Reply {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    theirs.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let reading = async {
        theirs.read_to_string(&mut text).await.unwrap();
        drop(theirs);
    };
    tokio::join!(serve(ours), reading);
    Reply::parse(&text)
}

/// A policy without tenants.
pub(crate) fn policy(admin: Option<Admin>) -> Policy {
    let second = Duration::from_secs(1);
    Policy {
        revision: "0123456789abcdef".to_owned(),
        files: Vec::new(),
        node: "edge-1".to_owned(),
        threads: 1,
        drain: second,
        drain_delay: Duration::ZERO,
        clock_hold: second,
        state_dir: PathBuf::from("/nowhere"),
        trusted_proxies: IpSet::default(),
        client_ip_header: ClientIpHeader::default(),
        listeners: Vec::new(),
        limits: Limits {
            handshake_timeout: second,
            header_timeout: second,
            header_bytes: 1,
            header_count: 1,
            field_bytes: 1,
            path_bytes: 1,
            uri_bytes: 1,
            idle_timeout: second,
            write_stall: second,
            write_min_rate: 1,
            http2: Http2Limits::SMALL,
        },
        bans: None,
        request_limits: RequestLimits { body_bytes: 1, body_min_rate: 1, websocket_idle: second },
        metrics: None,
        admin,
        tls: Tls {
            min_version: MinVersion::Tls12,
            unknown_sni: UnknownSni::Refuse,
            ja4: false,
            ticket_keys: None,
            certificates: Vec::new(),
        },
        sessions: None,
        redis: None,
        upstreams: BTreeMap::new(),
        tenants: Tenants::default(),
        access_log: Vec::new(),
        next_expiry: None,
    }
}

/// What a test wants to be asked and to know.
#[derive(Default)]
pub(crate) struct FakeControl {
    pub(crate) revoked: Mutex<Vec<Revocation>>,
    pub(crate) fails: Mutex<Option<ControlError>>,
    pub(crate) banned: Mutex<Vec<BanRequest>>,
    pub(crate) clock: Mutex<Option<ClockStatus>>,
    pub(crate) upstreams: Mutex<Vec<UpstreamStatus>>,
    pub(crate) missing: Mutex<Option<MissingTenants>>,
    pub(crate) unkept: Mutex<Option<UnkeptRevocations>>,
    pub(crate) lost: Mutex<Option<LostRevocations>>,
    pub(crate) deny_refused: Mutex<Vec<String>>,
    pub(crate) tls_ending: Mutex<Vec<String>>,
    pub(crate) key_sets: Mutex<Vec<KeySetStatus>>,
    pub(crate) acme: Mutex<Option<AcmeStatus>>,
    pub(crate) logs_failing: Mutex<Vec<String>>,
    pub(crate) redis: Mutex<Option<RedisStatus>>,
    /// What was wished of a reload last.
    pub(crate) wished: Mutex<Option<ReloadRequest>>,
}

impl Control for FakeControl {
    fn status(&self) -> Status {
        Status {
            version: "0.1.0",
            node: "edge-1".to_owned(),
            pid: 7,
            started: UnixTime::from_secs(1_795_470_000),
            revision: "0123456789abcdef".to_owned(),
            loaded: UnixTime::from_secs(1_795_470_001),
            reload_error: None,
            tls_refused: Vec::new(),
            tls_out: Vec::new(),
            tls_ending: self.tls_ending.lock().unwrap().clone(),
            deny_refused: self.deny_refused.lock().unwrap().clone(),
            lapsed: Vec::new(),
            chains: Vec::new(),
            clock: *self.clock.lock().unwrap(),
            tenants: 3,
            tenants_missing: self.missing.lock().unwrap().clone(),
            connections: 2,
            revocations: 1,
            revocations_lost: *self.lost.lock().unwrap(),
            revocations_unkept: self.unkept.lock().unwrap().clone(),
            logs_failing: self.logs_failing.lock().unwrap().clone(),
            draining: false,
            listeners: vec![("public".to_owned(), "127.0.0.1:8443".to_owned())],
            generation: 2,
            predecessor: None,
            successor: None,
            acme: self.acme.lock().unwrap().clone(),
            redis: self.redis.lock().unwrap().clone(),
            key_sets: self.key_sets.lock().unwrap().clone(),
            upstreams: self.upstreams.lock().unwrap().clone(),
        }
    }

    fn upgrade(&self, start: bool) -> BoxFuture<'_, Result<UpgradeReport, ControlError>> {
        let fails = self.fails.lock().unwrap().clone();
        // The process that serves says whether one was to be started.
        let report = UpgradeReport {
            predecessor: 7,
            successor: if start { 8 } else { 9 },
            took: Duration::from_micros(41_200),
        };
        Box::pin(async move { fails.map_or(Ok(report), Err) })
    }

    fn epoch(&self, tenant: &TenantName) -> Option<u32> {
        (tenant.as_str() == "acme").then_some(3)
    }

    fn reload(&self, wish: ReloadRequest) -> BoxFuture<'_, Result<ReloadReport, ControlError>> {
        let failure = self.fails.lock().unwrap().clone();
        *self.wished.lock().unwrap() = Some(wish);
        let warnings =
            if wish.allow_removal { vec!["warning: tenants are gone".to_owned()] } else { Vec::new() };
        let report = ReloadReport { revision: "fedcba9876543210".to_owned(), warnings };
        Box::pin(async move { failure.map_or(Ok(report), Err) })
    }

    fn sessions<'a>(
        &'a self,
        tenant: &'a TenantName,
        _user: &'a UserId,
    ) -> BoxFuture<'a, Result<SessionsOfUser, ControlError>> {
        let session = |byte, client| SessionStatus {
            id: SessionId::new([byte; 16]),
            granted: UnixTime::from_secs(1_795_470_000),
            seen: UnixTime::from_secs(1_795_471_000),
            ends: UnixTime::from_secs(1_795_513_200),
            client,
            generation: 2,
            node: "edge-1".to_owned(),
        };
        let known = SessionsOfUser {
            sessions: vec![
                session(0xab, Some("192.0.2.7".parse::<Range>().unwrap().try_into().unwrap())),
                session(0xcd, None),
            ],
            silence: None,
            has_foreign: true,
        };
        let found =
            if tenant.as_str() == "acme" { Ok(known) } else { Err(ControlError::Unknown(String::new())) };
        Box::pin(async { found })
    }

    fn keys(&self) -> Vec<KeyStatus> {
        let key = |id, role, retire_from| KeyStatus {
            id,
            role,
            file: Some(format!("{id}.key")),
            check: "0a1b2c3d".to_owned(),
            since: UnixTime::from_secs(1_795_470_000),
            minted: Some(NOW),
            opened: None,
            uses: 0,
            retire_from,
        };
        let waits = KeyStatus {
            file: Some("3.open.key".to_owned()),
            minted: None,
            ..key(3, KeyRole::Waits(None), Some(NOW))
        };
        vec![
            waits,
            key(2, KeyRole::Mints, None),
            KeyStatus { file: None, uses: 7, opened: Some(NOW), ..key(1, KeyRole::Opens, Some(NOW)) },
        ]
    }

    fn bans(&self) -> Vec<Ban> {
        let made = self.banned.lock().unwrap();
        let by_operator = made.iter().map(|wish| Ban {
            client: wish.client,
            left: wish.lasts,
            cause: BanCause::Operator(wish.note.clone()),
        });
        let client = ClientPrefix::try_from("2001:db8::/64".parse::<Range>().unwrap()).unwrap();
        by_operator
            .chain([Ban { client, left: Duration::from_secs(90), cause: BanCause::Protocol("framing_te") }])
            .collect()
    }

    fn ban(&self, wish: BanRequest) -> Result<(), ControlError> {
        let failure = self.fails.lock().unwrap().clone();
        self.banned.lock().unwrap().push(wish);
        failure.map_or(Ok(()), Err)
    }

    fn unban(&self, client: ClientPrefix) -> bool {
        let mut made = self.banned.lock().unwrap();
        let before = made.len();
        made.retain(|wish| wish.client != client);
        made.len() < before
    }

    fn revoke(&self, revocation: Revocation) -> BoxFuture<'_, Result<RevocationReport, ControlError>> {
        let failure = self.fails.lock().unwrap().clone();
        let at = revocation.at.unwrap_or(NOW);
        self.revoked.lock().unwrap().push(revocation);
        Box::pin(async move {
            failure.map_or(
                Ok(RevocationReport {
                    nodes: 1,
                    silent: Vec::new(),
                    replicas: None,
                    took: Duration::from_micros(412),
                    at,
                    known: None,
                }),
                Err,
            )
        })
    }
}

/// One call as the hook saw it: principal, method and path, status, reason, detail.
pub(crate) type Seen = (Option<String>, Option<String>, u16, Option<&'static str>, Option<String>);

/// An API over a fake control, whose calls are kept.
pub(crate) struct Bench {
    pub(crate) api: Arc<Api>,
    pub(crate) control: Arc<FakeControl>,
    pub(crate) calls: Arc<Mutex<Vec<Seen>>>,
}

/// The time in tests.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_471_200);

/// The user that octroi runs as in tests.
pub(crate) const OWN_UID: u32 = 4711;

/// Tokens: `alice` operates, `vera` views, `old` has expired.
pub(crate) const ALICE: &str = "alice-0123456789abcdef0123456789abcdef";
pub(crate) const VERA: &str = "vera-0123456789abcdef0123456789abcdef";
pub(crate) const OLD: &str = "old-0123456789abcdef0123456789abcdef";

pub(crate) fn bench(own_uid: u32) -> Bench {
    let principal = |name: &str, token: &str, role, expires| AdminPrincipal {
        name: name.to_owned(),
        token: Secret::new(token.as_bytes().to_vec()),
        roles: vec![role],
        expires,
    };
    let admin = Admin {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        principals: vec![
            principal("alice", ALICE, Role::Operator, Some(NOW.plus(Duration::from_secs(1)))),
            principal("vera", VERA, Role::Viewer, None),
            principal("old", OLD, Role::Operator, Some(NOW)),
        ],
        hosts: vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "::1".to_owned()],
    };
    let policy = Arc::new(policy(Some(admin)));
    let control = Arc::new(FakeControl::default());
    let calls: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let api = Api::new(AdminDeps {
        control: Arc::<FakeControl>::clone(&control),
        policy: Box::new(move || Arc::clone(&policy)),
        clock: Arc::new(ManualClock::new(NOW)),
        events: Arc::new(CallLog(Arc::clone(&calls))),
        own_uid,
    });
    Bench { api: Arc::new(api), control, calls }
}

/// Keeps the calls that were recorded.
struct CallLog(Arc<Mutex<Vec<Seen>>>);

impl EventSink for CallLog {
    fn emit(&self, what: EventKind<'_>) {
        self.emit_at(NOW, what);
    }

    fn emit_at(&self, _: UnixTime, what: EventKind<'_>) {
        let EventKind::Operator(call) = what else { panic!("no call of the admin API: {what:?}") };
        let what = call.method.zip(call.path).map(|(method, path)| format!("{method} {path}"));
        self.0.lock().unwrap().push((
            call.principal.map(str::to_owned),
            what,
            call.status,
            call.reason,
            call.detail.map(str::to_owned),
        ));
    }
}

/// Callers: from afar, and over the control socket.
pub(crate) const REMOTE: Caller =
    Caller::Remote(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 5000));
pub(crate) const OWN: Caller = Caller::Local { uid: OWN_UID };

pub(crate) async fn call(bench: &Bench, caller: Caller, request: &str) -> Reply {
    ask(|stream| bench.api.serve(stream, caller, Phase::default()), request).await
}

pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost:9901\r\n{fields}\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) async fn refused(bench: &Bench, caller: Caller, request: &str) -> (u16, String) {
    let told = call(bench, caller, request).await;
    (told.status, told.code())
}
